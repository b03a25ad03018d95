"""The part of the store contract that keeps the checkpoints of LangGraph threads: its rows, its protocol, and how a value is cut.

Words
    thread      a conversation or run of a LangGraph program
    namespace   where in the program: empty for the graph itself, a path for a graph inside it
    channel     a variable of the graph; `version` changes whenever its value does
    write       what a task of the step after a checkpoint has written, until the next checkpoint has it

Promises, in the numbers of store/base.py
    S30 A checkpoint is stored with the values of its new versions in one commit, and answers when it is durable. If two
        checkpoints give one version to two values, each has its own. A value that grows at its end costs what it grows by.
    S31 The first write of a task at a place stays; one that `replaces` takes its place.
    S32 Deleting a thread, pruning and deleting runs leave nothing of what they delete, and everything that the rest needs.

Unlike the other parts, this one is called from any thread, because LangGraph runs plain functions in threads of its own. So each method
returns a `concurrent.futures.Future`.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple, Protocol

# The size of a piece of a large value. A step rewrites half of one on average, and refers to each of the others by its digest. From 2,048 bytes
# on, hashlib gives the interpreter's lock away during each digest, which takes longer than the digest.
CHUNK_BYTES = 2_000
HEAD_BYTES = 16  # that stay out of the pieces: a serialized list or message begins with its length, which changes when it grows
REMEMBERED_BYTES_MAX = 32_000_000  # of the latest values of channels: the long lists of a hundred threads
DIGEST_BYTES = 20  # of the SHA-256 of a piece: 160 bits, as in the keys of effects

Version = str | int | float
"""The version of a channel. Later versions are greater."""


class Value(NamedTuple):
    """A value as a serializer wrote it: the name of the form, and its bytes."""

    kind: str
    content: bytes


class ChannelValue(NamedTuple):
    """The value of a channel at a version."""

    channel: str
    version: Version
    value: Value


class CheckpointId(NamedTuple):
    """Which checkpoint: ids rise, and are unique in a namespace of a thread."""

    thread: str
    namespace: str
    id: str


class CheckpointWrite(NamedTuple):
    """A checkpoint to store: `body` is all of it but the values and `versions` of its channels, and `values` those that are new.

    `metadata` is JSON, `run` the run that made it.
    """

    at: CheckpointId
    parent: str | None
    run: str | None
    versions: Mapping[str, Version]
    body: Value
    metadata: str
    values: Sequence[ChannelValue] = ()


class TaskWrite(NamedTuple):
    """One write of a task: its `place` among the task's writes, and whether it `replaces` an earlier one there."""

    place: int
    channel: str
    value: Value
    replaces: bool = False


class TaskWrites(NamedTuple):
    """What a task of the step after a checkpoint has written. `path` orders the tasks of a step."""

    at: CheckpointId
    task: str
    path: str
    writes: Sequence[TaskWrite]


class PendingWrite(NamedTuple):
    """A write of a task, as it is stored."""

    task: str
    channel: str
    value: Value


class StoredCheckpoint(NamedTuple):
    """A checkpoint with the values of its channels and the writes of its step, in the order in which LangGraph applies them."""

    at: CheckpointId
    parent: str | None
    versions: Mapping[str, Version]
    body: Value
    metadata: str
    values: Mapping[str, Value]
    writes: Sequence[PendingWrite]


class CheckpointQuery(NamedTuple):
    """Which checkpoints to list: those older than the id `before`, and whose metadata has the values of `filter` (JSON)."""

    thread: str | None = None
    namespace: str | None = None
    id: str | None = None
    before: str | None = None
    filter: str = "{}"


class ChannelHistory(NamedTuple):
    """What a channel is made from: the nearest stored value before a checkpoint, if there is one, and the writes since, oldest first."""

    seed: Value | None
    writes: Sequence[PendingWrite]


class ThreadCount(NamedTuple):
    """How many checkpoints and writes a thread has."""

    checkpoints: int
    writes: int


class CheckpointStore(Protocol):
    """Keep the checkpoints of LangGraph threads. Every future may fail with StoreError, and with EngineStopped after the store was closed."""

    def put(self, checkpoint: CheckpointWrite) -> Future[None]:
        """Store a checkpoint (S30)."""

    def put_writes(self, writes: TaskWrites) -> Future[None]:
        """Store what a task has written (S31). Its checkpoint may come later."""

    def get(self, thread: str, namespace: str, id: str | None = None) -> Future[StoredCheckpoint | None]:  # noqa: A002 - LangGraph's word
        """The checkpoint with this id, or the latest one; None if there is none."""

    def find(self, query: CheckpointQuery, *, after: StoredCheckpoint | None = None, limit: int = 100) -> Future[list[StoredCheckpoint]]:
        """Up to `limit` checkpoints that fit a query, the newest first, those behind `after`."""

    def history(self, thread: str, namespace: str, id: str, channels: Sequence[str]) -> Future[Mapping[str, ChannelHistory]]:  # noqa: A002
        """What these channels are made from: along the parents of the checkpoint with this id."""

    def count(self, thread: str) -> Future[ThreadCount]:
        """How many checkpoints and writes a thread has."""

    def delete_thread(self, thread: str) -> Future[None]:
        """Delete a thread (S32)."""

    def delete_runs(self, runs: Sequence[str]) -> Future[None]:
        """Delete the checkpoints of these runs, with their writes (S32)."""

    def copy_thread(self, source: str, target: str) -> Future[None]:
        """Copy everything of a thread to another, over what that one has under the same ids."""

    def prune(self, threads: Sequence[str]) -> Future[None]:
        """Delete all but the latest checkpoint of each namespace of these threads (S32).

        Ancestors stay from which a channel of the latest one is made: one that its metadata names in `counters_since_delta_snapshot`.
        """


class Pieces(NamedTuple):
    """Pieces that follow each other in `body`, and their digests."""

    body: bytes
    digests: Sequence[bytes]

    def piece(self, number: int) -> bytes:
        """One of the pieces, counted from 0."""
        return self.body[number * CHUNK_BYTES : (number + 1) * CHUNK_BYTES]


NO_PIECES = Pieces(b"", ())


class Cut(NamedTuple):
    """A value cut into pieces: what is stored in its row, how many `levels` of digests it has, and the pieces of each level."""

    levels: int
    content: bytes
    pieces: Sequence[Pieces]


def cut(content: bytes, before: Pieces = NO_PIECES) -> Cut:
    """Cut a value into pieces of one size, by content: a value that grows at its end keeps all of its pieces but the last.

    The row has the head, the rest behind the last whole piece, and the digests of the pieces. Many digests are cut like a value again. The
    pieces of an earlier value, if this one begins with them, are not hashed again.
    """
    if len(content) <= HEAD_BYTES + CHUNK_BYTES:
        return Cut(0, content, ())
    rests, body, levels = [content[:HEAD_BYTES]], content[HEAD_BYTES:], []
    while len(body) >= CHUNK_BYTES:
        whole = body[: len(body) // CHUNK_BYTES * CHUNK_BYTES]
        digests = [*before.digests] if whole.startswith(before.body) else []
        starts = range(len(digests) * CHUNK_BYTES, len(whole), CHUNK_BYTES)
        digests += [hashlib.sha256(whole[begun : begun + CHUNK_BYTES]).digest()[:DIGEST_BYTES] for begun in starts]
        levels.append(Pieces(whole, digests))
        rest = body[len(whole) :]
        rests.append(len(rest).to_bytes(2) + rest)
        body, before = b"".join(digests), NO_PIECES
    return Cut(len(levels), b"".join([*rests, body]), levels)


class Cutter:
    """Cuts values, and remembers the pieces of the latest value of each channel. It may be used in several threads."""

    def __init__(self) -> None:
        self._latest: OrderedDict[tuple[str, str, str], Pieces] = OrderedDict()
        self._bytes = 0
        self._changing = threading.Lock()

    def cut(self, at: CheckpointId, channel: str, content: bytes) -> Cut:
        """Cut a value of a channel."""
        place = (at.thread, at.namespace, channel)
        made = cut(content, self._latest.get(place, NO_PIECES))
        if made.pieces:
            with self._changing:
                self._bytes += len(made.pieces[0].body) - len(self._latest.pop(place, NO_PIECES).body)
                self._latest[place] = made.pieces[0]
                while self._bytes > REMEMBERED_BYTES_MAX:
                    self._bytes -= len(self._latest.popitem(last=False)[1].body)
        return made


def joined(levels: int, content: bytes, chunk: Callable[[bytes], bytes]) -> bytes:
    """The value that was cut; `chunk` returns the piece with a digest."""
    if not levels:
        return content
    head, rests, body = _parts(levels, content)
    for rest in reversed(rests):
        body = b"".join([*(chunk(digest) for digest in _digests(body)), rest])
    return head + body


def referred(levels: int, content: bytes, chunk: Callable[[bytes], bytes]) -> Iterator[list[bytes]]:
    """The digests of all pieces of a value, level by level. For the next level, `chunk` returns the pieces of the one before."""
    if not levels:
        return
    _, rests, body = _parts(levels, content)
    for number, rest in enumerate(reversed(rests), 1):
        yield [*_digests(body)]
        if number < len(rests):
            body = b"".join([*(chunk(digest) for digest in _digests(body)), rest])


def _parts(levels: int, content: bytes) -> tuple[bytes, list[bytes], bytes]:
    place, rests = HEAD_BYTES, []
    for _ in range(levels):
        size = int.from_bytes(content[place : place + 2])
        rests.append(content[place + 2 : place + 2 + size])
        place += 2 + size
    return content[:HEAD_BYTES], rests, content[place:]


def _digests(body: bytes) -> Iterator[bytes]:
    return (body[begun : begun + DIGEST_BYTES] for begun in range(0, len(body), DIGEST_BYTES))
