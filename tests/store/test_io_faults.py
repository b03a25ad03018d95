"""The disk may fail at any operation: whoever is not told of an error has what was answered, and an error says what mends it.

At one operation of the real store after the other the disk is full, or has an error, or does not flush, once or from then on. The
engine is told and closes, or dies; the disk is repaired; the next engine goes on; and the power fails at the worst moments. What
a failed flush has not written is lost, although the system's cache shows it.
"""

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from sqlite_disk import Disk, Platters, on_disk, on_network_drive
from sqlite_faults import Failing, Kind, cached, suffered
from sqlite_sessions import lay_out

from pointsman import AtLeastOnce, Context, Engine, Process, State, Status, finish, open_reader, otherwise, when
from pointsman.errors import EngineStopped, StoreUnwritable
from pointsman.store.sqlite import open_sqlite
from pointsman.testing.clock import ManualClock
from pointsman.testing.conformance import new_case
from tiers import seed


def test_no_fault_of_the_disk_loses_a_confirmed_commit_or_raises_an_error_without_its_fix(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [(kind, stays) for kind in Kind for stays in (False, True)]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {fault: pool.submit(suffered, fault[0], stays=fault[1], seed=seed()) for fault in faults}
        deaf = pool.submit(suffered, Kind.SYNC, stays=False, seed=seed(), deaf=True)
        answers = {fault: one.result() for fault, one in running.items()}
        control = deaf.result()

    with capsys.disabled():
        print("\nI/O faults:")
        for (kind, stays), (places, wrong) in answers.items():
            print(f"  {kind} {'from then on' if stays else 'once'}, at {places} places: {len(wrong)} violations")
        print(f"  (control, a commit that fails and is answered: {len(control[1])} of {control[0]}; seed {seed()})")
    assert not {place: what for _, wrong in answers.values() for place, what in wrong.items()}
    assert all(places for places, _ in answers.values())
    assert control[1]


# What the store does about it.


def test_a_file_that_could_not_be_changed_over_to_a_log_is_not_used_without_one(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    disk = Disk(Failing(Kind.FULL, 2, stays=False))  # in the middle of the change

    async def main() -> None:
        with pytest.raises(StoreUnwritable, match="is full"):
            await open_sqlite(path, now=10.0)
        store = await open_sqlite(path, now=10.0)
        assert store.core.connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        await store.close()

    with on_disk(disk, seed()):
        asyncio.run(main())


def test_a_file_where_no_log_is_possible_is_refused(tmp_path: Path) -> None:
    with on_network_drive(), pytest.raises(StoreUnwritable, match="put it on a local disk"):
        asyncio.run(open_sqlite(tmp_path / "cases.db", now=10.0))


def test_a_store_whose_commit_failed_writes_nothing_more_and_the_next_one_continues(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    disk = Disk()

    async def main() -> None:
        store = await open_sqlite(path, now=10.0)
        await new_case(store, key="before")
        disk.fault = Failing(Kind.SYNC, 1, stays=False)
        with pytest.raises(StoreUnwritable, match="find out whether the last commit was kept"):
            await new_case(store, key="at the fault")
        written = len(disk.record)
        for key in ("after", "later"):
            with pytest.raises(StoreUnwritable, match="start again"):
                await new_case(store, key=key)
        with pytest.raises(StoreUnwritable, match="start again"):
            await store.compact()
        assert len(disk.record) == written
        assert [row.key for row in await store.cases()] == ["before"]
        await store.close()

        following = await open_sqlite(path, now=10.0)
        await new_case(following, key="after the repair")
        keys = {row.key for row in await following.cases()}
        await following.close()
        assert {"before", "after the repair"} <= keys <= {"before", "at the fault", "after the repair"}

    with on_disk(disk, seed()):
        asyncio.run(main())


def test_the_log_of_a_dead_engine_is_checkpointed_before_anything_else_is_written(tmp_path: Path) -> None:
    path = tmp_path / "cases.db"
    disk = Disk()

    async def main() -> int:
        store = await open_sqlite(path, now=10.0)
        await new_case(store, key="before")
        disk.fault = Failing(Kind.SYNC, 1, stays=False)
        with pytest.raises(StoreUnwritable):
            await new_case(store, key="not flushed")
        files, length = cached(tmp_path), len(disk.record)
        await store.close()
        del disk.record[length:]
        lay_out(tmp_path, files)  # it died instead, and the system's cache is what it was
        following = await open_sqlite(path, now=10.0)
        await new_case(following, key="after")
        length = len(disk.record)
        await following.close()
        return length

    with on_disk(disk, seed()):
        length = asyncio.run(main())
    platters = Platters({})
    for entry in disk.record[:length]:
        platters.take(entry)
    with open_reader(lay_out(tmp_path, platters.nothing())) as reader:
        assert [row.key for row in asyncio.run(reader.cases())] == ["before", "not flushed", "after"]


# An engine on such a disk.


class Letter(State):
    message: str
    receipt: str | None = None


class Post:
    """The world outside: for each call, how long the record of the disk was when it came."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.calls: list[tuple[str, int]] = []


letters = Process("letter", Letter)


@letters.effect(writes="receipt", timeout_seconds=5, safety=AtLeastOnce(because="the receiver does not mind"))
def send(message: str, *, ctx: Context, post: Post) -> str:
    post.calls.append((ctx.key, len(post.disk.record)))
    return f"sent {message}"


letters.rules(when("not sent", lambda c: c.receipt is None, send), otherwise(finish("sent")))


def recorded(path: Path, disk: Disk, post: Post) -> bool:
    """Let an engine send a letter; whether it came to the end of it."""

    async def main() -> bool:
        try:
            async with Engine.open(path, [letters], resources={"post": post}, clock=ManualClock()) as engine:
                started = await engine.start(letters, {"message": "hello"}, key="a letter")
                return (await engine.wait_until_resting(started.case)).status is Status.DONE
        except (StoreUnwritable, EngineStopped):
            return False

    with on_disk(disk, seed()):
        return asyncio.run(asyncio.wait_for(main(), 120.0))


@pytest.mark.parametrize("stays", [False, True], ids=["once", "from then on"])
def test_no_effect_is_called_before_its_intent_is_safe_from_a_power_failure(tmp_path: Path, stays: bool) -> None:
    counting = Failing(Kind.SYNC, 0, stays=False)
    whole = Disk(counting)
    assert recorded(lay_out(tmp_path, {}), whole, Post(whole))
    calls = 0

    for number in range(1, counting.seen + 1):
        disk = Disk(Failing(Kind.SYNC, number, stays=stays))
        post = Post(disk)
        path = lay_out(tmp_path, {})
        recorded(path, disk, post)
        disk.fault = None
        assert recorded(path, disk, post)
        for key, length in post.calls:
            platters = Platters({})
            for entry in disk.record[:length]:
                platters.take(entry)
            with open_reader(lay_out(tmp_path, platters.nothing())) as reader:
                assert asyncio.run(reader.effect(key)) is not None
        calls += len(post.calls)

    assert calls >= counting.seen
