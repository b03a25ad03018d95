"""Small processes made by chance, and every case that they can have: values are computed here, and none is imagined."""

import copy
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, Field

from pointsman import Context, Idempotent, Log, Process, State, finish, otherwise, when
from pointsman.definition.pauses import Pause
from pointsman.errors import DefinitionError
from pointsman.kernel import commands, happenings
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.case import Case, new_case
from pointsman.kernel.codec import codec_of
from pointsman.kernel.decide import view_of
from pointsman.kernel.machine import Plan, advance
from pointsman.kernel.program import Rules
from pointsman.kernel.rows import MessageRow, MessageStatus, NewCase
from pointsman.kernel.snapshot import Cell, Status
from pointsman.operations.verify.happens import BEGUN_AT, Certain

Letter = Literal["x", "y"]
LETTERS = ("x", "y")


class Answer(BaseModel):
    said: Letter
    sure: bool = False


ANSWERS = tuple(Answer(said=said, sure=sure) for said in LETTERS for sure in (False, True))


class Small(State):
    given: Letter
    perhaps: Letter | None
    one: Letter | None = None
    two: Letter | None = None
    answer: Answer | None = None
    sent: Letter | None = None
    notes: Log[str] = Field(default_factory=list)


VALUES: dict[str, tuple[Any, ...]] = {"one": (*LETTERS, None), "two": LETTERS, "answer": ANSWERS, "sent": LETTERS, "notes": (*LETTERS, "z")}

Condition = Callable[[Any], object]


def letter(chance: random.Random) -> Condition:
    """A question about one or two fields."""
    field, other = chance.sample(["given", "perhaps", "one", "two", "sent"], 2)
    value = chance.choice(LETTERS)
    questions: list[Condition] = [
        lambda c: getattr(c, field) == value,
        lambda c: getattr(c, field) is None,
        lambda c: getattr(c, field) is not None and getattr(c, field) == getattr(c, other),
        lambda c: c.answer is None,
        lambda c: c.answer is not None and c.answer.said == value,
        lambda c: c.answer is not None and not c.answer.sure,
        lambda c: c.answer is not None and c.answer.said == getattr(c, field),
        lambda c: len(c.notes) > 0 and c.notes[-1] == value,
        lambda c: any(note == value for note in c.notes),
    ]
    return chance.choice(questions)


def condition(chance: random.Random) -> Condition:
    """Up to three questions, joined by `and` and `or`."""
    first, second, third = letter(chance), letter(chance), letter(chance)
    forms: list[Condition] = [
        first,
        lambda c: not first(c),
        lambda c: first(c) and second(c),
        lambda c: first(c) or second(c),
        lambda c: first(c) and not (second(c) or third(c)),
    ]
    return chance.choice(forms)


def by_chance(seed: int) -> Process[Small]:
    """A process with the rules and invariants of this seed."""
    chance = random.Random(seed)
    while True:
        with suppress(DefinitionError):  # two rules have the same condition
            return _made(chance)


def _made(chance: random.Random) -> Process[Small]:
    made = Process("small", Small)
    if chance.random() < 0.6:
        made.accept(Answer, writes="answer", correlate=lambda answer: "", while_open="supersede", starts=False)
    made.accept(str, name="note", writes="notes", correlate=lambda note: note, while_open="append", starts=False)

    def one(given: Letter, perhaps: Letter | None) -> Letter | None:
        return None

    def two(one: Letter | None) -> Letter:
        return "x"

    def send(given: Letter, one: Letter | None, *, ctx: Context) -> Letter:
        return "x"

    first, second = made.node(one, writes="one"), made.node(two, writes="two")
    ask = made.pause(
        name="ask", writes="answer", answer=Answer, shows=("given", "one", "two"), edits=("two",) if chance.random() < 0.5 else ()
    )
    sends = made.effect(send, writes="sent", safety=Idempotent())
    steps = [first, second, ask, *chance.choices([first, second, ask, sends, finish("a"), finish("b")], k=chance.randint(0, 3))]
    chance.shuffle(steps)
    for number in range(3):
        where = chance.choice([{"effect": sends}, {"ends": "done"}, {}])
        made.never(f"invariant {number}", condition(chance), **where)
    rules = [when(f"rule {number}", condition(chance), step) for number, step in enumerate(steps)]
    made.rules(*rules, when("not sent", lambda c: c.sent is None, sends), otherwise(finish("done")))
    return made


class EveryCase:
    """Walks every case of a small process with at most `messages` messages, and notes the invariants that are broken and the rules that are chosen."""

    def __init__(self, of: Process[Small], messages: int) -> None:
        self.process, self.messages, self._invariants = copy.copy(of), messages, of.invariants
        self.process.invariants = {}
        self.broken: set[str] = set()
        self.chosen: set[str] = set()
        self._codec = codec_of(of.state)
        self._seen: set[Any] = set()
        self._waiting: deque[tuple[Case, Any, int]] = deque()

    def walk(self, cases_max: int) -> bool:
        """Whether every case was walked."""
        new = NewCase(self.process.name, self.process.version, None)
        for given in LETTERS:
            for perhaps in (*LETTERS, None):
                cells = {"given": self._cell("given", given, ""), "perhaps": self._cell("perhaps", perhaps, "")}
                self._arrive(new_case(1, new, BEGUN_AT, "walk"), happenings.StartAsked(new, cells), self.messages)
        while self._waiting and len(self._seen) < cases_max:
            case, todo, messages = self._waiting.popleft()
            for happening in self._happenings(case, todo):
                self._arrive(case, happening, messages)
                for message in self._messages(case) if messages else ():
                    self._arrive(case.having((message,)), happening, messages - 1)
        return not self._waiting

    def _cell(self, field: str, value: Any, writer: str) -> Cell:
        return self._codec.encode(field, value, writer) if writer == "" else self._codec.write(field, value, writer)

    def _happenings(self, case: Case, todo: Any) -> Iterator[Any]:
        match todo:
            case commands.Continue(step=step):
                yield happenings.Continued(step)
            case commands.Acquire():
                yield happenings.Acquired(todo)
            case commands.CallNode(node=node):
                yield from (happenings.NodeEnded(todo, CallEnd(value)) for value in VALUES[node.writes[0]])
            case commands.CallEffect(effect=effect):
                yield from (happenings.EffectEnded(todo, CallEnd(value)) for value in VALUES[effect.writes[0]])
            case None if case.row.status is Status.RUNNING:
                yield happenings.Claimed()
            case None:
                step = self.process.steps.get(case.row.step or "")
                if isinstance(step, Pause) and case.row.status is Status.WAITING and not case.messages:
                    yield from self._answers(step)

    def _answers(self, pause: Pause) -> Iterator[Any]:
        for answer in ANSWERS:
            cell = self._cell("answer", answer, pause.name)
            yield happenings.Answered(pause.name, "-", {"answer": cell})
            for name in pause.edits:
                for value in VALUES[name]:
                    yield happenings.Answered(pause.name, "-", {"answer": cell, name: self._cell(name, value, pause.name)})

    def _messages(self, case: Case) -> Iterator[MessageRow]:
        for accept in self.process.accepts_messages.values():
            for value in VALUES[accept.writes[0]]:
                body = self._codec.write(accept.writes[0], value, accept.name).text
                yield MessageRow(
                    self.messages + len(case.snapshot.cells),
                    self.process.name,
                    accept.name,
                    None,
                    None,
                    1,
                    MessageStatus.PENDING,
                    body,
                    BEGUN_AT,
                )

    def _arrive(self, case: Case, happening: Any, messages: int) -> None:
        watched = _Watched(self.process, self._invariants)
        plan = advance(watched, case, happening, BEGUN_AT, Certain())
        if not isinstance(plan, Plan):
            return
        for rule, broken in watched.__dict__["decisions"] if plan.transition is not None else ():
            self.chosen.add(rule)
            self.broken |= broken
        after = plan.case if plan.transition is None else plan.case.having(())
        todo = None if not plan.commands or isinstance(plan.commands[0], commands.Rest) else plan.commands[0]
        ledger = sorted((entry.effect, entry.key, str(entry.status), entry.outcome or "") for entry in after.ledger.values())
        cells = sorted((name, cell.text, cell.writer) for name, cell in after.snapshot.cells.items())
        key = (after.row.status, after.row.step, type(todo).__name__, str(cells), str(ledger), messages)
        if key not in self._seen and after.row.status in {Status.RUNNING, Status.WAITING}:
            self._seen.add(key)
            self._waiting.append((after, todo, messages))
            if after.row.status is Status.WAITING and messages:
                for message in self._messages(after):
                    row = after.row._replace(status=Status.RUNNING, wake_at=None, fence=after.row.fence + 1)
                    self._arrive(replace(after, row=row).having((message,)), happenings.Claimed(), messages - 1)


class _Watched(Rules):
    """Rules that keep what they decide, each decision with the invariants that it breaks."""

    def __init__(self, process: Any, invariants: Any) -> None:
        super().__init__(process)
        self.__dict__.update(invariants=invariants, decisions=[])

    def next(self, case: int, cells: Any) -> Any:
        decision = super().next(case, cells)
        view = view_of(self.process.state)(cells, {})
        guarding = [one for one in self.__dict__["invariants"].values() if one.guards(decision.step)]
        self.__dict__["decisions"].append((decision.rule, {one.name for one in guarding if one.condition(view)}))
        return decision
