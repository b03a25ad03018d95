"""Serve an engine as a program: who may come in, the pages, the API and the audit log, on one address."""

import getpass
import ipaddress
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute

from pointsman.errors import PointsmanError
from pointsman.runtime.engine import Engine
from pointsman.server import forwarded
from pointsman.server.access import Access, LocalAccess
from pointsman.server.accounts import Accounts, accounts_place
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman.server.sign_in import IdentityProvider, SignedIn, UntilThereAreUsers, look_for_sign_in, sign_in_of
from pointsman.store.postgres import without_password

HOST, PORT = "127.0.0.1", 8470
TOKEN_BYTES = 32  # as many as SHA-256 has, so that nobody guesses one
HERE = ("localhost", "127.0.0.1", "[::1]")  # the names of this machine, for callers who have not signed in


class SignInNeeded(PointsmanError):
    """Other machines could come in, and nobody has to sign in."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a program listens, and who may come in. Port 0 is any free port.

    `proxy` is a header and an address: the proxy at this address has signed the person in whom the header names. `oidc` is the issuer of an
    OpenID Connect provider and this program's name there, and `oidc_secret` proves the program.
    """

    host: str = HOST
    port: int = PORT
    proxy: tuple[str, str] | None = None
    oidc: tuple[str, str] | None = None
    oidc_secret: str = ""


def nothing_more(app: FastAPI) -> None:
    """Add nothing to an application."""


@asynccontextmanager
async def served(
    engine: Engine, database: Path | str, pages: Sequence[BaseRoute], serving: Serving, more: Callable[[FastAPI], None] = nothing_more
) -> AsyncIterator[str]:
    """Serve an open engine on the file or the URL `database` while the block runs, and yield the address. `more` adds routes of a program's own to the application.

    If there are users, a provider or a proxy, everybody must sign in. Otherwise whoever reaches the program may do everything, so it listens
    on this machine only, until the first user is added. Raises SignInNeeded, CannotListen, AccountsError.
    """
    chance = random.SystemRandom()
    token = chance.randbytes(TOKEN_BYTES).hex()
    with closing(Accounts(accounts_place(database), chance)) as accounts:
        access = _access(accounts, engine, serving, token)
        if await look_for_sign_in(access) is None and not _is_here(serving.host):
            raise SignInNeeded(
                f"{serving.host} can be reached from other machines, and nobody has to sign in; add a user first: "
                f"pointsman users add NAME --role admin --db {database if isinstance(database, Path) else without_password(database)}"
            )

        def record(who: str, did: str, about: dict[str, Any]) -> None:
            accounts.record(who, did, about, engine.clock.now())

        def hosts() -> Collection[str] | None:
            return {*HERE, serving.host} if sign_in_of(access) is None else None

        proxies = (*forwarded.HERE, *(() if serving.proxy is None else serving.proxy[1:]))
        app = create_app(engine, access, pages, record=record, hosts=hosts, proxies=proxies)
        more(app)
        async with listening(app, database, token, serving.host, serving.port) as url:
            yield url


def _access(accounts: Accounts, engine: Engine, serving: Serving, token: str) -> Access:
    name = getpass.getuser()
    signed_in = SignedIn(accounts, engine.clock, token, name, proxy=serving.proxy, provider=_provider(engine, serving))
    if serving.oidc is None and serving.proxy is None:
        return UntilThereAreUsers(LocalAccess(name, token), signed_in)
    return signed_in


def _provider(engine: Engine, serving: Serving) -> IdentityProvider | None:
    if serving.oidc is None:
        return None
    from pointsman.server.oidc import OpenId, Provider  # noqa: PLC0415 - an extra

    return OpenId(Provider(*serving.oidc, serving.oidc_secret), engine.clock, random.SystemRandom())


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
