"""The model checker finds a short way to a broken invariant, and says what is proved."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from every_case import EveryCase, by_chance
from pydantic import BaseModel, Field

import interpreter
from pointsman import (
    Context,
    Failure,
    Idempotent,
    Item,
    Log,
    Peek,
    Process,
    Reconcile,
    State,
    answer_with,
    each,
    finish,
    otherwise,
    parallel,
    park,
    when,
)
from pointsman.operations.verify import search
from pointsman.operations.verify.imagined import Imagination
from pointsman.operations.verify.places import Place, Unresolved
from pointsman.operations.verify.report import Verified, verify
from pointsman.operations.verify.words import Words
from tiers import figure

SEEDS = figure("VERIFIED", 5)
CASES_MAX = 3_000
EXAMPLES = Path(__file__).parents[2] / "examples"


class Verdict(BaseModel):
    decision: Literal["pay", "refuse"]
    sha256: str


class Claim(State):
    text: str
    amount: int
    letter: str | None = None
    digest: str | None = None
    verdict: Verdict | None = None
    receipt: str | None = None

    @property
    def allowed(self) -> bool:
        return self.verdict is not None and self.verdict.decision == "pay" and self.verdict.sha256 == self.digest


def letter(text: str) -> str:
    return text


def digest(letter: str) -> str:
    return letter


def pay(amount: int, letter: str, *, ctx: Context) -> str:
    return letter


def claims(asks: Callable[[Claim], object], *, refused: str = "refuse") -> Process[Claim]:
    """A process that asks a person where `asks` holds and the letter is not approved."""
    process = Process("claims", Claim)
    process.accept(str, writes="text", correlate=lambda text: text, starts=lambda text: {"amount": 1})
    writes, digests = process.node(letter, writes="letter"), process.node(digest, writes="digest")
    ask = process.pause(name="ask", writes="verdict", answer=Verdict, shows=("text", "letter"), edits=("letter",), beside=("digest",))
    pays = process.effect(pay, writes="receipt", safety=Idempotent())
    process.never("a large claim is paid without approval of these bytes", lambda c: c.amount > 100 and not c.allowed, effect=pays)
    process.rules(
        when("no letter", lambda c: c.letter is None, writes),
        when("no digest", lambda c: c.digest is None, digests),
        when("it was refused", lambda c: c.verdict is not None and c.verdict.decision == refused, finish("refused")),
        when("it is large", lambda c: asks(c) and not c.allowed, ask),
        when("not paid", lambda c: c.receipt is None, pays),
        otherwise(finish("paid")),
    )
    return process


def told(verified: Verified) -> str:
    return "\n".join(verified.lines())


def test_rules_that_keep_an_invariant_are_proved() -> None:
    verified = verify(claims(lambda c: c.amount > 100))

    assert verified.proved == ("a large claim is paid without approval of these bytes",)
    assert verified.is_clean, told(verified)


@pytest.mark.parametrize(
    ("process", "step"),
    [
        (claims(lambda c: c.amount > 1_000), "100 < amount < 1000"),
        (claims(lambda c: c.amount > 100 and c.verdict is None), "a person answers 'ask'"),
        (claims(lambda c: c.amount > 100 and c.verdict is None, refused="refuze"), "verdict.decision"),
    ],
    ids=["a nought too many", "other bytes are approved", "a misspelt answer"],
)
def test_a_fault_is_refuted_with_a_short_way_there(process: Process[Claim], step: str) -> None:
    verified = verify(process)

    [refutation] = verified.refuted
    assert refutation.certain
    assert step in "\n".join(refutation.timeline)
    assert len(refutation.timeline) <= 4
    assert verified.proved == ()


def test_a_stale_approval_is_found() -> None:
    process = Process("forgetful", Claim)
    process.accept(str, writes="text", correlate=lambda text: text, starts=lambda text: {"amount": 1})
    writes, digests = process.node(letter, writes="letter"), process.node(digest, writes="digest")
    ask = process.pause(
        name="ask", writes="verdict", answer=Verdict, shows=("amount",), beside=("letter", "digest")
    )  # the letter is not bound
    pays = process.effect(pay, writes="receipt", safety=Idempotent())
    process.never("it is paid unseen", lambda c: c.verdict is None, effect=pays)
    process.never("other bytes are paid", lambda c: not c.allowed, effect=pays)
    process.rules(
        when("no letter", lambda c: c.letter is None, writes),
        when("no verdict", lambda c: c.verdict is None, ask),
        when("no digest", lambda c: c.digest is None, digests),
        when("not paid", lambda c: c.receipt is None, pays),
        otherwise(finish("paid")),
    )

    verified = verify(process)

    assert verified.proved == ("it is paid unseen",)
    assert [one.what for one in verified.refuted] == ["other bytes are paid"]


class Color(Enum):
    RED = "red"
    GREEN = "green"
    BLUE = "blue"
    GREY = "grey"
    BLACK = "black"


class Many(State):
    color: Color
    lines: list[str]
    left: str | Failure | None = None
    right: str | Failure | None = None
    parts: list[str | Failure] | None = None
    slept: float | None = None
    answer: str | None = None
    notes: Log[str] = Field(default_factory=list)
    receipt: str | Failure | None = None
    booked: int | None = None


async def find(left: Any, *, ctx: Context) -> object:
    return left


def many() -> Process[Many]:
    """A process with every kind of step."""
    process = Process("many", Many)
    process.accept(str, writes="notes", correlate=lambda note: note, while_open="append", starts=False)

    def left(color: Color) -> str:
        return "left"

    def right(color: Color) -> str:
        return "right"

    def part(line: Item[str]) -> str:
        return line

    async def send(left: str | Failure, *, ctx: Context) -> str:
        return "sent"

    lefts, rights = (process.node(one, writes=name, on_failure="record") for one, name in ((left, "left"), (right, "right")))
    parts = process.node(part, writes="parts")
    sleeps = process.sleep(writes="slept", seconds=60)
    ask = process.pause(writes="answer", answer=str, shows=("left",), deadline=timedelta(days=1), ladder=[answer_with("late")])
    sends = process.effect(send, writes="receipt", safety=Reconcile(find, propagation_seconds=1), on_failure="record", timeout_seconds=5)

    @process.transaction(writes="booked")
    def book(left: str | Failure, *, db: Any) -> int:
        return 1

    process.never("grey is sent", lambda c: c.color is Color.GREY, effect=sends)
    process.never("it ends without a note", lambda c: len(c.notes) == 0, ends="done")
    process.rules(
        when("no sides", lambda c: c.left is None or c.right is None, parallel(lefts, rights)),
        when("a side is missing", lambda c: isinstance(c.right, Failure), park("no right")),
        when("no parts", lambda c: c.parts is None, each(parts, over="lines", failures="record")),
        when("not slept", lambda c: c.slept is None, sleeps),
        when("no answer", lambda c: c.answer is None, ask),
        when("late", lambda c: c.answer == "late", finish("late")),
        when("not booked", lambda c: c.booked is None, book),
        when("grey", lambda c: c.color is Color.GREY, finish("grey")),
        when("not sent", lambda c: c.receipt is None, sends),
        when("rejected", lambda c: isinstance(c.receipt, Failure), finish("rejected")),
        otherwise(finish("done")),
    )
    return process


def test_each_kind_of_step_is_explored() -> None:
    verified = verify(many())

    assert verified.complete
    assert (verified.unchosen, verified.dead_ends, verified.circle) == ((), (), ())
    assert verified.proved == ("grey is sent",)
    assert [one.what for one in verified.refuted] == ["it ends without a note"]


class Turning(State):
    text: str
    one: str | None = None
    other: str | None = None
    third: str | None = None


def turning(*, loops: bool, bare: bool) -> Process[Turning]:
    """A process whose steps clear each other, or that calls a node before its field is there."""
    process = Process("turning", Turning)

    def first(text: str, other: Peek[str | None]) -> str:
        return text

    def second(one: str) -> tuple[str, str]:
        return one, one

    def third(other: str) -> str:
        return other

    one = process.node(first, writes="one")
    other = process.node(second, writes=("other", "third"))
    lone = process.node(third, writes="third")
    process.rules(
        when("no one", lambda c: c.one is None, one),
        *([when("no third", lambda c: c.third is None, lone)] if bare else []),
        when("no other", lambda c: c.other is None, other),
        when("again", lambda c: loops and c.third is not None, other),
        *([] if bare else [when("a third one", lambda c: c.third is None, lone)]),
        otherwise(finish("done")),
    )
    return process


def test_a_dead_end_a_loop_and_a_rule_that_is_never_chosen_are_found() -> None:
    looping, bare = verify(turning(loops=True, bare=False)), verify(turning(loops=False, bare=True))

    assert looping.circle == ("again",)
    assert "loop without progress: the rules 'again' follow each other" in told(looping)
    assert looping.unchosen == ("a third one", "otherwise")
    assert [end.what for end in bare.dead_ends] == [
        "rule 'no third' chose 'third', which needs field 'other', but nothing has written it yet; put a rule above it that does"
    ]
    assert bare.dead_ends[0].timeline[-1].startswith("first returns")


class Early(State):
    text: str
    letter: str | None = None


def test_a_condition_that_always_raises_is_a_dead_end_of_an_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "OUTLINE_MAX", -1)
    process = Process("early", Early)
    writes = process.node(letter, writes="letter")
    process.rules(
        when("long", lambda c: len(c.letter) > 5, finish("long")),
        when("no letter", lambda c: c.letter is None, writes),
        otherwise(finish("done")),
    )

    verified = verify(process)

    assert [end.what for end in verified.dead_ends] == [
        "the condition of rule 'long' raised TypeError: object of type 'NoneType' has no len(); correct the rule"
    ]
    assert verified.unchosen == ("no letter", "otherwise")


class Booked(State):
    amount: int
    at: datetime
    text: str


def test_the_values_are_named_that_conditions_compute_with_or_that_stand_for_all() -> None:
    process = Process("booked", Booked)
    process.rules(
        when("large", lambda c: c.amount * 2 > 10, finish("large")),
        when("old", lambda c: c.at.year < 2000, finish("old")),
        when("polite", lambda c: c.text.startswith("Dear"), finish("polite")),
        otherwise(finish("done")),
    )

    verified = verify(process)

    assert (verified.computed, verified.single) == (("amount", "text"), ("at (datetime)",))
    assert "few values only, because conditions compute with them: amount, text" in told(verified)


class Given(State):
    text: str | None
    receipt: str | None = None


def test_an_input_that_may_be_none_is_taken_as_none_too() -> None:
    process = Process("given", Given)

    def send(text: str | None, *, ctx: Context) -> str:
        return ""

    sends = process.effect(send, writes="receipt", safety=Idempotent())
    process.never("nothing is sent", lambda c: c.text is None, effect=sends)
    process.rules(when("not sent", lambda c: c.receipt is None, sends), otherwise(finish("sent")))

    verified = verify(process)

    assert [one.what for one in verified.refuted] == ["nothing is sent"]


class Pair(State):
    text: str
    left: str | None = None
    right: str | None = None
    receipt: str | None = None


def pairs() -> Process[Pair]:
    """A process whose invariant other fields could break, and no case does: one node writes both sides."""
    process = Process("pairs", Pair)

    def split(text: str) -> tuple[str, str]:
        return text, text

    def send(left: str, *, ctx: Context) -> str:
        return left

    splits = process.node(split, writes=("left", "right"))
    sends = process.effect(send, writes="receipt", safety=Idempotent())
    process.never("half a pair is sent", lambda c: c.right is None, effect=sends)
    process.rules(
        when("not split", lambda c: c.left is None, splits), when("not sent", lambda c: c.receipt is None, sends), otherwise(finish("sent"))
    )
    return process


def test_an_invariant_that_depends_on_how_a_case_came_here_is_searched() -> None:
    searched, bounded = verify(pairs()), verify(pairs(), states_max=1)

    assert (searched.proved, searched.is_clean) == (("half a pair is sent",), True)
    assert (bounded.complete, bounded.proved, bounded.open, bounded.holds) == (False, (), ("half a pair is sent",), False)
    assert "raise --states-max" in told(bounded)


def test_an_invariant_that_no_fields_can_break_is_proved_without_a_search() -> None:
    verified = verify(claims(lambda c: c.amount > 100), states_max=1)

    assert (verified.complete, verified.holds) == (False, True)
    assert "the bound was reached" in told(verified)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_search_misses_no_case_of_a_process_made_by_chance(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    process = by_chance(seed)
    every = EveryCase(process, messages=1)

    walked, verified = every.walk(CASES_MAX), verify(process, messages=1)
    monkeypatch.setattr(search, "OUTLINE_MAX", -1)
    outlined = verify(process, messages=1)

    assert every.chosen.isdisjoint(outlined.unchosen)
    assert every.broken.isdisjoint(verified.proved)
    assert every.chosen.isdisjoint(verified.unchosen)
    failures = {"not sent", "rejected", "does not answer", "dies"}
    plain = [one for one in verified.refuted if one.certain and not any(word in line for word in failures for line in one.timeline)]
    assert not walked or {one.what for one in plain} <= every.broken  # the walk knows no failures


def test_a_value_is_decided_no_further_than_a_condition_looks() -> None:
    words = Words(claims(bool))
    looked: dict[str, Callable[[Any], object]] = {
        "present": lambda v: v is not None,
        "decision": lambda v: v.decision == "pay",
        "bytes": lambda v: v.sha256 == "a" or v.sha256 == "b",
    }

    found = {name: ways(words, Verdict, look) for name, look in looked.items()}

    assert found == {"present": [True], "decision": [True, False], "bytes": [True, True, False]}
    assert ways(words, int, lambda n: n > 3 and n < 5) == [False, False, True, False, False]
    assert ways(words, Decimal, lambda n: n > Decimal("3.5")) == [False, False, True]
    assert ways(words, dict[str, int], lambda d: "pay" in d).count(True) == 1
    assert ways(words, Spot, lambda s: s.x == 3) == [False, True, False]
    assert ways(words, datetime, lambda at: at.year) == [2024]
    assert ways(words, tuple[bool, ...], len) == [0, 1, 1, 2]


@dataclass(frozen=True, slots=True)
class Spot:
    x: int


def ways(words: Words, kind: Any, look: Callable[[Any], object]) -> list[object]:
    """What `look` returns for each value of a type that it can tell apart."""
    imagination, results, waiting = Imagination(words), [], [dict[Any, Any]()]
    while waiting:
        imagination.known = known = waiting.pop(0)
        try:
            results.append(look(imagination.look(Place("v<>#0", ""), kind)))
        except Unresolved as asked:
            waiting += [{**known, asked.place: choice} for choice in asked.choices]
    return results


def test_a_search_without_findings_says_so() -> None:
    class Plain(State):
        text: str

    process = Process("claims", Plain)
    process.rules(otherwise(finish("done")))

    verified = verify(process)

    assert told(verified).splitlines()[1:] == [
        "no invariant is declared; declare one with never()",
        "nothing found: no dead end, no loop without progress, and no rule that is never chosen",
    ]


def test_the_command_fails_where_an_invariant_is_not_proved(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pointsman import Process, State, finish, otherwise, park, when\n"
        "class Case(State):\n    amount: int\n"
        "mine = Process('mine', Case)\n"
        "mine.never('a large one ends', lambda c: c.amount > 5, ends='done')\n"
        "mine.rules(when('large', lambda c: c.amount > 6, park('large')), otherwise(finish('done')))\n"
    )
    command = ("-m", "pointsman.cli.main", "verify")

    refuted = interpreter.run(*command, "mine:mine", "--json", cwd=tmp_path)
    proved = interpreter.run(*command, "--app", "insurance_claim:claims", "--strict", cwd=EXAMPLES)

    found = json.loads(refuted.stdout)
    assert (refuted.returncode, found["refuted"][0]["timeline"]) == (1, ["a case is started, where amount = 6; rule 'otherwise' is chosen"])
    assert (proved.returncode, proved.stdout.splitlines()[0][:24]) == (0, "process claims: explored")
