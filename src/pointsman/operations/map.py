"""The ways that cases of a process really took, from their events: the steps, what followed what, how often, and after which time."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pointsman.definition.rules import TASKS
from pointsman.kernel.events import Kind, chosen_by
from pointsman.kernel.rows import EventRow
from pointsman.operations.figures import Spread, spread_of

# The places that are no steps. A step's place is its name, which never begins with a colon.
START, PARKED, CANCELLED, DONE = ":start", ":parked", ":cancelled", ":done "
ENDINGS = ("finish(", "park(")  # how the journal names the steps that end or park a case


class Visit(NamedTuple):
    """A case reached a place at a time (Unix seconds)."""

    place: str
    at: float


Way = tuple[Visit, ...]
"""The places that a case has reached, in their order."""


class Move(NamedTuple):
    """From one place to another."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Place:
    """A place: how many cases reached it, how often they did so again, and how many are there now."""

    name: str
    cases: int
    again: int
    now: int


@dataclass(frozen=True, slots=True)
class Passage:
    """How often cases went from one place to another, how often to a place that they had been at before, and the seconds between both."""

    move: Move
    times: Spread
    again: int


@dataclass(frozen=True, slots=True)
class ProcessMap:
    """The map of a process. Places and passages are in the order in which cases reach them. `since` is the earliest start (Unix seconds)."""

    process: str
    cases: int
    since: float | None
    places: Sequence[Place]
    passages: Sequence[Passage]


def ways_of(events: Iterable[EventRow]) -> dict[int, Way]:
    """Return the way of each case whose events these are, in the order of their commits.

    A step is reached when it is chosen. Nothing is committed when a body calls a task, so that is reached when its first attempt has ended.
    """
    ways: dict[int, list[Visit]] = defaultdict(list)
    by_rules: set[int] = set()
    tried: dict[int, set[str]] = defaultdict(set)  # calls of a body that have failed and may be tried again
    for event in events:
        way = ways[event.case]
        match event.kind:
            case Kind.NODE_SUCCEEDED | Kind.NODE_FAILED if event.case not in by_rules:  # a rule names its step first
                call, before = event.step or "", tried[event.case]
                task = call.partition("[")[0]
                if call not in before and (way[-1:] == [] or way[-1].place != task):
                    way.append(Visit(task, event.at))
                before.add(call) if event.kind == Kind.NODE_FAILED else before.discard(call)
            case Kind.ACCEPTED:
                way.append(Visit(START, event.at))
            case Kind.DECIDED:
                facts = json.loads(event.facts)
                step, by_body = facts["step"], chosen_by(facts["rule"]) == facts["rule"]
                if not by_body:
                    by_rules.add(event.case)
                if not step.startswith(ENDINGS) and not (by_body and step == TASKS):
                    way.append(Visit(step, event.at))
            case Kind.REDRIVEN if not json.loads(event.facts).get("fields"):  # the step runs again, and no rule chooses it
                failed = {call.partition("[")[0] for call in tried.pop(event.case, ())}
                last = [visit.place for visit in way if not visit.place.startswith(":")][-1:]
                way += [Visit(place, event.at) for place in last if not failed or place in failed]
            case Kind.PARKED:
                way.append(Visit(PARKED, event.at))
            case Kind.CANCELLED:
                way.append(Visit(CANCELLED, event.at))
            case Kind.FINISHED:
                way.append(Visit(f"{DONE}{json.loads(event.facts)['outcome']}", event.at))
    return {case: tuple(way) for case, way in ways.items() if way}


def map_of(process: str, ways: Iterable[Way]) -> ProcessMap:
    """Return the map that these ways make."""
    cases, since = 0, None
    reached, again, now = Counter[str](), Counter[str](), Counter[str]()
    seconds: dict[Move, list[float]] = defaultdict(list)
    back = Counter[Move]()
    depths: dict[str, list[int]] = defaultdict(list)
    for way in ways:
        cases += 1
        since = way[0].at if since is None else min(since, way[0].at)
        seen: set[str] = set()
        for index, visit in enumerate(way):
            if visit.place in seen:
                again[visit.place] += 1
            else:
                depths[visit.place].append(index)
            if index:
                move = Move(way[index - 1].place, visit.place)
                seconds[move].append(max(0.0, visit.at - way[index - 1].at))
                back[move] += visit.place in seen
            seen.add(visit.place)
        reached.update(seen)
        now[way[-1].place] += 1
    order = {place: (sum(depths[place]) / len(depths[place]), place) for place in reached}
    return ProcessMap(
        process, cases, since,
        [Place(name, reached[name], again[name], now[name]) for name in sorted(reached, key=order.__getitem__)],
        [
            Passage(move, spread_of(seconds[move]), back[move])
            for move in sorted(seconds, key=lambda move: (order[move.source], order[move.target]))
        ],
    )  # fmt: skip


def went(way: Way, came: str, to: str) -> bool:
    """Return whether a case reached the place `to` from the place `came`; an empty text is any."""
    if not came:
        return any(visit.place == to for visit in way)
    return any(one.place == came and to in {"", other.place} for one, other in zip(way, [*way[1:], Visit("", 0.0)], strict=True))


def label_of(place: str) -> str:
    """Return the name of a place for people."""
    if place.startswith(DONE):
        return place.removeprefix(DONE)
    return place.removeprefix(":")


def kind_of(place: str, kinds: Mapping[str, str]) -> str:
    """Return what a place is: "start", "parked", "cancelled", "done", or what `kinds` says of a step, else "step"."""
    if place.startswith(DONE):
        return "done"
    return place[1:] if place.startswith(":") else kinds.get(place, "step")
