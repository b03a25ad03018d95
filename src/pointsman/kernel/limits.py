"""The state of a limit, and what taking a permit and giving it back makes of it: pure, so that a store can do it in one write.

A permit is a row in the state: who holds it and until when it counts. Until then it counts although its engine may have died,
because the call may still be under way; from then on it is free without anybody's help. An engine vouches for its own calls
(`alive`): those count as long as they run.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Literal, NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.limits import Limit
from pointsman.errors import Rejected

HOLD_MAX_SECONDS = 86_400.0  # a downstream that names a longer time is asked again after a day
OVERDUE_SECONDS = 5.0  # how soon to look again after a call that runs longer than its permit said
BOUNDLESS = 1 << 30  # the room of a limit that bounds no number
REFUSALS_FREE = 10  # refusals of one case while others get through; the next ones count as its attempts
REFUSED_MAX = 100  # cases whose refusals are remembered

Ending = Literal["well", "failed", "nothing"] | float
"""How a call ended: the downstream answered, it failed, nothing can be said of it, or it asked for so many seconds of rest."""


@dataclass(frozen=True, slots=True)
class LimitState:
    """What is known of a limit. All times are Unix seconds.

    `permits` are the holders and until when each counts, `next_at` is when the next call may begin by the rate,
    `held_until` what a downstream asked for. `failures` counts those in a row; the breaker is open until `open_until`,
    and from then on `trial` holds the one call that is tried; 0 is a closed breaker. `wins` counts the calls that ended
    well; `refused` are the refusals of a case, and the wins at the last one. `changes` tells an older state from a newer one.
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
    """What the end of a call has done to the limit: what it `holds` or the breaker `opens` until (Unix seconds), where it does.

    `closes` says that the breaker is closed again. `counts` is False for a refusal that is no attempt of its case.
    """

    holds: float | None = None
    opens: float | None = None
    closes: bool = False
    counts: bool = True


class TakePermit(NamedTuple):
    """Ask for a permit for `holder` that counts until `until`, at `now` (Unix seconds).

    `alive` are the holders whose calls the asking engine knows to run: their permits count even where their time has passed.
    """

    limit: Limit
    holder: str
    now: float
    until: float
    alive: frozenset[str] = frozenset()


class GivePermit(NamedTuple):
    """Report at `now` (Unix seconds) how the call of `holder`, made for `case`, ended, and give its permit back.

    With `keeps` the call was given up but still runs, so the permit stays until it is given back again.
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
    """Read a stored state; a limit that was never used has none."""
    if text is None:
        return LimitState()
    stored = json.loads(text)
    return LimitState(**{**stored, "refused": {case: (count, wins) for case, (count, wins) in stored["refused"].items()}})


def text_of(state: LimitState) -> str:
    """The state as it is stored."""
    return json.dumps({name: getattr(state, name) for name in LimitState.__slots__}, separators=(",", ":"))


def shut_until(limit: Limit, state: LimitState) -> float:
    """Until when nobody gets a permit, whatever is given back: the downstream asked for rest, or the breaker is open."""
    return max(state.held_until, state.open_until if limit.breaker is not None else 0.0)


def why_shut(limit: Limit, state: LimitState, now: float) -> str:
    """Why there is no permit, or may be none, in words."""
    if state.held_until > now:
        return f"{limit.name} asked for rest"
    if limit.breaker is not None and state.open_until > now:
        return f"{limit.name} failed {format_count(state.failures, 'time')} in a row"
    if limit.breaker is not None and state.open_until:
        return f"{limit.name} is tried with one call"
    if limit.concurrency is not None and len(_live(state, now, ())) >= limit.concurrency:
        return f"all permits are taken, {limit.concurrency} at a time"
    if limit.per_second is not None and state.next_at > now:
        return f"calls begin at a rate of {limit.per_second:g} a second"
    return "others are in line"


def opens_at(limit: Limit, state: LimitState, now: float, alive: Collection[str] = ()) -> float:
    """When the next permit can be had by the limit's own clocks: `now` if at once. One that is given back may make it earlier."""
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
    """How many permits can be had at once."""
    if opens_at(limit, state, now, alive) > now:
        return 0
    free = BOUNDLESS if limit.concurrency is None else limit.concurrency - len(_live(state, now, alive))
    one_by_one = limit.per_second is not None or (limit.breaker is not None and state.open_until > 0)
    return min(free, 1) if one_by_one else free


def _taken(state: LimitState, change: TakePermit) -> LimitChanged:
    """Take a permit, if there is one.

    The rate is the Generic Cell Rate Algorithm (ITU-T I.371, 2004, annex A) without tolerance: calls begin evenly spaced,
    never more of them in a second than the limit says.
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
    """Give a permit back, in whatever way its call ended.

    A refusal does not count as an attempt of its case: the downstream has no room for anybody. But a case that is
    refused again and again while others get through is refused for its own sake, and then it counts.
    """
    limit, case = change.limit, str(change.case)
    permits = state.permits if change.keeps else {name: until for name, until in state.permits.items() if name != change.holder}
    tried = state.trial == change.holder
    state = replace(state, permits=permits, trial=None if tried else state.trial, changes=state.changes + 1)
    if isinstance(change.ending, float):
        return _refuse(state, change.ending, change.now, case)
    decides = limit.breaker is not None and (tried or not state.open_until)  # what was begun before it opened says nothing
    if change.ending == "well":
        refused = {name: seen for name, seen in state.refused.items() if name != case}
        closes = decides and state.open_until > 0
        state = replace(state, wins=state.wins + 1, refused=refused)
        return LimitChanged(replace(state, failures=0, open_until=0.0) if decides else state, ended=Ended(closes=closes))
    return _fail(limit, state, change.now, tried=tried) if change.ending == "failed" and decides else LimitChanged(state)


def _live(state: LimitState, now: float, alive: Collection[str]) -> dict[str, float]:
    """The permits that count, and until when they do so for certain."""
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
    """What the end of a call says of the resource: an answer, also where it is no; a time to rest (`retry_after`); a failure."""
    if error is None or isinstance(error, Rejected):
        return "well"
    seconds = getattr(error, "retry_after", None)
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and isfinite(seconds) and seconds > 0:
        return float(seconds)
    return "failed"
