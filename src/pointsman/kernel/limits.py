"""The state of a limit, and how taking and returning a permit changes it: pure, so that a store can apply a change in one write.

A permit records its holder and its expiry. Until it expires it counts, even if its engine has crashed, because the call may
still be running; then it is free without any clean-up. An engine vouches for its own running calls (`alive`): their permits count
for as long as they run.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Literal, NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.limits import Limit
from pointsman.errors import Rejected

HOLD_MAX_SECONDS = 86_400.0  # a resource that asks for a longer wait is called again after a day
OVERDUE_SECONDS = 5.0  # how soon to look again after a call that runs longer than its permit said
BOUNDLESS = 1 << 30  # the room of a limit without a concurrency
REFUSALS_FREE = 10  # refusals of one case while others get through; the next ones count as its attempts
REFUSED_MAX = 100  # cases whose refusals are remembered

Ending = Literal["well", "failed", "nothing"] | float
"""How a call ended: the resource answered, it failed, it is unknown, or it asked callers to wait for so many seconds."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """The state of a limit. All times are Unix seconds.

    `permits` maps holders to the expiry of their permits. `next_at` is when the rate allows the next call, and `held_until` the time
    until which the resource asked callers to wait. `failures` counts failures in a row. The breaker is open until `open_until`; then
    `trial` is the holder of the one trial call; 0 is a closed breaker. `wins` counts successful calls. `refused` maps a case to the
    number of its refusals, and to `wins` at the last one. `changes` counts changes, to tell an older state from a newer one.
    """

    permits: Mapping[str, float] = field(default_factory=dict)
    next_at: float = 0.0
    held_until: float = 0.0
    failures: int = 0
    open_until: float = 0.0
    trial: str | None = None
    wins: int = 0
    refused: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    changes: int = 0


class Ended(NamedTuple):
    """How the end of a call changed the limit: all calls wait (`holds`) or the breaker is open (`opens`) until a time (Unix seconds).

    `closes` says that the breaker closed. `counts` is False for a refusal that does not count as an attempt.
    """

    holds: float | None = None
    opens: float | None = None
    closes: bool = False
    counts: bool = True


class TakePermit(NamedTuple):
    """Ask at `now` for a permit for `holder` that expires at `until` (both Unix seconds).

    `alive` are the holders whose calls are running in the asking engine: their permits count even after they have expired.
    """

    limit: Limit
    holder: str
    now: float
    until: float
    alive: frozenset[str] = frozenset()


class GivePermit(NamedTuple):
    """Report at `now` (Unix seconds) how the call of `holder` for `case` ended, and return its permit.

    With `keeps`, the call was given up but still runs, so the holder keeps the permit and returns it later.
    """

    limit: Limit
    holder: str
    ending: Ending
    now: float
    case: int
    keeps: bool = False


LimitChange = TakePermit | GivePermit


class LimitChanged(NamedTuple):
    """The state of a limit after a change.

    `refused_until` answers `TakePermit`: None if the permit was taken, else the time (Unix seconds) before which there is none.
    `ended` answers `GivePermit`.
    """

    state: LimitState
    refused_until: float | None = None
    ended: Ended = Ended()


def changed(before: LimitState, change: LimitChange) -> LimitChanged:
    """Apply a change to the state of its limit."""
    return _taken(before, change) if isinstance(change, TakePermit) else _given(before, change)


def state_of(text: str | None) -> LimitState:
    """Read a stored state; None is a limit that was never used."""
    if text is None:
        return LimitState()
    stored = json.loads(text)
    return LimitState(**{**stored, "refused": {case: (count, wins) for case, (count, wins) in stored["refused"].items()}})


def text_of(state: LimitState) -> str:
    """The stored form of the state (JSON)."""
    return json.dumps({name: getattr(state, name) for name in LimitState.__slots__}, separators=(",", ":"))


def shut_until(limit: Limit, state: LimitState) -> float:
    """Until when there are no permits, even if some are returned: the resource asked callers to wait, or the breaker is open."""
    return max(state.held_until, state.open_until if limit.breaker is not None else 0.0)


def why_shut(limit: Limit, state: LimitState, now: float) -> str:
    """Why there may be no permit, as a text."""
    if state.held_until > now:
        return f"{limit.name} asked callers to wait"
    if limit.breaker is not None and state.open_until > now:
        return f"{limit.name} failed {format_count(state.failures, 'time')} in a row"
    if limit.breaker is not None and state.open_until:
        return f"the circuit breaker of {limit.name} allows one trial call"
    if limit.concurrency is not None and len(_live(state, now, ())) >= limit.concurrency:
        return f"all permits are taken, {limit.concurrency} at a time"
    if limit.per_second is not None and state.next_at > now:
        return f"calls begin at a rate of {limit.per_second:g} a second"
    return "other cases may go first"


def opens_at(limit: Limit, state: LimitState, now: float, alive: Collection[str] = ()) -> float:
    """When the next permit is available: `now` if at once. A permit that is returned may make it earlier."""
    live = _live(state, now, alive)
    at = max(now, shut_until(limit, state))
    if limit.per_second is not None:
        at = max(at, state.next_at)
    if limit.breaker is not None and state.open_until:
        at = max(at, live.get(state.trial or "", 0.0))
    if limit.concurrency is not None and len(live) >= limit.concurrency:
        at = max(at, sorted(live.values())[len(live) - limit.concurrency])
    return at


def room(limit: Limit, state: LimitState, now: float, alive: Collection[str] = ()) -> int:
    """The number of permits available now."""
    if opens_at(limit, state, now, alive) > now:
        return 0
    free = BOUNDLESS if limit.concurrency is None else limit.concurrency - len(_live(state, now, alive))
    one_by_one = limit.per_second is not None or (limit.breaker is not None and state.open_until > 0)
    return min(free, 1) if one_by_one else free


def _taken(state: LimitState, change: TakePermit) -> LimitChanged:
    """Take a permit, if there is one.

    The rate is the Generic Cell Rate Algorithm (ITU-T I.371, 2004, annex A) without tolerance: calls begin evenly spaced, and
    never exceed the rate.
    """
    limit, holder, now, until, alive = change
    at = opens_at(limit, state, now, alive)
    if at > now:
        return LimitChanged(state, at)
    state = replace(
        state,
        permits=_live(state, now, alive) | {holder: until},
        next_at=now + 1 / limit.per_second if limit.per_second is not None else 0.0,
        trial=holder if limit.breaker is not None and state.open_until else None,
        changes=state.changes + 1,
    )
    return LimitChanged(state)


def _given(state: LimitState, change: GivePermit) -> LimitChanged:
    """Return a permit, however its call ended.

    A refusal does not count as an attempt of its case, because the resource is busy for all callers. But if a case is
    refused again and again while others succeed, the cause is the case, and its refusals count.
    """
    limit, case = change.limit, str(change.case)
    permits = state.permits if change.keeps else {name: until for name, until in state.permits.items() if name != change.holder}
    tried = state.trial == change.holder
    state = replace(state, permits=permits, trial=None if tried else state.trial, changes=state.changes + 1)
    if isinstance(change.ending, float):
        return _refuse(state, change.ending, change.now, case)
    decides = limit.breaker is not None and (tried or not state.open_until)  # a call that began before the breaker opened does not count
    if change.ending == "well":
        refused = {name: seen for name, seen in state.refused.items() if name != case}
        closes = decides and state.open_until > 0
        state = replace(state, wins=state.wins + 1, refused=refused)
        return LimitChanged(replace(state, failures=0, open_until=0.0) if decides else state, ended=Ended(closes=closes))
    return _fail(limit, state, change.now, tried=tried) if change.ending == "failed" and decides else LimitChanged(state)


def _live(state: LimitState, now: float, alive: Collection[str]) -> dict[str, float]:
    """The permits that count, each with the time until which it counts for certain."""
    return {
        holder: max(until, now + OVERDUE_SECONDS) if holder in alive else until
        for holder, until in state.permits.items()
        if until > now or holder in alive
    }


def _refuse(state: LimitState, seconds: float, now: float, case: str) -> LimitChanged:
    until = now + min(seconds, HOLD_MAX_SECONDS)
    count, wins = state.refused.get(case, (0, -1))
    count += state.wins != wins
    others = {name: seen for name, seen in state.refused.items() if name != case}
    kept = dict(list(others.items())[-(REFUSED_MAX - 1) :]) | {case: (count, state.wins)}
    holds = max(state.held_until, until)
    return LimitChanged(replace(state, held_until=holds, refused=kept), ended=Ended(holds=holds, counts=count > REFUSALS_FREE))


def _fail(limit: Limit, state: LimitState, now: float, *, tried: bool) -> LimitChanged:
    breaker = limit.breaker
    assert breaker is not None
    failures = state.failures + 1
    if not tried and failures < breaker.failures:
        return LimitChanged(replace(state, failures=failures))
    opens = now + breaker.cooldown_seconds
    return LimitChanged(replace(state, failures=failures, open_until=opens), ended=Ended(opens=opens))


def ending_of(error: BaseException | None) -> Ending:
    """What the end of a call says about the resource: it answered (also with a rejection), asked to wait (`retry_after`), or failed."""
    if error is None or isinstance(error, Rejected):
        return "well"
    seconds = getattr(error, "retry_after", None)
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and isfinite(seconds) and seconds > 0:
        return float(seconds)
    return "failed"
