"""The pages to sign in and out: with a password, or at an identity provider."""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from math import ceil
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pointsman.errors import PointsmanError
from pointsman.server.access import Principal, tell_audit
from pointsman.server.accounts import NAME_MAX, SESSION_SECONDS, User
from pointsman.server.forms import csrf_token, form_of
from pointsman.server.forwarded import address_of
from pointsman.server.sign_in import COOKIE, BegunSignIn, IdentityProvider, SignedIn, look_for_sign_in, sign_in_of
from pointsman.web.render import base_of, local_path, page

NOBODY = Principal("", frozenset())
WRONG = "The name or the password is wrong."
ATTEMPT_COOKIE = "pointsman_sign_in"
ATTEMPT_SECONDS = 600  # to sign in at the provider


async def show(request: Request) -> Response:
    """Show the form to sign in."""
    await _access(request)
    return _form(request, to=local_path(request.query_params.get("to", "")))


async def sign_in(request: Request) -> Response:
    """Check the password, begin a session, and go to the page that the person wanted."""
    access = await _access(request)
    form = await form_of(request, NOBODY)
    name, to = form.get("name", "").strip(), local_path(form.get("to", ""))
    whose = f"name {name[:NAME_MAX]}", f"address {address_of(request)}"
    wait = access.throttle.wait_seconds(*whose)
    if wait > 0:
        return _form(request, to=to, name=name, problem=f"Too many tries; wait {wait:.0f} seconds.", status=429, retry_after=wait)
    access.throttle.tried(*whose)
    user = await access.verify(name, form.get("password", ""))
    if user is None:
        # People enter their password as the name, too: only the name of a user is recorded.
        tell_audit(request, {"user": name if await access.user(name) is not None else ""})
        return _form(request, to=to, name=name, problem=WRONG, status=403)
    access.throttle.succeeded(*whose)
    return await _begun(request, user, to)


async def sign_out(request: Request) -> Response:
    """End the session."""
    access = await _access(request)
    who = await access.principal(request) or NOBODY
    await form_of(request, who)
    request.state.principal = who
    secret = request.cookies.get(COOKIE)
    if secret is not None:
        await asyncio.to_thread(access.accounts.end_session, secret)
    answer = RedirectResponse(f"{base_of(request)}/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


async def to_provider(request: Request) -> Response:
    """Send the browser to the identity provider."""
    access = await _access(request)
    url, attempt = await _provider(access).begin(_callback(request), local_path(request.query_params.get("to", "")))
    answer = RedirectResponse(url, 303)
    text = json.dumps(asdict(attempt))
    answer.set_cookie(
        ATTEMPT_COOKIE, f"{_signature(request, text)}.{text.encode().hex()}", max_age=ATTEMPT_SECONDS, httponly=True, samesite="lax",
        secure=_secure(request),
    )  # fmt: skip
    return answer


async def from_provider(request: Request) -> Response:
    """Take the answer of the identity provider, and begin a session for the user that it names."""
    access = await _access(request)
    provider = _provider(access)
    attempt = _begun_sign_in(request)
    if attempt is None:
        return _form(request, to="", problem="The sign-in took too long; sign in again.", status=403)
    query = request.query_params
    try:
        name = await provider.finish(attempt, query.get("state", ""), query.get("code", ""), _callback(request))
    except PointsmanError as error:
        return _form(request, to=attempt.to, problem=str(error), status=403)
    user = await access.user(name)
    if user is None:
        tell_audit(request, {"user": name[:NAME_MAX]})
        return _form(request, to=attempt.to, problem=f"{name} is not a user of this desk; ask its administrator.", status=403)
    answer = await _begun(request, user, attempt.to)
    answer.delete_cookie(ATTEMPT_COOKIE)
    return answer


SIGN_IN: tuple[tuple[str, Callable[[Request], Awaitable[Response]], str], ...] = (
    ("/sign-in", show, "GET"),
    ("/sign-in", sign_in, "POST"),
    ("/sign-out", sign_out, "POST"),
    ("/sign-in/provider", to_provider, "GET"),
    ("/sign-in/callback", from_provider, "GET"),
)
"""The pages to sign in and out: path, handler and method."""


def to_sign_in(request: Request) -> Response:
    """Send a caller that is not known to the page to sign in, and from there back to this page."""
    if sign_in_of(request.app.state.access) is None:
        return page(request, "problem.html", 401, title="You are not signed in", detail="Sign in, and open the page again.")
    inside = request.url.path.removeprefix(base_of(request))
    query = f"?{request.url.query}" if request.url.query else ""
    to = urlencode({"to": inside + query}) if request.method == "GET" else ""
    return RedirectResponse(f"{base_of(request)}/sign-in?{to}", 303)


async def _access(request: Request) -> SignedIn:
    access = await look_for_sign_in(request.app.state.access)
    if access is None:
        raise HTTPException(404, "There is no sign-in here")
    return access


async def _begun(request: Request, user: User, to: str) -> Response:
    access = await _access(request)
    secret = await access.begin(user)
    request.state.principal = Principal(user.name, frozenset())
    answer = RedirectResponse(base_of(request) + (to or "/"), 303)
    answer.set_cookie(COOKIE, secret, max_age=int(SESSION_SECONDS), httponly=True, samesite="lax", secure=_secure(request))
    return answer


def _provider(access: SignedIn) -> IdentityProvider:
    if access.provider is None:
        raise HTTPException(404, "There is no identity provider here")
    return access.provider


def _form(request: Request, *, to: str, name: str = "", problem: str = "", status: int = 200, retry_after: float = 0.0) -> Response:
    access = sign_in_of(request.app.state.access)
    values: dict[str, Any] = {
        "csrf": csrf_token(request, NOBODY),
        "to": to,
        "name": name,
        "problem": problem,
        "provider": access is not None and access.provider is not None,
    }
    answer = page(request, "sign_in.html", status, **values)
    if retry_after:
        answer.headers["Retry-After"] = f"{ceil(retry_after)}"
    return answer


def _begun_sign_in(request: Request) -> BegunSignIn | None:
    signature, _, coded = request.cookies.get(ATTEMPT_COOKIE, "").partition(".")
    try:
        text = bytes.fromhex(coded).decode()
    except ValueError:
        return None
    return BegunSignIn(**json.loads(text)) if hmac.compare_digest(signature.encode(), _signature(request, text).encode()) else None


def _signature(request: Request, text: str) -> str:
    return hmac.new(request.app.state.form_key, f"sign-in {text}".encode(), "sha256").hexdigest()


def _callback(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{base_of(request)}/sign-in/callback"


def _secure(request: Request) -> bool:
    return request.url.scheme == "https"
