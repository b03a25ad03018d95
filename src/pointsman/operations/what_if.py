"""What a case would do with other fields: nothing is run, and nothing is stored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pointsman.definition.effects import Compensation, Effect
from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.errors import Refused, ValueRefused
from pointsman.kernel import operators, people
from pointsman.kernel.codec import codec_of
from pointsman.kernel.decide import Decision
from pointsman.kernel.events import Event, Kind, chosen_by
from pointsman.kernel.evolve import evolve
from pointsman.kernel.program import Program, program_of
from pointsman.kernel.snapshot import ENDED, Cell, Snapshot, Status
from pointsman.operations.explain import cells_under, explaining
from pointsman.operations.findings import short
from pointsman.operations.history import History, history_of
from pointsman.operations.ledger import key_of
from pointsman.operations.redaction import unredacted
from pointsman.store.base import Reader

KEY_SHOWN = 12  # characters: a key of the engine is 40, and two of them would fill a line


@dataclass(frozen=True, slots=True)
class Choice:
    """A step, and the rule that chooses it ("" if no rule does)."""

    rule: str
    step: str

    @property
    def text(self) -> str:
        """Both in words."""
        return f"{chosen_by(self.rule)} -> {self.step}" if self.rule else self.step


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A changed idempotency key of an effect. `called` says whether a call was made under the key `before`; that call stays as it is."""

    effect: str
    before: str
    after: str
    called: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What the case `case` would do with these `fields`: what comes next `now`, and what would come next `then`.

    `anew` has the steps whose results would be cleared and computed again, with those fields. `asks_again` are the pauses whose answers would be
    withdrawn, `opens` the pause that would open next, or None. `calls` is the effect that would be called next and its key, or None; `keys` are the
    keys that would change. `applies` says whether an operator's redrive can make the change.
    """

    case: int
    fields: Mapping[str, Any]
    now: Choice
    then: Choice
    anew: Mapping[str, tuple[str, ...]]
    asks_again: tuple[str, ...]
    opens: str | None
    calls: tuple[str, str | None] | None = None
    keys: tuple[KeyChange, ...] = ()
    applies: bool = False

    def lines(self) -> Iterator[str]:
        """The lines of a text for a person."""
        yield f"With {', '.join(f'{name} = {short(value)}' for name, value in self.fields.items())}, case {self.case} would do this:"
        yield f"  without it: {self.now.text}"
        yield f"  with it:    {self.then.text}{'  (the same)' if self.now == self.then else ''}"
        if self.calls is not None:
            effect, key = self.calls
            yield f"  effect that would be called next: {effect}{f' (key {key})' if key else ''}"
        yield from (f"  computed again: {step}, which has written {', '.join(fields)}" for step, fields in self.anew.items())
        yield from (f"  asked again: {pause}; its answer is withdrawn" for pause in self.asks_again)
        if self.opens is not None and self.opens not in self.asks_again:
            yield f"  asked: {self.opens}"
        for other in self.keys:
            stays = "; its call under the old key stays as it is, and it would be called once more" if other.called else ""
            yield f"  other key: {other.effect}: {_begins(other.before)} -> {_begins(other.after)}{stays}"
        yield "Nothing was run, and nothing is stored."

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            **asdict(self),
            "anew": {step: list(fields) for step, fields in self.anew.items()},
            "keys": [asdict(key) for key in self.keys],
        }


async def explain_change(reader: Reader, processes: Sequence[AnyProcess], case: int, fields: Mapping[str, object]) -> Change:
    """Say what a case would do if its `fields` had these values, under the present code.

    What was computed from a changed field is taken as cleared. A field that a person answers counts as the answer. Raises UnknownCase,
    UnknownProcess, and Refused for an unknown field, a value that does not fit, and a case that has ended.
    """
    history = await history_of(unredacted(reader), case)
    process = explaining(processes, history)
    if history.case.status in ENDED:
        raise Refused(f"case {case} has ended, and no field changes what it does.")
    return change_of(process, history, fields, reader.incarnation)


def change_of(process: AnyProcess, history: History, fields: Mapping[str, object], incarnation: str) -> Change:
    """What a case with this history would do with these fields. Raises Refused."""
    program, case = program_of(process), history.case.id
    before = cells_under(process, history, [])
    writes = _writes(program, before, fields)
    after = evolve(process, Snapshot(case, before), Event(Kind.REDRIVEN, writes=writes)).cells
    now, then = program.describe(before).decision, program.describe(after).decision
    gone = {name: cell.writer for name, cell in before.items() if name not in after and name not in fields and cell.writer}
    anew: dict[str, tuple[str, ...]] = {}
    for name, writer in gone.items():
        anew[writer] = (*anew.get(writer, ()), name)
    asked = tuple(writer for writer in anew if isinstance(process.steps.get(writer), Pause))
    step = then.step
    answers = any(people.asked_at(process, name) is not None and value is not None for name, value in fields.items())
    opens = step.name if isinstance(step, Pause) and (step.name != history.case.step or step.name in asked) else None
    calls = (step.name, key_of(process, case, after, step, incarnation)) if isinstance(step, Effect) else None
    computed = {writer: names for writer, names in anew.items() if writer not in asked}
    change = Change(case, dict(fields), _choice(now), _choice(then), computed, asked, opens)
    return replace(
        change,
        calls=calls,
        keys=tuple(_keys(process, history, (before, after), incarnation)),
        applies=history.case.status in {Status.PARKED, Status.WAITING} and not answers,
    )


def _begins(key: str) -> str:
    """A key as a person compares it; the JSON has all of it."""
    return key if len(key) <= KEY_SHOWN else f"{key[:KEY_SHOWN]}…"


def _choice(decision: Decision) -> Choice:
    return Choice(decision.rule, decision.step.name)


def _writes(program: Program, before: Mapping[str, Cell], fields: Mapping[str, object]) -> dict[str, Cell]:
    """The writes of a correction; a field that a person answers is written as by the answer. Raises Refused."""
    process = program.process
    answers = {name: pause for name, value in fields.items() if value is not None and (pause := people.asked_at(process, name)) is not None}
    corrected = operators.corrections(program, before, {name: value for name, value in fields.items() if name not in answers})
    try:
        return {**corrected, **{name: codec_of(process.state).encode(name, fields[name], pause) for name, pause in answers.items()}}
    except ValueRefused as error:
        raise Refused(f"the value was refused: {error}") from None


def _keys(
    process: AnyProcess, history: History, cells: tuple[Mapping[str, Cell], Mapping[str, Cell]], incarnation: str
) -> Iterator[KeyChange]:
    """The effects that have a key both with the present and with the other fields, but not the same one."""
    called = {entry.key for entry in history.effects}
    for name, step in process.steps.items():
        if isinstance(step, Effect) and not isinstance(step, Compensation):
            before, after = (key_of(process, history.case.id, one, step, incarnation) for one in cells)
            if before is not None and after is not None and before != after:
                yield KeyChange(name, before, after, before in called)
