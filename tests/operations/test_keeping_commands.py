"""`pointsman export`, `vacuum` and `ps`, as an operator calls them."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

import interpreter
from pointsman import Engine, Process, Retention, Searchable, State, finish, open_blocking, open_reader, otherwise, park, when
from pointsman.definition.state import Blob
from pointsman.testing.clock import ManualClock

LONG_AGO = 1_000_000.0


class Mail(State):
    text: str
    raw: Blob


mails = Process("mails", Mail, retention=Retention(days=30))
mails.rules(otherwise(finish("read")))


@pytest.fixture
def db(tmp_path: Path) -> Path:
    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [mails], clock=ManualClock(LONG_AGO)) as engine:
            for number in range(3):
                raw = await engine.store_blob(f"mail {number} ".encode() * 5_000)
                await engine.wait_until_resting((await engine.start(mails, {"text": f"{number}", "raw": raw})).case)

    asyncio.run(main())
    return tmp_path / "cases.db"


def pointsman(*arguments: object) -> Any:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN")}
    return interpreter.run("-m", "pointsman.cli.main", *arguments, env=environment, cwd=Path(__file__).parent)


def cases(db: Path) -> list[int]:
    async def read() -> list[int]:
        with open_reader(db) as reader:
            return [row.id for row in await reader.cases()]

    return asyncio.run(read())


def test_export_prints_json_and_writes_the_blobs(db: Path, tmp_path: Path) -> None:
    done = pointsman("export", 2, "--db", db, "--blobs", tmp_path / "blobs")

    exported = json.loads(done.stdout)
    assert exported["state"]["text"] == "1"
    [file] = (tmp_path / "blobs").iterdir()
    assert file.name == exported["blobs"][0]["file"]
    assert file.read_bytes() == b"mail 1 " * 5_000


def test_export_of_no_case_says_so(db: Path) -> None:
    done = pointsman("export", 77, "--db", db)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "pointsman: there is no case 77; list the cases with `pointsman ps`.\n"


def test_vacuum_lets_go_of_what_was_kept_long_enough(db: Path) -> None:
    done = pointsman("vacuum", "--db", db, "--app", "test_keeping_commands:mails")

    assert done.stdout.startswith("Deleted 3 cases and 3 blobs; "), done.stderr
    assert cases(db) == []
    assert sum(file.stat().st_size for file in db.parent.glob("cases.db*")) < 370_000  # the tables take 332 KB, the blobs took 105 KB more


def test_vacuum_without_a_process_lets_no_case_go(db: Path) -> None:
    done = pointsman("vacuum", "--db", db)

    assert done.stdout.startswith("Deleted 0 cases and 0 blobs; "), done.stderr
    assert cases(db) == [1, 2, 3]


def test_vacuum_leaves_a_file_alone_that_an_engine_has(db: Path) -> None:
    async def main() -> Any:
        async with Engine.open(db, [mails], clock=ManualClock(LONG_AGO)):
            return await asyncio.to_thread(pointsman, "vacuum", "--db", db, "--app", "test_keeping_commands:mails")

    done = asyncio.run(main())

    assert done.returncode == 1
    assert "is open in another engine (process " in done.stderr
    assert cases(db) == [1, 2, 3]


def test_vacuum_makes_no_file(tmp_path: Path) -> None:
    done = pointsman("vacuum", "--db", tmp_path / "none.db", "--app", "test_keeping_commands:mails")

    assert done.returncode == 1
    assert "none.db does not exist" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_list_that_leaves_cases_out_names_the_command_for_the_next_ones(db: Path) -> None:
    first, last = pointsman("ps", "--db", db, "--json", "--limit", 2), pointsman("ps", "--db", db, "--json", "--after", 2)

    assert [case["id"] for case in json.loads(first.stdout)] == [1, 2]
    assert first.stderr == f"pointsman: these are 2 of 3 cases; the next ones: pointsman ps --after 2 --db {db}\n"
    assert [case["id"] for case in json.loads(last.stdout)] == [3]
    assert last.stderr == ""


@pytest.fixture
def claims_db(tmp_path: Path) -> Path:
    class Claim(State):
        customer: Searchable[str]
        decision: str | None = None

    process = Process("claims", Claim)
    assess = process.pause(writes="decision", answer=str, shows=("customer",), assignee="ann", name="assess")
    process.rules(when("it is open", lambda c: c.decision is None, assess), otherwise(finish("decided")))
    with open_blocking(tmp_path / "claims.db", [process], clock=ManualClock(1_000_000_000.0)) as engine:
        for customer, tenant in [("Ann", ""), ("Bo", "north"), ("Cy", "north")]:
            engine.wait_until_resting(engine.start(process, {"customer": customer}, tenant=tenant).case)
        engine.cancel(3, by="ann", why="test")
    return tmp_path / "claims.db"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (["--process", "claims"], [1, 2, 3]),
        (["--process", "other"], []),
        (["--status", "waiting", "--status", "cancelled", "--tenant", "north"], [2, 3]),
        (["--pause", "assess", "--assignee", "ann"], [1, 2]),
        (["--assignee", ""], []),
        (["--rule", "it is open", "--limit", "9"], [1, 2, 3]),
        (["--waiting-since", "2001-09-09T01:46:41"], [1, 2]),  # a second after they began to wait
        (["--waiting-since", "2001-09-09"], []),
        (["--search", "customer=bo"], [2]),
    ],
)
def test_ps_lists_the_cases_that_fit_its_filters(claims_db: Path, options: list[str], found: list[int]) -> None:
    done = pointsman("ps", "--db", claims_db, "--json", *options)

    assert [case["id"] for case in json.loads(done.stdout)] == found, done.stderr


def test_ps_gives_a_parked_case_one_line_and_show_the_whole_reason(tmp_path: Path) -> None:
    reason = "the bank refused the refund of order A-100; find out why\nand say so: pointsman resolve " + "689335c6d214" * 6
    refunds = Process("refunds", Mail)
    refunds.rules(otherwise(park(reason)))
    file = tmp_path / "cases.db"
    with open_blocking(file, [refunds]) as engine:
        engine.wait_until_resting(engine.start(refunds, {"text": "", "raw": engine.store_blob(b"")}).case)

    rows = pointsman("ps", "--db", file).stdout.splitlines()
    shown = pointsman("show", 1, "--db", file).stdout

    assert len(rows) == 2
    assert "  the bank refused" in rows[1]
    assert "…" in rows[1]
    assert reason.splitlines()[1] in shown
    assert "…" not in shown


def test_ps_names_the_filter_that_it_cannot_read(claims_db: Path) -> None:
    wrong = pointsman("ps", "--db", claims_db, "--search", "customer"), pointsman("ps", "--db", claims_db, "--waiting-since", "noon")

    assert [done.returncode for done in wrong] == [1, 1]
    assert wrong[0].stderr == "pointsman: --search 'customer' is not a field and its value; write it as field=value.\n"
    assert wrong[1].stderr == "pointsman: --waiting-since 'noon' is not a time; write it as 2026-01-31 or 2026-01-31T09:30.\n"


def test_a_list_with_filters_names_how_to_go_on(claims_db: Path) -> None:
    first = pointsman("ps", "--db", claims_db, "--json", "--limit", 1, "--tenant", "north")

    assert (
        first.stderr == f"pointsman: there are more cases; the next ones: `pointsman ps --after 2 --db {claims_db}` with the same filters\n"
    )
