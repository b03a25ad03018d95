"""The virtual object of a limit: it gives the permits of all cases, and wakes the cases that wait for one."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from restate import ObjectContext, RunOptions, VirtualObject

from pointsman.client.restate_names import LIMIT, key_of
from pointsman.definition.nodes import AnyNode
from pointsman.kernel.case import Case
from pointsman.kernel.limits import Ended, Ending, GivePermit, LimitState, TakePermit, changed, room, state_of, text_of, why_shut
from pointsman.restate.journal import Json
from pointsman.restate.record import Permitted
from pointsman.restate.work import Work
from pointsman.runtime.limits import MARGIN_SECONDS, UNTIMED_SECONDS, Limits, Permit


class PermitWanted(NamedTuple):
    """A permit to take for so many `seconds`. `key` is that of the case's object, which is woken if it has to wait."""

    limit: str
    holder: str
    seconds: float
    key: str


class PermitGiven(NamedTuple):
    """How the call under a permit ended, as in `GivePermit`."""

    limit: str
    holder: str
    ending: Ending
    case: int
    keeps: bool = False


@dataclass(slots=True)
class _Stored:
    """The state of a limit, and the cases that wait for a permit."""

    text: str | None = None
    waiting: list[str] = field(default_factory=list)


class _Taken(NamedTuple):
    stored: _Stored
    permitted: Permitted


class _GivenBack(NamedTuple):
    stored: _Stored
    woken: list[str]


_STORED, _TAKEN, _GIVEN_BACK = Json(_Stored), Json(_Taken), Json(_GivenBack)
WANTED, PERMITTED, GIVEN = Json(PermitWanted), Json(Permitted), Json(PermitGiven)


class LimitHandlers:
    """The handlers of a limit's object. `nudge` is the handler that wakes a case."""

    def __init__(self, work: Work, nudge: Any) -> None:
        self._work, self._nudge = work, nudge
        self.object = VirtualObject(LIMIT, "A limit of Pointsman.", ingress_private=True)
        self.takes, self.gives = self.object.handler("take_permit")(self.take_permit), self.object.handler("give_permit")(self.give_permit)

    async def take_permit(self, ctx: ObjectContext, asked: dict[str, Any]) -> dict[str, Any]:
        """Take a permit, or wait for one."""
        stored, wanted = await ctx.get("limit", _STORED) or _Stored(), WANTED.of(asked)

        async def change() -> _Taken:
            limit, now = self._work.limits.get(wanted.limit), self._work.clock.now()
            if limit is None:  # the code no longer has it, so nothing bounds the call
                return _Taken(stored, Permitted(wanted.limit, wanted.holder, granted=True))
            state, refused_until, _ = changed(state_of(stored.text), TakePermit(limit, wanted.holder, now, now + wanted.seconds))
            waiting = [key for key in stored.waiting if key != wanted.key]
            if refused_until is None:
                permitted = Permitted(wanted.limit, wanted.holder, granted=True, state=text_of(state))
                return _Taken(_Stored(text_of(state), waiting), permitted)
            why = why_shut(limit, state, now)
            permitted = Permitted(wanted.limit, wanted.holder, granted=False, why=why, seconds=refused_until - now)
            return _Taken(_Stored(text_of(state), [*waiting, wanted.key]), permitted)

        taken = await ctx.run_typed("take", change, RunOptions(_TAKEN))
        ctx.set("limit", taken.stored, _STORED)
        plain: dict[str, Any] = PERMITTED.plain(taken.permitted)
        return plain

    async def give_permit(self, ctx: ObjectContext, asked: dict[str, Any]) -> None:
        """Give a permit back, and wake as many cases as there is room for."""
        stored, given = await ctx.get("limit", _STORED) or _Stored(), GIVEN.of(asked)

        async def change() -> _GivenBack:
            limit, now = self._work.limits.get(given.limit), self._work.clock.now()
            if limit is None:
                return _GivenBack(_Stored(), stored.waiting)
            change = GivePermit(limit, given.holder, given.ending, now, given.case, given.keeps)
            state = changed(state_of(stored.text), change).state
            free = room(limit, state, now)
            return _GivenBack(_Stored(text_of(state), stored.waiting[free:]), stored.waiting[:free])

        back = await ctx.run_typed("give", change, RunOptions(_GIVEN_BACK))
        ctx.set("limit", back.stored, _STORED)
        for key in back.woken:
            ctx.object_send(self._nudge, key, {})


class TurnLimits(Limits):
    """The permits of one turn. `ask` has the object of a limit answer, between two steps.

    `given` are the permits that calls gave back, until they are taken from there. If a permit was refused last, there may be one in `waits` seconds.
    """

    def __init__(self, work: Work, ask: Callable[[PermitWanted], Awaitable[Permitted]]) -> None:
        super().__init__(work.ports, ())
        self.given: list[PermitGiven] = []
        self.waits = 0.0
        self._ask, self._now = ask, work.clock.now
        self._number = itertools.count(1)
        self._refused: dict[str, str] = {}
        self._seen: dict[str, LimitState] = {}

    def shut(self, case: int, name: str) -> str | None:
        """Return None: only the limit's object knows."""

    def why_shut(self, name: str) -> str:
        """Return why a limit gave no permit."""
        return self._refused[name]

    async def take(self, case: Case, node: AnyNode) -> Permit | None:
        """Take a permit for the call that follows, or return None if there is none."""
        limit, row = node.limit, case.row
        assert limit is not None
        key, seconds = key_of(row.process, row.id), (node.timeout_seconds or UNTIMED_SECONDS) + MARGIN_SECONDS
        wanted = PermitWanted(limit.name, f"{key}/{node.name}/{row.fence}.{next(self._number)}", seconds, key)
        told = await self._ask(wanted)
        if not told.granted:
            self._refused[limit.name], self.waits = told.why or "", told.seconds
            return None
        state = self._seen[wanted.holder] = state_of(told.state)
        return Permit(self, limit, wanted.holder, row.id, tried=state.trial == wanted.holder)

    def give(self, permit: Permit, ending: Ending, *, keeps: bool = False) -> "asyncio.Task[Ended]":
        """Note how the call ended. What that means for the limit is computed from the state at the call's beginning."""
        self.given.append(PermitGiven(permit.limit.name, permit.holder, ending, permit.case, keeps))
        change = GivePermit(permit.limit, permit.holder, ending, self._now(), permit.case, keeps)
        return asyncio.ensure_future(_later(changed(self._seen[permit.holder], change).ended))


async def _later(ended: Ended) -> Ended:
    return ended
