"""Read the threads of LangGraph's own savers, from SQLite and from PostgreSQL, without loading the classes of their values."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import ormsgpack

from pointsman.errors import PointsmanError, StoreError
from pointsman.integrations.langgraph.saver import run_of
from pointsman.store.checkpoints import ChannelValue, CheckpointId, CheckpointWrite, TaskWrite, TaskWrites, Value
from pointsman.store.statements import named

READABLE = frozenset({"null", "bytes", "bytearray", "msgpack", "json"})
"""The forms of values that JsonPlusSerializer reads back without pickle and without a key."""
AS_STORED = ormsgpack.OPT_NON_STR_KEYS

SQL = named(files("pointsman.integrations.langgraph") / "sources.sql")


class NotTaken(PointsmanError):
    """A thread has something that cannot be taken over."""


class Found(NamedTuple):
    """A checkpoint of another saver, and the channels that have a value in it."""

    checkpoint: CheckpointWrite
    present: frozenset[str]


class Source(Protocol):
    """The database of one of LangGraph's savers."""

    def threads(self) -> Mapping[str, int]:
        """The numbers of checkpoints of the threads, by name."""

    def checkpoints(self, thread: str) -> Iterator[Found]:
        """The checkpoints of a thread, by namespace and age; each has those values that none before it had. Raises NotTaken."""

    def writes(self, thread: str) -> Iterator[TaskWrites]:
        """What the tasks of a thread have written. Raises NotTaken."""


@contextmanager
def open_source(place: str) -> Iterator[Source]:
    """Open a file of LangGraph's SqliteSaver, or the PostgreSQL database of a URL. Nothing is changed there. Raises StoreError."""
    if place.startswith(("postgres://", "postgresql://")):
        with _open_postgres(place) as source:
            yield source
        return
    if not Path(place).is_file():
        raise StoreError(f"{place} is not a file; name the file of a SqliteSaver, or a URL that begins with postgresql://.")
    with closing(sqlite3.connect(f"{Path(place).absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            yield SqliteSource(connection)
        except sqlite3.Error as error:
            raise StoreError(f"{place} cannot be read as the file of a SqliteSaver ({error}); name another one.") from error


class SqliteSource:
    """A file of LangGraph's SqliteSaver: each row has a whole checkpoint, with the values of all channels."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._writes = "sqlite_writes" if connection.execute(SQL["sqlite_paths"]).fetchone()[0] else "sqlite_older_writes"

    def threads(self) -> Mapping[str, int]:
        """The threads; see `Source`."""
        return dict(self._connection.execute(SQL["sqlite_threads"]).fetchall())

    def checkpoints(self, thread: str) -> Iterator[Found]:
        """The checkpoints of a thread; see `Source`."""
        known: set[tuple[str, str, Any]] = set()
        for namespace, id_, parent, kind, content, metadata in self._connection.execute(SQL["sqlite_checkpoints"], (thread,)):
            what = f"checkpoint {id_}"
            whole = _unpacked(what, kind, content)
            values, versions = whole.pop("channel_values", {}), whole.pop("channel_versions", {})
            new = [
                ChannelValue(channel, versions[channel], _packed(value, kind))
                for channel, value in values.items()
                if channel in versions and (namespace, channel, versions[channel]) not in known
            ]
            known.update((namespace, one.channel, one.version) for one in new)
            about = _metadata(what, metadata)
            at = CheckpointId(thread, namespace, id_)
            one = CheckpointWrite(at, parent, run_of(about), versions, _packed(whole, kind), json.dumps(about), new)
            yield Found(one, frozenset(channel for channel, value in values.items() if not _is_empty(channel, value)))

    def writes(self, thread: str) -> Iterator[TaskWrites]:
        """The writes of a thread; see `Source`."""
        yield from _tasks(thread, self._connection.execute(SQL[self._writes], (thread,)))


class PostgresSource:
    """A database of LangGraph's PostgresSaver: a row for each version of a channel, and plain values in the checkpoint."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def threads(self) -> Mapping[str, int]:
        """The threads; see `Source`."""
        return dict(self._connection.execute(SQL["postgres_threads"]).fetchall())

    def checkpoints(self, thread: str) -> Iterator[Found]:
        """The checkpoints of a thread; see `Source`."""
        known: set[tuple[str, str, Any]] = set()
        for namespace, id_, parent, whole, about in self._connection.execute(SQL["postgres_checkpoints"], (thread,)).fetchall():
            plain, versions = whole.pop("channel_values", {}), whole.pop("channel_versions", {})
            values = {channel: _packed(value, "msgpack") for channel, value in plain.items() if channel in versions}
            rows = self._connection.execute(SQL["postgres_values"], (json.dumps(versions), thread, namespace)).fetchall()
            values |= {channel: _readable(f"channel {channel!r} in checkpoint {id_}", kind, content) for channel, kind, content in rows}
            new = [
                ChannelValue(channel, versions[channel], value)
                for channel, value in values.items()
                if (namespace, channel, versions[channel]) not in known
            ]
            known.update((namespace, one.channel, one.version) for one in new)
            at = CheckpointId(thread, namespace, id_)
            one = CheckpointWrite(at, parent, run_of(about), versions, _packed(whole, "msgpack"), json.dumps(about), new)
            yield Found(one, frozenset(values))

    def writes(self, thread: str) -> Iterator[TaskWrites]:
        """The writes of a thread; see `Source`."""
        yield from _tasks(thread, self._connection.execute(SQL["postgres_writes"], (thread,)))


@contextmanager
def _open_postgres(url: str) -> Iterator[PostgresSource]:
    try:
        import psycopg  # noqa: PLC0415 - only for threads in PostgreSQL
    except ImportError:
        raise StoreError("threads in PostgreSQL are read with psycopg; install it with `pip install 'pointsman[postgres]'`.") from None
    try:
        with psycopg.connect(url) as connection:
            connection.read_only = True
            yield PostgresSource(connection)
    except psycopg.Error as error:
        problem = str(error).strip().splitlines()[0]
        raise StoreError(f"the database cannot be read as that of a PostgresSaver ({problem}); name another one.") from error


def _tasks(thread: str, rows: Iterator[Any]) -> Iterator[TaskWrites]:
    for (namespace, id_, task), of_task in groupby(rows, key=lambda row: row[:3]):
        found = list(of_task)
        writes = [
            TaskWrite(place, channel, _readable(f"a write to channel {channel!r} after checkpoint {id_}", kind, content))
            for _, _, _, _, place, channel, kind, content in found
        ]
        yield TaskWrites(CheckpointId(thread, namespace, id_), task, found[0][3] or "", writes)


def _readable(what: str, kind: str | None, content: bytes | None) -> Value:
    """The value as it is. Raises NotTaken if it needs pickle or a key."""
    if kind not in READABLE:
        why = "is pickled, and pointsman runs no code that a database holds" if kind == "pickle" else f"has the form {kind!r}"
        mend = "let its thread end with LangGraph's saver" if kind == "pickle" else "take its thread over with the serializer that wrote it"
        raise NotTaken(f"{what} {why}; {mend}")
    return Value(kind, bytes(content or b""))


def _unpacked(what: str, kind: str | None, content: bytes) -> dict[str, Any]:
    """A checkpoint. What its values were made from stays packed, so that no class is loaded."""
    value = _readable(what, kind, content)
    try:
        whole = json.loads(value.content) if kind == "json" else ormsgpack.unpackb(value.content, ext_hook=ormsgpack.Ext, option=AS_STORED)
    except ValueError as error:
        raise NotTaken(f"{what} is damaged ({error})") from None
    if not isinstance(whole, dict):
        raise NotTaken(f"{what} is no mapping")
    return whole


def _packed(value: Any, kind: str) -> Value:
    """The value as LangGraph's serializer would write it by itself."""
    if value is None:
        return Value("null", b"")
    if isinstance(value, bytes):
        return Value("bytes", value)
    return Value("json", json.dumps(value).encode()) if kind == "json" else Value("msgpack", ormsgpack.packb(value, option=AS_STORED))


def _metadata(what: str, metadata: bytes | str | None) -> dict[str, Any]:
    try:
        about = json.loads(metadata or "{}")
    except ValueError:
        raise NotTaken(f"the metadata of {what} is no JSON, as releases before 2.0 of the saver wrote it") from None
    return dict(about)


def _is_empty(channel: str, value: Any) -> bool:
    """Whether a channel of tasks has none."""
    return channel == "__pregel_tasks" and not value
