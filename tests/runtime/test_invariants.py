"""An invariant that the rules do not keep parks the case before anything is called."""

from pathlib import Path
from typing import Any

import pytest

from pointsman import AtMostOnce, Context, Process, State, Status, compensate, finish, open_blocking, otherwise, when
from pointsman.definition.fingerprint import fingerprint_of
from pointsman.errors import DefinitionError
from pointsman.functional import entrypoint
from pointsman.operations.draw import draw
from pointsman.testing import crash_everywhere


class Letter(State):
    text: str
    approved: bool | None = None
    receipt: str | None = None


class Office:
    """Counts what is posted."""

    def __init__(self) -> None:
        self.posted: list[str] = []

    async def post(self, text: str) -> str:
        self.posted.append(text)
        return "posted"


def letters(never: Any = None, **where: Any) -> Process[Letter]:
    """A process whose rules forget that a letter about money needs an approval."""
    process = Process("letters", Letter)

    @process.node(writes="approved")
    def look(text: str) -> bool:
        return "money" not in text

    @process.effect(writes="receipt", safety=AtMostOnce())
    async def send(text: str, *, office: Office, ctx: Context) -> str:
        return await office.post(text)

    if never is not None:
        process.never("an unapproved letter leaves", never, **(where or {"effect": send}))
    process.rules(
        when("nobody has looked", lambda c: c.approved is None, look),
        when("it is not sent", lambda c: c.receipt is None, send),
        when("it is odd", lambda c: c.text == "odd", compensate("odd")),
        otherwise(finish("sent")),
    )
    return process


def unapproved(letter: Letter) -> bool:
    return not letter.approved


def test_a_case_that_would_break_an_invariant_is_parked_and_goes_on_when_it_is_corrected(tmp_path: Path) -> None:
    office, process = Office(), letters(unapproved)
    with open_blocking(tmp_path / "letters.db", [process], resources={"office": office}) as engine:
        case = engine.start(process, Letter(text="money")).case
        parked = engine.wait_until_resting(case)
        engine.redrive(case, by="anna", why="nothing is corrected")
        again = engine.wait_until_resting(case)
    with open_blocking(tmp_path / "letters.db", [process], resources={"office": office}) as engine:
        before = list(office.posted)
        engine.redrive(case, by="anna", why="I have read it", fields={"approved": True})
        ended = engine.wait_until_resting(case)

    assert parked.status is again.status is Status.PARKED
    assert "invariant 'an unapproved letter leaves' forbids" in (parked.reason or "")
    assert before == []
    assert (ended.outcome, office.posted) == ("sent", ["money"])


def test_no_crash_lets_a_call_pass_an_invariant() -> None:
    offices: list[Office] = []

    def resources() -> dict[str, Office]:
        offices.append(Office())
        return {"office": offices[-1]}

    report = crash_everywhere(letters(unapproved), {"text": "money"}, resources=resources)

    assert report.crashes == report.points > 0
    assert [office.posted for office in offices] == [[]] * len(offices)
    assert [end["status"] for end in report.ends] == ["parked"]


@pytest.mark.parametrize(
    ("never", "where", "text", "reason"),
    [
        (lambda c: 1 / len(c.text) < 1, {"ends": "sent"}, "hi", "rule 'otherwise' chose finish('sent'), which invariant"),
        (lambda c: c.receipt is not None, {"ends": "odd"}, "odd", "chose compensate('odd'), which invariant"),
        (lambda c: c.approved is not None, {"effect": None}, "hi", "rule 'it is not sent' chose send, which invariant"),
        (lambda c: 1 / 0, {"ends": "sent"}, "hi", "raised ZeroDivisionError: division by zero, before finish('sent')"),
    ],
)
def test_an_invariant_guards_an_end_or_each_decision_and_parks_where_it_raises(
    tmp_path: Path, never: Any, where: dict[str, Any], text: str, reason: str
) -> None:
    process = letters(never, **where)
    with open_blocking(tmp_path / "letters.db", [process], resources={"office": Office()}) as engine:
        row = engine.wait_until_resting(engine.start(process, Letter(text=text)).case)

    assert row.status is Status.PARKED
    assert reason in (row.reason or "")


@pytest.mark.parametrize(
    ("where", "flaw"),
    [
        ({"ends": "gone"}, "no rule ends the case with 'gone'; its outcomes are odd, sent"),
        ({"effect": finish("sent")}, "is not an effect of the process"),
        ({"effect": letters().steps["send"]}, "is not an effect of the process"),
    ],
)
def test_an_invariant_that_guards_nothing_is_refused(where: dict[str, Any], flaw: str) -> None:
    with pytest.raises(DefinitionError, match=flaw):
        letters(unapproved, **where)


def test_an_invariant_is_refused_after_the_rules_under_a_name_that_is_taken_and_for_a_body() -> None:
    process = letters(unapproved)

    @entrypoint()
    def body(text: str) -> str:
        return text

    with pytest.raises(DefinitionError, match="declared after rules"):
        process.never("late", unapproved)
    with pytest.raises(DefinitionError, match="raise in the body"):
        body.process.never("a body breaks it", lambda c: True)
    other: Process[Letter] = Process("other", Letter)
    other.never("twice", unapproved)
    with pytest.raises(DefinitionError, match="another invariant has this name"):
        other.never("twice", unapproved)


def test_the_fingerprint_and_the_drawing_know_an_invariant() -> None:
    bare, kept, weakened = letters(), letters(unapproved), letters(lambda c: False)

    assert len({bare.fingerprint, kept.fingerprint, weakened.fingerprint}) == 3
    assert bare.fingerprint == fingerprint_of(bare.name, bare.version, bare.state, bare.steps, {}, bare.ordered_rules)
    assert '    n0[/"never: an unapproved letter leaves"\\]\n    n0 -.- s1\n' in draw(kept)
