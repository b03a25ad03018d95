"""`pointsman ps`: the filters that look at each case, and the names of steps."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pointsman import Engine, Process, Retry, Searchable, State, finish, otherwise, park, when
from pointsman.cli.main import app
from pointsman.functional import entrypoint, task
from pointsman.testing.clock import ManualClock

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
DAY = 86_400.0


class Order(State):
    item: Searchable[str]


orders = Process("orders", Order)
orders.rules(
    when("it is lost", lambda o: o.item == "lost", park("Lost in the mail")),
    when("it is big", lambda o: o.item == "a big cup", park("does not fit")),
    otherwise(finish("sent")),
)


def ps(db: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["ps", "--db", str(db), *options])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases 1 to 3, each a day after the one before."""
    file = tmp_path_factory.mktemp("listing") / "cases.db"

    async def main() -> None:
        clock = ManualClock(NOW)
        async with Engine.open(file, [orders], clock=clock) as engine:
            for number, item in enumerate(("lost", "a big cup", "a cup"), 1):
                await engine.wait_until_resting((await engine.start(orders, {"item": item}, key=f"order-{number}")).case)
                clock.advance(DAY)

    asyncio.run(main())
    return file


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--reason", "LOST in"], [1]),
        (["--step", "park"], [1, 2]),
        (["--status", "parked", "--unchanged-since", "2027-01-16"], [1]),
        (["--unchanged-since", "2027-01-16T09:00"], [1, 2]),
        (["--words", "cup"], [2, 3]),
        (["--outcome", "sent"], [3]),
        (["--key", "order-2"], [2]),
        (["--correlation", "nothing"], []),
        (["--step", "park", "--limit", "1"], [1]),
        (["--step", "park", "--after", "1"], [2]),
    ],
)
def test_ps_lists_the_cases_that_fit(db: Path, options: list[str], found: list[int]) -> None:
    listed = json.loads(ps(db, "--json", *options))

    assert [case["id"] for case in listed] == found


def test_ps_names_the_tasks_of_a_body(tmp_path: Path) -> None:
    @task(retry=Retry(attempts_max=2, first_seconds=DAY))
    def fetch(order: str) -> str:
        raise ConnectionError("the shop does not answer")

    @task(retry=Retry(attempts_max=2, first_seconds=DAY))
    def weigh(order: str) -> int:
        raise ConnectionError("the scales do not answer")

    @entrypoint(name="parcels")
    def parcels(order: str) -> str:
        fetched, weighed = fetch(order), weigh(order)
        return f"{fetched.result()} {weighed.result()}"

    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [parcels.process], clock=ManualClock(NOW)) as engine:
            await engine.start(parcels.process, {"invocation": {"input": "A-1", "thread": "t"}})
            await engine.idle(horizon_seconds=0.0)

    asyncio.run(main())

    assert " fetch, weigh " in ps(tmp_path / "cases.db")
