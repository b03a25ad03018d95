"""Goes straight to a broken invariant: takes the ways of a case on which values are those with which the rules break it.

Nothing is forgotten on such a way, so the values of one that arrives exclude each other nowhere.
"""

import heapq
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from pointsman.kernel.decide import Broken
from pointsman.kernel.machine import Plan
from pointsman.kernel.snapshot import Status
from pointsman.operations.verify.conditions import Way
from pointsman.operations.verify.happens import Move, Standing
from pointsman.operations.verify.places import Choice, Place, Unresolved, look_of
from pointsman.operations.verify.search import Search
from pointsman.operations.verify.texts import Own
from pointsman.operations.verify.twin import MARK

STANDINGS_MAX = 300  # a fault of the mail desk is found in far fewer; the search of all ways takes over from there
DETOURS_MAX = 1  # choices of one move that differ from the aim


def way_to(search: Search, name: str, aim: Mapping[Place, Choice]) -> Standing | None:
    """The end of a way on which the invariant of this name is broken, or None if there is none near the aim."""
    search.twin.conditions.search(name)
    aimed, order, seen = _Aim(aim), count(), set[Any]()
    heap: list[tuple[int, int, int, Standing | None]] = [(0, 0, next(order), None)]
    for _ in range(STANDINGS_MAX):
        if not heap:
            return None
        cost, steps, _number, at = heapq.heappop(heap)
        for move in search.world.starts() if at is None else search.world.moves(at):
            for after, detours, broken in _after(search, at, move, aimed):
                if broken == name:
                    return after
                key, live = search.keys.detailed(after)
                if key in seen or (after.case.row.status is Status.PARKED and not after.case.unsettled):
                    continue
                seen.add(key)
                known = {place: choice for place, choice in after.way.known.items() if place.token in live}
                kept = after._replace(way=after.way._replace(known=known))
                heapq.heappush(heap, (cost + detours + (not move.plain), steps - 1, next(order), kept))
    return None


def _after(search: Search, at: Standing | None, move: Move, aim: "_Aim") -> Iterator[tuple[Standing, int, str]]:
    """What follows from a move: the case, the choices that differ from the aim, and the invariant that is broken or ""."""
    waiting = [(Way({}, {}) if at is None else at.way._replace(learned=()), 0)]
    while waiting:
        way, detours = waiting.pop()
        answer = search.asked(move, way)
        if isinstance(answer, Unresolved):
            place, memo = answer.place, search.twin.conditions.memo
            for further, choice in reversed([*enumerate(aim.sorted(place, answer.choices, way.known))]):
                if detours + (further > 0) <= DETOURS_MAX:
                    narrowed = Way({**way.known, place: choice}, memo, (*way.learned, (place, choice)))
                    waiting.append((narrowed, detours + (further > 0)))
        elif isinstance(answer, Plan):
            memo = search.twin.conditions.memo
            standing = search.standing(at, move, answer, Way(way.known, memo, way.learned))
            decision = search.decided
            yield standing, detours, decision.step.invariant if decision is not None and isinstance(decision.step, Broken) else ""


class _Aim:
    """The values of an aim, by the field, the number of the item and the place in it."""

    def __init__(self, aim: Mapping[Place, Choice]) -> None:
        self._wanted: dict[tuple[str, int, str], Choice] = {}
        for place, choice in aim.items():
            field, _, number = place.token.partition("<>")
            self._wanted[field, int(number.removeprefix(MARK) or 0), place.inner] = choice

    def sorted(self, place: Place, choices: tuple[Choice, ...], known: Mapping[Place, Choice]) -> list[Choice]:
        """The choices, those that agree with the aim first."""
        field = look_of(place)[0]
        earlier = {other.token for other in known if look_of(other)[0] == field and _number(other.token) < _number(place.token)}
        wanted = self._wanted.get((field, len(earlier), place.inner)) or self._wanted.get((field, 0, place.inner))
        return sorted(choices, key=lambda choice: wanted is not None and not _agree(choice, wanted))


def _number(token: str) -> int:
    return int(token.rpartition(MARK)[2] or 0)


def _agree(one: Choice, other: Choice) -> bool:
    """Whether a value can be both."""
    match one.how, other.how:
        case "not", "not":
            return True
        case "between", "between":
            (low, high), (least, most) = one.what, other.what
            return (low is None or most is None or low < most) and (high is None or least is None or least < high)
        case "not", _:
            return other.how != "is" or _same(other.what) not in {_same(text) for text in one.what}
        case _, "not":
            return _agree(other, one)
        case "between", "is":
            low, high = one.what
            return (low is None or low < other.what) and (high is None or other.what < high)
        case "is", "between":
            return _agree(other, one)
    return one.how == other.how and bool(_same(one.what) == _same(other.what))


def _same(value: Any) -> Any:
    """The value; for a text of its own, whose it is."""
    if not isinstance(value, Own):
        return value
    token, mark, rest = value.partition(MARK)
    return (token.partition("<")[0], rest.lstrip("0123456789"), mark)
