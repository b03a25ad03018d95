"""The order in which due cases are claimed, fair among tenants."""

from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from typing import NamedTuple

TURNS_MAX = 1_000  # priorities whose last tenant is remembered; a priority that drops out starts again at its first tenant


class Due(NamedTuple):
    """A due case: `since` is when it became due (Unix seconds), `needs` the limit that it waits for, or ""."""

    priority: int
    tenant: str
    needs: str
    since: float
    case: int


def take_turns(due: Iterable[Due], count: int, room: Mapping[str, int], turns: MutableMapping[int, str]) -> list[int]:
    """Choose the next `count` cases: the highest priority first, within it the tenants in turn, of each tenant the one due longest.

    `room` bounds the cases of each limit that it names. `turns` maps each priority to the tenant whose turn was last, so that
    the next claim continues after it; this function updates it.
    """
    left = dict(room)
    chosen: list[int] = []
    levels: dict[int, dict[str, list[Due]]] = {}
    for one in due:
        levels.setdefault(one.priority, {}).setdefault(one.tenant, []).append(one)
    for priority in sorted(levels, reverse=True):
        tenants = levels[priority]
        last = turns.get(priority)
        names = sorted(tenants, key=lambda name: (last is not None and name <= last, name))
        line = deque((name, deque(sorted(tenants[name], key=lambda one: (one.since, one.case)))) for name in names)
        while line and len(chosen) < count:
            name, waiting = line.popleft()
            following = _next(waiting, left)
            if following is not None:
                chosen.append(following.case)
                turns.pop(priority, None)
                turns[priority] = name
                line.append((name, waiting))
    for priority in list(turns)[:-TURNS_MAX]:
        del turns[priority]
    return chosen


def _next(waiting: deque[Due], left: dict[str, int]) -> Due | None:
    """The case of a tenant that is due longest and for which its limit has room."""
    while waiting:
        one = waiting.popleft()
        if one.needs not in left:
            return one
        if left[one.needs] > 0:
            left[one.needs] -= 1
            return one
    return None
