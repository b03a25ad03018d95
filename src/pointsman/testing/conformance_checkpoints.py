"""The promises of a store about the checkpoints of LangGraph threads (S30 to S32); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

from pointsman.store.base import Store
from pointsman.store.checkpoints import (
    CHUNK_BYTES,
    DIGEST_BYTES,
    ChannelValue,
    CheckpointId,
    CheckpointQuery,
    CheckpointStore,
    CheckpointWrite,
    StoredCheckpoint,
    TaskWrite,
    TaskWrites,
    ThreadCount,
    Value,
)
from pointsman.testing.scenarios import Scenario, Scenarios

SIZES = [0, 1, CHUNK_BYTES, 3 * CHUNK_BYTES + 7, CHUNK_BYTES * (CHUNK_BYTES // DIGEST_BYTES + 2)]
"""Sizes of values in bytes: the last one has more pieces than digests fit into a piece."""

T = TypeVar("T")


def done(future: Future[T]) -> Awaitable[T]:
    """Wait for a future of the store."""
    return asyncio.wrap_future(future)


def checkpoint(id_: str, *, parent: str | None = None, thread: str = "t", run: str | None = None, **values: bytes) -> CheckpointWrite:
    """A checkpoint that gives these channels their first values."""
    new = [ChannelValue(channel, 1, Value("bytes", content)) for channel, content in values.items()]
    versions = {one.channel: one.version for one in new}
    return CheckpointWrite(CheckpointId(thread, "", id_), parent, run, versions, Value("body", id_.encode()), '{"step": 1}', new)


def writes(id_: str, *contents: bytes, task: str = "task", path: str = "", replaces: bool = False) -> TaskWrites:
    """What a task of the step after a checkpoint has written to the channel `list`."""
    rows = [TaskWrite(place, "list", Value("bytes", content), replaces) for place, content in enumerate(contents)]
    return TaskWrites(CheckpointId("t", "", id_), task, path, rows)


def contents(stored: StoredCheckpoint | None) -> dict[str, bytes]:
    """The values of a checkpoint's channels."""
    return {} if stored is None else {channel: value.content for channel, value in stored.values.items()}


def noise(size: int) -> bytes:
    """Bytes in which no piece is like another."""
    return b"".join(number.to_bytes(4) for number in range(size // 4 + 1))[:size]


class CheckpointConformance(Scenarios):
    """The checkpoints of LangGraph threads."""

    def test_s30_a_checkpoint_has_the_values_that_it_was_stored_with_whatever_their_size(self, check: Callable[[Scenario], None]) -> None:
        """From an empty value to one whose digests are cut into pieces, too."""

        async def scenario(store: Store) -> None:
            kept = store.checkpoints
            values = {f"of_{size}": noise(size) for size in SIZES}
            await done(kept.put(checkpoint("1", parent=None, thread="t", run=None, **values)))

            stored = await done(kept.get("t", ""))

            assert stored is not None
            assert (stored.at.id, stored.parent, stored.body, stored.metadata) == ("1", None, Value("body", b"1"), '{"step": 1}')
            assert contents(stored) == values
            assert await done(kept.get("t", "inner")) is None
            assert await done(kept.get("t", "", "2")) is None

        check(scenario)

    def test_s30_an_unchanged_channel_keeps_its_value_and_forks_with_one_version_keep_theirs(
        self, check: Callable[[Scenario], None]
    ) -> None:
        """Also in the checkpoints that follow on a fork."""

        async def scenario(store: Store) -> None:
            kept = store.checkpoints
            await done(kept.put(checkpoint("1", a=b"first", b=b"same")))
            for id_, content in (("2", b"left"), ("3", b"right")):
                fork = checkpoint(id_, parent="1", a=content)._replace(versions={"a": 2, "b": 1})
                await done(kept.put(fork._replace(values=[ChannelValue("a", 2, Value("bytes", content))])))
            await done(kept.put(checkpoint("4", parent="3")._replace(versions={"a": 2, "b": 1})))

            found = {one.at.id: contents(one) for one in await done(kept.find(CheckpointQuery("t")))}

            assert found == {
                "4": {"a": b"right", "b": b"same"},
                "3": {"a": b"right", "b": b"same"},
                "2": {"a": b"left", "b": b"same"},
                "1": {"a": b"first", "b": b"same"},
            }

        check(scenario)

    def test_s30_a_value_that_grows_shrinks_or_changes_keeps_each_of_its_versions(self, check: Callable[[Scenario], None]) -> None:
        """Also where its first pieces are those of the version before."""

        async def scenario(store: Store) -> None:
            kept = store.checkpoints
            versions = [
                noise(9_000),
                noise(20_000),
                b"x" + noise(20_000)[1:],
                noise(19_000),
                noise(9_000) + b"y" * 9_000,
                b"",
                noise(500_000),
            ]
            for number, content in enumerate(versions):
                new = [ChannelValue("list", number, Value("bytes", content))]
                await done(kept.put(checkpoint(str(number))._replace(versions={"list": number}, values=new)))

            for number, content in enumerate(versions):
                assert contents(await done(kept.get("t", "", str(number)))) == {"list": content}

        check(scenario)

    def test_s30_lists_go_on_where_a_page_ended(self, check: Callable[[Scenario], None]) -> None:
        """The newest first, and only what fits."""

        async def scenario(store: Store) -> None:
            kept = store.checkpoints
            for thread in ("t", "u"):
                for number in range(5):
                    await done(kept.put(checkpoint(str(number), thread=thread)._replace(metadata=f'{{"step": {number % 2}, "of": [1]}}')))

            assert [one.at.id for one in await pages(kept, CheckpointQuery("t"))] == ["4", "3", "2", "1", "0"]
            assert len(await pages(kept, CheckpointQuery())) == 10
            assert [one.at.id for one in await pages(kept, CheckpointQuery("t", before="3", filter='{"step": 0, "of": [1]}'))] == ["2", "0"]
            assert not await pages(kept, CheckpointQuery("t", filter='{"step": 0, "missing": 1}'))
            assert await done(kept.count("u")) == ThreadCount(5, 0)

        check(scenario)

    def test_s31_the_first_writes_of_a_task_stay_and_others_replace(self, check: Callable[[Scenario], None]) -> None:
        """They come in the order of the tasks' paths, also before their checkpoint."""

        async def scenario(store: Store) -> None:
            kept = store.checkpoints
            await done(kept.put_writes(writes("1", b"b1", b"b2", task="b", path="0")))
            await done(kept.put_writes(writes("1", b"other", noise(9_000), task="b", path="0")))
            await done(kept.put_writes(writes("1", b"wrong", task="a", path="1", replaces=True)))
            await done(kept.put_writes(writes("1", noise(9_000), task="a", path="1", replaces=True)))
            await done(kept.put(checkpoint("1")))

            stored = await done(kept.get("t", ""))

            assert stored is not None
            assert [(write.task, write.value.content) for write in stored.writes] == [("b", b"b1"), ("b", b"b2"), ("a", noise(9_000))]

        check(scenario)

    def test_s32_what_is_deleted_leaves_nothing_and_the_rest_is_whole(self, check: Callable[[Scenario], None]) -> None:
        """A run, all but the latest checkpoint, and a thread whose copy stays."""

        async def scenario(store: Store) -> None:
            kept = store.checkpoints
            for number, run in enumerate(["old", "old", "new", "new"]):
                parent = str(number - 1) if number else None
                value = noise(9_000) + str(number).encode()
                whole = checkpoint(str(number), parent=parent, run=run)._replace(versions={"list": number})
                await done(kept.put(whole._replace(values=[ChannelValue("list", number, Value("bytes", value))])))
                await done(kept.put_writes(writes(str(number), noise(9_000 + number))))
            await done(kept.copy_thread("t", "copy"))

            await done(kept.delete_runs(["old", "unknown"]))
            after_runs = await ids(kept, "t")
            await done(kept.prune(["t", "unknown"]))
            after_prune = await ids(kept, "t")
            pruned = await done(kept.get("t", ""))
            await done(kept.delete_thread("t"))
            await done(kept.delete_thread("unknown"))

            assert (after_runs, after_prune, await ids(kept, "t")) == (["3", "2"], ["3"], [])
            assert contents(pruned) == {"list": noise(9_000) + b"3"}
            assert pruned is not None
            assert [write.value.content for write in pruned.writes] == [noise(9_003)]
            assert await done(kept.count("t")) == ThreadCount(0, 0)
            assert await done(kept.count("copy")) == ThreadCount(2, 2)  # the runs are deleted there, too
            for number in (2, 3):
                copy = await done(kept.get("copy", "", str(number)))
                assert contents(copy) == {"list": noise(9_000) + str(number).encode()}

        check(scenario)

    def test_s32_pruning_keeps_what_a_delta_channel_is_made_from(self, check: Callable[[Scenario], None]) -> None:
        """The writes since the nearest whole value stay, and its checkpoint."""

        async def scenario(store: Store) -> None:
            kept = store.checkpoints
            for number in range(5):
                parent = str(number - 1) if number else None
                one = checkpoint(str(number), parent=parent)._replace(versions={"list": number})
                if number == 2:
                    one = one._replace(values=[ChannelValue("list", number, Value("bytes", b"whole"))])
                else:
                    one = one._replace(metadata='{"counters_since_delta_snapshot": {"list": [1, 1]}}')
                await done(kept.put(one))
                await done(kept.put_writes(writes(str(number), str(number).encode())))
            before = await done(kept.history("t", "", "4", ["list", "other"]))

            await done(kept.prune(["t"]))

            after = await done(kept.history("t", "", "4", ["list", "other"]))
            assert await ids(kept, "t") == ["4", "3", "2"]
            assert after == before
            assert after["list"].seed == Value("bytes", b"whole")
            assert [write.value.content for write in after["list"].writes] == [b"2", b"3"]
            assert after["other"].seed is None

        check(scenario)


async def pages(kept: CheckpointStore, query: CheckpointQuery) -> Sequence[StoredCheckpoint]:
    """All checkpoints that fit a query, read three at a time."""
    found: list[StoredCheckpoint] = []
    while page := await done(kept.find(query, after=found[-1] if found else None, limit=3)):
        found += page
    return found


async def ids(kept: CheckpointStore, thread: str) -> list[str]:
    """The ids of a thread's checkpoints, the newest first."""
    return [one.at.id for one in await pages(kept, CheckpointQuery(thread))]
