"""`pointsman bulk`: many cases are changed by one command, each by itself, and only after they were shown."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pointsman import AtMostOnce, Engine, Process, State, finish, open_reader, otherwise, park, when
from pointsman.cli import bulk, operating
from pointsman.cli.main import app


class Order(State):
    item: str
    receipt: str | None = None


orders = Process("orders", Order)


@orders.effect(writes="receipt", safety=AtMostOnce())
async def pay(item: str) -> str:
    if item == "doubtful":
        raise ConnectionError("the bank did not answer")
    return "paid"


orders.rules(
    when("it is lost", lambda o: o.item == "lost", park("lost in the mail")),
    when("it is not paid", lambda o: o.receipt is None, pay),
    otherwise(finish("sent")),
)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Cases 1 to 3 are lost, 4 is in doubt, and 5 is done."""

    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [orders]) as engine:
            for item in ("lost", "lost", "lost", "doubtful", "a cup"):
                await engine.wait_until_resting((await engine.start(orders, {"item": item})).case)

    asyncio.run(main())
    return tmp_path / "cases.db"


def run(operation: str, db: Path, *options: str) -> Any:
    words = ["bulk", operation, "--db", str(db), "--app", "operations.test_bulk:orders", "--by", "ann", "--why", "a test", *options]
    return CliRunner().invoke(app, words)


def statuses(db: Path) -> list[str]:
    async def read() -> list[str]:
        with open_reader(db) as reader:
            return [str(row.status) for row in await reader.cases()]

    return asyncio.run(read())


def test_without_yes_it_shows_the_cases_and_changes_nothing(db: Path) -> None:
    done = run("cancel", db, "--reason", "LOST in")

    assert done.exit_code == 0
    assert "This would cancel 3 cases; nothing was changed. Repeat it with --yes to do it.\n" in done.stdout
    assert statuses(db) == ["parked"] * 4 + ["done"]


def test_with_yes_it_changes_the_cases_that_fit_and_a_repetition_nothing_more(db: Path) -> None:
    first, second = run("cancel", db, "--reason", "lost", "--yes"), run("cancel", db, "--reason", "lost", "--yes")

    assert "3 cases changed, 0 refused.\n" in first.stdout
    assert second.stdout == "There are no cases.\n"
    assert statuses(db) == ["cancelled"] * 3 + ["parked", "done"]


def test_a_correction_is_made_to_each_case(db: Path) -> None:
    done = run("redrive", db, "--reason", "lost", "--set", "item=a cup", "--yes")

    assert done.exit_code == 0
    assert statuses(db) == ["done"] * 3 + ["parked", "done"]


def test_what_is_refused_is_counted_and_told_and_the_rest_is_done(db: Path) -> None:
    done = run("erase", db, "--process", "orders", "--yes")

    assert done.exit_code == 1
    assert "4 cases changed, 1 refused.\n" in done.stdout
    assert "case 4 is refused: effect 'pay' of case 4 is in doubt" in done.stdout
    assert statuses(db) == ["cancelled"] * 3 + ["parked", "done"]


def test_an_erased_case_is_not_erased_again(db: Path) -> None:
    run("erase", db, "--process", "orders", "--yes")

    again = json.loads(run("erase", db, "--process", "orders", "--json").stdout)

    assert (again["cases"], again["dry_run"]) == ([4], True)


def test_the_effects_in_doubt_of_cases_are_resolved_alike(db: Path) -> None:
    done = run("resolve", db, "--process", "orders", "--step", "pay", "--happened", "--outcome", '"paid"', "--yes", "--json")

    found = json.loads(done.stdout)
    assert (found["cases"], found["changed"], found["refused"], found["more"]) == ([4], [4], {}, False)
    assert statuses(db) == ["parked"] * 3 + ["done"] * 2


@pytest.mark.parametrize(("typed", "after"), [("3", "cancelled"), ("yes", "parked"), ("", "parked")])
def test_a_person_confirms_with_the_number_of_cases(db: Path, monkeypatch: pytest.MonkeyPatch, typed: str, after: str) -> None:
    monkeypatch.setattr(bulk, "asks", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: typed)

    run("cancel", db, "--reason", "lost")

    assert statuses(db) == [after] * 3 + ["parked", "done"]


def test_all_cases_at_once_are_refused(db: Path) -> None:
    done = run("cancel", db, "--yes")

    assert done.exit_code == 1
    assert "each case fits; say which ones with a filter" in done.stderr


def test_more_cases_than_the_limit_are_left_for_a_repetition(db: Path) -> None:
    first = run("cancel", db, "--reason", "lost", "--limit", "2", "--yes")
    second = run("cancel", db, "--reason", "lost", "--limit", "2", "--yes")

    assert "2 cases changed, 0 refused. There may be more; the command can be repeated.\n" in first.stdout
    assert "1 case changed, 0 refused.\n" in second.stdout


def test_a_call_whose_answer_is_lost_is_not_made_twice(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lost(Exception):
        pass

    class Losing:
        """A client that loses the answer about case 2."""

        def __init__(self, client: Any) -> None:
            self.client = client

        async def redrive(self, case: int, **given: Any) -> None:
            await self.client.redrive(case, **given)
            if case == 2:
                raise Lost

    def reached(at: Any, call: Any) -> None:
        async def main() -> None:
            async with operating._alone(at) as client:
                with pytest.raises(Lost):
                    await call(Losing(client), False)
                await call(client, True)

        asyncio.run(main())

    monkeypatch.setattr(bulk, "reached", reached)
    done = run("redrive", db, "--reason", "lost", "--yes")

    with open_reader(db) as reader:
        events = asyncio.run(reader.events_of([1, 2, 3]))
    assert "3 cases changed, 0 refused.\n" in done.stdout
    assert [event.case for event in events if event.kind == "redriven"] == [1, 2, 3]
