"""Tries rules on the recorded decisions of cases: which would they have made otherwise?

It calls no step and writes nothing. A decision depends only on the fields of a case, and the store has them as of each revision, so each recorded
decision can be made anew. Only the first decision of a case that differs says what the new rules would have done with that case: the later
ones were made on fields that would perhaps never have been written. They are counted apart.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.effects import Effect
from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate, Park
from pointsman.errors import Refused, UnknownCase, UnknownProcess, ValueRefused, VersionNotAccepted
from pointsman.kernel.decide import Decision, decide
from pointsman.kernel.events import Kind
from pointsman.kernel.hiding import hidden, hiding
from pointsman.kernel.rows import EventRow
from pointsman.operations.past import refuse_without_past
from pointsman.operations.recorded import COMPENSATES, Past, Recorded, recorded_of
from pointsman.operations.redaction import unredacted
from pointsman.runtime.registry import Registry
from pointsman.store.base import Reader, WriteRow

PAGE = 500  # cases in memory at once
CASES_SHOWN = 10  # of a group; the JSON has all of them
REASONS_MAX = 100  # that decisions were not tried for; a message of an author may name a value
OTHER_REASONS = "other reasons"
ERASED = "the content of the case was erased"
BOUND = "a compensation that had begun was carried on, whatever the rules chose"

Tell = Callable[[int, int], None]


def _tell_nobody(done: int, cases: int) -> None:
    """Show no progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selected:
    """Which recorded decisions to try: those made at `since` (Unix seconds) or later, of these `cases` or of a `sample` of so many, or all of them.

    A sample is always the same for the same cases.
    """

    since: float | None = None
    sample: int | None = None
    cases: tuple[int, ...] = ()


class Choice(NamedTuple):
    """A step, and the rule that chose it."""

    rule: str
    step: str

    @property
    def text(self) -> str:
        """Both in words."""
        return f"{self.rule!r} -> {self.step}"


class Pair(NamedTuple):
    """What was chosen `then`, and what is chosen `now`, with what that means outside: "would call send"."""

    process: str
    then: Choice
    now: Choice
    means: tuple[str, ...] = ()


@dataclass(slots=True)
class Group:
    """The decisions that differ in the same way. `cases` would have gone otherwise there; `following` decisions were made after a case would have.

    `reason` is that of a park, for the first of them.
    """

    cases: list[int] = field(default_factory=list)
    following: int = 0
    reason: str = ""


@dataclass(slots=True)
class Untried:
    """Decisions that could not be tried for the same reason, and their cases. If it is the code's, they count as a problem."""

    decisions: int = 0
    cases: list[int] = field(default_factory=list)
    of_the_code: bool = False


@dataclass(slots=True)
class Backtest:
    """What the rules would have decided otherwise.

    `decisions` of `cases` were tried. `same` had the same step by the same rule; `renamed` counts those with the same step by another rule. `groups` are
    the others. `untried` names why some could not be tried. `drifted` counts decisions which the rules before the change do not make as recorded,
    where those rules were given.
    """

    cases: int = 0
    decisions: int = 0
    same: int = 0
    drifted: int = 0
    renamed: Counter[Pair] = field(default_factory=Counter)
    groups: dict[Pair, Group] = field(default_factory=dict)
    untried: dict[str, Untried] = field(default_factory=dict)

    @property
    def otherwise(self) -> list[int]:
        """The cases that would have gone otherwise."""
        return sorted(case for group in self.groups.values() for case in group.cases)

    @property
    def fails(self) -> bool:
        """Whether a case would have gone otherwise, or the code could not try a decision."""
        return bool(self.groups) or any(one.of_the_code for one in self.untried.values())

    def lines(self) -> Iterator[str]:
        """The lines of a text for a person."""
        first, following = len(self.otherwise), sum(group.following for group in self.groups.values())
        yield (
            f"{self.same:,} the same, {self.renamed.total():,} the same step by another rule, {first + following:,} another step"
            if self.decisions
            else "no decision was tried"
        )
        if self.groups:
            more = f"; {format_count(following, 'later difference')} may follow from that" if following else ""
            yield f"{format_count(first, 'case')} would have gone otherwise{more}"
        for pair, group in sorted(self.groups.items(), key=lambda one: (-len(one[1].cases), one[0])):
            yield ""
            number = f"{len(group.cases):,}" if group.cases else f"later, {group.following:,}"
            yield f"{number} of {pair.process}"
            yield f"  then: {pair.then.text}"
            yield f"  now:  {pair.now.text}{f': {group.reason}' * bool(group.reason)}"
            if pair.means:
                yield f"  {'; '.join(pair.means)}"
            if group.cases:
                yield f"  cases {_listed(group.cases)}{f', and {group.following:,} later' * bool(group.following)}"
        for pair, count in sorted(self.renamed.items()):
            yield f"by another rule: {count:,} of {pair.process}: {pair.then.text}  now by {pair.now.rule!r}"
        if self.drifted:
            yield f"{format_count(self.drifted, 'decision')} would not be made as recorded by the rules before, either: other code had made them"
        for reason, one in sorted(self.untried.items()):
            yield f"not tried: {format_count(one.decisions, 'decision')} of {format_count(len(one.cases), 'case')} ({_listed(one.cases)}): {reason}"

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "cases": self.cases,
            "decisions": self.decisions,
            "same": self.same,
            "drifted": self.drifted,
            "otherwise": self.otherwise,
            "groups": [
                {**_pair(pair), "cases": group.cases, "following": group.following, "reason": group.reason}
                for pair, group in sorted(self.groups.items())
            ],
            "renamed": [{**_pair(pair), "decisions": count} for pair, count in sorted(self.renamed.items())],
            "untried": [
                {"reason": reason, "decisions": one.decisions, "cases": one.cases, "of_the_code": one.of_the_code}
                for reason, one in sorted(self.untried.items())
            ],
        }

    def leave_out(self, reason: str, case: int, *, of_the_code: bool) -> None:
        """Count a decision that could not be tried."""
        if reason not in self.untried and len(self.untried) >= REASONS_MAX:
            reason = OTHER_REASONS
        one = self.untried.setdefault(reason, Untried(of_the_code=of_the_code))
        one.decisions += 1
        if not one.cases or one.cases[-1] != case:
            one.cases.append(case)


async def backtest(
    reader: Reader, processes: Sequence[AnyProcess], selected: Selected = Selected(), *,
    before: Sequence[AnyProcess] = (), tell: Tell = _tell_nobody,
) -> Backtest:  # fmt: skip
    """Try the rules of these processes on recorded decisions, a page of cases at a time, with or without a running engine.

    With the processes from `before` the change, their decision on the same fields takes the place of the recorded one. `tell` is called with the number of cases
    that are done, and of all. Raises Refused for an entrypoint and for a mirror, UnknownCase, UnknownProcess, StoreError, and DefinitionError if a version is
    given twice.
    """
    reader = unredacted(reader)
    refuse_without_past(reader)
    trial = _Trial(Registry(processes), Registry(before) if before else None, selected.since)
    found = await _selected(reader, trial.registry, selected)
    done, total = 0, sum(map(len, found.values()))
    for process, numbers in found.items():
        for first in range(0, len(numbers), PAGE):
            page = numbers[first : first + PAGE]
            events: dict[int, list[EventRow]] = {}
            for event in await reader.events_of(page):
                events.setdefault(event.case, []).append(event)
            versions = {row.id: row.version for row in await reader.cases_of(page)}
            writes = await reader.writes_of(page)  # after the events: what came in between is behind the last of their revisions
            for case in page:
                trial.try_case((process, case), recorded_of(events.get(case, []), versions.get(case, 1)), writes.get(case, ()))
            done += len(page)
            tell(done, total)
    return trial.result


async def _selected(reader: Reader, registry: Registry, selected: Selected) -> dict[str, list[int]]:
    """The numbers of the cases to look at, by process."""
    for process in registry:
        if not process.ordered_rules:
            raise Refused(
                f"{process.name!r} is an entrypoint, and only rules can be tried on recorded decisions; `pointsman check` runs its body over each open case."
            )
    if selected.cases:
        return await _named(reader, registry, selected.cases)
    found: dict[str, list[int]] = {}
    for name in registry.names:
        numbers: list[int] = []
        after = 0
        while page := await reader.cases(process=name, after=after):
            after = page[-1].id
            numbers += [row.id for row in page if selected.since is None or row.updated_at >= selected.since]
        found[name] = numbers
    every = [(name, case) for name, numbers in found.items() for case in numbers]
    if selected.sample is None or selected.sample >= len(every):
        return found
    drawn = sorted(Random(selected.sample).sample(every, selected.sample))  # noqa: S311 - it hides nothing, and must be the same again
    return {name: [case for of, case in drawn if of == name] for name in found}


async def _named(reader: Reader, registry: Registry, cases: Sequence[int]) -> dict[str, list[int]]:
    rows = {row.id: row for row in await reader.cases_of(cases)}
    found: dict[str, list[int]] = {}
    for case in sorted({*cases}):
        if case not in rows:
            raise UnknownCase(case)
        process = rows[case].process
        if process not in registry.names:
            raise UnknownProcess(f"case {case} is of process {process!r}; name its process with --app module:attribute.")
        found.setdefault(process, []).append(case)
    return found


class _Trial:
    """Rules that are tried on one case after the other."""

    def __init__(self, registry: Registry, before: Registry | None, since: float | None) -> None:
        self.registry = registry
        self.result = Backtest()
        self._before = before
        self._since = since

    def try_case(self, named: tuple[str, int], decisions: Sequence[Recorded], writes: Sequence[WriteRow]) -> None:
        """Try the decisions of a case, which is `named` by its process and its number."""
        result, (name, case) = self.result, named
        erased = bool(decisions) and Kind.ERASED in decisions[-1].follows
        now, then = _Rules(self.registry, name, writes), _Rules(self._before, name, writes) if self._before is not None else None
        tried = gone_otherwise = False
        for recorded in decisions:
            if self._since is not None and recorded.at < self._since:
                continue
            if erased or recorded.bound:
                result.leave_out(ERASED if erased else BOUND, case, of_the_code=False)
                continue
            try:
                process, decision = now.decide(recorded)
                made = None if then is None else then.choice(recorded)
            except (ValueRefused, VersionNotAccepted) as error:
                result.leave_out(str(error), case, of_the_code=True)
                continue
            tried = True
            result.decisions += 1
            if made is not None:
                result.drifted += made[0] != Choice(recorded.rule, recorded.step)
            elif decision.rule == recorded.rule and decision.step.name == process.called(recorded.step):
                result.same += 1  # as nearly all are
                continue
            made = made or _recorded_choice(process, recorded)
            gone_otherwise |= self._compare(case, made, (process, decision), gone_otherwise=gone_otherwise)
        result.cases += tried

    def _compare(self, case: int, made: tuple[Choice, tuple[str, str]], now: tuple[AnyProcess, Decision], *, gone_otherwise: bool) -> bool:
        """Count a decision; whether it is another one."""
        result, (process, decision) = self.result, now
        chosen = Choice(decision.rule, decision.step.name)
        then = made[0]
        if chosen.step == process.called(then.step):
            if chosen.rule == then.rule:
                result.same += 1
            else:
                result.renamed[Pair(process.name, then, chosen)] += 1
            return False
        pair = Pair(process.name, then, chosen, _meaning(made[1], _act_of(decision.step)))
        group = result.groups.setdefault(pair, Group(reason=decision.step.reason if isinstance(decision.step, Park) else ""))
        if gone_otherwise:
            group.following += 1
        else:
            group.cases.append(case)
        return True


class _Rules:
    """The rules of a registry, on the fields of one case."""

    def __init__(self, registry: Registry, name: str, writes: Sequence[WriteRow]) -> None:
        self._registry = registry
        self._name = name
        self._writes = writes
        self._pasts: dict[int, tuple[AnyProcess, Past]] = {}

    def decide(self, recorded: Recorded) -> tuple[AnyProcess, Decision]:
        """What the rules choose where this decision was made. Raises ValueRefused, VersionNotAccepted."""
        if recorded.version not in self._pasts:
            process = self._registry.for_case(self._name, recorded.version)
            self._pasts[recorded.version] = process, Past(process, self._writes)
        process, past = self._pasts[recorded.version]
        if not process.private:
            return process, decide(process, past.at(recorded.revision, recorded.version))
        with hiding(past.private_texts):
            try:
                return process, decide(process, past.at(recorded.revision, recorded.version))
            except (ValueRefused, VersionNotAccepted) as error:
                raise type(error)(hidden(str(error))) from None

    def choice(self, recorded: Recorded) -> tuple[Choice, tuple[str, str]]:
        """The same as a choice, with what it does."""
        _, decision = self.decide(recorded)
        return Choice(decision.rule, decision.step.name), _act_of(decision.step)


PARK = Park("").name
NO_ACT = ("", "")
_ACTS: Mapping[str, tuple[str, str]] = {
    "call": ("would call {}", "would no longer call {}"),
    "pause": ("would pause at {}", "would no longer pause at {}"),
    "park": ("would park", "would no longer park"),
    "compensate": ("would reverse the effects", "would no longer reverse the effects"),
}


def _act_of(step: object) -> tuple[str, str]:
    """What a step does outside its case, and its name."""
    match step:
        case Effect():
            return "call", step.name
        case Pause():
            return "pause", step.name
        case Park():
            return "park", ""
        case Compensate():
            return "compensate", ""
        case _:
            return NO_ACT


def _recorded_choice(process: AnyProcess, recorded: Recorded) -> tuple[Choice, tuple[str, str]]:
    """The recorded decision, and what it did, also if the code no longer has its step."""
    name = process.called(recorded.step)
    if name == PARK or name.startswith(COMPENSATES):
        act = ("park" if name == PARK else "compensate", "")
    elif Kind.PAUSED in recorded.follows:
        act = ("pause", name)
    elif Kind.EFFECT_INTENDED in recorded.follows:
        act = ("call", name)
    else:
        act = _act_of(process.steps.get(name))  # a call that a message or a cancel prevented
    return Choice(recorded.rule, recorded.step), act


def _meaning(then: tuple[str, str], now: tuple[str, str]) -> tuple[str, ...]:
    if then == now:
        return ()
    begins = (_ACTS[now[0]][0].format(now[1]),) if now[0] else ()
    ends = (_ACTS[then[0]][1].format(then[1]),) if then[0] else ()
    return begins + ends


def _pair(pair: Pair) -> dict[str, Any]:
    return {"process": pair.process, "then": pair.then._asdict(), "now": pair.now._asdict(), "means": list(pair.means)}


def _listed(cases: Sequence[int]) -> str:
    return ", ".join(map(str, cases[:CASES_SHOWN])) + (", …" if len(cases) > CASES_SHOWN else "")
