"""The drawing of a process: each rule in its order, the step that it leads to, and the way back."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from pointsman import (
    AtMostOnce,
    DefinitionError,
    Failure,
    Item,
    Process,
    State,
    each,
    finish,
    otherwise,
    parallel,
    park,
    quorum,
    when,
)
from pointsman.definition.rules import Failures
from pointsman.operations.draw import draw


class Approval(BaseModel):
    approved: bool


class Letter(State):
    message: str
    triage: str | None = None
    order: str | None = None
    policy: str | None = None
    approval: Approval | None = None
    receipt: str | None = None


def classify(message: str) -> str:
    return message


def fetch_order(triage: str) -> str:
    return triage


def fetch_policy(triage: str) -> str:
    return triage


def send(message: str) -> str:
    return message


def letter() -> Process[Letter]:
    """A process with every kind of step."""
    process = Process("letter", Letter)
    classifies = process.node(classify, writes="triage")
    order, policy = process.node(fetch_order, writes="order"), process.node(fetch_policy, writes="policy")
    approve = process.pause(name="approve", writes="approval", answer=Approval, shows=("message",))
    sends = process.effect(send, writes="receipt", safety=AtMostOnce())
    process.rules(
        when("not classified", lambda c: c.triage is None, classifies),
        when('it is "spam"', lambda c: c.triage == "spam", park("spam is for the postmaster")),
        when("facts are missing", lambda c: c.order is None or c.policy is None, parallel(order, policy)),
        when("open", lambda c: c.approval is None, approve),
        when("refused", lambda c: not c.approval.approved, finish("refused")),
        when("unsent", lambda c: c.receipt is None, sends),
        otherwise(finish("sent")),
    )
    return process


def lines() -> list[str]:
    return [line.strip() for line in draw(letter()).splitlines()]


def test_a_drawing_is_a_flowchart_that_ends_with_its_last_line() -> None:
    text = draw(letter())

    assert text.startswith("flowchart TD\n")
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_each_rule_is_a_hexagon_in_its_order() -> None:
    drawn = lines()

    hexagons = [line for line in drawn if "{{" in line]
    assert hexagons[0] == 'r0{{"not classified"}}'
    assert hexagons[-1] == 'r6{{"otherwise"}}'
    assert len(hexagons) == 7


def test_each_kind_of_step_has_its_shape() -> None:
    drawn = lines()

    assert 'r0 -- yes --> s0["classify"]' in drawn
    assert 'r2 -- yes --> s2["fetch_order + fetch_policy"]' in drawn
    assert 'r3 -- yes --> s3[/"approve"/]' in drawn
    assert 'r4 -- yes --> s4(["refused"])' in drawn
    assert 'r5 -- yes --> s5[["send"]]' in drawn
    assert 'r6 -- yes --> s6(["sent"])' in drawn


def test_a_park_is_drawn_as_something_else_than_a_node_and_says_its_reason() -> None:
    drawn = next(line for line in lines() if line.startswith("r1 -- yes"))

    assert "spam is for the postmaster" in drawn
    assert not drawn.endswith('s1["park"]')


def test_a_rule_that_does_not_hold_leads_to_the_next_one_and_the_last_leads_nowhere() -> None:
    drawn = lines()

    assert [line for line in drawn if "-- no -->" in line] == [f"r{n} -- no --> r{n + 1}" for n in range(6)]


def test_after_a_step_the_rules_are_read_from_the_top_and_an_end_leads_nowhere() -> None:
    drawn = lines()

    assert [line for line in drawn if "-.->" in line] == [f"s{n} -.-> r0" for n in (0, 2, 3, 5)]


def test_a_quotation_mark_in_a_name_does_not_end_the_label() -> None:
    drawn = next(line for line in lines() if line.startswith("r1{{"))

    assert drawn.count('"') == 2
    assert "spam" in drawn


def test_a_line_break_in_a_name_does_not_end_the_line() -> None:
    process = Process("short", Letter)
    for function, field in ((classify, "triage"), (fetch_order, "order"), (fetch_policy, "policy"), (send, "receipt")):
        process.node(function, writes=field)
    process.pause(name="approve", writes="approval", answer=Approval, shows=("message",))
    process.rules(
        *(when(f"a\nb {n}", lambda c, n=n: c.message == n, step) for n, step in process.steps.items()),
        otherwise(finish("one\ntwo")),
    )

    drawn = draw(process).splitlines()

    assert all(line.startswith(("flowchart", "    r", "    s")) for line in drawn)


def test_the_same_process_is_drawn_alike_each_time(tmp_path: Path) -> None:
    (tmp_path / "drawing.mmd").write_text(draw(letter()))

    assert (tmp_path / "drawing.mmd").read_text() == draw(letter())


def test_a_process_without_rules_cannot_be_drawn_and_says_why() -> None:
    with pytest.raises(DefinitionError, match="'letter' has no rules"):
        draw(Process("letter", Letter))


class Basket(State):
    lines: list[str]
    prices: list[int | Failure] | None = None


def price(line: Item[str]) -> int:
    return len(line)


@pytest.mark.parametrize(("failures", "words"), [(None, ""), ("fail", " (fail)"), ("record", " (record)"), (quorum(2), " (quorum of 2)")])
def test_an_each_is_drawn_with_what_it_goes_over_and_what_failed_branches_mean(failures: Failures, words: str) -> None:
    process = Process("basket", Basket)
    prices = process.node(price, writes="prices")
    process.rules(when("open", lambda c: c.prices is None, each(prices, over="lines", failures=failures)), otherwise(finish("done")))

    assert f's0["price over lines{words}"]' in draw(process)
