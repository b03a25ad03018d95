"""Sign-in at an identity provider: a small provider of our own, which signs what a test tells it to."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from pointsman.server.oidc import OpenId, Provider, SignInFailed

ISSUER, NOW = "https://id.example", 1_800_000_000
KEY, OTHER_KEY = (RSAKey.generate_key(2048, {"kid": "one"}) for _ in range(2))
US = Provider(ISSUER, "pointsman", "a secret")
BACK = "http://127.0.0.1:8470/sign-in/callback"


class Standing:
    """A clock that stands still."""

    def now(self) -> float:
        return NOW


def provider(
    claims: Callable[[dict[str, Any]], dict[str, Any]], nonces: list[str], key: RSAKey = KEY, issuer: str = ISSUER
) -> httpx.MockTransport:
    """A provider that gives every code an ID token with these claims, for the last nonce."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("openid-configuration"):
            endpoints = {"authorization_endpoint": f"{ISSUER}/auth", "token_endpoint": f"{ISSUER}/token", "jwks_uri": f"{ISSUER}/keys"}
            return httpx.Response(200, json={"issuer": issuer, **endpoints})
        if request.url.path == "/keys":
            return httpx.Response(200, json={"keys": [KEY.as_dict(private=False)]})
        assert "code_verifier=" in request.content.decode()
        good = {
            "iss": ISSUER,
            "aud": "pointsman",
            "exp": NOW + 60,
            "nonce": nonces[-1],
            "email": "ada@desk.example",
            "email_verified": True,
        }
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims(good), key)
        return httpx.Response(200, json={"access_token": "x", "token_type": "Bearer", "id_token": token})

    return httpx.MockTransport(answer)


def signed_in(claims: Callable[[dict[str, Any]], dict[str, Any]] = lambda good: good, *, state: str | None = None, **given: Any) -> str:
    async def body() -> str:
        nonces: list[str] = []
        openid = OpenId(US, Standing(), Random(7), provider(claims, nonces, **given))  # type: ignore[arg-type]
        url, attempt = await openid.begin(BACK, "/")
        query = parse_qs(urlsplit(url).query)
        assert query["code_challenge_method"] == ["S256"]
        nonces.append(query["nonce"][0])
        return await openid.finish(attempt, state or query["state"][0], "a code", BACK)

    return asyncio.run(body())


def test_the_provider_says_who_signed_in() -> None:
    assert signed_in() == "ada@desk.example"


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"},
        {"aud": "another"},
        {"exp": NOW - 3_600},
        {"nonce": "replayed"},
        {"email_verified": False},
        {"email": ""},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_token_that_does_not_prove_the_person_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(SignInFailed):
        signed_in(lambda good: {**good, **changed})


def test_a_token_with_another_signature_is_refused() -> None:
    with pytest.raises(SignInFailed):
        signed_in(key=OTHER_KEY)


def test_an_answer_to_another_sign_in_is_refused() -> None:
    with pytest.raises(SignInFailed, match="another sign-in"):
        signed_in(state="forged")


def test_a_provider_with_another_name_is_refused() -> None:
    with pytest.raises(SignInFailed, match="correct the setting"):
        signed_in(issuer="https://other.example")
