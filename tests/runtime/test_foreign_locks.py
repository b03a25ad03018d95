"""Another program holds a write lock on the file: the engine waits, logs it once, and goes on when the lock is released."""

import asyncio
import itertools
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from places import Place, run

from pointsman import AtMostOnce, EngineStopped, Process, State, Status, StoreError, finish, otherwise, when
from pointsman.store import sqlite_file

GIVEN_UP_SECONDS = 120.0  # before the test is given up; an engine that closes at all has closed by then
TRIES = 200  # far beyond any count after which somebody might think of giving up


class Job(State):
    name: str
    read: str | None = None
    sent: str | None = None


def working(calls: list[str], gate: asyncio.Event) -> Process[Job]:
    process = Process("work", Job)

    @process.node(writes="read")
    async def look(name: str) -> str:
        calls.append("look")
        await gate.wait()
        return name

    @process.effect(writes="sent", safety=AtMostOnce())
    async def send(read: str) -> str:
        calls.append("send")
        return read

    process.rules(when("unread", lambda c: c.read is None, look), when("unsent", lambda c: c.sent is None, send), otherwise(finish("sent")))
    return process


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer tries every millisecond, and tells of the lock at once."""
    monkeypatch.setattr(sqlite_file, "TRY_SECONDS", 0.001)
    monkeypatch.setattr(sqlite_file, "TRIES_QUIET", 2)


@pytest.fixture(name="tried")
def _tried(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the writer has met the lock `TRIES` times."""
    real, times, often = sqlite_file.is_locked, itertools.count(1), asyncio.Event()

    def counted(error: sqlite3.Error) -> bool:
        if next(times) == TRIES:
            loops[0].call_soon_threadsafe(often.set)
        return real(error)

    monkeypatch.setattr(sqlite_file, "is_locked", counted)
    return often


@pytest.fixture(name="warned")
def _warned() -> Iterator[asyncio.Queue[str]]:
    """What the engine's log says, as it comes."""
    told: asyncio.Queue[str] = asyncio.Queue()

    class Told(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            loops[0].call_soon_threadsafe(told.put_nowait, record.getMessage())

    handler = Told()
    logging.getLogger("pointsman").addHandler(handler)
    yield told
    logging.getLogger("pointsman").removeHandler(handler)


loops: list[asyncio.AbstractEventLoop] = []


def locked(place: Place) -> sqlite3.Connection:
    loops[:] = [asyncio.get_running_loop()]
    other = sqlite3.connect(place.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


def test_cases_that_meet_a_lock_wait_for_its_end_and_lose_nothing(on_disk: Place, warned: asyncio.Queue[str], tried: asyncio.Event) -> None:
    calls: list[str] = []

    async def main() -> Any:
        gate = asyncio.Event()
        process = working(calls, gate)
        async with on_disk.open(process) as engine:
            first = (await engine.start(process, {"name": "first"})).case
            with closing(locked(on_disk)) as other:
                gate.set()  # what it read cannot be committed now
                second = asyncio.ensure_future(engine.start(process, {"name": "second"}))
                warning = await warned.get()
                await tried.wait()
                assert not second.done()
                other.execute("ROLLBACK")
            again = await warned.get()
            rows = [await engine.wait_until_resting(case) for case in (first, (await second).case)]
            return warning, again, rows, warned.qsize()

    warning, again, rows, more = run(main())

    assert str(on_disk.path) in warning
    assert "look for a running backup" in warning
    assert again.endswith("is no longer locked, and the engine goes on")
    assert more == 0  # one warning, however often it was tried
    assert [(row.status, row.attempts) for row in rows] == [(Status.DONE, 0)] * 2
    assert calls == ["look", "send"] * 2 or sorted(calls) == ["look", "look", "send", "send"]


def test_an_engine_can_be_closed_while_it_waits_for_a_lock(on_disk: Place, warned: asyncio.Queue[str]) -> None:
    calls: list[str] = []

    async def main() -> Any:
        gate = asyncio.Event()
        process = working(calls, gate)
        opening = on_disk.open(process)
        engine = await opening.__aenter__()
        first = (await engine.start(process, {"name": "first"})).case
        with closing(locked(on_disk)):
            gate.set()
            second = asyncio.ensure_future(engine.start(process, {"name": "second"}))
            await warned.get()
            ends = asyncio.ensure_future(opening.__aexit__(None, None, None))
            ended, _ = await asyncio.wait({ends}, timeout=GIVEN_UP_SECONDS)
        await ends  # at the latest when the lock has gone, so that no engine is left behind
        assert ended, "it was not closed while another program held the lock"
        with pytest.raises((StoreError, EngineStopped)):
            await second
        async with on_disk.open(process) as engine:
            return await engine.wait_until_resting(first), await engine.reader.cases()

    row, rows = run(main(), seconds=2 * GIVEN_UP_SECONDS)

    assert (row.status, len(rows)) == (Status.DONE, 1)
    assert calls.count("send") == 1
