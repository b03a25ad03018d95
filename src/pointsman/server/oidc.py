"""Sign-in at an identity provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636).

The provider proves who the person is; what the person may do is the role of the user with that name in the accounts.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from pointsman.errors import PointsmanError
from pointsman.runtime.clock import Clock
from pointsman.server.sign_in import BegunSignIn

try:
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet
except ImportError:
    raise PointsmanError("signing in at an identity provider needs joserfc; install it with `pip install 'pointsman[oidc]'`.") from None

SECRET_BYTES = 32  # of the state, the nonce and the verifier (RFC 7636, 4.1)
PROVIDER_SECONDS = 10.0  # longer than a provider takes for any of these answers
LEEWAY_SECONDS = 60  # the largest difference of two machines' clocks
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")  # signatures with a public key; never "none" (RFC 8725, 3.1)


class SignInFailed(PointsmanError):
    """The provider did not prove who the person is."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An identity provider. `claim` is the claim of the ID token that has the user's name; an `email` must be verified."""

    issuer: str
    client_id: str
    client_secret: str
    claim: str = "email"


class OpenId:
    """Signs people in at one provider. `transport` is for tests."""

    def __init__(self, provider: Provider, clock: Clock, random: Random, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._provider = provider
        self._clock = clock
        self._random = random
        self._transport = transport
        self._known: dict[str, Any] | None = None

    async def begin(self, redirect_uri: str, to: str) -> tuple[str, BegunSignIn]:
        """Return the address of the provider to send the browser to, and the attempt. `to` is the page that the person wanted."""
        attempt = BegunSignIn(self._secret(), self._secret(), self._secret(), to)
        asked = {
            "response_type": "code", "client_id": self._provider.client_id, "redirect_uri": redirect_uri, "scope": "openid email profile",
            "state": attempt.state, "nonce": attempt.nonce, "code_challenge": _challenge(attempt.verifier), "code_challenge_method": "S256",
        }  # fmt: skip
        return str(httpx.URL((await self._metadata())["authorization_endpoint"]).copy_merge_params(asked)), attempt

    async def finish(self, attempt: BegunSignIn, state: str, code: str, redirect_uri: str) -> str:
        """Return the name of the person who came back from the provider. Raises SignInFailed."""
        if state != attempt.state:
            raise SignInFailed("the answer of the identity provider belongs to another sign-in; sign in again.")
        metadata = await self._metadata()
        try:
            given = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": attempt.verifier}
            tokens = await self._ask(
                "POST", metadata["token_endpoint"], data=given, auth=(self._provider.client_id, self._provider.client_secret)
            )
            keys = KeySet.import_key_set(await self._ask("GET", metadata["jwks_uri"]))
            claims = jwt.decode(tokens["id_token"], keys, algorithms=ALGORITHMS).claims
            jwt.JWTClaimsRegistry(
                now=int(self._clock.now()), leeway=LEEWAY_SECONDS, iss={"essential": True, "value": self._provider.issuer},
                aud={"essential": True, "value": self._provider.client_id}, exp={"essential": True},
                nonce={"essential": True, "value": attempt.nonce},
            ).validate(claims)  # fmt: skip
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise SignInFailed(f"the identity provider did not prove who you are ({type(error).__name__}); sign in again.") from None
        return self._named(claims)

    def _named(self, claims: dict[str, Any]) -> str:
        name = claims.get(self._provider.claim)
        if not isinstance(name, str) or not name:
            raise SignInFailed(f"the identity provider gave no {self._provider.claim!r}; ask its administrator to release it.")
        if self._provider.claim == "email" and claims.get("email_verified") is not True:
            raise SignInFailed(f"the identity provider has not verified {name}; verify the address there, then sign in again.")
        return name

    async def _metadata(self) -> dict[str, Any]:
        """Return the provider's description of itself (OpenID Connect Discovery 1.0, 4), read once."""
        if self._known is None:
            known = await self._ask("GET", f"{self._provider.issuer.rstrip('/')}/.well-known/openid-configuration")
            if known.get("issuer") != self._provider.issuer:
                raise SignInFailed(
                    f"the identity provider calls itself {known.get('issuer')!r}, not {self._provider.issuer!r}; correct the setting."
                )
            self._known = known
        return self._known

    async def _ask(self, method: str, url: str, **request: Any) -> Any:
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=PROVIDER_SECONDS) as client:
                response = await client.request(method, url, **request)
                response.raise_for_status()
                return response.json()
        except (httpx.HTTPError, json.JSONDecodeError) as error:
            raise SignInFailed(f"the identity provider gave no answer at {url} ({type(error).__name__}); sign in again.") from None

    def _secret(self) -> str:
        return self._random.randbytes(SECRET_BYTES).hex()


def _challenge(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
