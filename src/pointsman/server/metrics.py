"""GET /metrics: figures of an engine and of its database, in the text format of Prometheus.

The figures of the database are the same at each engine of a fleet: take the maximum of them, and the sum of the engine's own.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from pointsman.definition.limits import Limit
from pointsman.definition.process import AnyProcess
from pointsman.errors import PointsmanError
from pointsman.kernel.limits import LimitState
from pointsman.kernel.people import asks_a_person
from pointsman.kernel.snapshot import Status
from pointsman.operations.plain_names import plain_step
from pointsman.runtime.engine import Engine
from pointsman.runtime.worker import Worker
from pointsman.server.access import Scope, permit
from pointsman.store.gaps import Gap
from pointsman.store.query import CaseCount, CaseQuery, Order

FORMAT = "text/plain; version=0.0.4; charset=utf-8"  # https://prometheus.io/docs/instrumenting/exposition_formats/
AGES: Mapping[str, float] = MappingProxyType({"1h": 3_600.0, "4h": 14_400.0, "1d": 86_400.0, "3d": 259_200.0, "7d": 604_800.0})
COUNTED_MAX = 10_000  # pauses of one age, beyond which the figure stops: a look must not take longer the more there are

METRICS: Mapping[str, tuple[str, str]] = MappingProxyType({
    "pointsman_cases": ("gauge", "Cases by process, status and place: the step at which they stand, or the outcome of those that are done."),
    "pointsman_backlog": ("gauge", "Cases that are ready or running."),
    "pointsman_backlog_max": ("gauge", "The most that the intake allows."),
    "pointsman_tasks": ("gauge", "Pauses that wait for a person."),
    "pointsman_tasks_older": ("gauge", f"Pauses that have waited for a person for longer than an age; the count stops at {COUNTED_MAX}."),
    "pointsman_task_oldest_seconds": ("gauge", "How long the oldest pause has waited for a person."),
    "pointsman_effects_in_doubt": ("gauge", "Effects of which nobody knows whether they happened."),
    "pointsman_effect_in_doubt_oldest_seconds": ("gauge", "The age of the oldest effect in doubt."),
    "pointsman_intake_paused": ("gauge", "1 while the intake is paused."),
    "pointsman_limit_permits": ("gauge", "Permits of a limit in use."),
    "pointsman_limit_concurrency": ("gauge", "The most permits of a limit."),
    "pointsman_limit_failures": ("gauge", "Failures in a row under a limit."),
    "pointsman_limit_breaker_open": ("gauge", "1 while the circuit breaker of a limit is open."),
    "pointsman_limit_held": ("gauge", "1 while a resource has asked callers to wait."),
    "pointsman_engine_ready": ("gauge", "1 while this engine holds its lease, claims cases and reaches its database."),
    "pointsman_engine_commits_total": ("counter", "Commits that this engine has made or heard of since it was opened."),
    "pointsman_engine_abandoned_calls": ("gauge", "Plain functions that still run although their call timed out or was cancelled."),
    "pointsman_engine_event_loop_stalls_total": ("counter", "How often an async function has blocked the event loop."),
    "pointsman_subscriber_failures": ("gauge", "Failures of a subscriber in a row."),
    "pointsman_subscriber_given_up": ("gauge", "Messages that a subscriber has given up."),
    "pointsman_subscriber_events_total": ("counter", "Events that this engine has delivered to a subscriber."),
})  # fmt: skip
"""Every metric: its type, and what it tells."""


class Sample(NamedTuple):
    """A value of a metric."""

    metric: str
    labels: Mapping[str, str]
    value: float


async def metrics(request: Request) -> Response:
    """Answer with the metrics, to whoever may look at cases."""
    await permit(request, Scope.READ)
    return Response(exposition(await samples(request.app.state.engine)), media_type=FORMAT)


async def worker_metrics(request: Request) -> Response:
    """Answer with the metrics of a worker, on the address of its probes."""
    return Response(exposition(await samples(request.app.state.engine)), media_type=FORMAT)


async def samples(place: Engine | Worker) -> list[Sample]:
    """Return the figures of an engine and of its database; of a database that is away, only those of the engine."""
    ready = 1
    try:
        await place.check_ready()
    except PointsmanError:
        ready = 0
    found = [Sample("pointsman_engine_ready", {}, ready)]
    engine = place.engine if isinstance(place, Worker) else place
    if engine is None:
        return found
    found += _of_engine(engine)
    try:
        return [*found, *await _of_database(engine)]
    except PointsmanError:
        return found


def exposition(found: Iterable[Sample]) -> str:
    """Return samples in the text format of Prometheus."""
    by_metric: dict[str, list[Sample]] = {}
    for sample in found:
        by_metric.setdefault(sample.metric, []).append(sample)
    lines: list[str] = []
    for metric, (kind, told) in METRICS.items():
        if metric in by_metric:
            lines += [f"# HELP {metric} {told}", f"# TYPE {metric} {kind}"]
            lines += [f"{metric}{_labels(sample.labels)} {_number(sample.value)}" for sample in by_metric[metric]]
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    def escaped(text: str) -> str:
        return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

    return "{" + ",".join(f'{name}="{escaped(value)}"' for name, value in labels.items()) + "}" if labels else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _of_engine(engine: Engine) -> Iterator[Sample]:
    yield Sample("pointsman_engine_commits_total", {}, engine.changed)
    yield Sample("pointsman_engine_abandoned_calls", {}, engine.abandoned_calls)
    yield Sample("pointsman_engine_event_loop_stalls_total", {}, engine.event_loop_stalls)
    for one in engine.subscriptions:
        yield Sample("pointsman_subscriber_failures", {"subscriber": one.name}, one.failures_in_a_row)
        yield Sample("pointsman_subscriber_events_total", {"subscriber": one.name}, one.delivered)


async def _of_database(engine: Engine) -> list[Sample]:
    reader, now = engine.reader, engine.clock.now()
    processes = {process.name: process for process in engine.processes}
    counts = await reader.count_places()
    return [
        *_of_counts(counts, processes),
        *await _of_waiting(engine, now),
        *await _of_doubts(engine, now),
        Sample("pointsman_intake_paused", {}, await reader.intake_paused() is not None),
        *_of_gaps([one.name for one in engine.subscriptions], await reader.gaps()),
        *_of_limits(engine.processes, await reader.limits(), now),
    ]


def _of_gaps(subscribers: Iterable[str], gaps: Iterable[Gap]) -> Iterator[Sample]:
    given_up = Counter(dict.fromkeys(subscribers, 0))
    for gap in gaps:
        given_up[gap.subscriber] += gap.messages
    for subscriber, messages in given_up.items():
        yield Sample("pointsman_subscriber_given_up", {"subscriber": subscriber}, messages)


def _of_counts(counts: Iterable[CaseCount], processes: Mapping[str, AnyProcess]) -> Iterator[Sample]:
    cases: Counter[tuple[str, str, str]] = Counter()
    tasks: Counter[tuple[str, str]] = Counter()
    backlog = Counter(dict.fromkeys(processes, 0))
    for one in counts:
        cases[one.process, one.status.value, plain_step(one.place)] += one.cases
        if one.status in {Status.READY, Status.RUNNING}:
            backlog[one.process] += one.cases
        if one.status is Status.WAITING and one.process in processes and asks_a_person(processes[one.process], one.place):
            tasks[one.process, plain_step(one.place)] += one.cases
    for (process, status, place), number in sorted(cases.items()):
        yield Sample("pointsman_cases", {"process": process, "status": status, "place": place}, number)
    for process, number in sorted(backlog.items()):
        yield Sample("pointsman_backlog", {"process": process}, number)
        most = processes[process].intake.backlog_max if process in processes else None
        if most is not None:
            yield Sample("pointsman_backlog_max", {"process": process}, most)
    for (process, pause), number in sorted(tasks.items()):
        yield Sample("pointsman_tasks", {"process": process, "pause": pause}, number)


async def _of_waiting(engine: Engine, now: float) -> list[Sample]:
    seconds = sorted(AGES.values(), reverse=True)
    between = await engine.reader.count_waiting([0.0, *(now - age for age in seconds)], most=COUNTED_MAX)
    older = {age: min(COUNTED_MAX, sum(between[: number + 1])) for number, age in enumerate(seconds)}
    found = [Sample("pointsman_tasks_older", {"age": name}, older[age]) for name, age in AGES.items()]
    page = await engine.reader.find(CaseQuery(tasks_only=True, order=Order.WAITING), limit=1)
    since = [one.pause.opened_at for one in page.rows if one.pause is not None]
    return [*found, Sample("pointsman_task_oldest_seconds", {}, max(0.0, now - since[0]) if since else 0)]


async def _of_doubts(engine: Engine, now: float) -> list[Sample]:
    doubts = await engine.reader.in_doubt()
    oldest = max((now - one.intended_at for one in doubts), default=0.0)
    return [Sample("pointsman_effects_in_doubt", {}, len(doubts)), Sample("pointsman_effect_in_doubt_oldest_seconds", {}, max(0.0, oldest))]


def _of_limits(processes: Iterable[AnyProcess], states: Mapping[str, LimitState], now: float) -> Iterator[Sample]:
    declared: dict[str, Limit] = {node.limit.name: node.limit for process in processes for node in process.nodes() if node.limit}
    for name in sorted({*declared, *states}):
        state, labels = states.get(name, LimitState()), {"limit": name}
        yield Sample("pointsman_limit_permits", labels, sum(expires_at > now for expires_at in state.permits.values()))
        yield Sample("pointsman_limit_failures", labels, state.failures)
        yield Sample("pointsman_limit_breaker_open", labels, state.open_until > now)
        yield Sample("pointsman_limit_held", labels, state.held_until > now)
        if name in declared and declared[name].concurrency is not None:
            yield Sample("pointsman_limit_concurrency", labels, declared[name].concurrency or 0)
