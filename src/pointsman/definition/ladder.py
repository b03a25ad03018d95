"""The ladder of a pause: its reminders, reassignments and last resort while no answer comes."""

from collections.abc import Sequence
from typing import Any

from pointsman.definition.durations import Duration, seconds_of
from pointsman.definition.pauses import Expire, Reassign, Remind, Rung
from pointsman.definition.rules import Park, park
from pointsman.errors import DefinitionError


def remind(after: Duration) -> Remind:
    """On a ladder: send a reminder after this time (`"4h"`, a timedelta, or seconds)."""
    return Remind(seconds_of(after))


def reassign(after: Duration, to: str) -> Reassign:
    """On a ladder: ask `to` instead after this time."""
    return Reassign(seconds_of(after), to)


def answer_with(default: object) -> Expire:
    """At the end of a ladder: answer with `default` at the pause's `deadline`."""
    return Expire(None, default)


def ladder_of(what: str, rungs: Sequence[Any], deadline: Duration | None) -> tuple[Rung, ...]:
    """The rungs in order, the last one at the deadline. Raises DefinitionError if they are not a valid ladder."""
    limit = None if deadline is None else seconds_of(deadline, f"{what}, its deadline")
    ladder = [_rung(what, rung, limit) for rung in rungs]
    if any(isinstance(rung, Expire) for rung in ladder[:-1]):
        raise DefinitionError(f"{what}: nothing can follow the rung that ends the ladder; move it to the end.")
    if limit is not None and not (ladder and isinstance(ladder[-1], Expire)):
        ladder.append(Expire(limit, reason=park().reason))
    times = [rung.after_seconds or 0.0 for rung in ladder]
    if times != sorted(times):
        raise DefinitionError(f"{what}: the rungs of its ladder must come one after the other; sort them by their times.")
    return tuple(ladder)


def _rung(what: str, rung: object, limit: float | None) -> Rung:
    if isinstance(rung, Park):
        rung = Expire(None, reason=rung.reason)
    if not isinstance(rung, Remind | Reassign | Expire):
        raise DefinitionError(f"{what}: {rung!r} is not a rung; write remind(...), reassign(...), answer_with(...) or park().")
    if not isinstance(rung, Expire):
        return rung
    if limit is None:
        raise DefinitionError(f"{what}: its last rung has no time; give the pause a deadline=.")
    return Expire(limit, rung.default, rung.reason)
