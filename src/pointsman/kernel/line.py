"""Whose turn it is: the order in which due cases leave the line, fair among tenants."""

from collections import deque
from collections.abc import Iterable, Mapping, MutableMapping
from typing import NamedTuple

TURNS_MAX = 1_000  # priorities whose turns are remembered; one that has been quiet for that long begins with its first tenant again


class Due(NamedTuple):
    """A case that is due: `since` when (Unix seconds), and the limit that it `needs`, "" for none."""

    priority: int
    tenant: str
    needs: str
    since: float
    case: int


def take_turns(due: Iterable[Due], count: int, room: Mapping[str, int], turns: MutableMapping[int, str]) -> list[int]:
    """The next `count` cases: the highest priority first, within it the tenants in turn, of each tenant the longest due.

    `room` says how many cases each limit has permits for; one that is not named has enough. `turns` is who came last in
    each priority, so that the next claim goes on behind it; it is brought up to date.
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
    """The longest due of a tenant for which there is room."""
    while waiting:
        one = waiting.popleft()
        if one.needs not in left:
            return one
        if left[one.needs] > 0:
            left[one.needs] -= 1
            return one
    return None
