"""Schedules: each tick starts one case and never early, whatever the clock and the engines do."""

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import ticking
from places import Place, run, seen
from ticking import HOUR, NOON, Report, key, reporting

from pointsman import Engine, Process, cron, every, finish, otherwise
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock


async def keys(engine: Engine) -> list[str | None]:
    return [row.key for row in await engine.reader.cases()]


def test_each_tick_starts_a_case_with_the_inputs_of_its_time(place: Place) -> None:
    clock = ManualClock(NOON + 0.75)

    async def main() -> Any:
        async with place.open(reporting(), clock=clock) as engine:
            before = await keys(engine)
            for number in (1, 2):
                clock.advance(HOUR)
                await seen(engine, "finished", count=number)
            return before, await keys(engine), [(await engine.state(case, Report)).at for case in (1, 2)]

    before, after, inputs = run(main())

    assert before == []
    assert after == [key(NOON + HOUR), key(NOON + 2 * HOUR)]
    assert inputs == ["2026-11-18T13:00:00+00:00", "2026-11-18T14:00:00+00:00"]


def test_a_tick_does_not_come_early(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(reporting(), clock=clock) as engine:
            clock.advance(HOUR - 0.001)
            await engine.idle()
        async with place.open(reporting(), clock=clock) as engine:
            early = await keys(engine)
        clock.advance(0.001)
        async with place.open(reporting(), clock=clock) as engine:
            return early, await keys(engine)

    assert run(main()) == ([], [key(NOON + HOUR)])


MISSED = [("one", [5]), ("all", [1, 2, 3, 4, 5]), ("none", [])]


@pytest.mark.parametrize(("missed", "hours"), MISSED)
def test_of_ticks_without_an_engine_those_are_started_that_the_schedule_says(place: Place, missed: Any, hours: list[int]) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        for seconds in (5.5 * HOUR, 0.0, 0.5 * HOUR, 0.0):
            async with place.open(reporting(missed), clock=clock) as engine:
                found = await keys(engine)
            clock.advance(seconds)
        return found

    assert run(main()) == [key(NOON + hour * HOUR) for hour in [*hours, 6]]


@pytest.mark.parametrize(("missed", "hours"), MISSED)
def test_a_clock_that_jumps_ahead_has_missed_ticks(place: Place, missed: Any, hours: list[int]) -> None:
    clock, process = ManualClock(NOON), reporting(missed)
    process.schedule("then", every(5.5 * HOUR), inputs={"at": "then"}, missed="all")

    async def main() -> Any:
        async with place.open(process, clock=clock) as engine:
            clock.advance(5.5 * HOUR)
            await seen(engine, "finished", count=len(hours) + 1)
            clock.advance(0.5 * HOUR)
            await seen(engine, "finished", count=len(hours) + 2)
            return await keys(engine)

    found = run(main())

    assert found == [*(key(NOON + hour * HOUR) for hour in hours), key(NOON + 5.5 * HOUR, "then"), key(NOON + 6 * HOUR)]


@pytest.mark.parametrize("missed", ["one", "all", "none"])
def test_a_clock_that_jumps_back_starts_nothing_twice(place: Place, missed: Any) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        async with place.open(reporting(missed), clock=clock) as engine:
            clock.advance(HOUR)
            await seen(engine, "finished")
            clock.advance(-2 * HOUR)
            clock.advance(2 * HOUR)
            clock.advance(HOUR)
            await seen(engine, "finished", count=2)
            return await keys(engine), len(await engine.reader.events())

    found, events = run(main())

    assert found == [key(NOON + HOUR), key(NOON + 2 * HOUR)]
    assert events == 6


def test_a_schedule_is_looked_at_each_minute_so_that_a_clock_that_was_set_makes_no_tick_late_by_hours(place: Place) -> None:
    waits: list[float | None] = []

    class Watched(ManualClock):
        async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
            waits.append(seconds)
            await super().wait(event, seconds)

    async def main() -> None:
        async with place.open(reporting(), clock=Watched(NOON)) as engine:
            await engine.idle()

    run(main())

    assert 60.0 in waits


def test_two_engines_start_one_case_a_tick() -> None:
    clock = ManualClock(NOON)
    store = MemoryStore(lease_seconds=1e9, now=clock.now)

    def another() -> Any:
        return Engine.open("", [reporting()], store=store.beside(), clock=clock, random=Random(7))

    async def main() -> Any:
        async with another() as first, another() as second:
            for number in (1, 2, 3):
                clock.advance(HOUR)
                await seen(first, "finished", count=number)
                await seen(second, "finished", count=number)
        async with another() as third:
            return await keys(third), [last for (last,) in store.core.connection.execute("SELECT last FROM schedules")]

    found, last = run(main())

    assert found == [key(NOON + hour * HOUR) for hour in (1, 2, 3)]
    assert last == [NOON + 3 * HOUR]


def test_a_tick_whose_inputs_raise_is_tried_again_and_delays_no_other(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    clock, process, wrong = ManualClock(NOON), Process("reports", Report), [True]

    def inputs(tick: Any) -> dict[str, str]:
        if wrong.pop() if wrong else False:
            raise LookupError("no such day")
        return {"at": tick.isoformat()}

    process.schedule("broken", every("1h"), inputs=inputs)
    process.schedule("sound", every("1h"), inputs={"at": "now"})
    process.rules(otherwise(finish("reported")))

    async def main() -> Any:
        async with place.open(process, clock=clock) as engine:
            clock.advance(HOUR)
            await seen(engine, "finished")
            first = await keys(engine)
            clock.advance(60)
            await seen(engine, "finished", count=2)
            return first, await keys(engine)

    with caplog.at_level(logging.ERROR, "pointsman"):
        first, both = run(main())

    assert first == [key(NOON + HOUR, "sound")]
    assert both == [key(NOON + HOUR, "sound"), key(NOON + HOUR, "broken")]
    assert "schedule 'broken' of process 'reports' could not start its case" in caplog.text


def test_cron_starts_cases_by_the_clocks_of_its_zone(place: Place) -> None:
    clock = ManualClock(NOON)

    async def main() -> Any:
        for _ in range(4):
            async with place.open(reporting(ticks=cron("0 7 * * 1-5", zone="Europe/Berlin")), clock=clock) as engine:
                found = [(await engine.state(row.id, Report)).at for row in await engine.reader.cases()]
            clock.advance(24 * HOUR)
        return found

    # The 18th of November 2026 is a Wednesday.
    assert run(main()) == ["2026-11-19T07:00:00+01:00", "2026-11-20T07:00:00+01:00"]


def test_an_engine_without_schedules_has_no_task_for_them(place: Place) -> None:
    process = Process("quiet", Report)
    process.rules(otherwise(finish("reported")))

    async def main() -> Any:
        async with place.open(process):
            return [task.get_name() for task in asyncio.all_tasks()]

    assert "pointsman-schedules" not in run(main())


def test_a_kill_at_any_point_loses_and_repeats_no_tick(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, ticking.__file__, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)

    assert report["different"] == []
    assert report["killed"] >= 15
    assert report["ends"] == [key(NOON + hour * HOUR) for hour in (1, 2, 3)]
