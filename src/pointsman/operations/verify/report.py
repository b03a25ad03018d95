"""The findings of a search, for a person and as JSON: what is proved, and the shortest way to what is refuted."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from itertools import groupby
from typing import Any

from pointsman.definition.counts import format_count
from pointsman.definition.process import AnyProcess
from pointsman.operations.verify.happens import Standing
from pointsman.operations.verify.places import Choice, Place, look_of
from pointsman.operations.verify.replay import replayed
from pointsman.operations.verify.search import STATES_MAX, Found, Search
from pointsman.operations.verify.settle import settle

SHOWN_MAX = 6  # values of one step of a timeline: those that decided most


@dataclass(frozen=True, slots=True)
class Refutation:
    """A way to a broken invariant or a dead end: one line for each step. One that is not `certain` may need values that exclude each other."""

    what: str
    timeline: tuple[str, ...]
    certain: bool = True


@dataclass(frozen=True, slots=True)
class Verified:
    """What the model checker has found about a process.

    `states` and `transitions` were explored, with at most `messages` messages to an open case. If the search is not `complete`, the bound was
    reached, and `open` invariants are neither proved nor refuted. `unchosen` are rules that no way chooses, `circle` the rules of a loop without progress, and `single` the places
    whose type has one value in the model, and `computed` those that have few, because conditions compute with them.
    """

    process: str
    states: int
    transitions: int
    messages: int
    complete: bool
    proved: tuple[str, ...] = ()
    refuted: tuple[Refutation, ...] = ()
    dead_ends: tuple[Refutation, ...] = ()
    unchosen: tuple[str, ...] = ()
    circle: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    open: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every invariant is proved."""
        return not self.refuted and not self.open

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to report."""
        return self.holds and self.complete and not (self.dead_ends or self.unchosen or self.circle)

    def lines(self) -> list[str]:
        """The findings for a person."""
        explored = f"{format_count(self.states, 'state')} and {format_count(self.transitions, 'transition')}"
        lines = [f"process {self.process}: explored {explored}, with at most {format_count(self.messages, 'message')} to an open case"]
        if not self.complete:
            lines.append("the bound was reached, so more may be found; raise --states-max, or allow fewer messages with --messages")
        if not (self.proved or self.refuted or self.open):
            lines.append("no invariant is declared; declare one with never()")
        lines += [f"proved: never {name!r}" for name in self.proved]
        lines += [f"neither proved nor refuted: never {name!r}" for name in self.open]
        for refutation in self.refuted:
            lines += _told("refuted: never" if refutation.certain else "perhaps refuted: never", refutation, repr(refutation.what))
        for end in self.dead_ends:
            lines += _told("dead end:", end, end.what)
        lines += [f"never chosen: rule {name!r}" for name in self.unchosen]
        if self.circle:
            lines.append(f"loop without progress: the rules {', '.join(map(repr, self.circle))} follow each other and wait for nobody")
        if self.is_clean:
            lines.append("nothing found: no dead end, no loop without progress, and no rule that is never chosen")
        if self.computed:
            lines.append(f"few values only, because conditions compute with them: {', '.join(self.computed)}")
        return [*lines, *(f"one value only: {place}" for place in self.single)]

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        ways = {
            name: [{"what": one.what, "timeline": list(one.timeline), "certain": one.certain} for one in found]
            for name, found in (("refuted", self.refuted), ("dead_ends", self.dead_ends))
        }
        plain = {name: list(getattr(self, name)) for name in ("proved", "open", "unchosen", "circle", "single", "computed")}
        numbers = {name: getattr(self, name) for name in ("process", "states", "transitions", "messages", "complete")}
        return {**numbers, **plain, **ways}


def verify(process: AnyProcess, *, messages: int = 1, states_max: int = STATES_MAX, first: bool = False) -> Verified:
    """Search all ways of a process with rules, with at most `messages` messages to an open case, and at most `states_max` states.

    With `first` it ends with the first invariant that is refuted.
    """
    search = Search(process, messages=messages, states_max=states_max, first=first)
    settled = settle(search, messages=messages, first=first)
    left = [name for name in process.invariants if name not in settled.kept and name not in settled.broken]
    found = Found(complete=False) if first and settled.broken else search.run(left)
    chosen = [rule.name for rule in process.ordered_rules if rule.name not in found.chosen]
    unbroken = tuple(name for name in left if name not in found.broken)
    circle, single = found.circle, tuple(sorted(search.twin.imagination.single))
    explored = Verified(process.name, found.states, found.transitions, messages, found.complete, circle=circle, single=single)
    stuck = (_refutation(reason, way, search) for reason, way in found.stuck.items())
    proved = {*settled.kept, *(unbroken if found.complete else ())}
    refuted = {name: _refutation(name, way, search, exact=True) for name, way in settled.broken.items()}
    refuted |= {name: _refutation(name, way, search) for name, way in found.broken.items()}
    return replace(
        explored,
        computed=tuple(sorted(search.twin.imagination.computed)),
        proved=tuple(name for name in process.invariants if name in proved),
        open=() if found.complete else unbroken,
        unchosen=tuple(chosen) if found.complete else (),
        refuted=tuple(refuted[name] for name in process.invariants if name in refuted),
        dead_ends=tuple(end for end in stuck if end.certain),
    )


def _refutation(what: str, end: Standing, search: Search, *, exact: bool = False) -> Refutation:
    steps: list[Standing] = []
    at: Standing | None = end
    while at is not None:
        steps.append(at)
        at = at.before
    steps.reverse()
    found = [step.way.learned for step in steps]
    learned = found if exact else replayed(search, steps)
    return Refutation(what, tuple(_timeline(steps, learned or found, search.twin.conditions.looks_of(what))), learned is not None)


def _timeline(
    steps: Sequence[Standing], learned: Sequence[Sequence[tuple[Place, Choice]]], looks: Collection[tuple[str, str]]
) -> Iterable[str]:
    """One line for each step; calls that follow each other and succeed are one step. What the invariant `looks` at is shown first."""
    numbered = list(zip(steps, learned, strict=True))
    for plain, group in groupby(numbered, key=lambda one: one[0].move.plain):
        ones = list(group)
        for part in [ones] if plain else [[one] for one in ones]:
            names = [step.move.text for step, _ in part if step.move.text]
            decided = {place: choice for _, found in part for place, choice in found}  # the last choice at a place says the most
            newest = [*decided.items()][::-1]
            ordered = sorted(newest, key=lambda one: look_of(one[0]) not in looks)
            values = [shown for place, choice in ordered if (shown := _shown(place, choice))]
            if not names and not values:
                continue
            what = (
                (", ".join(names) + (" return" if len(names) > 1 else " returns"))
                if plain and names
                else "".join(names) or "the engine goes on"
            )
            where = f", where {'; '.join(values[:SHOWN_MAX])}" if values else ""
            rule = part[-1][0].rule
            yield f"{what}{where}" + (f"; rule {rule!r} is chosen" if rule else "")


def _told(kind: str, refutation: Refutation, what: str) -> list[str]:
    return [f"{kind} {what}", *(f"  {number}. {line}" for number, line in enumerate(refutation.timeline, 1))]


def _shown(place: Place, choice: Choice) -> str:
    """What was decided at a place, as a person says it."""
    name = f"{place.token.partition('<')[0]}{place.inner.removesuffix('|')}"
    match choice.how:
        case "type":
            return ""
        case "len":
            return f"{name} has {format_count(choice.what, 'item')}"
        case "between":
            low, high = choice.what
            return f"{name} > {low}" if high is None else f"{name} < {high}" if low is None else f"{low} < {name} < {high}"
        case "not":
            return f"{name} is not {' or '.join(sorted(repr(_plain(text)) for text in choice.what))}"
    return f"{name} = {_plain(choice.what)!r}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(one) for one in value)
    if isinstance(value, Enum):
        return value.value
    return f"that of {value.partition('<')[0]}" if type(value).__name__ == "Own" else value
