"""`pointsman stats`: counts, times and reasons of many cases."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from pointsman import Engine, Process, State, finish, otherwise, park, when
from pointsman.cli.main import app
from pointsman.operations.stats import Stats, stats_of
from pointsman.testing.clock import ManualClock

BEGIN = 1_800_000_000.0
HOUR = 3_600.0


class Verdict(BaseModel):
    paid: bool


class Claim(State):
    customer: str
    verdict: Verdict | None = None


claims = Process("claims", Claim)
assess = claims.pause(name="assess", writes="verdict", answer=Verdict, shows=("customer",))
claims.rules(
    when("nobody knows the customer", lambda c: c.customer.startswith("X"), park("unknown")),
    when("undecided", lambda c: c.verdict is None, assess),
    otherwise(finish("decided")),
)


def decided(db: Path, *hours: float) -> None:
    """One claim for each number, which a person answers after so many hours, one after another."""

    async def main() -> None:
        clock = ManualClock(BEGIN)
        async with Engine.open(db, [claims], clock=clock) as engine:
            for wait in hours:
                case = (await engine.start(claims, {"customer": "Ada"})).case
                await engine.wait_until_resting(case)
                clock.advance(wait * HOUR)
                pending = await engine.pending(case)
                await engine.resume(pending.token, Verdict(paid=True), by="bo")
                await engine.wait_until_resting(case)

    asyncio.run(main())


def figures(db: Path, since: float, until: float, most: int = 1_000) -> Stats:
    async def main() -> Stats:
        async with Engine.open(db, [claims], clock=ManualClock(until), concurrency=0) as engine:
            return await stats_of(engine.reader, since=since, until=until, most=most)

    return asyncio.run(main())


def test_the_times_to_the_end_and_to_the_answer_are_told(tmp_path: Path) -> None:
    decided(tmp_path / "cases.db", *[1.0] * 10, 20.0)

    found = figures(tmp_path / "cases.db", BEGIN, BEGIN + 100 * HOUR)

    [end], [wait] = found.times.ends, found.times.waits
    assert (end.process, end.seconds) == ("claims", (11, HOUR, 20 * HOUR))
    assert (wait.process, wait.pause, wait.seconds) == ("claims", "assess", (11, HOUR, 20 * HOUR))
    assert [(count.status, count.place, count.cases) for count in found.counts] == [("done", "decided", 11)]


def test_what_ended_before_the_time_does_not_count(tmp_path: Path) -> None:
    decided(tmp_path / "cases.db", 1.0, 2.0, 4.0)

    found = figures(tmp_path / "cases.db", BEGIN + 3 * HOUR, BEGIN + 7 * HOUR)

    [end] = found.times.ends
    assert end.seconds == (2, 2 * HOUR, 4 * HOUR)
    assert (found.times.looked, found.times.more) == (2, False)


def test_it_says_that_there_are_more_cases_than_it_reads(tmp_path: Path) -> None:
    decided(tmp_path / "cases.db", 1.0, 2.0, 4.0)

    found = figures(tmp_path / "cases.db", BEGIN, BEGIN + 7 * HOUR, most=2)

    assert (found.times.looked, found.times.more, found.times.ends[0].seconds.number) == (2, True, 2)


@pytest.fixture
def parked(tmp_path: Path) -> Path:
    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine:
            for customer in ("X1", "X2", "Ada"):
                await engine.wait_until_resting((await engine.start(claims, {"customer": customer})).case)

    asyncio.run(main())
    return tmp_path / "cases.db"


def stats(*options: object) -> Any:
    return CliRunner().invoke(app, ["stats", *map(str, options)])


def test_the_command_groups_parked_cases_by_their_reason(parked: Path) -> None:
    done = stats("--db", parked)

    assert done.exit_code == 0
    assert "     2  claims at park: unknown\n" in done.stdout


def test_the_command_prints_the_same_as_json(parked: Path) -> None:
    found = json.loads(stats("--db", parked, "--json", "--last", "1h").stdout)

    assert found["parked"] == [{"process": "claims", "step": "park", "reason": "unknown", "cases": 2}]
    assert {(count["status"], count["cases"]) for count in found["counts"]} == {("parked", 2), ("waiting", 1)}
    assert found["until"] - found["since"] == HOUR


def test_the_command_refuses_a_time_that_is_none(parked: Path) -> None:
    done = stats("--db", parked, "--last", "yesterday")

    assert done.exit_code == 1
    assert "pointsman: --last: 'yesterday' is not a duration; give a number above 0 and a unit" in done.stderr
