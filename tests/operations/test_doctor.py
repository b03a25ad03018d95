"""`pointsman doctor`: each line says how something is, and what to do about it."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pointsman import Engine, Process, State, finish, otherwise, park, when
from pointsman.cli.main import app
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.limits import LimitState
from pointsman.kernel.rows import EffectRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.doctor import (
    CLOCKS_SECONDS,
    FREE_MIN,
    LATE_SECONDS,
    LOG_MAX,
    Finding,
    Level,
    Passing,
    Stand,
    of_cases,
    of_store,
    stand_of,
)
from pointsman.runtime.clock import SystemClock
from pointsman.store.gaps import Gap
from pointsman.store.health import EngineHealth, Room, Server, StoreHealth, Tables, Times
from pointsman.testing.clock import ManualClock

NOW = 1_800_000_000.0
ALIVE = EngineHealth("engine 1", NOW + 30, alive=True)
GONE = EngineHealth("engine 2", NOW - 30, alive=False)
SERVER, ROOM = Server("SQLite", "3.45", {"journal_mode": "wal"}), Room(1_000, 0, 10 * FREE_MIN)
WELL = StoreHealth(SERVER, Tables(19, 19), ROOM, Times(None, NOW), (ALIVE,))
QUIET = Stand(NOW, {Status.DONE: 3}, {}, {}, (), (0, 0.0))
DOUBT = EffectRow("k", 7, "pay_back", "d", EffectStatus.IN_DOUBT, 1, NOW - 60, NOW, None, "the engine ended")


class Order(State):
    item: str
    wrapped: bool | None = None


orders = Process("orders", Order, version=2)


@orders.node(writes="wrapped")
def wrap(item: str) -> bool:
    return True


orders.rules(
    when("it is lost", lambda o: o.item == "lost", park("lost")),
    when("it is open", lambda o: o.wrapped is None, wrap),
    otherwise(finish("sent")),
)


def found(what: str, stand: Stand = QUIET, health: StoreHealth = WELL) -> Finding:
    return next(one for one in (*of_store(health, NOW), *of_cases(stand, health, [orders])) if one.what == what)


def test_where_all_is_well_each_line_is_ok() -> None:
    findings = [*of_store(WELL, NOW), *of_cases(QUIET, WELL, [orders])]

    assert {one.level for one in findings} == {Level.OK}
    assert {one.do for one in findings} == {""}
    assert {"database", "settings", "tables", "clock", "disk", "engines", "code", "backlog", "limits", "effects", "parked"} == {
        one.what for one in findings
    }


@pytest.mark.parametrize(
    ("what", "level", "health"),
    [
        ("closed", Level.FAIL, WELL._replace(closed="confirm what happened")),
        ("tables", Level.WARN, WELL._replace(tables=Tables(18, 19))),
        ("clock", Level.WARN, WELL._replace(times=Times(None, NOW + 2 * CLOCKS_SECONDS))),
        ("clock", Level.WARN, WELL._replace(times=Times(NOW + 2 * CLOCKS_SECONDS, NOW))),
        ("disk", Level.FAIL, WELL._replace(room=ROOM._replace(free=FREE_MIN - 1))),
        ("disk", Level.WARN, WELL._replace(room=ROOM._replace(size=11 * FREE_MIN))),
        ("disk", Level.WARN, WELL._replace(room=ROOM._replace(log=LOG_MAX + 1))),
        ("engines", Level.WARN, WELL._replace(engines=(ALIVE, GONE))),
    ],
)
def test_what_is_wrong_with_a_database_is_told_with_what_to_do(what: str, level: Level, health: StoreHealth) -> None:
    finding = found(what, health=health)

    assert finding.level is level
    assert finding.do


@pytest.mark.parametrize(
    ("what", "level", "stand"),
    [
        ("code", Level.FAIL, QUIET._replace(open_versions={"orders": [1, 2]})),
        ("code", Level.WARN, QUIET._replace(open_versions={"others": [1]})),
        ("backlog", Level.WARN, QUIET._replace(counts={Status.READY: 4}, due=(2, 2 * LATE_SECONDS))),
        ("limits", Level.WARN, QUIET._replace(limits={"shop": LimitState(open_until=NOW + 60, failures=5)})),
        ("limits", Level.WARN, QUIET._replace(limits={"shop": LimitState(held_until=NOW + 60)})),
        ("effects", Level.WARN, QUIET._replace(doubts=(DOUBT,))),
        ("parked", Level.WARN, QUIET._replace(counts={Status.PARKED: 2})),
        ("blocked", Level.WARN, QUIET._replace(counts={Status.BLOCKED: 2})),
        ("intake", Level.WARN, QUIET._replace(passing=Passing(intake="ada has paused the intake"))),
        ("messages", Level.WARN, QUIET._replace(passing=Passing(unmatched=2))),
        ("subscribers", Level.WARN, QUIET._replace(passing=Passing(gaps=[Gap("hooks", "", "9", 2, NOW - 60, NOW, "it refuses.")]))),
    ],
)
def test_what_is_wrong_with_cases_is_told_with_what_to_do(what: str, level: Level, stand: Stand) -> None:
    finding = found(what, stand)

    assert finding.level is level
    assert finding.do


def test_cases_that_need_an_engine_fail_where_there_is_none() -> None:
    stand, alone = QUIET._replace(counts={Status.READY: 1}, due=(1, 2 * LATE_SECONDS)), WELL._replace(engines=(GONE,))

    assert found("engines", stand, alone).level is Level.FAIL
    assert found("backlog", stand, alone).level is Level.FAIL
    assert found("backlog", stand, alone).command == "pointsman worker"


def test_waiting_cases_fail_without_an_engine_only_if_they_are_overdue() -> None:
    waiting, alone = QUIET._replace(counts={Status.WAITING: 2}), WELL._replace(engines=())

    assert found("engines", waiting, alone).level is Level.WARN
    assert found("engines", waiting._replace(due=(1, 2 * LATE_SECONDS)), alone).level is Level.FAIL


def test_a_mirror_needs_no_engine() -> None:
    stand = QUIET._replace(counts={Status.READY: 1, Status.BLOCKED: 1}, due=(1, 2 * LATE_SECONDS))
    mirror = WELL._replace(server=SERVER._replace(mirror=True), engines=(), closed="it is a mirror")

    findings = [*of_store(mirror, NOW), *of_cases(stand, mirror, [orders])]

    assert {one.what for one in findings if one.level is not Level.OK} == {"backlog", "blocked"}
    assert not {one.what for one in findings if "worker" in one.do + one.command}


def test_an_engine_that_is_gone_harms_no_cases_that_have_ended() -> None:
    assert found("engines", QUIET, WELL._replace(engines=())).level is Level.OK


def made(db: Path, *items: str) -> None:
    async def main() -> None:
        async with Engine.open(db, [orders], clock=ManualClock(NOW)) as engine:
            for item in items:
                await engine.wait_until_resting((await engine.start(orders, {"item": item})).case)

    asyncio.run(main())


def doctor(*options: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["doctor", *map(str, options)])
    return done.exit_code, done.stdout


def test_the_command_names_the_next_one_with_the_options_that_it_takes(tmp_path: Path) -> None:
    db = tmp_path / "cases.db"
    made(db, "a cup", "lost")

    code, text = doctor("--db", db, "--app", "operations.test_doctor:orders")

    assert code == 0
    assert "warn parked: 1 case; see the reasons, mend them, and redrive:\n" in text
    assert f"       pointsman stats --db {db}\n" in text
    assert "ok   code: orders 2; accepts all cases that are ready or wait\n" in text


def test_the_command_fails_for_a_file_that_is_no_database(tmp_path: Path) -> None:
    db = tmp_path / "cases.db"
    db.write_text("no database, whatever its name says")

    code, text = doctor("--db", db, "--json")

    [finding] = json.loads(text)
    assert code == 1
    assert (finding["what"], finding["level"]) == ("database", "fail")
    assert "is not a SQLite database" in finding["do"]


def test_the_command_fails_for_code_that_cannot_be_imported_and_looks_at_the_rest(tmp_path: Path) -> None:
    db = tmp_path / "cases.db"
    made(db)

    code, text = doctor("--db", db, "--app", "nowhere:nothing", "--json")

    findings: dict[str, Any] = {one["what"]: one for one in reversed(json.loads(text))}
    assert code == 1
    assert (findings["code"]["level"], findings["disk"]["what"]) == ("fail", "disk")


def test_a_case_that_has_been_due_for_long_is_found(tmp_path: Path) -> None:
    db = tmp_path / "cases.db"

    async def main() -> tuple[int, float]:
        async with Engine.open(db, [orders], clock=ManualClock(NOW), concurrency=0) as engine:
            await engine.start(orders, {"item": "a cup"})
            early, late = [await stand_of(engine.reader, NOW + wait) for wait in (LATE_SECONDS / 2, 2 * LATE_SECONDS)]
            assert early.due == (0, 0.0)
            return late.due

    due = asyncio.run(main())

    assert due == (1, 2 * LATE_SECONDS)


def test_the_engines_of_a_postgresql_database_are_named(postgres_url: str) -> None:
    async def main() -> tuple[int, str]:
        async with Engine.open(postgres_url, [orders], lease_seconds=3_600.0) as engine:
            await engine.wait_until_resting((await engine.start(orders, {"item": "lost"})).case)
            return await asyncio.to_thread(doctor, "--db", postgres_url, "--app", "operations.test_doctor:orders", "--json")

    code, text = asyncio.run(main())

    findings = {one["what"]: one for one in json.loads(text)}
    assert code == 0
    assert findings["engines"]["said"].startswith("engine ")
    assert "fsync on" in findings["settings"]["said"]
    assert {what for what, one in findings.items() if one["level"] != "ok"} == {"parked"}


def test_a_database_that_answers_late_has_no_wrong_clock(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def opened() -> None:
        async with Engine.open(postgres_url, [orders]):
            pass

    asyncio.run(opened())
    readings = iter([SystemClock().now() - 2 * CLOCKS_SECONDS])
    monkeypatch.setattr(SystemClock, "wall", lambda clock: next(readings, time.time()))

    _, text = doctor("--db", postgres_url, "--json")

    assert {one["level"] for one in json.loads(text) if one["what"] == "clock"} == {"ok"}
