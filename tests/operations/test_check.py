"""Trying new code on every open case before it is deployed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import interpreter
from pointsman import AtMostOnce, Engine, Private, Process, State, Status, finish, open_reader, otherwise, park, when
from pointsman.definition.process import AnyProcess
from pointsman.kernel.case import UNFIT
from pointsman.operations.check import Kind, Report, Verdict, check_cases, summary
from pointsman.store.memory import MemoryStore


class Claim(State):
    amount: int
    checked: str | None = None
    answer: str | None = None
    receipt: str | None = None


class Broad(State):
    """The amount has cents now."""

    amount: float
    currency: str
    checked: str | None = None
    answer: str | None = None
    receipt: str | None = None


def claims(state: type[State] = Claim, *, limit: Any = 100, shows: tuple[str, ...] = ("amount",), effect: str = "pay", more: Any = None, **settings: Any) -> Process[Any]:  # fmt: skip
    """Check, ask above the limit, pay."""
    process = Process("claims", state, **settings)

    async def look(amount: float) -> str:
        if amount == 13:
            raise ValueError("unlucky")
        return "fine"

    async def pay(amount: float) -> str:
        raise ConnectionError("gone")

    look.__annotations__["amount"] = pay.__annotations__["amount"] = state.model_fields["amount"].annotation
    check = process.node(look, writes="checked", name="check")
    ask = process.pause(writes="answer", answer=str, shows=shows, name="ask")
    paying = process.effect(pay, writes="receipt", safety=AtMostOnce(), name=effect)
    process.rules(
        *([when("new rule", more, ask)] if more else []),
        when("unchecked", lambda c: c.checked is None, check),
        when("high", lambda c: c.amount > limit and c.answer is None, ask),
        when("unpaid", lambda c: c.receipt is None, paying),
        otherwise(finish("paid")),
    )
    return process


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One case that waits, one that is parked by its step, one whose payment is in doubt, and one that has ended."""
    path = tmp_path_factory.mktemp("check") / "cases.db"

    async def main() -> None:
        process = claims()
        async with Engine.open(path, [process]) as engine:
            for amount in (500, 13, 20, 501):
                await engine.start(process, {"amount": amount})
            await engine.idle()
            await engine.cancel(4, by="anna", why="a mistake")
            counts = await engine.reader.counts()
            assert counts == {Status.WAITING: 1, Status.PARKED: 2, Status.CANCELLED: 1}

    asyncio.run(main())
    return path


def checked(db: Path, *processes: AnyProcess) -> Report:
    with open_reader(db) as reader:
        return asyncio.run(check_cases(reader, processes))


def told(report: Report) -> list[tuple[str, str, list[int]]]:
    return [(kind.verdict.value, kind.message, cases) for kind, cases in sorted(report.found.items())]


def test_the_code_that_the_cases_run_under_changes_nothing(db: Path) -> None:
    report = checked(db, claims())

    assert report.found == {}
    assert (report.breaks, report.changes) == (False, False)
    assert dict(report.checked) == {Status.WAITING: 1, Status.PARKED: 2}


def test_a_changed_decision_is_listed_with_both_rules(db: Path) -> None:
    report = checked(db, claims(limit=1_000))

    assert told(report) == [("changed", "ask ('high') -> pay ('unpaid')", [1])]
    assert (report.breaks, report.changes) == (False, True)


def test_a_rule_that_raises_would_break_its_cases(db: Path) -> None:
    report = checked(db, claims(more=lambda c: c.amount > c.limit))

    [kind] = report.found
    assert report.found[kind] == [1, 2, 3]
    assert kind.verdict is Verdict.BROKEN
    assert "the condition of rule 'new rule' raised" in kind.message
    assert report.breaks


def test_a_version_that_nobody_accepts_would_block_its_cases(db: Path) -> None:
    report = checked(db, claims(version=2))

    [kind] = report.found
    assert (kind.verdict, kind.version, report.found[kind]) == (Verdict.BLOCKED, 1, [1, 2, 3])
    assert "add 1 to accepts=" in kind.message


def test_a_state_that_does_not_fit_would_break_under_the_same_version_and_block_under_another(db: Path) -> None:
    same, other = checked(db, claims(Broad)), checked(db, claims(Broad, version=2, accepts={1: lambda c: {**c, "amount": "much"}}))

    assert [(kind.verdict, kind.message, cases) for kind, cases in same.found.items()] == [
        (
            Verdict.BROKEN,
            f"its state cannot be read: field 'currency' is a required input, and the case has no value for it; {UNFIT}",
            [1, 2, 3],
        ),
    ]
    assert [(kind.verdict, kind.message.split(":")[0]) for kind in other.found] == [
        (Verdict.BLOCKED, "version 1 of 'claims' cannot be migrated to version 2"),
    ]


def test_a_migration_is_tried_with_the_rest(db: Path) -> None:
    euros = claims(Broad, version=2, accepts={1: lambda c: {**c, "currency": "EUR"}}, shows=("amount", "currency"))

    report = checked(db, euros)

    assert told(report) == [("asked again", "ask would show something different", [1])]
    assert not report.breaks


def test_an_effect_in_doubt_that_is_gone_would_block_its_case(db: Path) -> None:
    gone, renamed = checked(db, claims(effect="transfer")), checked(db, claims(effect="pay"))

    [blocked] = [kind for kind in gone.found if kind.verdict is Verdict.BLOCKED]
    assert gone.found[blocked] == [3]
    assert "effect 'pay' with key" in blocked.message
    assert renamed.found == {}


def test_a_blocked_case_is_no_new_break_and_a_case_that_would_be_freed_is_listed(tmp_path: Path) -> None:
    async def main() -> None:
        old, new = claims(), claims(version=2)
        async with Engine.open(tmp_path / "cases.db", [old]) as engine:
            await engine.start(old, {"amount": 500})
            await engine.idle()
        async with Engine.open(tmp_path / "cases.db", [new]):
            pass

    asyncio.run(main())
    still, freed = checked(tmp_path / "cases.db", claims(version=2)), checked(tmp_path / "cases.db", claims(version=2, accepts={1: None}))

    assert [(kind.verdict, kind.known) for kind in still.found] == [(Verdict.BLOCKED, True)]
    assert not still.breaks
    assert summary(still) == {"checked": 1, "blocked": 0, "broken": 0, "changed": 0, "asked again": 0, "freed": 0}
    assert told(freed) == [("freed", "ask ('high')", [1])]


def test_cases_of_a_process_that_was_not_given_are_counted_apart(db: Path) -> None:
    other = Process("other", Claim)
    node = other.node(lambda_node, writes=("checked", "answer", "receipt"), name="node")
    other.rules(otherwise(node))

    report = checked(db, other)

    assert dict(report.unregistered) == {"claims": 3}
    assert summary(report)["checked"] == 0


async def lambda_node(amount: int) -> tuple[str, str, str]:
    return "", "", ""


def test_beside_a_running_engine_nothing_is_missed_and_nothing_is_written(tmp_path: Path) -> None:
    async def main() -> tuple[Report, list[Any], list[Any]]:
        process = claims()
        async with Engine.open(tmp_path / "cases.db", [process]) as engine:
            for amount in range(500, 520):
                await engine.start(process, {"amount": amount})
            await engine.idle()
            before = await engine.reader.cases()
            with open_reader(tmp_path / "cases.db") as reader:
                report = await check_cases(reader, [process])
            return report, before, await engine.reader.cases()

    report, before, after = asyncio.run(main())

    assert report.checked.total() == 20
    assert before == after


APP = """
from tests_of_check import claims
same, higher, blocking, newer = claims(), claims(limit=1_000), claims(version=2), claims(version=2, accepts={1: None})
both = [same, newer]
"""


@pytest.mark.parametrize(
    ("app", "options", "code", "words"),
    [
        ("same", [], 0, "3 open cases checked in"),
        ("both", [], 0, "3 open cases checked in"),
        ("higher", [], 0, "changed: 1 of claims version 1 (1)\n  ask ('high') -> pay ('unpaid')"),
        ("higher", ["--strict"], 1, "1 changed"),
        ("blocking", [], 1, "blocked: 3 of claims version 1 (1, 2, 3)\n  no registered code accepts version 1 of 'claims'"),
    ],
)
def test_the_command_says_what_it_found_and_fails_where_something_breaks(db: Path, tmp_path: Path, app: str, options: list[str], code: int, words: str) -> None:  # fmt: skip
    (tmp_path / "tests_of_check.py").write_text(Path(__file__).read_text())
    (tmp_path / "deploy.py").write_text(APP)

    done = interpreter.run("-m", "pointsman.cli.main", "check", "--db", db, "--app", f"deploy:{app}", *options, cwd=tmp_path)

    assert done.stderr == ""
    assert done.returncode == code
    assert words in done.stdout


def test_the_command_prints_json(db: Path, tmp_path: Path) -> None:
    (tmp_path / "tests_of_check.py").write_text(Path(__file__).read_text())
    (tmp_path / "deploy.py").write_text(APP)

    done = interpreter.run("-m", "pointsman.cli.main", "check", "--db", db, "--app", "deploy:higher", "--json", cwd=tmp_path, check=True)

    assert json.loads(done.stdout) == {
        "checked": {"waiting": 1, "parked": 2},
        "unregistered": {},
        "breaks": False,
        "changes": True,
        "found": [
            {**Kind(Verdict.CHANGED, "claims", 1, "ask ('high') -> pay ('unpaid')")._asdict(), "cases": [1]},
        ],
    }


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("both", "Case 1 waits at ask, by rule 'high', "),
        ("newer", "version 1 wrote it; the next step migrates it to version 2, as shown here"),
        ("blocking", "no registered code accepts version 1 of 'claims' (version 2 accepts no other)"),
    ],
)
def test_a_case_of_an_older_version_is_explained_as_the_code_would_take_it_up(db: Path, tmp_path: Path, app: str, words: str) -> None:
    (tmp_path / "tests_of_check.py").write_text(Path(__file__).read_text())
    (tmp_path / "deploy.py").write_text(APP)

    done = interpreter.run("-m", "pointsman.cli.main", "explain", "1", "--db", db, "--app", f"deploy:{app}", cwd=tmp_path)

    assert done.stderr == ""
    assert words in done.stdout
    assert "amount = 500" in done.stdout


def test_a_finding_has_no_private_text_also_of_a_field_that_only_the_new_code_calls_private() -> None:
    class Letter(State):
        sender: Private[str]
        text: str

    def letters(state: type[State], *, broken: bool) -> Process[Any]:
        process: Process[Any] = Process("letters", state)
        wait = park("later")
        process.rules(when("broken", lambda c: broken and {}[f"{c.sender} {c.text}"], wait), otherwise(wait))
        return process

    class Marked(Letter):
        text: Private[str]

    async def main() -> str:
        store = MemoryStore()
        async with Engine.open("unused", [letters(Letter, broken=False)], store=store) as engine:
            await engine.wait_until_resting((await engine.start("letters", {"sender": "Zaphod", "text": "Magrathea"})).case)
            report = await check_cases(engine.reader, [letters(Marked, broken=True)])
        [kind] = report.found
        return kind.message

    message = asyncio.run(main())

    assert "raised KeyError" in message
    assert "Zaphod" not in message
    assert "Magrathea" not in message
