"""The checkpoints of LangGraph threads in SQLite: the writes, inside the core's transactions, and the reads, on any connection."""

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pointsman.store.checkpoint_rules import Ancestor, delta_channels, inherited, made_from
from pointsman.store.checkpoints import (
    ChannelHistory,
    CheckpointId,
    CheckpointQuery,
    CheckpointWrite,
    Cut,
    PendingWrite,
    Pieces,
    StoredCheckpoint,
    TaskWrites,
    ThreadCount,
    Value,
    Version,
    joined,
    referred,
)

KEPT_MAX = 100_000  # digests of pieces that are known to be stored: some 10 MB
LINES_MAX = 10_000  # numbers of lines that are cached: as many threads as a busy program works on at once

Sql = Mapping[str, str]
Line = tuple[int, int]  # the number of a line, and that of its thread


class SqliteCheckpointTables:
    """All writes of checkpoints, on one connection, inside the caller's transactions."""

    def __init__(self, connection: sqlite3.Connection, sql: Sql) -> None:
        self._connection = connection
        self._sql = sql
        self._lines: dict[tuple[str, str], Line] = {}
        self._kept: set[tuple[int, bytes]] = set()

    def forget(self) -> None:
        """Forget what was written, because it is rolled back or deleted."""
        self._lines.clear()
        self._kept.clear()

    def put(self, new: CheckpointWrite, cuts: Sequence[Cut]) -> None:
        """Store a checkpoint and its new values, which are cut (S30)."""
        line, thread = self._line(new.at.thread, new.at.namespace)
        keys = self._inherited(line, new)
        for one, (levels, content, pieces) in zip(new.values, cuts, strict=True):
            self._keep(thread, pieces)
            stored = (one.value.kind, levels, content)
            keys.pop(one.channel, None)
            key = one.version
            while not self._has(line, one.channel, key, stored):
                keys[one.channel] = key = f"{key}@{new.at.id}"
        versions = dict(new.versions)
        found = json.dumps({**versions, **keys}) if keys else None
        self._do("upsert_checkpoint", (line, new.at.id, new.parent, new.run, json.dumps(versions), found, *new.body, new.metadata))

    def put_writes(self, new: TaskWrites, cuts: Sequence[Cut]) -> None:
        """Store what a task has written, which is cut (S31)."""
        line, thread = self._line(new.at.thread, new.at.namespace)
        for write, (levels, content, pieces) in zip(new.writes, cuts, strict=True):
            self._keep(thread, pieces)
            statement = "replace_write" if write.replaces else "insert_write"
            place = (line, new.at.id, new.task, write.place, new.path, write.channel)
            self._do(statement, (*place, write.value.kind, levels, content))

    def delete_thread(self, name: str) -> None:
        """Delete a thread (S32)."""
        row = self._do("select_thread", (name,)).fetchone()
        if row is None:
            return
        for statement in ("checkpoints", "values", "writes"):
            self._do(f"delete_line_{statement}", row)
        for statement in ("delete_thread_chunks", "delete_lines", "delete_thread"):
            self._do(statement, row)
        self.forget()

    def delete_runs(self, runs: Sequence[str]) -> None:
        """Delete the checkpoints of these runs (S32)."""
        given = json.dumps(list(runs))
        threads = set()
        for line, thread in self._do("select_run_lines", (given,)).fetchall():
            left = [id_ for (id_,) in self._do("select_other_runs", (line, given)).fetchall()]
            self._keep_only(line, left)
            threads.add(thread)
        for thread in threads:
            self._sweep(thread)
        self.forget()

    def prune(self, names: Sequence[str]) -> None:
        """Delete all but the latest checkpoint of each namespace, and what it is made from (S32)."""
        for name in names:
            row = self._do("select_thread", (name,)).fetchone()
            if row is None:
                continue
            for line, _ in self._do("select_lines", row).fetchall():
                latest = self._do("select_latest_checkpoint", (line,)).fetchone()
                self._keep_only(line, [] if latest is None else list(self._needed(line, latest)))
            self._sweep(row[0])
        self.forget()

    def copy_thread(self, source: str, target: str) -> None:
        """Copy everything of a thread to another."""
        row = self._do("select_thread", (source,)).fetchone()
        if row is None:
            return
        for line, namespace in self._do("select_lines", row).fetchall():
            other, thread = self._line(target, namespace)
            for statement in ("copy_checkpoints", "copy_values", "copy_writes"):
                self._do(statement, {"source": line, "target": other})
            self._do("copy_chunks", {"source": row[0], "target": thread})

    def _do(self, name: str, values: Sequence[Any] | Mapping[str, Any]) -> sqlite3.Cursor:
        return self._connection.execute(self._sql[name], values)

    def _line(self, thread: str, namespace: str) -> Line:
        """Return the numbers of a line and its thread, which are new if nothing of it is stored yet."""
        known = self._lines.get((thread, namespace))
        if known is not None:
            return known
        row = self._do("select_line", (thread, namespace)).fetchone()
        if row is None:
            (number,) = self._do("select_thread", (thread,)).fetchone() or self._do("insert_thread", (thread,)).fetchone()
            row = (*self._do("insert_line", (number, namespace)).fetchone(), number)
        if len(self._lines) >= LINES_MAX:
            self._lines.clear()
        self._lines[thread, namespace] = row
        return row[0], row[1]

    def _has(self, line: int, channel: str, key: Version, stored: tuple[str, int, bytes]) -> bool:
        """Store a value of a channel under a key, and return whether that key has this value now."""
        if self._do("insert_value", (line, channel, key, *stored)).rowcount:
            return True
        return bool(self._do("same_value", (*stored, line, channel, key)).fetchone()[0])

    def _inherited(self, line: int, new: CheckpointWrite) -> dict[str, Version]:
        """The keys of the parent that are no versions, of those channels that have not changed since."""
        row = None if new.parent is None else self._do("select_keys", (line, new.parent)).fetchone()
        if row is None:
            return {}
        return inherited(json.loads(row[0]), json.loads(row[1]), new)

    def _keep(self, thread: int, levels: Sequence[Pieces]) -> None:
        """Store the pieces of a value that are not stored yet."""
        for pieces in levels:
            kept = self._kept
            new = [number for number, digest in enumerate(pieces.digests) if (thread, digest) not in kept]
            rows = [(thread, pieces.digests[number], pieces.piece(number)) for number in new]
            self._connection.executemany(self._sql["insert_chunk"], rows)
            if len(kept) > KEPT_MAX:
                kept.clear()
            kept.update(row[:2] for row in rows)

    def _keep_only(self, line: int, ids: Sequence[str]) -> None:
        """Delete a line's checkpoints but these, and what only the others need."""
        for statement in ("delete_other_checkpoints", "delete_other_writes"):
            self._do(statement, (line, json.dumps(ids)))
        self._do("delete_other_values", {"line": line})

    def _sweep(self, thread: int) -> None:
        """Delete the pieces of a thread that nothing refers to."""
        chunk = partial(_chunk, self._connection, self._sql, thread)
        rows = self._do("select_chunked", {"thread": thread}).fetchall()
        needed = {digest for levels, content in rows for digests in referred(levels, content, chunk) for digest in digests}
        stored = {digest for (digest,) in self._do("select_digests", (thread,)).fetchall()}
        self._connection.executemany(self._sql["delete_chunk"], [(thread, digest) for digest in stored - needed])

    def _needed(self, line: int, latest: Sequence[Any]) -> Iterator[str]:
        """The ids of a checkpoint and of the ancestors from which its delta channels are made."""
        channels = delta_channels(latest[6])
        row: Sequence[Any] | None = latest
        while row is not None:
            id_, parent, _, keys, *_ = row
            yield id_
            channels -= {channel for channel, *_ in self._do("select_values", {"line": line, "keys": keys})}
            row = self._do("select_checkpoint", (line, parent)).fetchone() if channels and parent is not None else None


class SqliteCheckpointReads:
    """All reads of checkpoints, on any connection."""

    def __init__(self, connection: sqlite3.Connection, sql: Sql) -> None:
        self._connection = connection
        self._sql = sql

    def get(self, thread: str, namespace: str, id_: str | None) -> StoredCheckpoint | None:
        """One checkpoint, as of one moment."""
        with snapshot(self._connection):
            line = self._line(thread, namespace)
            if line is None:
                return None
            name, given = ("select_latest_checkpoint", (line[0],)) if id_ is None else ("select_checkpoint", (line[0], id_))
            row = self._do(name, given).fetchone()
            return None if row is None else self._whole((thread, namespace, *line), row)

    def find(self, query: CheckpointQuery, after: StoredCheckpoint | None, limit: int) -> list[StoredCheckpoint]:
        """A page of checkpoints, as of one moment."""
        with snapshot(self._connection):
            line = None if after is None else self._line(*after.at[:2])
            behind = ("\U0010ffff", 0) if after is None else (after.at.id, 0 if line is None else line[0])
            values = {**query._asdict(), "after": behind[0], "line": behind[1], "limit": limit}
            rows = self._do("search_checkpoints" if query.thread is None else "search_thread", values).fetchall()
            return [self._whole(row[:4], row[4:]) for row in rows]

    def history(self, thread: str, namespace: str, id_: str, channels: Sequence[str]) -> Mapping[str, ChannelHistory]:
        """What channels are made from, as of one moment."""
        with snapshot(self._connection):
            line = self._line(thread, namespace)
            return made_from(channels, () if line is None else self._ancestors(line, id_))

    def count(self, thread: str) -> ThreadCount:
        """How much a thread has."""
        return ThreadCount(*(self._do("count_thread", (thread,)).fetchone() or (0, 0)))

    def _do(self, name: str, values: Sequence[Any] | Mapping[str, Any]) -> sqlite3.Cursor:
        return self._connection.execute(self._sql[name], values)

    def _line(self, thread: str, namespace: str) -> Line | None:
        line: Line | None = self._do("select_line", (thread, namespace)).fetchone()
        return line

    def _ancestors(self, line: Line, id_: str) -> Iterator[Ancestor]:
        row = self._do("select_checkpoint", (line[0], id_)).fetchone()
        while row is not None and row[1] is not None:
            row = self._do("select_checkpoint", (line[0], row[1])).fetchone()
            if row is not None:
                yield Ancestor(self._writes(line, row[0]), partial(self._some_values, line, json.loads(row[3])))

    def _some_values(self, line: Line, keys: Mapping[str, Version], channels: Sequence[str]) -> Mapping[str, Value]:
        return self._values(line, json.dumps({channel: keys[channel] for channel in channels if channel in keys}))

    def _whole(self, place: Sequence[Any], row: Sequence[Any]) -> StoredCheckpoint:
        thread, namespace, number, of_thread = place
        line = (number, of_thread)
        id_, parent, versions, keys, kind, body, metadata = row
        known: dict[str, Version] = json.loads(versions)
        values, writes = self._values(line, keys), self._writes(line, id_)
        return StoredCheckpoint(CheckpointId(thread, namespace, id_), parent, known, Value(kind, body), metadata, values, writes)

    def _values(self, line: Line, keys: str) -> dict[str, Value]:
        chunk = partial(_chunk, self._connection, self._sql, line[1])
        rows = self._do("select_values", {"line": line[0], "keys": keys}).fetchall()
        return {channel: Value(kind, joined(levels, content, chunk)) for channel, kind, levels, content in rows}

    def _writes(self, line: Line, checkpoint: str) -> list[PendingWrite]:
        chunk = partial(_chunk, self._connection, self._sql, line[1])
        rows = self._do("select_channel_writes", (line[0], checkpoint)).fetchall()
        return [PendingWrite(task, channel, Value(kind, joined(levels, content, chunk))) for task, channel, kind, levels, content in rows]


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Let all reads inside see one moment."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def _chunk(connection: sqlite3.Connection, sql: Sql, thread: int, digest: bytes) -> bytes:
    content: bytes = connection.execute(sql["select_chunk"], (thread, digest)).fetchone()[0]
    return content
