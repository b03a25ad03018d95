"""Who calls, and what they may do. Each route names the scope that it needs."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

from starlette.requests import Request

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})  # RFC 9110, 9.2.1


class Scope(StrEnum):
    """What a caller may do."""

    READ = "read"
    PRIVATE = "private"
    START = "start"
    ANSWER = "answer"
    OPERATE = "operate"
    ADMIN = "admin"


class Role(StrEnum):
    """What a person is; each role may do everything that the one before it may do."""

    VIEWER = "viewer"
    APPROVER = "approver"
    OPERATOR = "operator"
    ADMIN = "admin"


_VIEWER = frozenset({Scope.READ})
_APPROVER = _VIEWER | {Scope.PRIVATE, Scope.ANSWER}
_OPERATOR = _APPROVER | {Scope.START, Scope.OPERATE}

SCOPES_OF: Mapping[Role, frozenset[Scope]] = MappingProxyType({
    Role.VIEWER: _VIEWER,
    Role.APPROVER: _APPROVER,
    Role.OPERATOR: _OPERATOR,
    Role.ADMIN: frozenset(Scope),
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Principal:
    """A person or a program that calls.

    `acts_for` says whether a call may name another person as the one who decides. `session` identifies the session of a person who
    signed in; it is no secret.
    """

    name: str
    scopes: frozenset[Scope]
    acts_for: bool = False
    session: str = ""

    def acting(self, by: str | None) -> str:
        """Return who decides: `by` where this caller may name another person, else the caller."""
        return by if by is not None and self.acts_for else self.name


class Unauthenticated(Exception):
    """The caller is not known; the answer is 401, or the page to sign in."""


class Forbidden(Exception):
    """The caller is known and may not do this; the answer is 403. The message says what is missing."""


class Access(Protocol):
    """Finds out who calls."""

    async def principal(self, request: Request) -> Principal | None:
        """Return the caller, or None for a caller that is not known."""


class LocalAccess:
    """Access without sign-in, for an address that only this machine reaches: everybody on it is `name`, with every scope.

    A caller with the token of the address file is a command of the same user, and may name the person who decides.
    """

    def __init__(self, name: str, token: str) -> None:
        self._everybody = Principal(name, frozenset(Scope))
        self._command = Principal(name, frozenset(Scope), acts_for=True)
        self._token = token

    async def principal(self, request: Request) -> Principal | None:
        """Return the principal of a request; None if it has a token, and the token is wrong."""
        sent = bearer(request)
        if sent is None:
            return self._everybody
        return self._command if hmac.compare_digest(sent.encode(), self._token.encode()) else None


def tell_audit(request: Request, about: dict[str, Any] | None) -> None:
    """Say what the audit log keeps of a request; None: it changes nothing, and is not kept."""
    request.state.about = about


def acting(request: Request, by: str | None, **about: object) -> str:
    """Return who decides by a permitted request: `by` where the caller may name another person, whom the audit log then has, too.

    `about` is what the audit log says more, such as `case` and `why`.
    """
    tell_audit(request, about)
    who: Principal = request.state.principal
    name = who.acting(by)
    if name != who.name:
        request.state.acting_for = name
    return name


def bearer(request: Request) -> str | None:
    """Return the token of a request (RFC 6750, 2.1), or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def is_foreign(request: Request) -> bool:
    """Return whether a browser says that another site sent this request (https://www.w3.org/TR/fetch-metadata/; RFC 6454, 7)."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site not in {"same-origin", "none"}
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


async def permit(request: Request, scope: Scope) -> Principal:
    """Return the caller if it has `scope`. Raises Unauthenticated and Forbidden.

    A request that changes something and that another site made a browser send is refused, unless it has a token: no site knows one.
    """
    if request.method not in SAFE_METHODS and bearer(request) is None and is_foreign(request):
        raise Forbidden("the request was sent from another site; send it from here, or with a token.")
    access: Access = request.app.state.access
    principal = await access.principal(request)
    request.state.principal = principal
    if principal is None:
        raise Unauthenticated
    if scope not in principal.scopes:
        raise Forbidden(f"{principal.name} may not do this; it needs the scope {scope.value}.")
    return principal
