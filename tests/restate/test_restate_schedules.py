"""Schedules on Restate: each tick starts one case, as on an engine, whatever dies and however often the program is registered."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

import pytest
from objects_in_memory import Objects

from pointsman import Engine, Process, State, cron, every, finish, otherwise
from pointsman.definition.schedules import Missed
from pointsman.restate.journal import Json
from pointsman.restate.record import Record
from pointsman.restate.work import Work
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock
from restate_server import Server, Supervised, free_ports
from tiers import figure, seed

NOON = 1_795_003_200.0  # a whole minute of the clock in UTC
HOUR = 3_600.0
FIRST = NOON + 0.75  # when the program begins
STORED = Json(Record)
EVERY = figure("RESTATE_EVERY", 4)
KILLS = figure("RESTATE_SCHEDULE_KILLS", 1)  # of the program and of the server, one after the other
KILLED_AT_A_LOOK = 0.05  # a kill comes at any moment of the second: the test looks each 20 ms


class Report(State):
    at: str


def reports(ticks: Any = None, missed: Missed = "one", inputs: Any = None) -> Process[Report]:
    process = Process("reports", Report)
    process.schedule("hourly", ticks or every("1h"), inputs=inputs or (lambda tick: {"at": tick.isoformat()}), missed=missed)
    process.rules(otherwise(finish("reported")))
    return process


def without_schedule() -> Process[Report]:
    process = Process("reports", Report)
    process.rules(otherwise(finish("reported")))
    return process


def key(tick: float, name: str = "hourly") -> str:
    return f"schedule:{name}:{datetime.fromtimestamp(tick, UTC):%Y-%m-%dT%H:%M:%SZ}"


def hours(*numbers: float) -> list[str]:
    return [key(NOON + number * HOUR) for number in numbers]


class Cluster(Objects):
    """Objects whose program serves one process with schedules."""

    def __init__(self, process: Process[Report], **deaths: Any) -> None:
        super().__init__(ManualClock(FIRST), **deaths)
        self.runs(process)

    def runs(self, process: Process[Report]) -> None:
        """Have this code called from now on."""
        self.serve(Work([process], clock=self.clock, random=Random(7)))

    async def registers(self, *names: str) -> None:
        """Do what registering the program does."""
        for name in names or ("hourly",):
            await self.call("begin", f"reports:{name}")

    async def lives(self, seconds: float) -> None:
        await self.work(until=self.clock.now() + seconds)

    def cases(self) -> list[tuple[str, str]]:
        """The keys of the cases and their inputs, in the order of their starts."""
        records = [STORED.deserialize(state["case"]) for state in self.states.values() if "case" in state]
        return [(str(record.row.key), json.loads(record.fields["at"].text)) for record in records if record is not None]

    def keys(self) -> list[str]:
        return [key for key, _ in self.cases()]


async def on_an_engine(process: Process[Report], gaps: Sequence[float]) -> list[tuple[str, str]]:
    """The cases of an engine that is opened at these moments."""
    clock, found = ManualClock(FIRST), list[tuple[str, str]]()
    store = MemoryStore(lease_seconds=1e9, now=clock.now)
    for gap in (0.0, *gaps):
        clock.advance(gap)
        async with Engine.open("", [process], store=store.beside(), clock=clock, random=Random(7)) as engine:
            found = [(str(row.key), (await engine.state(row.id, Report)).at) for row in await engine.reader.cases()]
    return found


@pytest.mark.parametrize("missed", ["one", "all", "none"])
@pytest.mark.parametrize("ticks", [every("1h"), cron("30 */2 * * 1-5", zone="Europe/Berlin")])
def test_a_program_that_is_there_now_and_then_starts_what_an_engine_starts(ticks: Any, missed: Any) -> None:
    gaps = [0.5 * HOUR + 1, 0.5 * HOUR, HOUR, 1.5 * HOUR + 30, 49 * HOUR, 1.5 * HOUR, 60.0, 130 * HOUR, HOUR, HOUR]
    process = reports(ticks, missed)

    async def story() -> Any:
        cluster = Cluster(process)
        await cluster.registers()
        for number, gap in enumerate(gaps):
            cluster.clock.advance(gap)
            if number % 3 == 2:
                await cluster.registers()
            await cluster.lives(0.0)
        return cluster.cases(), await on_an_engine(process, gaps)

    on_restate, on_engine = asyncio.run(story())

    assert on_restate == on_engine
    assert on_engine


@pytest.mark.parametrize("dies", ["program", "server"])
def test_a_death_at_any_moment_loses_and_repeats_no_tick(dies: str) -> None:
    async def story(dies_at: int) -> Cluster:
        cluster = Cluster(reports(missed="all"), dies_at=dies_at, dies=dies)
        await cluster.registers()
        await cluster.lives(HOUR + 1)
        cluster.clock.advance(2 * HOUR)
        await cluster.registers()
        await cluster.lives(HOUR)
        return cluster

    whole = asyncio.run(story(0))

    assert whole.keys() == hours(1, 2, 3, 4)
    for entry in range(1, whole.entries + 1, EVERY):
        cluster = asyncio.run(story(entry))
        assert (cluster.deaths, cluster.keys()) == (1, hours(1, 2, 3, 4))


def test_a_program_that_is_registered_again_has_one_chain_of_looks() -> None:
    async def story() -> tuple[list[str], int]:
        cluster = Cluster(reports())
        for _ in range(5):
            await cluster.registers()
            await cluster.lives(60.0)
        await cluster.lives(HOUR)
        before = cluster.calls["tick"]
        await cluster.lives(10 * HOUR)
        return cluster.keys(), cluster.calls["tick"] - before

    found, looks = asyncio.run(story())

    assert found == hours(*range(1, 12))
    assert looks == 2 * 10  # one starts the case, and one finds the next tick


def test_a_clock_that_is_set_back_starts_nothing_twice() -> None:
    async def story() -> tuple[list[str], int]:
        cluster = Cluster(reports(missed="all"))
        await cluster.registers()
        await cluster.lives(1.5 * HOUR)
        cluster.clock.advance(-2 * HOUR)
        await cluster.registers()
        await cluster.lives(3 * HOUR)
        return cluster.keys(), cluster.calls["start"]

    assert asyncio.run(story()) == (hours(1, 2), 2)


def test_a_tick_weeks_away_comes_at_its_time() -> None:
    async def story() -> tuple[list[str], list[str]]:
        cluster = Cluster(reports(cron("0 7 1 12 *")))
        await cluster.registers()
        await cluster.lives(12 * 24 * HOUR)
        before = cluster.keys()
        await cluster.lives(24 * HOUR)
        return before, cluster.keys()

    assert asyncio.run(story()) == ([], ["schedule:hourly:2026-12-01T07:00:00Z"])


def test_a_schedule_that_the_code_lacks_stops_and_goes_on_from_its_first_moment_when_it_is_there_again() -> None:
    async def story() -> tuple[list[str], list[str]]:
        cluster = Cluster(reports())
        await cluster.registers()
        await cluster.lives(1.5 * HOUR)
        cluster.runs(without_schedule())
        await cluster.work()  # all that is due at any time
        stopped = cluster.keys()
        late = (cluster.clock.now() - NOON) // HOUR
        cluster.runs(reports())
        await cluster.registers()
        await cluster.lives(HOUR)
        assert cluster.keys()[1:] == hours(late, late + 1)
        return stopped, cluster.keys()

    stopped, _ = asyncio.run(story())

    assert stopped == hours(1)


def test_a_program_that_lacks_a_schedule_for_a_while_delays_it_and_no_more() -> None:
    async def story() -> list[str]:
        cluster = Cluster(reports())
        await cluster.registers()
        await cluster.lives(0.0)
        cluster.runs(without_schedule())
        await cluster.lives(HOUR + 1)
        cluster.runs(reports())
        await cluster.lives(120.0)
        return cluster.keys()

    assert asyncio.run(story()) == hours(1)


@pytest.mark.parametrize("registers", [True, False])
def test_a_changed_schedule_is_followed_from_its_first_moment(registers: bool) -> None:
    async def story() -> list[str]:
        cluster = Cluster(reports(every("3h")))
        await cluster.registers()
        await cluster.lives(3.5 * HOUR)
        cluster.runs(reports(every("2h")))
        if registers:
            await cluster.registers()
        await cluster.lives(5 * HOUR)
        return cluster.keys()

    assert asyncio.run(story()) == hours(3, 4, 6, 8)


def test_inputs_that_raise_or_do_not_fit_are_tried_again_and_stop_nothing(caplog: pytest.LogCaptureFixture) -> None:
    wrong: list[Any] = [LookupError("no such day"), {"at": 7}]

    def inputs(tick: datetime) -> Any:
        given = wrong.pop() if wrong else {"at": "the right time"}
        if isinstance(given, Exception):
            raise given
        return given

    async def story() -> tuple[list[str], list[tuple[str, str]]]:
        cluster = Cluster(reports(inputs=inputs))
        await cluster.registers()
        await cluster.lives(HOUR + 119)
        early = cluster.keys()
        await cluster.lives(HOUR)
        return early, cluster.cases()

    with caplog.at_level(logging.ERROR, "pointsman"):
        early, found = asyncio.run(story())

    assert early == []
    assert found == [(tick, "the right time") for tick in hours(1, 2)]
    assert caplog.text.count("schedule 'hourly' of process 'reports' could not start its case") == 2


def test_a_start_that_other_code_refuses_is_tried_again() -> None:
    other = Process("others", Report)
    other.rules(otherwise(finish("reported")))

    async def story(dies_at: int) -> tuple[list[str], list[str]]:
        cluster = Cluster(reports(), dies_at=dies_at)
        await cluster.registers()
        served, cluster._work = cluster._work, Work([other], clock=cluster.clock)  # the code of the program after its death
        await cluster.lives(HOUR)
        refused = cluster.keys()
        cluster._work = served
        cluster._begin()
        await cluster.lives(HOUR - 1)
        return refused, cluster.keys()

    stories = [asyncio.run(story(entry)) for entry in range(13, 21)]

    assert ([], hours(1)) in stories
    assert {tuple(found) for _, found in stories} == {tuple(hours(1))}


def test_a_look_that_comes_early_starts_nothing_and_the_next_one_waits_so_much_longer() -> None:
    async def story() -> tuple[list[str], list[float]]:
        cluster = Cluster(reports())
        await cluster.registers()
        await cluster.lives(0.0)
        cluster.clock.advance(HOUR - 5.75)
        await cluster.call("tick", "reports:hourly", {"begun": 1, "at": NOON + HOUR})  # a server whose clock is 5 seconds ahead
        return cluster.keys(), [at - cluster.clock.now() for at, *_ in cluster._due]

    found, waits = asyncio.run(story())

    assert found == []
    assert [round(wait) for wait in waits] == [5, 10]


@contextmanager
def serving(server: Server) -> Iterator[Supervised]:
    """Run `pointsman restate serve` with a schedule that ticks each second."""
    [port] = free_ports(1)
    words = ["restate", "serve", "--app", "reports_service:processes", "--port", str(port), "--admin", server.admin]
    with Supervised([sys.executable, "-m", "pointsman.cli.main", *words], {"PYTHONPATH": str(Path(__file__).parent)}) as program:
        yield program


def seconds_of(server: Server) -> list[str]:
    """The keys of the cases on a server, oldest first."""
    rows = server.query("SELECT value_utf8 FROM state WHERE service_name = 'PointsmanCase' AND key = 'case'")
    records = [STORED.deserialize(row["value_utf8"].encode()) for row in rows]
    return sorted(str(record.row.key) for record in records if record is not None)


def test_a_killed_program_and_a_killed_server_lose_and_repeat_no_second(restate: Server) -> None:
    chance = Random(seed())
    with serving(restate) as program:
        for kill in (*islice(cycle([program.kill, restate.kill]), KILLS), lambda: None):
            before = len(seconds_of(restate))
            program.until(lambda before=before: len(seconds_of(restate)) > before)
            program.until(lambda: chance.random() < KILLED_AT_A_LOOK)
            kill()

    found = seconds_of(restate)
    first = datetime.fromisoformat(found[0].removeprefix("schedule:each:"))
    assert found == [key(first.timestamp() + number, "each") for number in range(len(found))]
    print(f"{len(found)} ticks of a schedule and {KILLS} kills: 0 lost, 0 repeated")
