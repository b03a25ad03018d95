"""Look over a database and its cases: what is well, what needs attention, and what to do about it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.process import AnyProcess
from pointsman.kernel.limits import LimitState
from pointsman.kernel.rows import EffectRow
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.operations.times import format_duration, format_time
from pointsman.runtime.registry import Registry
from pointsman.store.base import Reader
from pointsman.store.gaps import Gap, counted
from pointsman.store.health import Room, StoreHealth
from pointsman.store.query import PAGE_MAX, CaseQuery

LATE_SECONDS = 300.0  # a case that is due is claimed in seconds, unless the engine has too much to do
CLOCKS_SECONDS = 5.0  # clocks that are set over a network differ by less
FREE_MIN = 100_000_000  # bytes: below this, the write-ahead log of one long read can fill the disk
LOG_MAX = 256_000_000  # bytes: an engine empties the write-ahead log at 16 MB, unless a long read prevents that
NAMED_MAX = 3  # of a list, in a line


class Level(StrEnum):
    """How a finding is: `ok`, `warn` if somebody should look at it, `fail` if cases cannot go on."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do: in words, and as a `command`, to which the options of the call are added."""

    what: str
    level: Level
    said: str
    do: str = ""
    command: str = ""


class Passing(NamedTuple):
    """What comes in and goes out: how many messages are without a case, who paused the intake and why, and what subscribers have given up."""

    unmatched: int = 0
    intake: str = ""
    gaps: Sequence[Gap] = ()


class Stand(NamedTuple):
    """The cases of a database and what belongs to them, read for a doctor at a time (Unix seconds).

    `open_versions` maps the processes of open cases to the versions of those that are ready or wait. `due` has the number of cases that have
    been due for too long, and the seconds of the longest.
    """

    now: float
    counts: Mapping[Status, int]
    open_versions: Mapping[str, Sequence[int]]
    limits: Mapping[str, LimitState]
    doubts: Sequence[EffectRow]
    due: tuple[int, float]
    passing: Passing = Passing()


async def stand_of(reader: Reader, now: float) -> Stand:
    """Read what a doctor needs to know, in a few reads, however many cases there are. Raises StoreError."""
    processes = sorted({row.process for row in await reader.count_places() if row.status not in ENDED})
    paused = await reader.intake_paused()
    intake = "" if paused is None else f"{paused.by} has paused the intake since {format_time(paused.at)}: {paused.why}"
    return Stand(
        now,
        await reader.counts(),
        {process: await reader.versions(process) for process in processes},
        await reader.limits(),
        await reader.in_doubt(),
        await _due(reader, now),
        Passing(len(await reader.unmatched()), intake, await reader.gaps()),
    )


async def _due(reader: Reader, now: float) -> tuple[int, float]:
    """How many cases have been due for too long, as far as the oldest ones show, and the seconds of the longest."""
    found = await reader.find(CaseQuery(status=Status.READY), limit=PAGE_MAX)
    expired = await reader.find(CaseQuery(expires_before=now - LATE_SECONDS), limit=PAGE_MAX)
    since = [one.case.wake_at for one in found.rows if one.case.wake_at is not None]
    since += [one.pause.expires_at for one in expired.rows if one.pause is not None and one.pause.expires_at is not None]
    late = [now - at for at in since if now - at > LATE_SECONDS]
    return len(late), max(late, default=0.0)


def of_store(health: StoreHealth, now: float) -> Iterator[Finding]:
    """Say how the database is, by the clock of this machine (Unix seconds)."""
    size = f", {health.room.size:,} bytes" if health.room.size else ""  # of tables of an earlier release it is not known
    yield Finding("database", Level.OK, f"{health.server.kind} {health.server.version}{size}")
    if health.server.mirror:
        yield Finding("mirror", Level.OK, "of cases that run on Restate, as they were at the last look")
    elif health.closed:
        yield Finding("closed", Level.FAIL, "no engine may open it", health.closed)
    yield Finding("settings", Level.OK, ", ".join(f"{name} {value}" for name, value in health.server.settings.items()))
    if not health.tables.number:
        yield Finding("tables", Level.WARN, "there are none yet", "an engine of this release creates them when it opens the database.")
    elif health.tables.number < health.tables.newest:
        found = f"tables {health.tables.number} of an earlier release; this one has {health.tables.newest}"
        yield Finding("tables", Level.WARN, found, "an engine of this release migrates them when it opens the database.")
    else:
        yield Finding("tables", Level.OK, f"{health.tables.number}, those of this release")
    yield _clock(health, now)
    if health.room.free is not None:
        yield _disk(health.room, health.room.free)


def _clock(health: StoreHealth, here: float) -> Finding:
    now = here if health.times.now is None else health.times.now
    if health.times.highest - now > CLOCKS_SECONDS:
        behind = f"the clock is {format_duration(health.times.highest - now)} behind the last commit"
        return Finding("clock", Level.WARN, behind, "set the machine's clock; until then engines go on from the last commit's time.")
    if abs(now - here) > CLOCKS_SECONDS:
        apart = f"this machine's clock is {format_duration(abs(now - here))} {'ahead of' if here > now else 'behind'} the database's"
        return Finding("clock", Level.WARN, apart, "set both by a time server; engines use the database's.")
    return Finding("clock", Level.OK, format_time(now))


def _disk(room: Room, free: int) -> Finding:
    said = f"{free // 1_000_000:,} MB free"
    if free < FREE_MIN:
        return Finding("disk", Level.FAIL, said, "free some space: an engine stops at a full disk. Nothing that was confirmed is lost.")
    if free < room.size:
        return Finding("disk", Level.WARN, said, "free some space: a backup on this disk needs as much as the file.")
    if room.log > LOG_MAX:
        return Finding(
            "disk", Level.WARN, f"the write-ahead log has {room.log // 1_000_000:,} MB", "end the program that reads for so long."
        )
    return Finding("disk", Level.OK, said)


def of_cases(stand: Stand, health: StoreHealth, processes: Sequence[AnyProcess]) -> Iterator[Finding]:
    """Say how the cases are. Without `processes`, the code is not compared with them."""
    alive = [engine.name for engine in health.engines if engine.alive]
    if not health.server.mirror:
        yield _engines(stand, health, alive)
    yield _code(stand, processes)
    yield _backlog(stand, health, alive)
    yield from _limits(stand, processes)
    yield _doubts(stand.doubts)
    yield _parked(stand.counts)
    if blocked := stand.counts.get(Status.BLOCKED, 0):
        said = f"{format_count(blocked, 'case')}, for which no engine has the code"
        do = "serve that code, and redrive them:" if health.server.mirror else "start a worker with the code of their versions:"
        yield Finding("blocked", Level.WARN, said, do, "pointsman ps --status blocked")
    if stand.passing.intake:
        yield Finding("intake", Level.WARN, stand.passing.intake, "take new cases again:", "pointsman resume-intake")
    if stand.passing.unmatched:
        said = f"{format_count(stand.passing.unmatched, 'message')} without a case"
        yield Finding("messages", Level.WARN, said, "compare the correlation keys of the messages and of the cases.")
    yield from _gaps(stand.passing.gaps)


def _gaps(gaps: Sequence[Gap]) -> Iterator[Finding]:
    for subscriber in dict.fromkeys(gap.subscriber for gap in gaps):
        given_up = [gap for gap in gaps if gap.subscriber == subscriber]
        again = all(gap.again for gap in given_up)
        said = f"{subscriber} {'is called again with' if again else 'has given up'} {format_count(counted(given_up), 'message')}"
        said += f" since {format_time(min(gap.since for gap in given_up))}: {given_up[-1].why.removesuffix('.')}"
        name = shlex.quote(subscriber)
        yield Finding("subscribers", Level.WARN, said, "mend the receiver, and deliver them again:", f"pointsman redeliver {name}")


def _engines(stand: Stand, health: StoreHealth, alive: Sequence[str]) -> Finding:
    gone = [engine for engine in health.engines if not engine.alive]
    wait = stand.counts.get(Status.WAITING, 0)
    work = stand.counts.get(Status.READY, 0) + stand.counts.get(Status.RUNNING, 0)
    named = ", ".join(alive[:NAMED_MAX]) + (", …" if len(alive) > NAMED_MAX else "")
    if not alive and (work or stand.due[0]):
        needing = format_count(work or stand.due[0], "case")
        return Finding("engines", Level.FAIL, f"none, and {needing} would need one", "start one:", "pointsman worker")
    if not alive and wait:
        said = f"none, and {format_count(wait, 'case')} will need one after an answer, or when a timer is due"
        return Finding("engines", Level.WARN, said, "start one for that, or serve the pages with `pointsman serve`:", "pointsman worker")
    if gone:
        said = f"{named or 'none'}; {', '.join(engine.name for engine in gone[:NAMED_MAX])} ended without saying so"
        return Finding("engines", Level.WARN, said, "the others take over its cases; look why it ended.")
    return Finding("engines", Level.OK, named or "none, and no case needs one")


def _code(stand: Stand, processes: Sequence[AnyProcess]) -> Finding:
    if not processes:
        return Finding("code", Level.WARN, "not compared with the cases", "name the processes with --app.")
    registry = Registry(processes)
    unknown = sorted(stand.open_versions.keys() - set(registry.names))
    wrong = [
        f"version {version} of {process}"
        for process, versions in stand.open_versions.items()
        if process not in unknown
        for version in versions
        if registry.accepting(process, version) is None
    ]
    if wrong:
        said = f"it accepts no cases of {', '.join(wrong)}"
        return Finding(
            "code", Level.FAIL, said, "run the code of that version too, or add it to accepts=; this tells more:", "pointsman check"
        )
    if unknown:
        said = f"the code has no process {', '.join(unknown)}, which has open cases"
        return Finding("code", Level.WARN, said, "name a list of all processes with --app.")
    named = ", ".join(f"{process.name} {process.version}" for process in registry.newest)
    return Finding("code", Level.OK, f"{named}; accepts all cases that are ready or wait")


def _backlog(stand: Stand, health: StoreHealth, alive: Sequence[str]) -> Finding:
    late, longest = stand.due
    backlog = stand.counts.get(Status.READY, 0) + stand.counts.get(Status.RUNNING, 0)
    said = f"{format_count(backlog, 'case')} ready or running"
    if not late:
        return Finding("backlog", Level.OK, said)
    said += f"; {format_count(late, 'case')} overdue, the oldest for {format_duration(longest)}"
    if health.server.mirror:
        return Finding(
            "backlog", Level.WARN, said, "look again with `pointsman restate mirror --admin URL`, and whether their program runs."
        )
    if not alive:
        return Finding("backlog", Level.FAIL, said, "start an engine:", "pointsman worker")
    return Finding(
        "backlog", Level.WARN, said, "look what the oldest one waits for, or add workers.", "pointsman ps --status ready --limit 1"
    )


def _limits(stand: Stand, processes: Sequence[AnyProcess]) -> Iterator[Finding]:
    for name, state in sorted(stand.limits.items()):
        if state.open_until > stand.now:
            said = f"the circuit breaker of {name} is open until {format_time(state.open_until)}, after {format_count(state.failures, 'failure')}"
            yield Finding("limits", Level.WARN, said, "mend that resource; one call then closes the breaker.")
        elif state.held_until > stand.now:
            said = f"{name} asked its callers to wait until {format_time(state.held_until)}"
            yield Finding("limits", Level.WARN, said, "its calls go on by themselves then.")
    taken = {name: sum(until > stand.now for until in state.permits.values()) for name, state in sorted(stand.limits.items())}
    if all(max(state.open_until, state.held_until) <= stand.now for state in stand.limits.values()):
        most = {node.limit.name: node.limit.concurrency for process in processes for node in process.nodes() if node.limit}
        used = ", ".join(_taken(name, number, most.get(name)) for name, number in taken.items())
        yield Finding("limits", Level.OK, used or "none has been used")


def _taken(limit: str, number: int, most: int | None) -> str:
    return (
        f"{limit} {format_count(number, 'permit')} taken" if most is None else f"{limit} {number} of {format_count(most, 'permit')} taken"
    )


def _doubts(doubts: Sequence[EffectRow]) -> Finding:
    if not doubts:
        return Finding("effects", Level.OK, "none in doubt")
    oldest = min(doubts, key=lambda effect: effect.intended_at)
    said = f"{format_count(len(doubts), 'effect')} in doubt, the oldest ({oldest.effect}) since {format_time(oldest.intended_at)}"
    return Finding("effects", Level.WARN, said, "find out whether they happened, and say so:", f"pointsman explain {oldest.case}")


def _parked(counts: Mapping[Status, int]) -> Finding:
    parked = counts.get(Status.PARKED, 0)
    if not parked:
        return Finding("parked", Level.OK, "no case")
    return Finding("parked", Level.WARN, format_count(parked, "case"), "see the reasons, mend them, and redrive:", "pointsman stats")
