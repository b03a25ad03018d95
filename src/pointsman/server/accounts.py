"""Who may sign in: users with roles, tokens with scopes, sessions, and the audit log. All in one file beside the database, or in PostgreSQL.

No password and no token is stored, only what proves one.
"""

import hashlib
import json
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from random import Random, SystemRandom
from typing import Any, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from pointsman.server.access import SCOPES_OF, Principal, Role, Scope
from pointsman.server.account_tables import AccountsError, AccountsFile, AccountTables
from pointsman.server.audit import Entry
from pointsman.store.sqlite_file import beside

SECRET_BYTES = 32  # of a token or a session: as many as SHA-256 has, so that nobody guesses one
SESSION_SECONDS = 12 * 3_600.0  # a working day
NAME_MAX = 254  # characters of the name of a user: as many as a mail address may have (RFC 5321, 4.5.3.1.3)
PASSWORD_MIN = 12  # characters; a longer one is better than a stranger one (NIST SP 800-63B, 3.1.1)
PASSWORD_MAX = 1_000


class User(NamedTuple):
    """A person who may sign in. `created_at` is in Unix seconds."""

    name: str
    role: Role
    created_at: float


class Token(NamedTuple):
    """A program that may call. Times are Unix seconds."""

    name: str
    scopes: frozenset[Scope]
    created_at: float
    expires_at: float | None


class Accounts:
    """The accounts of a database: in the file that `accounts_file` names, or in the database of a URL. Each method raises AccountsError.

    `remote` says whether an answer comes over a network: an event loop then calls in a thread.
    """

    def __init__(self, place: Path | str, random: Random, hasher: PasswordHasher | None = None) -> None:
        self._tables = AccountsFile(place) if isinstance(place, Path) else _in_database(place)
        self.remote = self._tables.remote
        self._random = random
        self._hasher = hasher or PasswordHasher()
        self._nobody = ""

    def close(self) -> None:
        """Close the file or the connection."""
        self._tables.close()

    # Users.

    def put_user(self, name: str, role: Role, password: str | None, at: float) -> None:
        """Add a user, or change the role and the password of one, which ends the user's sessions. None leaves signing in to OIDC or a proxy."""
        if not 0 < len(name) <= NAME_MAX or name != name.strip() or not name.isprintable():
            raise AccountsError(
                f"{name[:NAME_MAX]!r} cannot be the name of a user; give up to {NAME_MAX} characters that are seen, without spaces around them."
            )
        if password is not None and not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise AccountsError(f"the password has {len(password)} characters; give it {PASSWORD_MIN} to {PASSWORD_MAX:,}.")
        hashed = "" if password is None else self._hasher.hash(password)
        with self._tables.writing() as run:
            run("put_user", name, role, hashed, at)
            run("delete_sessions_of", name)

    def remove_user(self, name: str) -> None:
        """Remove a user, and end the user's sessions. Raises AccountsError if there is none of this name."""
        with self._tables.writing() as run:
            if not run("delete_user", name):
                raise AccountsError(f"there is no user {name!r}; list them with `pointsman users list`.")
            run("delete_sessions_of", name)

    def users(self) -> list[User]:
        """Return the users, by name."""
        return [User(name, Role(role), created_at) for name, role, _, created_at in self._tables.all("users")]

    def user(self, name: str) -> User | None:
        """Return the user of this name, or None."""
        return next((User(name, Role(role), created_at) for name, role, _, created_at in self._tables.all("user", name)), None)

    def verify(self, name: str, password: str) -> User | None:
        """Return the user if the password is right, else None. Takes about as long for an unknown name. Slow on purpose: call it in a thread."""
        if not self._nobody:  # so that an unknown name takes as long as a known one
            self._nobody = self._hasher.hash(self._random.randbytes(SECRET_BYTES).hex())
        found = next(iter(self._tables.all("user", name)), None)
        try:
            self._hasher.verify(found[2] if found is not None and found[2] else self._nobody, password[:PASSWORD_MAX])
        except VerificationError:
            return None
        return User(found[0], Role(found[1]), found[3]) if found is not None and found[2] else None

    # Sessions and tokens.

    def begin_session(self, user: str, role: Role, now: float) -> str:
        """Sign a user in, and return the secret of the session. Sessions that have expired are deleted."""
        secret = self._random.randbytes(SECRET_BYTES).hex()
        with self._tables.writing() as run:
            run("delete_expired_sessions", now)
            run("put_session", _digest(secret), user, role, now + SESSION_SECONDS)
        return secret

    def end_session(self, secret: str) -> None:
        """Sign out."""
        with self._tables.writing() as run:
            run("delete_session", _digest(secret))

    def by_session(self, secret: str, now: float) -> Principal | None:
        """Return who is signed in by this session, or None."""
        digest = _digest(secret)
        for user, role, expires_at in self._tables.all("session", digest):
            if expires_at > now:
                return Principal(user, SCOPES_OF[Role(role)], session=digest)
        return None

    def add_token(self, name: str, scopes: Collection[Scope], now: float, *, days: float | None = None) -> str:
        """Add a token for a program, and return it. It cannot be read again. Raises AccountsError if the name is taken."""
        secret = self._random.randbytes(SECRET_BYTES).hex()
        expires_at = None if days is None else now + days * 86_400
        with self._tables.writing() as run:
            if not run("put_token", name, _digest(secret), " ".join(sorted(scopes)), now, expires_at):
                raise AccountsError(f"there is a token {name!r} already; remove it first, or give another name.")
        return secret

    def remove_token(self, name: str) -> None:
        """Remove a token. Raises AccountsError if there is none of this name."""
        with self._tables.writing() as run:
            if not run("delete_token", name):
                raise AccountsError(f"there is no token {name!r}; list them with `pointsman tokens list`.")

    def tokens(self) -> list[Token]:
        """Return the tokens, by name."""
        return [_token(*row) for row in self._tables.all("tokens")]

    def by_token(self, secret: str, now: float) -> Principal | None:
        """Return the program that has this token, or None."""
        for row in self._tables.all("token", _digest(secret)):
            token = _token(*row)
            if token.expires_at is None or token.expires_at > now:
                return Principal(token.name, token.scopes)
        return None

    # The audit log.

    def record(self, who: str, did: str, about: dict[str, Any], at: float) -> None:
        """Append an entry to the audit log."""
        text = json.dumps(about, ensure_ascii=False, sort_keys=True)
        with self._tables.writing() as run:
            number, before = next(iter(run("last_entry")), (0, ""))
            digest = _chained(before, number + 1, at, who, did, text)
            run("put_entry", number + 1, at, who, did, text, digest)

    def entries(self, *, after: int = 0, limit: int = 1_000) -> list[Entry]:
        """Return entries of the audit log, behind the one with the number `after`."""
        return [
            Entry(number, at, who, did, json.loads(text), digest)
            for number, at, who, did, text, digest in self._tables.all("entries", after, limit)
        ]

    def first_broken(self) -> int | None:
        """Return the number of the first entry of the audit log that was changed, or after which one is missing; None if there is none."""
        before, last = "", 0
        while rows := self._tables.all("entries", last, 1_000):
            for number, at, who, did, text, digest in rows:
                if number != last + 1 or digest != _chained(before, number, at, who, did, text):
                    return last + 1
                before, last = digest, number
        return None


def record(database: Path | str, who: str, did: str, about: dict[str, Any], at: float) -> None:
    """Append an entry to the audit log of a database that no program of this process serves. Raises AccountsError."""
    with closing(Accounts(accounts_place(database), SystemRandom())) as accounts:
        accounts.record(who, did, about, at)


def accounts_place(database: Path | str) -> Path | str:
    """Return where the accounts of a database are: in a file beside a file, or in the database of a URL."""
    return accounts_file(database) if isinstance(database, Path) else database


def accounts_file(database: Path) -> Path:
    """Return the file that has the accounts of a file of cases, whatever name that is opened by."""
    return beside(database, ".accounts")


def _in_database(url: str) -> AccountTables:
    from pointsman.server.account_tables_postgres import AccountsDatabase  # noqa: PLC0415 - psycopg is an extra

    return AccountsDatabase(url)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _chained(before: str, *row: object) -> str:
    return hashlib.sha256(json.dumps([before, *row], ensure_ascii=False).encode()).hexdigest()


def _token(name: str, scopes: str, created_at: float, expires_at: float | None) -> Token:
    return Token(name, frozenset(map(Scope, scopes.split())), created_at, expires_at)
