"""The virtual object of a limit: it gives the permits of all cases, and wakes the cases that wait for one."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from restate import ObjectContext, RunOptions, VirtualObject

from pointsman.client.restate_names import LIMIT
from pointsman.kernel.limits import Ending, GivePermit, TakePermit, changed, room, state_of, text_of
from pointsman.restate.journal import RETRIES, Json
from pointsman.restate.work import Work


class PermitWanted(NamedTuple):
    """A permit to take for so many `seconds`. `key` is that of the case's object, which is woken if it has to wait."""

    limit: str
    holder: str
    seconds: float
    key: str


class Permitted(NamedTuple):
    """The state of a limit after it was asked for a permit (JSON), and in how many `seconds` there may be one; None if it was given."""

    state: str | None = None
    seconds: float | None = None


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


class _Changed(NamedTuple):
    """What became of a limit: the answer to who asked for a permit, or the cases to wake."""

    stored: _Stored
    permitted: Permitted = Permitted()
    woken: tuple[str, ...] = ()


_STORED, _CHANGED, WANTED, PERMITTED, GIVEN = Json(_Stored), Json(_Changed), Json(PermitWanted), Json(Permitted), Json(PermitGiven)


class LimitHandlers:
    """The handlers of a limit's object. `nudge` is the handler that wakes a case."""

    def __init__(self, work: Work, nudge: Any) -> None:
        self._work, self._nudge = work, nudge
        self.object = VirtualObject(LIMIT, "A limit of Pointsman.", ingress_private=True, invocation_retry_policy=RETRIES)
        self.takes, self.gives = self.object.handler("take_permit")(self.take_permit), self.object.handler("give_permit")(self.give_permit)

    async def take_permit(self, ctx: ObjectContext, asked: Any) -> Any:
        """Take a permit, or wait for one."""
        stored, wanted = await ctx.get("limit", _STORED) or _Stored(), WANTED.of(asked)

        async def change() -> _Changed:
            limit, now = self._work.limits.get(wanted.limit), self._work.clock.now()
            if limit is None:  # the code no longer has it, so nothing bounds the call
                return _Changed(stored)
            state, refused_until, _ = changed(state_of(stored.text), TakePermit(limit, wanted.holder, now, now + wanted.seconds))
            waiting, text = [key for key in stored.waiting if key != wanted.key], text_of(state)
            if refused_until is None:
                return _Changed(_Stored(text, waiting), Permitted(text))
            return _Changed(_Stored(text, [*waiting, wanted.key]), Permitted(text, refused_until - now))

        taken = await ctx.run_typed("take", change, RunOptions(_CHANGED))
        ctx.set("limit", taken.stored, _STORED)
        return PERMITTED.plain(taken.permitted)

    async def give_permit(self, ctx: ObjectContext, asked: dict[str, Any]) -> None:
        """Give a permit back, and wake as many cases as there is room for."""
        stored, given = await ctx.get("limit", _STORED) or _Stored(), GIVEN.of(asked)

        async def change() -> _Changed:
            limit, now = self._work.limits.get(given.limit), self._work.clock.now()
            if limit is None:
                return _Changed(_Stored(), woken=tuple(stored.waiting))
            state = changed(state_of(stored.text), GivePermit(limit, given.holder, given.ending, now, given.case, given.keeps)).state
            free = room(limit, state, now)
            return _Changed(_Stored(text_of(state), stored.waiting[free:]), woken=tuple(stored.waiting[:free]))

        back = await ctx.run_typed("give", change, RunOptions(_CHANGED))
        ctx.set("limit", back.stored, _STORED)
        for key in back.woken:
            ctx.object_send(self._nudge, key, {"limit": given.limit})
