"""What a store does with the checkpoints of LangGraph threads, whatever its database: the calls, and the rules of their rows."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol

from pointsman.store.checkpoints import (
    ChannelHistory,
    CheckpointQuery,
    CheckpointWrite,
    Cut,
    Cutter,
    PendingWrite,
    StoredCheckpoint,
    TaskWrites,
    ThreadCount,
    Value,
    Version,
)


class CheckpointTables(Protocol):
    """All writes of checkpoints, inside the caller's transactions."""

    def put(self, new: CheckpointWrite, cuts: Sequence[Cut]) -> None:
        """Store a checkpoint and its new values, which are cut (S30)."""

    def put_writes(self, new: TaskWrites, cuts: Sequence[Cut]) -> None:
        """Store what a task has written, which is cut (S31)."""

    def delete_thread(self, name: str) -> None:
        """Delete a thread (S32)."""

    def delete_runs(self, runs: Sequence[str]) -> None:
        """Delete the checkpoints of these runs (S32)."""

    def prune(self, names: Sequence[str]) -> None:
        """Delete all but the latest checkpoint of each namespace, and what it is made from (S32)."""

    def copy_thread(self, source: str, target: str) -> None:
        """Copy everything of a thread to another."""


class CheckpointReads(Protocol):
    """All reads of checkpoints; each is as of one moment."""

    def get(self, thread: str, namespace: str, id_: str | None) -> StoredCheckpoint | None:
        """One checkpoint."""

    def find(self, query: CheckpointQuery, after: StoredCheckpoint | None, limit: int) -> list[StoredCheckpoint]:
        """A page of checkpoints."""

    def history(self, thread: str, namespace: str, id_: str, channels: Sequence[str]) -> Mapping[str, ChannelHistory]:
        """What channels are made from."""

    def count(self, thread: str) -> ThreadCount:
        """How much a thread has."""


class Checkpoints:
    """The contract on top of the tables; `write` and `read` say where and when they run."""

    def __init__(
        self,
        write: Callable[[Callable[[CheckpointTables], None]], Future[Any]],
        read: Callable[[Callable[[CheckpointReads], Any]], Future[Any]],
    ) -> None:
        self._write = write
        self._read = read
        self._cutter = Cutter()

    def put(self, checkpoint: CheckpointWrite) -> Future[None]:
        """Store a checkpoint; see the contract. The values are cut here, in the caller's thread, not in the writer's."""
        cuts = [self._cutter.cut(checkpoint.at, one.channel, one.value.content) for one in checkpoint.values]
        return self._write(lambda tables: tables.put(checkpoint, cuts))

    def put_writes(self, writes: TaskWrites) -> Future[None]:
        """Store what a task has written; see the contract."""
        cuts = [self._cutter.cut(writes.at, one.channel, one.value.content) for one in writes.writes]
        return self._write(lambda tables: tables.put_writes(writes, cuts))

    def get(self, thread: str, namespace: str, id: str | None = None) -> Future[StoredCheckpoint | None]:  # noqa: A002
        """One checkpoint; see the contract."""
        return self._read(lambda reads: reads.get(thread, namespace, id))

    def find(self, query: CheckpointQuery, *, after: StoredCheckpoint | None = None, limit: int = 100) -> Future[list[StoredCheckpoint]]:
        """A page of checkpoints; see the contract."""
        return self._read(lambda reads: reads.find(query, after, limit))

    def history(self, thread: str, namespace: str, id: str, channels: Sequence[str]) -> Future[Mapping[str, ChannelHistory]]:  # noqa: A002
        """What channels are made from; see the contract."""
        return self._read(lambda reads: reads.history(thread, namespace, id, channels))

    def count(self, thread: str) -> Future[ThreadCount]:
        """How much a thread has; see the contract."""
        return self._read(lambda reads: reads.count(thread))

    def delete_thread(self, thread: str) -> Future[None]:
        """Delete a thread; see the contract."""
        return self._write(lambda tables: tables.delete_thread(thread))

    def delete_runs(self, runs: Sequence[str]) -> Future[None]:
        """Delete the checkpoints of runs; see the contract."""
        return self._write(lambda tables: tables.delete_runs(runs))

    def copy_thread(self, source: str, target: str) -> Future[None]:
        """Copy a thread; see the contract."""
        return self._write(lambda tables: tables.copy_thread(source, target))

    def prune(self, threads: Sequence[str]) -> Future[None]:
        """Delete all but the latest checkpoints; see the contract."""
        return self._write(lambda tables: tables.prune(threads))


class Ancestor(NamedTuple):
    """A checkpoint that channels are made from: the writes of its step, and a function that reads its values of some channels."""

    writes: Sequence[PendingWrite]
    values: Callable[[Sequence[str]], Mapping[str, Value]]


def made_from(channels: Sequence[str], ancestors: Iterable[Ancestor]) -> Mapping[str, ChannelHistory]:
    """What channels are made from, by the ancestors of a checkpoint: the nearest first, as many as it takes."""
    seeds: dict[str, Value] = {}
    writes: dict[str, list[PendingWrite]] = {channel: [] for channel in channels}
    for ancestor in ancestors if channels else ():
        wanted = [channel for channel in writes if channel not in seeds]
        for write in reversed(ancestor.writes):
            if write.channel in wanted:
                writes[write.channel].append(write)
        seeds.update(ancestor.values(wanted))
        if len(seeds) == len(writes):
            break
    return {channel: ChannelHistory(seeds.get(channel), found[::-1]) for channel, found in writes.items()}


def delta_channels(metadata: str) -> set[str]:
    """The channels of a checkpoint that are made from writes since an ancestor, by its metadata."""
    return set(json.loads(metadata).get("counters_since_delta_snapshot") or ())


def inherited(versions: Mapping[str, Version], keys: Mapping[str, Version], new: CheckpointWrite) -> dict[str, Version]:
    """The keys of the parent that are no versions, of those channels that have not changed since."""
    return {channel: key for channel, key in keys.items() if key != versions[channel] == new.versions.get(channel)}
