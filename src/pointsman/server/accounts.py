"""Who may sign in: users with roles, tokens with scopes, sessions, and the audit log. All in one file beside the database.

The file has no password and no token in it, only what proves one. Only its owner can read it.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from random import Random, SystemRandom
from threading import Lock
from typing import Any, NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError

from pointsman.errors import PointsmanError
from pointsman.server.access import SCOPES_OF, Principal, Role, Scope
from pointsman.server.audit import Entry
from pointsman.store.sqlite_file import beside
from pointsman.store.statements import named

SECRET_BYTES = 32  # of a token or a session: as many as SHA-256 has, so that nobody guesses one
SESSION_SECONDS = 12 * 3_600.0  # a working day
NAME_MAX = 254  # characters of the name of a user: as many as a mail address may have (RFC 5321, 4.5.3.1.3)
PASSWORD_MIN = 12  # characters; a longer one is better than a stranger one (NIST SP 800-63B, 3.1.1)
PASSWORD_MAX = 1_000
BUSY_SECONDS = 5.0  # longer than another program writes a row


class AccountsError(PointsmanError):
    """An account cannot be changed as asked, or its file cannot be used."""


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
    """The file of accounts; a missing file is created. Raises AccountsError, also from each method, if the file cannot be used."""

    def __init__(self, file: Path, random: Random, hasher: PasswordHasher | None = None) -> None:
        self.file = file
        self._random = random
        self._hasher = hasher or PasswordHasher()
        self._nobody = ""
        self._lock, self._read_lock = Lock(), Lock()  # two connections, so that no reader waits for a writer, which waits for the disk
        self._sql = named(files("pointsman.server") / "sql" / "accounts.sql")
        tables = (files("pointsman.server") / "sql" / "accounts_tables.sql").read_text(encoding="utf-8")
        try:
            _keep_private(file)
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
            self._reading = sqlite3.connect(file, check_same_thread=False, isolation_level=None, timeout=BUSY_SECONDS)
            self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; {tables}")
        except (OSError, sqlite3.Error) as error:
            raise AccountsError(f"{file}, which has the accounts, cannot be opened ({error}); make it readable and writable.") from None

    def close(self) -> None:
        """Close the file."""
        self._reading.close()
        self._connection.close()

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
        with self._using() as connection:
            connection.execute(self._sql["put_user"], (name, role, hashed, at))
            connection.execute(self._sql["delete_sessions_of"], (name,))

    def remove_user(self, name: str) -> None:
        """Remove a user, and end the user's sessions. Raises AccountsError if there is none of this name."""
        with self._using() as connection:
            if not connection.execute(self._sql["delete_user"], (name,)).rowcount:
                raise AccountsError(f"there is no user {name!r}; list them with `pointsman users list`.")
            connection.execute(self._sql["delete_sessions_of"], (name,))

    def users(self) -> list[User]:
        """Return the users, by name."""
        return [User(name, Role(role), created_at) for name, role, _, created_at in self._all("users")]

    def user(self, name: str) -> User | None:
        """Return the user of this name, or None."""
        return next((User(name, Role(role), created_at) for name, role, _, created_at in self._all("user", name)), None)

    def verify(self, name: str, password: str) -> User | None:
        """Return the user if the password is right, else None. Takes about as long for an unknown name. Slow on purpose: call it in a thread."""
        if not self._nobody:  # so that an unknown name takes as long as a known one
            self._nobody = self._hasher.hash(self._random.randbytes(SECRET_BYTES).hex())
        found = next(iter(self._all("user", name)), None)
        try:
            self._hasher.verify(found[2] if found is not None and found[2] else self._nobody, password[:PASSWORD_MAX])
        except VerificationError:
            return None
        return User(found[0], Role(found[1]), found[3]) if found is not None and found[2] else None

    # Sessions and tokens.

    def begin_session(self, user: str, role: Role, now: float) -> str:
        """Sign a user in, and return the secret of the session. Sessions that have expired are deleted."""
        secret = self._random.randbytes(SECRET_BYTES).hex()
        with self._using() as connection:
            connection.execute(self._sql["delete_expired_sessions"], (now,))
            connection.execute(self._sql["put_session"], (_digest(secret), user, role, now + SESSION_SECONDS))
        return secret

    def end_session(self, secret: str) -> None:
        """Sign out."""
        with self._using() as connection:
            connection.execute(self._sql["delete_session"], (_digest(secret),))

    def by_session(self, secret: str, now: float) -> Principal | None:
        """Return who is signed in by this session, or None."""
        digest = _digest(secret)
        for user, role, expires_at in self._all("session", digest):
            if expires_at > now:
                return Principal(user, SCOPES_OF[Role(role)], session=digest)
        return None

    def add_token(self, name: str, scopes: Collection[Scope], now: float, *, days: float | None = None) -> str:
        """Add a token for a program, and return it. It cannot be read again. Raises AccountsError if the name is taken."""
        secret = self._random.randbytes(SECRET_BYTES).hex()
        expires_at = None if days is None else now + days * 86_400
        try:
            with self._using() as connection:
                connection.execute(self._sql["put_token"], (name, _digest(secret), " ".join(sorted(scopes)), now, expires_at))
        except sqlite3.IntegrityError:
            raise AccountsError(f"there is a token {name!r} already; remove it first, or give another name.") from None
        return secret

    def remove_token(self, name: str) -> None:
        """Remove a token. Raises AccountsError if there is none of this name."""
        with self._using() as connection:
            if not connection.execute(self._sql["delete_token"], (name,)).rowcount:
                raise AccountsError(f"there is no token {name!r}; list them with `pointsman tokens list`.")

    def tokens(self) -> list[Token]:
        """Return the tokens, by name."""
        return [_token(*row) for row in self._all("tokens")]

    def by_token(self, secret: str, now: float) -> Principal | None:
        """Return the program that has this token, or None."""
        for row in self._all("token", _digest(secret)):
            token = _token(*row)
            if token.expires_at is None or token.expires_at > now:
                return Principal(token.name, token.scopes)
        return None

    # The audit log.

    def record(self, who: str, did: str, about: dict[str, Any], at: float) -> None:
        """Append an entry to the audit log."""
        text = json.dumps(about, ensure_ascii=False, sort_keys=True)
        with self._using() as connection:
            number, before = next(iter(connection.execute(self._sql["last_entry"]).fetchall()), (0, ""))
            digest = _chained(before, number + 1, at, who, did, text)
            connection.execute(self._sql["put_entry"], (number + 1, at, who, did, text, digest))

    def entries(self, *, after: int = 0, limit: int = 1_000) -> list[Entry]:
        """Return entries of the audit log, behind the one with the number `after`."""
        return [
            Entry(number, at, who, did, json.loads(text), digest)
            for number, at, who, did, text, digest in self._all("entries", after, limit)
        ]

    def first_broken(self) -> int | None:
        """Return the number of the first entry of the audit log that was changed, or after which one is missing; None if there is none."""
        before, last = "", 0
        while rows := self._all("entries", last, 1_000):
            for number, at, who, did, text, digest in rows:
                if number != last + 1 or digest != _chained(before, number, at, who, did, text):
                    return last + 1
                before, last = digest, number
        return None

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except sqlite3.IntegrityError:
                raise
            except sqlite3.Error as error:
                raise AccountsError(f"{self.file}, which has the accounts, cannot be written ({error}); try again.") from None
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _all(self, statement: str, *parameters: object) -> list[Any]:
        with self._read_lock:
            try:
                return self._reading.execute(self._sql[statement], parameters).fetchall()
            except sqlite3.Error as error:
                raise AccountsError(f"{self.file}, which has the accounts, cannot be read ({error}); try again.") from None


def record(database: Path, who: str, did: str, about: dict[str, Any], at: float) -> None:
    """Append an entry to the audit log of a database that no program of this process serves. Raises AccountsError."""
    with closing(Accounts(accounts_file(database), SystemRandom())) as accounts:
        accounts.record(who, did, about, at)


def accounts_file(database: Path) -> Path:
    """Return the file that has the accounts of a database, whatever name it is opened by."""
    return beside(database, ".accounts")


def _keep_private(file: Path) -> None:
    """Create the file where it is missing; let only its owner read it, also where a backup was put back with other permissions."""
    handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.fstat(handle).st_mode & 0o077:
            os.fchmod(handle, 0o600)
    finally:
        os.close(handle)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _chained(before: str, *row: object) -> str:
    return hashlib.sha256(json.dumps([before, *row], ensure_ascii=False).encode()).hexdigest()


def _token(name: str, scopes: str, created_at: float, expires_at: float | None) -> Token:
    return Token(name, frozenset(map(Scope, scopes.split())), created_at, expires_at)
