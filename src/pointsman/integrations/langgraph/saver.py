"""A LangGraph checkpointer on an engine's store."""

import asyncio
import json
import random as chance
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.base import SerializerProtocol

from pointsman.definition.process import AnyProcess
from pointsman.errors import ValueRefused
from pointsman.kernel.codec import message_of
from pointsman.runtime.blocking import BlockingEngine, open_blocking
from pointsman.runtime.engine import Engine
from pointsman.store.checkpoints import (
    ChannelHistory,
    ChannelValue,
    CheckpointId,
    CheckpointQuery,
    CheckpointWrite,
    PendingWrite,
    StoredCheckpoint,
    TaskWrite,
    TaskWrites,
    Value,
)

PAGE = 100  # checkpoints of one read of a list: it holds a snapshot of the file while it lasts
CHANCE_BITS = 32  # of a version, behind its count: two forks of a thread write different values, so they must not have one version
IN_THE_ROW = frozenset({"channel_values", "channel_versions"})  # of a checkpoint, which have columns and rows of their own

T = TypeVar("T")
_List = list  # in a class that has a method of this name


class PointsmanSaver(BaseCheckpointSaver[Any]):
    """A LangGraph checkpointer on an engine's store, for plain and async programs.

    `engine` is the engine whose store it is. `put` and `put_writes` return when the checkpoint is on the disk. `serde` writes the values: by
    default LangGraph's own serializer, which never pickles. A value that it cannot write raises ValueRefused. `random` lets tests replace
    chance.
    """

    def __init__(
        self, engine: Engine | BlockingEngine, *, serde: SerializerProtocol | None = None, random: chance.Random | None = None
    ) -> None:  # fmt: skip
        super().__init__(serde=serde)
        self.engine = engine
        self._checkpoints = engine.checkpoints
        self._random = random or chance.SystemRandom()

    @classmethod
    def open(
        cls, path: str | Path, processes: Sequence[AnyProcess] = (), *, effects: Sequence["HasProcess"] = (),
        serde: SerializerProtocol | None = None, **settings: Any,
    ) -> "SaverOpening":  # fmt: skip
        """Open a store for a saver alone, with `with` or `async with`. `settings` are the other parameters of `Engine.open`.

        `path` is the path of a SQLite file, or the URL of a PostgreSQL database (`postgresql://user@host/database`; the extra
        `pointsman[postgres]` is needed), in which any number of savers and engines work at once. `effects` are the functions with
        `@effect_once` that the graphs call. The engine goes on with those that a crash cut short. Raises StoreError if the store cannot be
        used, for example because an engine has the file open: give that engine to the saver.
        """
        return SaverOpening(path, [*processes, *(effect.process for effect in effects)], serde, settings)

    # The engine, for effects.

    async def in_engine(self, call: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine of the engine in its event loop, and await it in any other."""
        return await self.engine.carry_out(call)

    def wait_for_engine(self, call: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """The same for a plain function in a thread. Raises RuntimeError in the engine's event loop, which would wait for itself."""
        return self.engine.run(call)

    # Reading.

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the latest of its thread and namespace; None if there is none."""
        return self._tuple_or_none(self._get(config).result())

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The same as `get_tuple`."""
        return self._tuple_or_none(await asyncio.wrap_future(self._get(config)))

    def list(
        self, config: RunnableConfig | None, *, filter: dict[str, Any] | None = None, before: RunnableConfig | None = None,  # noqa: A002
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:  # fmt: skip
        """The checkpoints of a thread, or of all threads, the newest first: those with the metadata of `filter`, older than `before`."""
        listing = _Listing(config, filter, before, limit)
        while listing.goes_on:
            found = self._checkpoints.find(listing.query, after=listing.after, limit=listing.room).result()
            yield from map(self._tuple, listing.take(found))

    async def alist(
        self, config: RunnableConfig | None, *, filter: dict[str, Any] | None = None, before: RunnableConfig | None = None,  # noqa: A002
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:  # fmt: skip
        """The same as `list`."""
        listing = _Listing(config, filter, before, limit)
        while listing.goes_on:
            found = await asyncio.wrap_future(self._checkpoints.find(listing.query, after=listing.after, limit=listing.room))
            for one in listing.take(found):
                yield self._tuple(one)

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """What delta channels are made from: the nearest value that is stored whole, and the writes since."""
        target = get_checkpoint_id(config) or self._id_of(self._get(config).result())
        return self._histories(self._history(config, target, channels).result())

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, DeltaChannelHistory]:
        """The same as `get_delta_channel_history`."""
        target = get_checkpoint_id(config) or self._id_of(await asyncio.wrap_future(self._get(config)))
        return self._histories(await asyncio.wrap_future(self._history(config, target, channels)))

    # Writing.

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:  # fmt: skip
        """Store a checkpoint with the values of its new versions. Returns the config that names it. Raises ValueRefused and StoreError."""
        self._checkpoints.put(self._checkpoint(config, checkpoint, metadata, new_versions)).result()
        return _config(config["configurable"]["thread_id"], _namespace(config), checkpoint["id"])

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> RunnableConfig:  # fmt: skip
        """The same as `put`."""
        await asyncio.wrap_future(self._checkpoints.put(self._checkpoint(config, checkpoint, metadata, new_versions)))
        return _config(config["configurable"]["thread_id"], _namespace(config), checkpoint["id"])

    def put_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """Store what a task has written. Raises ValueRefused and StoreError."""
        self._checkpoints.put_writes(self._task_writes(config, writes, task_id, task_path)).result()

    async def aput_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = "") -> None:
        """The same as `put_writes`."""
        await asyncio.wrap_future(self._checkpoints.put_writes(self._task_writes(config, writes, task_id, task_path)))

    # Deleting and copying.

    def delete_thread(self, thread_id: str) -> None:
        """Delete a thread with everything that is stored of it."""
        self._checkpoints.delete_thread(str(thread_id)).result()

    async def adelete_thread(self, thread_id: str) -> None:
        """The same as `delete_thread`."""
        await asyncio.wrap_future(self._checkpoints.delete_thread(str(thread_id)))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints of these runs, with their writes."""
        self._checkpoints.delete_runs([str(run) for run in run_ids]).result()

    async def adelete_for_runs(self, run_ids: Sequence[str]) -> None:
        """The same as `delete_for_runs`."""
        await asyncio.wrap_future(self._checkpoints.delete_runs([str(run) for run in run_ids]))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy everything of a thread to another."""
        self._checkpoints.copy_thread(str(source_thread_id), str(target_thread_id)).result()

    async def acopy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """The same as `copy_thread`."""
        await asyncio.wrap_future(self._checkpoints.copy_thread(str(source_thread_id), str(target_thread_id)))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Delete all but the latest checkpoint of each namespace ("keep_latest") or everything ("delete") of these threads.

        What a delta channel of the latest checkpoint is made from stays.
        """
        for deleting in self._prune(thread_ids, strategy):
            deleting.result()

    async def aprune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """The same as `prune`."""
        for deleting in self._prune(thread_ids, strategy):
            await asyncio.wrap_future(deleting)

    def get_next_version(self, current: Any, channel: None) -> str | int | float:  # noqa: ARG002 - LangGraph's signature
        """The version after `current`: greater, and not that of another fork. A thread of another saver keeps its form of versions."""
        bits = self._random.getrandbits(CHANCE_BITS)
        if isinstance(current, str):  # 32 digits and a fraction, as the savers of LangGraph have it
            return f"{int(current.split('.')[0]) + 1:032}.{bits / (1 << CHANCE_BITS):016}"
        if isinstance(current, float):
            return int(current) + 1 + bits / (1 << CHANCE_BITS)
        return (((0 if current is None else current) >> CHANCE_BITS) + 1 << CHANCE_BITS) | bits

    # From LangGraph's values to rows, and back.

    def _get(self, config: RunnableConfig) -> Future[StoredCheckpoint | None]:
        return self._checkpoints.get(_thread(config), _namespace(config), get_checkpoint_id(config))

    def _history(self, config: RunnableConfig, target: str, channels: Sequence[str]) -> Future[Mapping[str, ChannelHistory]]:
        return self._checkpoints.history(_thread(config), _namespace(config), target, channels)

    def _prune(self, threads: Sequence[str], strategy: str) -> Iterator[Future[None]]:
        if strategy not in {"keep_latest", "delete"}:
            raise ValueError(f"strategy is {strategy!r}; it can be 'keep_latest' or 'delete'")
        for thread in threads:
            yield self._checkpoints.prune([str(thread)]) if strategy == "keep_latest" else self._checkpoints.delete_thread(str(thread))

    def _checkpoint(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: ChannelVersions
    ) -> CheckpointWrite:  # fmt: skip
        thread = _thread(config)
        values = [
            ChannelValue(channel, version, self._written(f"channel {channel!r}", thread, checkpoint["channel_values"][channel]))
            for channel, version in new_versions.items()
            if channel in checkpoint["channel_values"]  # the others are empty at this version
        ]
        body = {name: value for name, value in checkpoint.items() if name not in IN_THE_ROW}
        whole = get_checkpoint_metadata(config, metadata)
        try:
            stored = json.dumps(whole, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueRefused(
                f"the metadata of a checkpoint of thread {thread!r} is no JSON ({message_of(error)}); give its run simpler metadata."
            ) from None
        return CheckpointWrite(
            at=CheckpointId(thread, _namespace(config), checkpoint["id"]),
            parent=get_checkpoint_id(config),
            run=run_of(whole),
            versions=checkpoint["channel_versions"],
            body=self._written("a checkpoint", thread, body),
            metadata=stored,
            values=values,
        )

    def _task_writes(self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str) -> TaskWrites:
        thread = _thread(config)
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        rows = [
            TaskWrite(
                WRITES_IDX_MAP.get(channel, number), channel, self._written(f"a write to channel {channel!r}", thread, value), replaces
            )
            for number, (channel, value) in enumerate(writes)
        ]
        at = CheckpointId(thread, _namespace(config), str(config["configurable"]["checkpoint_id"]))
        return TaskWrites(at, task_id, task_path, rows)

    def _written(self, what: str, thread: str, value: Any) -> Value:
        try:
            kind, content = self.serde.dumps_typed(value)
        except Exception as error:  # a serializer may raise anything
            place, inner = _unwritable(self.serde, value)
            raise ValueRefused(
                f"{what} of thread {thread!r} cannot be stored: its value{place} is a {type(inner).__qualname__} "
                f"({message_of(error)}); keep plain values, dataclasses or Pydantic models in the state, or give the saver "
                "serde=JsonPlusSerializer(pickle_fallback=True) if you trust whoever can write to the file."
            ) from error
        return Value(kind, bytes(content))

    def _read(self, value: Value) -> Any:
        return self.serde.loads_typed((value.kind, value.content))

    def _tuple_or_none(self, stored: StoredCheckpoint | None) -> CheckpointTuple | None:
        return None if stored is None else self._tuple(stored)

    def _tuple(self, stored: StoredCheckpoint) -> CheckpointTuple:
        checkpoint = {
            **self._read(stored.body),
            "channel_versions": stored.versions,
            "channel_values": {channel: self._read(value) for channel, value in stored.values.items()},
        }
        parent = None if stored.parent is None else _config(*stored.at[:2], stored.parent)
        return CheckpointTuple(
            config=_config(*stored.at),
            checkpoint=cast("Checkpoint", checkpoint),
            metadata=json.loads(stored.metadata),
            parent_config=parent,
            pending_writes=self._pending(stored.writes),
        )

    def _pending(self, writes: Sequence[PendingWrite]) -> "_List[tuple[str, str, Any]]":
        return [(write.task, write.channel, self._read(write.value)) for write in writes]

    def _histories(self, found: Mapping[str, ChannelHistory]) -> Mapping[str, DeltaChannelHistory]:
        return {
            channel: DeltaChannelHistory(writes=self._pending(one.writes))
            if one.seed is None
            else DeltaChannelHistory(writes=self._pending(one.writes), seed=self._read(one.seed))
            for channel, one in found.items()
        }

    @staticmethod
    def _id_of(stored: StoredCheckpoint | None) -> str:
        return "" if stored is None else stored.at.id


class HasProcess(Protocol):
    """What an engine has to know: a function with `@effect_once`."""

    @property
    def process(self) -> AnyProcess:
        """The process of its calls."""


class SaverOpening(AbstractContextManager[PointsmanSaver], AbstractAsyncContextManager[PointsmanSaver]):
    """A saver with an engine of its own, which is open while the block runs."""

    def __init__(
        self, path: str | Path, processes: Sequence[AnyProcess], serde: SerializerProtocol | None, settings: Mapping[str, Any]
    ) -> None:  # fmt: skip
        self._path = path
        self._processes = processes
        self._serde = serde
        self._settings = settings
        self._plain: AbstractContextManager[BlockingEngine] | None = None
        self._async: AbstractAsyncContextManager[Engine] | None = None

    def __enter__(self) -> PointsmanSaver:
        self._plain = open_blocking(self._path, self._processes, **self._settings)
        return PointsmanSaver(self._plain.__enter__(), serde=self._serde)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        assert self._plain is not None
        return self._plain.__exit__(kind, error, trace)

    async def __aenter__(self) -> PointsmanSaver:
        self._async = Engine.open(self._path, self._processes, **self._settings)
        return PointsmanSaver(await self._async.__aenter__(), serde=self._serde)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        assert self._async is not None
        return await self._async.__aexit__(kind, error, trace)


class _Listing:
    """How far a list has been read."""

    def __init__(
        self, config: RunnableConfig | None, wanted: Mapping[str, Any] | None, before: RunnableConfig | None, limit: int | None
    ) -> None:  # fmt: skip
        given = {} if config is None else config["configurable"]
        thread = None if config is None else _thread(config)
        earlier = None if before is None else get_checkpoint_id(before)
        self.query = CheckpointQuery(thread, given.get("checkpoint_ns"), given.get("checkpoint_id"), earlier, json.dumps(wanted or {}))
        self.after: StoredCheckpoint | None = None
        self.goes_on = limit is None or limit > 0
        self._left = limit

    @property
    def room(self) -> int:
        """How many checkpoints the next page may have."""
        return PAGE if self._left is None else min(PAGE, self._left)

    def take(self, found: Sequence[StoredCheckpoint]) -> Sequence[StoredCheckpoint]:
        """Return the page, and remember where the next one begins."""
        self.goes_on = len(found) == self.room
        if found:
            self.after = found[-1]
        if self._left is not None:
            self._left -= len(found)
            self.goes_on = self.goes_on and self._left > 0
        return found


def run_of(metadata: Mapping[str, Any]) -> str | None:
    """The run that made a checkpoint, by its metadata."""
    run = metadata.get("run_id")
    return None if run is None else str(run)


def _thread(config: RunnableConfig) -> str:
    return str(config["configurable"]["thread_id"])


def _namespace(config: RunnableConfig) -> str:
    return str(config["configurable"].get("checkpoint_ns", ""))


def _config(thread: object, namespace: str, checkpoint: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint}}


def _unwritable(serde: SerializerProtocol, value: Any, place: str = "") -> tuple[str, Any]:
    """The innermost value that the serializer cannot write, and where in `value` it is."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, one in inner:
        try:
            serde.dumps_typed(one)
        except Exception:
            return _unwritable(serde, one, f"{place}[{name!r}]")
    return place, value
