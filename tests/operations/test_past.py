"""`show --at` and `diff`: a case as it was after a revision, and what changed between two of them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pointsman import AtMostOnce, Engine, Private, Process, State, finish, otherwise, park, when
from pointsman.cli.main import app
from pointsman.kernel.snapshot import Status
from pointsman.operations.past import past_of, standing_after_events
from pointsman.testing.clock import ManualClock


class Claim(State):
    text: str
    amount: int | None = None
    letter: str | None = None
    agreed: bool | None = None
    receipt: str | None = None


claims = Process("claims", Claim)


@claims.node(writes="amount")
def estimate(text: str) -> int:
    return len(text)


@claims.node(writes="letter")
def write(amount: int) -> str:
    return f"We pay {amount}."


agree = claims.pause(writes="agreed", answer=bool, shows=("letter",), name="agree")


@claims.effect(writes="receipt", safety=AtMostOnce())
def pay(letter: str) -> str:
    return f"paid: {letter}"


claims.rules(
    when("no amount", lambda c: c.amount is None, estimate),
    when("huge", lambda c: c.amount > 30, park("ask the board")),
    when("no letter", lambda c: c.letter is None, write),
    when("nobody agreed", lambda c: c.agreed is None, agree),
    when("refused", lambda c: not c.agreed, finish("refused")),
    when("unpaid", lambda c: c.receipt is None, pay),
    otherwise(finish("paid")),
)


def open_engine(folder: Path) -> Any:
    return Engine.open(folder / "cases.db", [claims], clock=ManualClock())


def told(folder: Path, *words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in (*words, "--db", folder / "cases.db")])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose case 1 is corrected while it waits, agreed and paid; case 2 is parked, redriven and cancelled; case 3 waits."""

    folder = tmp_path_factory.mktemp("claims")

    async def main() -> None:
        async with open_engine(folder) as engine:
            for text in ("a cup", "a whole house, with its garden and all", "a plate"):
                await engine.start(claims, {"text": text})
            for case in (1, 2, 3):
                await engine.wait_until_resting(case)
            await engine.redrive(1, by="ada", why="a saucer, too", fields={"amount": 9})
            await engine.wait_until_resting(1)
            await engine.resume((await engine.pending(1)).token, answer=True, by="bob")
            await engine.wait_until_resting(1)
            await engine.redrive(2, by="ada", why="look again")
            await engine.wait_until_resting(2)
            await engine.cancel(2, by="ada", why="withdrawn")

    asyncio.run(main())
    return folder


def test_a_case_stands_after_each_revision_where_its_events_say(filled: Path) -> None:
    async def main() -> tuple[list[tuple[Status, str | None]], dict[str, Any], list[bool]]:
        async with open_engine(filled) as engine:
            newest = (await engine.reader.case(1)).revision
            pasts = [await past_of(engine.reader, 1, revision) for revision in range(1, newest + 1)]
            rows = [await engine.reader.case(case) for case in (1, 2, 3)]
            alike = []
            for row in rows:
                stood = standing_after_events(row, await engine.reader.events(case=row.id))
                alike.append((stood.status, stood.step, stood.reason, stood.outcome) == (row.status, row.step, row.reason, row.outcome))
            waits = next(past for past in pasts if past.case.status is Status.WAITING)
            return [(past.case.status, past.case.step) for past in pasts], dict(waits.history().state), alike

    stood, state, alike = asyncio.run(main())

    assert list(dict.fromkeys(stood)) == [
        (Status.READY, "estimate"),
        (Status.READY, "write"),
        (Status.WAITING, "agree"),
        (Status.READY, "pay"),
        (Status.DONE, "finish('paid')"),
    ]
    assert state == {"text": "a cup", "amount": 5, "letter": "We pay 5."}
    assert alike == [True, True, True]


def test_show_at_prints_the_state_of_then_and_no_later_event(filled: Path) -> None:
    text = told(filled, "show", 1, "--at", 3)
    past = json.loads(told(filled, "show", 1, "--at", 3, "--json"))

    assert text.startswith("after revision 3 of ")
    assert "case 1 of claims (version 1): waiting, at agree" in text
    assert "letter = We pay 5." in text
    assert "redriven" not in text
    assert (past["status"], past["step"], past["state"]["amount"]) == ("waiting", "agree", 5)
    assert {event["revision"] for event in past["events"]} == {1, 2, 3}


def test_diff_names_the_fields_that_differ_and_who_wrote_them(filled: Path) -> None:
    lines = told(filled, "diff", 1, 3, 4).splitlines()
    changes = {one["field"]: one for one in json.loads(told(filled, "diff", 1, 3, 4, "--json"))["changes"]}
    since_its_start = told(filled, "diff", 1)

    assert lines[0].startswith("Case 1, from revision 3 to revision 4 (of ")
    assert lines[1] == "  amount: 5 -> 9"
    assert "redriven by ada: a saucer, too; corrected amount" in lines[2]
    assert lines[3] == "  letter: We pay 5. -> no value"
    assert "field.cleared" in lines[4]
    assert (changes["letter"]["before"], changes["letter"]["after"]) == ("We pay 5.", None)
    assert changes["amount"]["writes"][0]["event"]["kind"] == "redriven"
    assert "receipt: no value -> paid: We pay 9." in since_its_start
    assert "agree answered by bob" in since_its_start


def test_a_revision_that_the_case_does_not_have_is_refused_in_one_sentence(filled: Path) -> None:
    def refused(*words: object) -> str:
        done = CliRunner().invoke(app, [str(word) for word in (*words, "--db", filled / "cases.db")])
        assert done.exit_code == 1
        return done.output

    assert refused("show", 3, "--at", 99) == "pointsman: case 3 has no revision 99; name one from 1 to 3.\n"
    assert refused("diff", 3, 1, 99) == "pointsman: case 3 has no revision 99; name one from 1 to 3.\n"
    assert refused("diff", 3, 2, 1) == "pointsman: revision 2 does not come before revision 1; name the earlier one first.\n"


def test_the_past_of_an_erased_case_says_that_its_content_is_gone(filled: Path) -> None:
    async def main() -> None:
        async with open_engine(filled) as engine:
            await engine.erase(2, by="ada", why="asked for it")

    asyncio.run(main())

    assert "erased by ada: asked for it" in told(filled, "show", 2, "--at", 1)
    assert "its content was erased" in told(filled, "diff", 2)


def test_private_fields_are_hidden(tmp_path: Path) -> None:
    class Letter(State):
        text: Private[str]
        size: int | None = None

    letters = Process("letters", Letter)

    @letters.node(writes="size")
    def measure(text: str) -> int:
        return len(text)

    letters.rules(when("no size", lambda c: c.size is None, measure), otherwise(finish("read")))

    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [letters], clock=ManualClock()) as engine:
            await engine.wait_until_resting((await engine.start(letters, {"text": "my diary"})).case)

    asyncio.run(main())

    shown, differs = told(tmp_path, "show", 1, "--at", 1), told(tmp_path, "diff", 1)
    assert "text = [private]" in shown
    assert "text: no value -> [private]" in differs
    assert "my diary" not in shown + differs + told(tmp_path, "show", 1, "--at", 1, "--json") + told(tmp_path, "diff", 1, "--json")
    assert "text: no value -> my diary" in told(tmp_path, "diff", 1, "--private")
