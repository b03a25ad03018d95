"""Connections to one PostgreSQL database: the pool, the statements of its schema, and errors in our words."""

import asyncio
import re
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo, PGconn, Ping
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pointsman.errors import Conflict, EngineStopped, LeaseLost, StoreAway, StoreError, StoreUnwritable, ValueRefused
from pointsman.store.statements import statements

POOL_MAX = 8  # reads and small writes at once: a database serves few connections well
CONNECT_SECONDS = 10.0  # to get a connection
RECONNECT_SECONDS = 2.5  # a pool makes longer and longer pauses between its attempts for so long, and then begins again
REPEAT_SECONDS = 30.0  # for which what may run more than once runs again, where no lease says it
AGAIN_SECONDS = (0.01, 0.05, 0.2, 1.0)  # between attempts to reach the server again; the last one repeats
# How libpq notices a server that is gone without a word: after a third of a lease. The URL can say otherwise.
NETWORK: Mapping[str, str] = {
    "connect_timeout": "10", "keepalives_idle": "4", "keepalives_interval": "2", "keepalives_count": "3", "tcp_user_timeout": "10000"
}  # fmt: skip
POOL: Mapping[str, Any] = {"timeout": CONNECT_SECONDS, "reconnect_timeout": RECONNECT_SECONDS}
SCHEMA = "pointsman"
GIVEN_UP = "PM001"  # raised by `begin_batch`: the engine's number is gone, or another batch has it
LOST = "this engine's lease has expired, and other engines may have claimed its cases; open it again."
# The tables grow faster than PostgreSQL's statistics of them, and a plan that was made for an empty table reads it whole. Every
# statement here has an index to use. A bitmap has all rows that an index finds, also if the statement needs only the first ones.
SESSION: tuple[str, ...] = ("enable_seqscan = off", "enable_bitmapscan = off", "jit = off")
POOLERS: Mapping[str, bool] = {"transaction": True, "session": False}  # whether a session lasts for one transaction only
SCHEMES = {"postgresql", "postgres"}
OURS = {"schema", "pooler", "failover"}  # the parameters of a URL that are not libpq's

MALFORMED = (
    "the URL of the database cannot be read; write postgresql://user@host:port/database with parameters of libpq, or the path of a file, and"
    " % @ : / ? # in a name or a password as %25 %40 %3A %2F %3F %23."
)

T = TypeVar("T")

_HOST = r"(?:\[[^@\[\]]*\]|[^@:\[\]]*)(?::[0-9]*)?"
_AUTHORITY = re.compile(rf"(?:[^@:]*(?::[^@]*)?@)?{_HOST}(?:,{_HOST})*")
_FULL = re.compile(r"too many (?:clients|connections)|connection slots|no more connections")  # libpq does not tell the code of the error
_ENDED = re.compile("57P|08|25P0[34]")  # the codes of errors after which the server has ended the connection
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_OF_SCHEMA = re.compile(r"\bpointsman\.")


class Place(NamedTuple):
    """Where a store is: how libpq connects, without a password in `shown`, and the schema of the tables.

    `pooled` says whether a pooler gives each transaction another session: then nothing may be left in a session, neither a setting, nor a
    prepared statement, nor a LISTEN. None: not known before the first connection. `lossless`: the operator says that a standby which
    becomes the server has everything that was confirmed.
    """

    conninfo: str
    shown: str
    schema: str
    pooled: bool | None = None
    lossless: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """How psycopg connects."""
        return {"autocommit": True, **({"prepare_threshold": None} if self.pooled else {})}

    @property
    def of_pool(self) -> dict[str, Any]:
        """How a pool connects, and how long it waits."""
        return {**POOL, "kwargs": self.options}

    def session(self, *more: str, read_only: bool = False) -> tuple[str, ...]:
        """The statements that prepare a session of our own, with `more` settings."""
        settings = (*SESSION, *more, "default_transaction_read_only = on") if read_only else (*SESSION, *more)
        return () if self.pooled else tuple(f"SET {setting}" for setting in settings)

    def local(self, *more: str, read_only: bool = False) -> str:
        """The statements that prepare a transaction, where a session is not our own."""
        first = ("SET TRANSACTION READ ONLY",) if read_only else ()
        return "; ".join((*first, *(f"SET LOCAL {setting}" for setting in (*SESSION, *more)))) if self.pooled else ""


def place_of(url: str) -> Place:
    """Read a URL. Raises StoreError.

    `?schema=name` names the schema (default: pointsman), `?pooler=` is `transaction` or `session`, and `?failover=` is `lossless`; the rest
    is libpq's.
    """
    try:
        parts = urlsplit(url)
        # libpq takes a + as it is
        options = parse_qsl(parts.query.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise StoreError(MALFORMED) from None
    if parts.scheme not in SCHEMES or not _AUTHORITY.fullmatch(parts.netloc) or parts.fragment:
        raise StoreError(MALFORMED)  # what is wrong stands in no message: it may be a part of the password
    if unknown := [name for name, _ in options if name not in OURS | _libpqs()]:
        raise StoreError(f"the URL of the database has the parameter {unknown[0]!r}, which libpq does not know; leave it out.")
    schema = next((value for name, value in options if name == "schema"), SCHEMA)
    if not _NAME.fullmatch(schema):
        raise StoreError(f"{schema!r} cannot be the schema; name one of lower-case letters, digits and _.")
    pooler = next((value for name, value in options if name == "pooler"), None)
    if pooler is not None and pooler not in POOLERS:
        raise StoreError(f"{pooler!r} is no mode of a pooler; write ?pooler=transaction or ?pooler=session.")
    failover = next((value for name, value in options if name == "failover"), None)
    if failover not in {None, "lossless"}:
        raise StoreError(f"{failover!r} is no kind of failover; write ?failover=lossless if standbys are synchronous, or leave it out.")
    for_libpq = {**NETWORK, **{name: value for name, value in options if name not in OURS}}
    query = urlencode(for_libpq, quote_via=quote)
    user, at, host = parts.netloc.rpartition("@")
    shown = urlunsplit(parts._replace(netloc=user.partition(":")[0] + at + host, query=""))
    conninfo = urlunsplit(parts._replace(query=query))
    try:
        conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        raise StoreError(MALFORMED) from None
    return Place(conninfo, shown, schema, None if pooler is None else POOLERS[pooler], failover == "lossless")


@cache
def _libpqs() -> frozenset[str]:
    """The names of libpq's parameters."""
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults())


def in_schema(text: str, schema: str) -> str:
    """SQL that names the schema `pointsman`, for another schema."""
    return text if schema == SCHEMA else _OF_SCHEMA.sub(f"{schema}.", text)


@cache
def schema_statements(schema: str) -> Mapping[str, str]:
    """The named statements of the store, for this schema."""
    return {name: in_schema(text, schema) for name, text in statements("postgres").items()}


class TryAgain(Conflict):
    """Another engine's commit was first; the same work can succeed now."""


class ConnectionLost(StoreAway):
    """There is no connection, or it ended, so it is unknown whether a transaction was committed."""


class Connections:
    """A pool of connections to one database, which may be for reading only. Open it inside the event loop that uses it.

    What may run more than once runs again for `repeat_seconds` if its connection is lost. The server rolls a transaction back that waits
    `idle_seconds` for its next statement (0: never): a process that is stopped would keep its locks, and nobody could take over what it has locked.
    """

    def __init__(self, place: Place, repeat_seconds: float = REPEAT_SECONDS, *, read_only: bool = False, idle_seconds: float = 0.0) -> None:
        self.place = place
        self.idle_seconds = idle_seconds
        self._settings = (f"idle_in_transaction_session_timeout = {round(1000 * idle_seconds)}",) if idle_seconds else ()
        self.repeat_seconds = repeat_seconds
        self.sql = schema_statements(place.schema)
        self._read_only = read_only
        self._pool: _Pool | None = None
        self.closed = False
        self.timeline = ""  # of the server when the store was opened

    @property
    def local(self) -> str:
        """The statements that prepare a transaction, where a session is not our own."""
        return self.place.local(*self._settings, read_only=self._read_only)

    async def open(self) -> None:
        """Connect. Raises StoreError."""
        try:  # the pool would try again and again, and then say only that it has no connection
            first = await AsyncConnection.connect(self.place.conninfo, autocommit=True)
        except psycopg.Error as error:
            raise await _refused(self.place, error) from None
        with explained(self.place):
            async with first:
                self.place = await _seen_through(self.place, first)
        with explained(self.place):
            self._pool = _Pool(
                self.place.conninfo, open=False, min_size=1, max_size=POOL_MAX, configure=self._configure, reconnect_failed=_Pool.check,
                **self.place.of_pool,
            )  # fmt: skip
            await self._pool.open(wait=True, timeout=CONNECT_SECONDS)

    async def connect(self) -> AsyncConnection[Any]:
        """Return a connection outside the pool, which its user closes. Raises psycopg.Error."""
        connection = await AsyncConnection.connect(self.place.conninfo, **self.place.options)
        await self._configure(connection)
        return connection

    async def close(self) -> None:
        """Close all connections."""
        self.closed = True
        if self._pool is not None:
            await self._pool.close()

    async def rows(self, statement: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement in a transaction of its own, and return its rows. Raises StoreError."""
        async with self.transaction() if self.place.pooled else self.connection() as connection:
            return await rows_of(connection, statement, values)

    async def repeatable(self, statement: str, values: Mapping[str, Any] | Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement that may run more than once, such as a read, as `repeated` does, and return its rows."""
        return await self.repeated(lambda: self.rows(statement, values))

    async def repeated(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` on a connection of the pool, and again on another one if the connection is lost.

        Raises StoreError, and does so when `repeat_seconds` are over: a network that swallows everything never answers.
        """
        tries = 0
        with explained(self.place):
            async with asyncio.timeout(self.repeat_seconds):
                while True:
                    try:
                        return await work()
                    except ConnectionLost:
                        await asyncio.sleep(AGAIN_SECONDS[min(tries, len(AGAIN_SECONDS) - 1)])
                        tries += 1

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection of the pool, in autocommit mode."""
        if self.closed or self._pool is None:
            raise EngineStopped(f"the engine on {self.place.shown} is closed; open it again.")
        with explained(self.place):
            connection = await self._pool.getconn_alive()
            try:
                async with connection:
                    yield connection
            except (asyncio.CancelledError, TimeoutError):
                # A cancel between two messages of a pipeline may leave the pipeline open: whoever came next would get no rows of it.
                await connection.close()
                raise
            finally:
                await self._pool.putconn(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection in a transaction, which is committed at the end, or rolled back by an exception."""
        async with self.connection() as connection, self.transaction_on(connection):
            yield connection

    @asynccontextmanager
    async def transaction_on(self, connection: AsyncConnection[Any]) -> AsyncIterator[None]:
        """A transaction on this connection, as `transaction` has it."""
        async with connection.transaction():
            if self.local:
                await connection.execute(self.local)
            yield

    async def _configure(self, connection: AsyncConnection[Any]) -> None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                for setting in self.place.session(*self._settings, read_only=self._read_only):
                    await connection.execute(setting)
        except BaseException:  # also if the caller is cancelled: an engine may be closed while its listener connects
            await connection.close()
            raise


async def rows_of(
    connection: AsyncConnection[Any], statement: str, values: Mapping[str, Any] | Sequence[Any] = ()
) -> list[tuple[Any, ...]]:
    """Run one statement on a connection and return its rows, if it has any."""
    cursor = await connection.execute(statement, values or None)
    return await cursor.fetchall() if cursor.description else []


async def _refused(place: Place, error: psycopg.Error) -> StoreError:
    """Why there is no connection, with the fix. A wrong password is an answer; a server that starts or is full will take connections later."""
    told = " ".join(str(error).split())
    why = f"{place.shown} cannot be opened ({told})"
    if _FULL.search(told):
        return StoreAway(f"{why}; close connections of other programs, or raise max_connections: an engine needs about {POOL_MAX + 2}.")
    if await asyncio.to_thread(PGconn.ping, place.conninfo.encode()) != Ping.OK:
        return StoreAway(f"{why}; check the host and the port in the URL, and that the server runs.")
    return StoreError(f"{why}; check the names in the URL, and the password in PGPASSWORD or ~/.pgpass.")


async def _seen_through(place: Place, connection: AsyncConnection[Any]) -> Place:
    """The place, with what a connection shows: a pooler names another process than the one that answers."""
    if place.pooled is not None:
        return place
    [(answers,)] = await rows_of(connection, "SELECT pg_backend_pid()")
    return place._replace(pooled=answers != connection.info.backend_pid)


class _Pool(AsyncConnectionPool[AsyncConnection[Any]]):
    async def getconn_alive(self) -> AsyncConnection[Any]:
        """Return a connection that has not ended.

        After a restart of the server, all that are idle have. The pool's own check would pause longer after each of them.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + self.timeout
        while True:
            connection = await self.getconn(until - loop.time())
            try:
                await self.check_connection(connection)
            except psycopg.OperationalError:
                await self.putconn(connection)  # makes another
            else:
                return connection

    @staticmethod
    async def check_connection(conn: AsyncConnection[Any]) -> None:
        """Close and refuse an idle connection that the server or the network has ended; it costs no round trip.

        An idle server sends nothing else. libpq notices only at the next statement, and until then the pool would keep the connection.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(conn.fileno(), selectors.EVENT_READ)
            if selector.select(0):
                await conn.close()
                raise psycopg.OperationalError("the connection has ended")


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the connection may have ended with this error, so that the fate of a transaction is unknown."""
    return error.sqlstate is None or _ENDED.match(error.sqlstate) is not None


@contextmanager
def explained(place: Place) -> Iterator[None]:
    """Turn psycopg's errors into ours."""
    try:
        yield
    except (psycopg.Error, PoolTimeout, TimeoutError) as error:
        raise explain(place, error) from error


def explain(place: Place, error: Exception) -> Exception:
    """Return our exception for an error of the database, with the fix."""
    told = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
        return TryAgain(told)
    if isinstance(error, psycopg.Error) and error.sqlstate == GIVEN_UP:
        return LeaseLost(LOST)
    if isinstance(error, errors.UniqueViolation):
        return Conflict(told)
    if isinstance(error, errors.InsufficientPrivilege):
        return StoreUnwritable(
            f"the role has no right to that on {place.shown} ({told}); let its owner run `pointsman migrate URL`, or grant the right."
        )
    if isinstance(error, psycopg.DataError | errors.IntegrityConstraintViolation | psycopg.ProgrammingError | psycopg.InterfaceError):
        return ValueRefused(f"it cannot be stored: {told}")
    if isinstance(error, errors.DiskFull):
        return StoreUnwritable(f"the disk of {place.shown} is full; free some space: nothing that was confirmed is lost.")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return StoreUnwritable(f"{place.shown} is read-only (a standby?); name the primary server.")
    if isinstance(error, PoolTimeout | TimeoutError):
        lost = ConnectionLost if isinstance(error, PoolTimeout) else StoreAway
        return lost(f"{place.shown} cannot be reached; check the address and that the server runs.")
    if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable):
        return StoreError(f"{place.shown}: {told}; raise the limit of this role (`ALTER ROLE`), or find what slows the server down.")
    if isinstance(error, psycopg.OperationalError | psycopg.InternalError) and is_lost(error):
        return ConnectionLost(f"{place.shown}: {told}")
    return StoreError(f"{place.shown}: {told}")
