"""The checkpoints of LangGraph threads in PostgreSQL.

Any thread may call, so these tables have connections of their own. One thread writes: it commits all writes that are queued in one
transaction, in the order in which they came. Several threads read. Every write may run twice, so it is run again if a connection breaks.
"""

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from itertools import groupby
from typing import Any, NamedTuple

import psycopg
from psycopg import Connection, errors
from psycopg_pool import ConnectionPool, PoolTimeout

from pointsman.errors import EngineStopped
from pointsman.store.checkpoint_rules import (
    Ancestor,
    CheckpointReads,
    Checkpoints,
    CheckpointTables,
    delta_channels,
    inherited,
    made_from,
)
from pointsman.store.checkpoints import (
    ChannelHistory,
    CheckpointId,
    CheckpointQuery,
    CheckpointWrite,
    Cut,
    PendingWrite,
    StoredCheckpoint,
    TaskWrite,
    TaskWrites,
    ThreadCount,
    Value,
    joined,
    referred,
)
from pointsman.store.postgres.connections import Place, explain, schema_statements

READERS_MAX = 4  # reads at once: a database serves few connections well
BATCH_MAX = 100  # writes of one transaction: the first would wait longer than sharing the flush saves
ATTEMPTS_MAX = 4  # of a write that loses to another engine, or whose connection breaks
KEPT_MAX = 100_000  # digests of pieces that are known to be stored: some 10 MB
AGAIN = (errors.DeadlockDetected, errors.SerializationFailure, psycopg.OperationalError)

Row = tuple[Any, ...]
Key = tuple[int, str, str]  # of a value: its line, its channel, and its version as JSON


class Line(NamedTuple):
    """The numbers of a line and its thread, and how often pieces of the thread were deleted."""

    id: int
    thread: int
    sweeps: int


class PostgresCheckpoints(Checkpoints):
    """The contract of checkpoints on one database. It connects at its first use; `close` waits for what is queued."""

    def __init__(self, place: Place) -> None:
        super().__init__(self._submit_write, self._submit_read)
        self._place = place
        self._sql = schema_statements(place.schema)
        self._pool: ConnectionPool[Connection[Any]] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="pointsman-checkpoints")
        self._readers = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="pointsman-checkpoint-reader")
        self._queued: deque[tuple[Callable[[CheckpointTables], None], Future[Any]]] = deque()
        self._kept: set[tuple[int, int, bytes]] = set()
        self._changing = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Finish the writes and reads that were asked for, and close all connections."""
        with self._changing:
            self._closed = True
        self._writer.shutdown()
        self._readers.shutdown()
        if self._pool is not None:
            self._pool.close()

    def _submit_write(self, work: Callable[[CheckpointTables], None]) -> Future[Any]:
        answer: Future[Any] = Future()
        with self._changing:
            if self._closed:
                answer.set_exception(self._stopped())
                return answer
            self._queued.append((work, answer))
            self._writer.submit(self._commit_queued)
        return answer

    def _submit_read(self, read: Callable[[CheckpointReads], Any]) -> Future[Any]:
        with self._changing:
            if self._closed:
                answer: Future[Any] = Future()
                answer.set_exception(self._stopped())
                return answer
            return self._readers.submit(self._attempts, partial(self._read_once, read))

    def _stopped(self) -> EngineStopped:
        return EngineStopped(f"the engine on {self._place.shown} is closed; open it again.")

    def _commit_queued(self) -> None:
        jobs = [self._queued.popleft() for _ in range(min(BATCH_MAX, len(self._queued)))]
        jobs = [(work, answer) for work, answer in jobs if answer.set_running_or_notify_cancel()]
        if len(jobs) > 1 and self._commits_together([work for work, _ in jobs]):
            for _, answer in jobs:
                answer.set_result(None)
            return
        for work, answer in jobs:
            try:
                self._attempts(partial(self._commit, [work]))
            except BaseException as error:
                answer.set_exception(error)
            else:
                answer.set_result(None)

    def _commits_together(self, works: Sequence[Callable[[Any], Any]]) -> bool:
        """Commit these writes in one transaction. Returns False if that fails: each then runs alone, and its caller gets its own error."""
        try:
            self._commit(works)
        except Exception:
            return False
        return True

    def _attempts(self, run: Callable[[], Any]) -> Any:
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return run()
            except (psycopg.Error, PoolTimeout) as error:
                if attempt == ATTEMPTS_MAX or not isinstance(error, AGAIN) or isinstance(error, PoolTimeout):
                    raise explain(self._place, error) from error
                if self._pool is not None and not isinstance(error, AGAIN[:2]):
                    self._pool.check()  # connections that broke are replaced
        raise AssertionError(run)

    def _commit(self, works: Sequence[Callable[[CheckpointTables], None]]) -> None:
        try:
            with self._connections().connection() as connection:
                self._begin(connection, "BEGIN")
                tables = PostgresCheckpointTables(connection, self._sql, self._kept)
                for work in works:
                    work(tables)
                connection.execute("COMMIT")
        except BaseException:
            self._kept.clear()
            raise

    def _read_once(self, read: Callable[[CheckpointReads], Any]) -> Any:
        with self._connections().connection() as connection:
            self._begin(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            answer = read(PostgresCheckpointReads(connection, self._sql))
            connection.execute("COMMIT")
            return answer

    def _connections(self) -> "ConnectionPool[Connection[Any]]":
        with self._changing:
            if self._pool is None:
                self._pool = ConnectionPool(
                    self._place.conninfo, open=True, min_size=0, max_size=READERS_MAX + 1, configure=self._configure,
                    reconnect_failed=ConnectionPool.check, **self._place.of_pool,
                )  # fmt: skip
            return self._pool

    def _begin(self, connection: Connection[Any], statement: str) -> None:
        connection.execute(statement)
        if local := self._place.local():
            connection.execute(local)

    def _configure(self, connection: Connection[Any]) -> None:
        for setting in self._place.session():
            connection.execute(setting)


class _Statements:
    """The named statements on a connection."""

    def __init__(self, connection: Connection[Any], sql: Mapping[str, str]) -> None:
        self._connection = connection
        self._sql = sql

    def _do(self, name: str, **values: Any) -> list[Row]:
        cursor = self._connection.cursor(binary=True)
        cursor.execute(self._sql[name], values)
        return cursor.fetchall() if cursor.description else []

    def _chunks(self, wanted: Sequence[tuple[int, bytes]]) -> dict[bytes, bytes]:
        if not wanted:
            return {}
        threads, digests = zip(*wanted, strict=True)
        return dict(self._do("select_checkpoint_chunks", threads=[*threads], digests=[*digests]))


class PostgresCheckpointTables(_Statements):
    """All writes of checkpoints, in one transaction. `kept` are the pieces that are known to be stored."""

    def __init__(self, connection: Connection[Any], sql: Mapping[str, str], kept: set[tuple[int, int, bytes]]) -> None:
        super().__init__(connection, sql)
        self._kept = kept
        self._lines: dict[tuple[str, str], Line] = {}

    def put(self, new: CheckpointWrite, cuts: Sequence[Cut]) -> None:
        """Store a checkpoint and its new values, which are cut (S30)."""
        line = self._line(new.at.thread, new.at.namespace)
        self._keep(line, cuts)
        before = None if new.parent is None else next(iter(self._do("select_checkpoint_keys", line=line.id, id=new.parent)), None)
        keys = {} if before is None else inherited(json.loads(before[0]), json.loads(before[1]), new)
        values = {one.channel: (one.version, one.value.kind, stored) for one, stored in zip(new.values, cuts, strict=True)}
        for channel in values:
            keys.pop(channel, None)
        left = sorted(values)  # the order is the same for all, so that two engines do not wait for each other
        while left:
            given = {
                "line": line.id,
                "channels": left,
                "versions": [json.dumps(keys.get(channel, values[channel][0])) for channel in left],
                "kinds": [values[channel][1] for channel in left],
                "levels": [values[channel][2].levels for channel in left],
                "contents": [values[channel][2].content for channel in left],
            }
            stored = {channel for (channel,) in self._do("insert_checkpoint_values", **given)}
            if len(stored) < len(left):
                stored |= {channel for (channel,) in self._do("select_same_values", **given)}
            left = [channel for channel in left if channel not in stored]
            keys |= {channel: f"{keys.get(channel, values[channel][0])}@{new.at.id}" for channel in left}
        versions = dict(new.versions)
        found = json.dumps({**versions, **keys}) if keys else None
        row = {
            "line": line.id, "id": new.at.id, "parent": new.parent, "run": new.run, "versions": json.dumps(versions), "keys": found,
            "kind": new.body.kind, "body": new.body.content, "metadata": new.metadata,
        }  # fmt: skip
        self._do("upsert_checkpoint", **row)

    def put_writes(self, new: TaskWrites, cuts: Sequence[Cut]) -> None:
        """Store what a task has written, which is cut (S31)."""
        line = self._line(new.at.thread, new.at.namespace)
        self._keep(line, cuts)
        for replaces, group in groupby(zip(new.writes, cuts, strict=True), key=lambda pair: pair[0].replaces):
            rows: dict[int, tuple[TaskWrite, Cut]] = {}
            for write, stored in group:
                if replaces or write.place not in rows:
                    rows[write.place] = (write, stored)
            given = {
                "line": line.id, "checkpoint": new.at.id, "task": new.task, "path": new.path, "places": [*rows],
                "channels": [write.channel for write, _ in rows.values()], "kinds": [write.value.kind for write, _ in rows.values()],
                "levels": [stored.levels for _, stored in rows.values()], "contents": [stored.content for _, stored in rows.values()],
            }  # fmt: skip
            self._do("replace_checkpoint_writes" if replaces else "insert_checkpoint_writes", **given)

    def delete_thread(self, name: str) -> None:
        """Delete a thread (S32)."""
        for thread, _ in self._do("lock_checkpoint_threads", threads=[name]):
            self._do("delete_checkpoint_thread", thread=thread)
        self._lines.clear()

    def delete_runs(self, runs: Sequence[str]) -> None:
        """Delete the checkpoints of these runs (S32)."""
        threads = [thread for thread, _ in self._do("lock_run_threads", runs=[*runs])]
        lines = {line for (line,) in self._do("delete_checkpoint_runs", threads=threads, runs=[*runs])}
        self._clean(sorted(lines), threads)

    def prune(self, names: Sequence[str]) -> None:
        """Delete all but the latest checkpoint of each namespace, and what it is made from (S32)."""
        threads = [thread for thread, _ in self._do("lock_checkpoint_threads", threads=[*names])]
        lines = []
        for thread in threads:
            for line, _, id_, metadata in self._do("select_latest_of_lines", thread=thread):
                self._do("delete_other_checkpoints", line=line, ids=[*self._needed(line, id_, delta_channels(metadata))])
                lines.append(line)
        self._clean(lines, threads)

    def copy_thread(self, source: str, target: str) -> None:
        """Copy everything of a thread to another."""
        if source == target:
            return
        self._do("insert_checkpoint_thread", thread=target)
        numbers = {name: thread for thread, name in self._do("lock_checkpoint_threads", threads=[source, target])}
        if len(numbers) == 2:
            for statement in ("lines", "chunks"):
                self._do(f"copy_checkpoint_{statement}", source=numbers[source], target=numbers[target])
            for statement in ("copy_checkpoints", "copy_checkpoint_values", "copy_checkpoint_writes"):
                self._do(statement, source=numbers[source], target=numbers[target])

    def _line(self, thread: str, namespace: str) -> Line:
        """Return the numbers of a line and its thread, which are new if nothing of it is stored yet."""
        known = self._lines.get((thread, namespace))
        while known is None:
            for line, number, sweeps in self._do("lock_checkpoint_line", thread=thread, namespace=namespace):
                if line is not None:
                    self._lines[thread, namespace] = known = Line(line, number, sweeps)
                else:
                    self._do("insert_checkpoint_line", thread=number, namespace=namespace)
                break
            else:
                self._do("insert_checkpoint_thread", thread=thread)
        return known

    def _keep(self, line: Line, cuts: Sequence[Cut]) -> None:
        """Store the pieces of values that are not stored yet."""
        new = {
            digest: pieces.piece(number)
            for stored in cuts
            for pieces in stored.pieces
            for number, digest in enumerate(pieces.digests)
            if (line.thread, line.sweeps, digest) not in self._kept
        }
        if new:
            digests = sorted(new)
            self._do("insert_checkpoint_chunks", thread=line.thread, digests=digests, contents=[new[digest] for digest in digests])
            if len(self._kept) > KEPT_MAX:
                self._kept.clear()
            self._kept.update((line.thread, line.sweeps, digest) for digest in digests)

    def _needed(self, line: int, id_: str, channels: set[str]) -> Iterator[str]:
        """The ids of a checkpoint and of the ancestors from which its delta channels are made."""
        earlier: str | None = id_
        while earlier is not None:
            found = self._do("select_checkpoint_parent", line=line, id=earlier)
            if not found:
                return
            yield earlier
            keys = {channel: key for channel, key in json.loads(found[0][1]).items() if channel in channels}
            given = {"lines": [line] * len(keys), "channels": [*keys], "versions": [json.dumps(key) for key in keys.values()]}
            channels = channels - {channel for _, channel, *_ in self._do("select_checkpoint_values", **given)}
            earlier = found[0][0] if channels else None

    def _clean(self, lines: Sequence[int], threads: Sequence[int]) -> None:
        """Delete what no checkpoint of these lines has, and the pieces that nothing in the threads refers to."""
        for statement in ("delete_writes_without_checkpoint", "delete_values_without_checkpoint"):
            self._do(statement, lines=[*lines])
        for thread in threads:
            chunk = cache(partial(self._chunk, thread))
            rows = self._do("select_chunked", thread=thread)
            needed = {digest for levels, content in rows for digests in referred(levels, content, chunk) for digest in digests}
            stored = {digest for (digest,) in self._do("select_checkpoint_digests", thread=thread)}
            self._do("delete_checkpoint_chunks", thread=thread, digests=sorted(stored - needed))
            self._do("count_checkpoint_sweep", thread=thread)
        self._lines.clear()

    def _chunk(self, thread: int, digest: bytes) -> bytes:
        return self._chunks([(thread, digest)])[digest]


class PostgresCheckpointReads(_Statements):
    """All reads of checkpoints, in one transaction, as of one moment."""

    def get(self, thread: str, namespace: str, id_: str | None) -> StoredCheckpoint | None:
        """One checkpoint."""
        name = "select_latest_checkpoint" if id_ is None else "select_checkpoint"
        return next(iter(self._whole(self._do(name, thread=thread, namespace=namespace, id=id_))), None)

    def find(self, query: CheckpointQuery, after: StoredCheckpoint | None, limit: int) -> list[StoredCheckpoint]:
        """A page of checkpoints."""
        line = [] if after is None else self._do("select_checkpoint_line", thread=after.at.thread, namespace=after.at.namespace)
        behind = {"after": None if after is None else after.at.id, "line": line[0][0] if line else 0, "limit": limit}
        return self._whole(
            self._do("search_checkpoints" if query.thread is None else "search_checkpoint_thread", **query._asdict(), **behind)
        )

    def history(self, thread: str, namespace: str, id_: str, channels: Sequence[str]) -> Mapping[str, ChannelHistory]:
        """What channels are made from."""
        return made_from(channels, self._ancestors(thread, namespace, id_))

    def count(self, thread: str) -> ThreadCount:
        """How much a thread has."""
        found = self._do("count_checkpoint_thread", thread=thread)
        return ThreadCount(*(found[0] if found else (0, 0)))

    def _ancestors(self, thread: str, namespace: str, id_: str) -> Iterator[Ancestor]:
        rows = self._do("select_checkpoint", thread=thread, namespace=namespace, id=id_)
        while rows and rows[0][5] is not None:
            rows = self._do("select_checkpoint", thread=thread, namespace=namespace, id=rows[0][5])
            for row in rows:
                place = (row[2], row[4])
                yield Ancestor(self._writes(row[3], [place]).get(place, []), partial(self._some_values, row))

    def _some_values(self, row: Row, channels: Sequence[str]) -> Mapping[str, Value]:
        keys = {channel: (row[2], channel, json.dumps(key)) for channel, key in json.loads(row[7]).items() if channel in channels}
        found = self._values(dict.fromkeys(keys.values(), int(row[3])))
        return {channel: found[key] for channel, key in keys.items() if key in found}

    def _whole(self, rows: Sequence[Row]) -> list[StoredCheckpoint]:
        keys = [{channel: (row[2], channel, json.dumps(key)) for channel, key in json.loads(row[7]).items()} for row in rows]
        values = self._values({key: int(row[3]) for row, of_row in zip(rows, keys, strict=True) for key in of_row.values()})
        writes: dict[tuple[int, str], list[PendingWrite]] = {}
        for thread in {row[3] for row in rows}:
            writes |= self._writes(thread, [(row[2], row[4]) for row in rows if row[3] == thread])
        return [
            StoredCheckpoint(
                at=CheckpointId(row[0], row[1], row[4]),
                parent=row[5],
                versions=json.loads(row[6]),
                body=Value(row[8], row[9]),
                metadata=row[10],
                values={channel: values[key] for channel, key in of_row.items() if key in values},
                writes=writes.get((row[2], row[4]), []),
            )
            for row, of_row in zip(rows, keys, strict=True)
        ]

    def _values(self, keys: Mapping[Key, int]) -> dict[Key, Value]:
        """The values with these keys, each with its thread."""
        lines, channels, versions = ([key[part] for key in keys] for part in range(3))
        rows = self._do("select_checkpoint_values", lines=lines, channels=channels, versions=versions)
        contents = self._joined([(keys[row[0], row[1], row[2]], row[4], row[5]) for row in rows])
        return {(row[0], row[1], row[2]): Value(row[3], content) for row, content in zip(rows, contents, strict=True)}

    def _writes(self, thread: int, places: Sequence[tuple[int, str]]) -> dict[tuple[int, str], list[PendingWrite]]:
        rows = self._do("select_checkpoint_writes", lines=[line for line, _ in places], ids=[id_ for _, id_ in places])
        contents = self._joined([(thread, row[5], row[6]) for row in rows])
        found: dict[tuple[int, str], list[PendingWrite]] = {}
        for (line, id_, task, channel, kind, *_), content in zip(rows, contents, strict=True):
            found.setdefault((line, id_), []).append(PendingWrite(task, channel, Value(kind, content)))
        return found

    def _joined(self, stored: Sequence[tuple[int, int, bytes]]) -> Iterator[bytes]:
        """The values that were cut, with a read for each level of digests, not for each piece."""
        found: dict[bytes, bytes] = {}
        walks = [(thread, referred(levels, content, found.__getitem__)) for thread, levels, content in stored if levels]
        while wanted := {(thread, digest) for thread, walk in walks for digest in next(walk, [])}:
            found.update(self._chunks([one for one in wanted if one[1] not in found]))
        return (joined(levels, content, found.__getitem__) for _, levels, content in stored)
