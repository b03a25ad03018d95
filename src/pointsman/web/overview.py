"""The overview: what needs somebody, what waits, and how much is done. Every figure is read in bounded time."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from pointsman.definition.durations import DAY_SECONDS
from pointsman.definition.limits import Limit
from pointsman.kernel.rows import BILLION, UsageRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.parked import reasons_of
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit
from pointsman.store.query import CaseCount, CaseQuery, Order
from pointsman.web.newest import Newest
from pointsman.web.parked import parked_rows
from pointsman.web.render import page
from pointsman.web.waiting import count_tasks

HOURS, DAYS = 24, 14
HOUR_SECONDS = 3_600.0
AGES: Sequence[tuple[str, float]] = (
    ("7d", 604_800.0),
    ("3d", 259_200.0),
    ("1d", DAY_SECONDS),
    ("4h", 4 * HOUR_SECONDS),
    ("1h", HOUR_SECONDS),
)
COUNTED_MAX = 1_000  # waiting cases of one age, beyond which the page says "more than"
PARKED_READ = 200  # the last ones, grouped by their reason
PAUSES_MAX = 12  # pauses whose oldest case is looked up
SHOWN = 5  # of a list whose whole has its own page


class Age(NamedTuple):
    """How many cases have waited for so long; `more` if there are more than that."""

    label: str
    cases: int
    more: bool
    query: str


class PauseLine(NamedTuple):
    """How many cases wait at a pause, since when the oldest one waits (Unix seconds), and which that is."""

    process: str
    pause: str
    cases: int
    oldest: float | None
    case: int | None


class LimitLine(NamedTuple):
    """A limit: its permits in use, of how many, and until when it is closed (Unix seconds)."""

    name: str
    permits: int
    concurrency: int | None
    failures: int
    held_until: float | None
    open_until: float | None


class Overview:
    """The page; it keeps what it has read of the newest events."""

    def __init__(self) -> None:
        self._newest = Newest()

    async def show(self, request: Request) -> Response:
        """Show the overview."""
        who = await permit(request, Scope.READ)
        engine: Engine = request.app.state.engine
        reader, now = engine.reader, engine.clock.now()
        places = await reader.count_places()
        flow = await self._newest.flow(engine)
        tasks = await count_tasks(engine)
        doubts = await reader.in_doubt()
        values: dict[str, Any] = {
            "hours": flow.buckets(now, HOUR_SECONDS, HOURS),
            "days": flow.buckets(now, DAY_SECONDS, DAYS),
            "since": flow.since,
            "answers": flow.answer_times(),
            "tasks": sum(tasks.values()),
            "ages": await ages(engine, sum(tasks.values()), now),
            "pauses": await pause_lines(engine, tasks),
            "parked": sum(one.cases for one in places if one.status is Status.PARKED),
            "blocked": sum(one.cases for one in places if one.status is Status.BLOCKED),
            "reasons": reasons_of(await parked_rows(engine, PARKED_READ)),
            "doubts": doubts[:SHOWN],
            "doubtful": len(doubts),
            "backlog": backlog_of(places, engine),
            "limits": limit_lines(engine, await reader.limits(), now),
            "intake": await reader.intake_paused(),
            "costs": await costs(engine, now),
            "stalls": engine.event_loop_stalls,
            "abandoned": engine.abandoned_calls,
            "billion": BILLION,
        }
        return page(request, "overview.html", who=who, **values)


async def ages(engine: Engine, total: int, now: float) -> list[Age]:
    """Return how many cases wait for how long, the longest first. Nothing is counted beyond COUNTED_MAX."""
    edges = [0.0, *(now - seconds for _, seconds in AGES), now + 1]
    *counts, newest = await engine.reader.count_waiting(edges, most=COUNTED_MAX + 1)
    if max(counts) <= COUNTED_MAX:
        newest = max(0, total - sum(counts))  # the kept count tells it, however many they are
    lines = [
        Age(f"more than {label}", min(count, COUNTED_MAX), count > COUNTED_MAX, f"?order=waiting&waiting={label}")
        for (label, _), count in zip(AGES, counts, strict=True)
    ]
    return [
        *lines,
        Age(
            f"up to {AGES[-1][0]}",
            newest if max(counts) <= COUNTED_MAX else min(newest, COUNTED_MAX),
            more=max(counts) > COUNTED_MAX < newest,
            query="?order=waiting",
        ),
    ]


async def pause_lines(engine: Engine, tasks: Mapping[tuple[str, str], int]) -> list[PauseLine]:
    """Return the pauses at which cases wait, those with the most cases first."""
    lines = []
    for (process, pause), cases in sorted(tasks.items(), key=lambda item: -item[1])[:PAUSES_MAX]:
        asked = CaseQuery(process=process, pause=pause, tasks_only=True, order=Order.WAITING)
        oldest = next(iter((await engine.reader.find(asked, limit=1)).rows), None)
        if cases and oldest is not None and oldest.pause is not None:
            lines.append(PauseLine(process, pause, cases, oldest.pause.opened_at, oldest.case.id))
    return lines


def backlog_of(places: Iterable[CaseCount], engine: Engine) -> list[tuple[str, int, int | None]]:
    """Return how many cases of each process the engine has to do, and how many its intake allows."""
    bounds = {process.name: process.intake.backlog_max for process in engine.processes}
    counts = Counter(dict.fromkeys(bounds, 0))
    for one in places:
        if one.status in {Status.READY, Status.RUNNING}:
            counts[one.process] += one.cases
    return [(process, cases, bounds.get(process)) for process, cases in sorted(counts.items())]


def limit_lines(engine: Engine, states: Mapping[str, Any], now: float) -> list[LimitLine]:
    """Return the limits of the processes, and those that have been used."""
    declared: dict[str, Limit] = {node.limit.name: node.limit for process in engine.processes for node in process.nodes() if node.limit}
    lines = []
    for name in sorted({*declared, *states}):
        state, limit = states.get(name), declared.get(name)
        until = (None, None) if state is None else (state.held_until, state.open_until)
        held, opened = (at if at is not None and at > now else None for at in until)
        permits = 0 if state is None else sum(expires_at > now for expires_at in state.permits.values())
        lines.append(
            LimitLine(name, permits, None if limit is None else limit.concurrency, 0 if state is None else state.failures, held, opened)
        )
    return lines


class Cost(NamedTuple):
    """What a model cost on a day."""

    day: str
    model: str
    answers: int
    tokens: int
    cost: int


async def costs(engine: Engine, now: float) -> list[Cost]:
    """Return what the models cost on the last days, the last day first."""
    today = int(now // DAY_SECONDS)
    rows: list[UsageRow] = []
    for process in sorted({process.name for process in engine.processes}):
        rows += await engine.reader.usage_of_days(process, today - DAYS + 1, today)
    sums: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        total = sums.setdefault((row.day or 0, row.model), [0, 0, 0])
        for index, value in enumerate((row.answers, row.input_tokens + row.output_tokens, row.cost)):
            total[index] += value
    return [
        Cost(f"{datetime.fromtimestamp(day * DAY_SECONDS, UTC):%Y-%m-%d}", model, *total)
        for (day, model), total in sorted(sums.items(), reverse=True)
    ]
