"""Who is signed in: a session in a cookie, a token in a header, or a name that a trusted proxy gives."""

import asyncio
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, Protocol, TypeVar

from starlette.requests import Request

from pointsman.runtime.clock import Clock
from pointsman.server.access import SCOPES_OF, Access, Principal, Scope, bearer
from pointsman.server.accounts import Accounts, User

P = ParamSpec("P")
T = TypeVar("T")

COOKIE = "pointsman_session"
CHECKS_AT_ONCE = 2  # passwords: each check takes 64 MiB and a thread, which others wait for
FAILURES_MAX = 5  # wrong passwords before a wait: more than a person's slips, too few to guess
WAIT_SECONDS, WAIT_MAX_SECONDS = 2.0, 900.0  # the first wait, doubled by each further failure up to a quarter of an hour
FORGOTTEN_SECONDS = 3_600.0  # after the wait: many people share an address, and their slips of a week are no attack
KEPT_MAX = 10_000  # names and addresses whose failures are remembered


@dataclass(frozen=True, slots=True)
class BegunSignIn:
    """A sign-in at an identity provider that has begun: what the answer must match, and the page that the person wanted.

    It waits in a signed cookie of the browser.
    """

    state: str
    nonce: str
    verifier: str
    to: str


class IdentityProvider(Protocol):
    """Signs people in elsewhere. Both methods raise PointsmanError."""

    async def begin(self, redirect_uri: str, to: str) -> tuple[str, BegunSignIn]:
        """Return the address to send the browser to, and the attempt."""

    async def finish(self, attempt: BegunSignIn, state: str, code: str, redirect_uri: str) -> str:
        """Return the name of the person who came back with this state and code."""


class SignedIn:
    """Access for people who have signed in, and programs that have a token.

    `command_token` is the one of the address file: a command of the user who runs the program, who may name the person who decides.
    `proxy` is a header and the address of the proxy that names in it the person whom it has signed in; that person must be a user. A header
    from any other address is ignored.
    """

    def __init__(
        self, accounts: Accounts, clock: Clock, command_token: str, command_name: str, *, proxy: tuple[str, str] | None = None, provider: IdentityProvider | None = None,
    ) -> None:  # fmt: skip
        self.accounts = accounts
        self.provider = provider
        self.throttle = Throttle(clock)
        self._clock = clock
        self._command_token = command_token
        self._command = Principal(command_name, frozenset(Scope), acts_for=True)
        self._proxy = proxy
        self._checking = asyncio.Semaphore(CHECKS_AT_ONCE)

    async def verify(self, name: str, password: str) -> User | None:
        """Return the user if the password is right, else None."""
        async with self._checking:
            return await asyncio.to_thread(self.accounts.verify, name, password)

    async def begin(self, user: User) -> str:
        """Begin a session, and return its secret for the cookie."""
        return await asyncio.to_thread(self.accounts.begin_session, user.name, user.role, self._clock.now())

    async def principal(self, request: Request) -> Principal | None:
        """Return who calls, or None."""
        token = bearer(request)
        if token is not None:
            if hmac.compare_digest(token.encode(), self._command_token.encode()):
                return self._command
            return await self._look(self.accounts.by_token, token, self._clock.now())
        if self._proxy is not None and request.client is not None and request.client.host == self._proxy[1]:
            named = request.headers.getlist(self._proxy[0])  # a second one is not from the proxy, and nobody knows which one is
            user = await self.user(named[0]) if len(named) == 1 else None
            return None if user is None else Principal(user.name, SCOPES_OF[user.role])
        session = request.cookies.get(COOKIE)
        return None if session is None else await self._look(self.accounts.by_session, session, self._clock.now())

    async def user(self, name: str) -> User | None:
        """Return the user of this name, or None."""
        return await self._look(self.accounts.user, name)

    async def _look(self, look: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the accounts: here if they are in a file, which takes some microseconds, else in a thread."""
        return await asyncio.to_thread(look, *args, **kwargs) if self.accounts.remote else look(*args, **kwargs)


class UntilThereAreUsers:
    """Access without sign-in until there is the first user; from then on, until the program ends, everybody signs in."""

    def __init__(self, local: Access, signed_in: SignedIn) -> None:
        self._local = local
        self._signed_in = signed_in
        self._asks = False

    def now(self) -> Access:
        """Return the access that holds now; for accounts in a database, the one that held at the last `look`."""
        if not self._asks and not self._signed_in.accounts.remote:
            self._asks = bool(self._signed_in.accounts.users())
        return self._signed_in if self._asks else self._local

    async def look(self) -> Access:
        """Look whether there are users by now, and return the access that holds."""
        if not self._asks and self._signed_in.accounts.remote:
            self._asks = bool(await asyncio.to_thread(self._signed_in.accounts.users))
        return self.now()

    async def principal(self, request: Request) -> Principal | None:
        """Return who calls, or None."""
        return await (await self.look()).principal(request)


def sign_in_of(access: Access) -> SignedIn | None:
    """Return the sign-in, or None if nobody needs to sign in now."""
    now = access.now() if isinstance(access, UntilThereAreUsers) else access
    return now if isinstance(now, SignedIn) else None


async def look_for_sign_in(access: Access) -> SignedIn | None:
    """The same, after a look whether there are users by now. Raises AccountsError."""
    if isinstance(access, UntilThereAreUsers):
        await access.look()
    return sign_in_of(access)


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    forgotten_at: float = 0.0


@dataclass(slots=True)
class Throttle:
    """Makes whoever gives wrong passwords wait, by name and by address. What it knows is forgotten when the program ends."""

    clock: Clock
    _known: dict[str, _Failures] = field(default_factory=dict)

    def wait_seconds(self, *whose: str) -> float:
        """Return how long these must wait before the next try; 0 if they need not."""
        now = self.clock.now()
        return max([0.0, *(found.until - now for one in whose if (found := self._known.get(one)) is not None)])

    def tried(self, *whose: str) -> None:
        """Count a try as wrong, before its password is checked: tries at the same time all count."""
        now = self.clock.now()
        if len(self._known) >= KEPT_MAX:
            self._known = {one: found for one, found in self._known.items() if found.forgotten_at > now}
        for one in whose:
            found = self._known.setdefault(one, _Failures())
            if found.forgotten_at <= now:
                found.count = 0
            found.count += 1
            if found.count >= FAILURES_MAX:
                found.until = now + min(WAIT_MAX_SECONDS, WAIT_SECONDS * 2.0 ** min(found.count - FAILURES_MAX, 20))
            found.forgotten_at = max(now, found.until) + FORGOTTEN_SECONDS

    def succeeded(self, name: str, address: str) -> None:
        """Forget the failures of a name, and that this try was counted for its address: others there may have failed."""
        self._known.pop(name, None)
        if (found := self._known.get(address)) is not None:
            found.count -= 1
            if found.count < FAILURES_MAX:
                found.until = 0.0
