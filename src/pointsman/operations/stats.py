"""Figures about many cases: how many there are and where, how long they took, how long people took, and why cases are parked."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pointsman.kernel.events import Kind
from pointsman.kernel.rows import CaseRow, EventRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.figures import Spread, spread_of
from pointsman.operations.parked import Reason, reasons_of
from pointsman.store.base import Reader
from pointsman.store.query import PAGE_MAX, CaseCount, CaseQuery, Order


class Took(NamedTuple):
    """How long something took in a process, in seconds: cases until their end, or a person until the answer of a `pause`."""

    process: str
    pause: str
    seconds: Spread

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        number, median, p95 = self.seconds
        return {"process": self.process, "pause": self.pause, "number": number, "median_seconds": median, "p95_seconds": p95}


class Times(NamedTuple):
    """How long cases took to their ends, and people to their answers, in the `looked` cases that changed last; `more` says that there are others."""

    ends: Sequence[Took]
    waits: Sequence[Took]
    looked: int
    more: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures: the `times` of what ended between two times (Unix seconds), and of all cases as of now their `counts` and why they are `parked`."""

    since: float
    until: float
    counts: Sequence[CaseCount]
    times: Times
    parked: Sequence[Reason]

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "since": self.since,
            "until": self.until,
            "counts": [count._asdict() for count in self.counts],
            "ends": [{name: value for name, value in took.as_json().items() if name != "pause"} for took in self.times.ends],
            "waits": [took.as_json() for took in self.times.waits],
            "parked": [reason._asdict() for reason in self.parked],
            "looked": self.times.looked,
            "more": self.times.more,
        }


async def stats_of(reader: Reader, *, since: float, until: float, process: str | None = None, most: int) -> Stats:
    """Read the figures between two times (Unix seconds) from at most so many cases, those that changed last. Raises StoreError."""
    names: dict[int, str] = {}
    events: list[EventRow] = []
    cursor: str | None = ""
    while cursor is not None and len(names) < most:
        found = await reader.find(CaseQuery(process=process, order=Order.CHANGED), after=cursor, limit=min(PAGE_MAX, most - len(names)))
        page = {one.case.id: one.case.process for one in found.rows if one.case.updated_at >= since}
        events += _timed(await reader.events_of([*page]))
        names |= page
        cursor = found.cursor if len(page) == len(found.rows) else None
    times = Times(*_took(names, events, since), len(names), cursor is not None)
    return Stats(since, until, await reader.count_places(process=process), times, await _parked(reader, process, most))


_TIMED = frozenset({Kind.ACCEPTED, Kind.FINISHED, Kind.PAUSED, Kind.RESUMED})


def _timed(events: Iterable[EventRow]) -> list[EventRow]:
    return [event for event in events if event.kind in _TIMED]


def _took(names: Mapping[int, str], events: Iterable[EventRow], since: float) -> tuple[list[Took], list[Took]]:
    """How long the cases took to their end, by process, and people to their answers, by process and pause."""
    ends: dict[str, list[float]] = defaultdict(list)
    waits: dict[tuple[str, str], list[float]] = defaultdict(list)
    began: dict[int, float] = {}
    asked: dict[tuple[int, str | None], float] = {}
    for event in events:
        match event.kind:
            case Kind.ACCEPTED:
                began[event.case] = event.at
            case Kind.PAUSED:
                asked[event.case, event.step] = event.at
            case Kind.FINISHED if event.at >= since:
                ends[names[event.case]].append(event.at - began.get(event.case, event.at))
            case Kind.RESUMED if event.at >= since:
                waits[names[event.case], event.step or ""].append(event.at - asked.get((event.case, event.step), event.at))
    return (
        [Took(process, "", spread_of(seconds)) for process, seconds in sorted(ends.items())],
        [Took(process, pause, spread_of(seconds)) for (process, pause), seconds in sorted(waits.items())],
    )


async def _parked(reader: Reader, process: str | None, most: int) -> list[Reason]:
    """Why cases are parked, of at most so many."""
    rows: list[CaseRow] = []
    cursor: str | None = ""
    while cursor is not None and len(rows) < most:
        found = await reader.find(CaseQuery(process=process, status=Status.PARKED), after=cursor, limit=min(PAGE_MAX, most - len(rows)))
        rows += [one.case for one in found.rows]
        cursor = found.cursor
    return reasons_of(rows)
