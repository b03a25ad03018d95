"""The virtual object of a schedule: it looks which tick is due, starts its case, and sends itself a message for the next look.

Whoever registers a program calls `begin`. Of the object's messages to itself, only those since the last `begin` count, so there is one chain of looks. A look
is one journaled call and starts one case at most: the clock, the author's function of the inputs and the schedule itself may differ from run to run.
"""

import json
import logging
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import unquote

from restate import ObjectContext, ObjectSharedContext, RunOptions, TerminalError, VirtualObject

from pointsman.client.restate_names import SCHEDULE, SCHEDULES, process_of, schedule_key, seed_of
from pointsman.client.restate_requests import Refusing, Start
from pointsman.definition.process import AnyProcess
from pointsman.definition.schedules import Schedule
from pointsman.errors import InputInvalid
from pointsman.kernel.inputs import input_cells
from pointsman.restate.journal import RETRIES, Json, delay_of, refusal
from pointsman.restate.record import begin
from pointsman.restate.work import Work
from pointsman.runtime.clock import LOOK_SECONDS
from pointsman.store.blob_folder import check_blobs

log = logging.getLogger("pointsman")

WAIT_SECONDS = 3_600.0  # the longest wait for a tick: the code may have changed without a `begin`, or somebody has set a clock
GONE_MAX = 11  # looks for a schedule that the code lacks, each after twice the time: a day and a half, longer than a deployment takes


class Known(NamedTuple):
    """What the object keeps: the first moment, the newest tick that is over, and how often the schedule has begun."""

    since: float
    last: float
    begun: int = 0


class Look(NamedTuple):
    """A message of the object to itself: to look `at` this time. `gone` counts the looks for which the code had no such schedule."""

    begun: int
    at: float
    gone: int = 0


class Seen(NamedTuple):
    """What a look has found: the newest tick that is over, perhaps when its case has been started, and the next look."""

    last: float
    then: Look | None
    start: Start | None = None


_KNOWN, _LOOK, _SEEN, _MOMENT = Json(Known), Json(Look), Json(Seen), Json(float)


class ScheduleHandlers:
    """The handlers of a schedule's object. `start` is the handler that starts a case."""

    def __init__(self, work: Work, start: Any) -> None:
        self._work, self._start = work, start
        newest = work.registry.newest
        self._schedules = {schedule_key(of.name, name): (of, one) for of in newest for name, one in of.schedules.items()}
        names = {SCHEDULES: json.dumps([(process.name, schedule.name) for process, schedule in self._schedules.values()])}
        self.object = VirtualObject(SCHEDULE, "A schedule of Pointsman.", names, invocation_retry_policy=RETRIES)
        self.object.handler("begin")(self.begin)
        self.object.handler("check", kind="shared")(self.check)
        self._tick = self.object.handler("tick", ingress_private=True)(self.tick)

    async def check(self, ctx: ObjectSharedContext) -> bool:
        """Refuse a schedule that the program does not have. A look that is under way holds up `begin`, and not this."""
        if ctx.key() not in self._schedules:
            raise refusal(Refusing("Refused", f"the program has no schedule {unquote(ctx.key())!r}; correct its process or its name."))
        return True

    async def begin(self, ctx: ObjectContext) -> None:
        """Look for ticks from now on, or go on with what the code says now."""

        async def moment() -> float:
            return float(int(self._work.clock.now()))  # a whole second, so that a tick's time reads well in a key

        known = await ctx.get("schedule", _KNOWN)
        if known is None:
            now = await ctx.run_typed("moment", moment, RunOptions(_MOMENT))
            known = Known(now, now)
        known = known._replace(begun=known.begun + 1)
        ctx.set("schedule", known, _KNOWN)
        self._send(ctx, Look(known.begun, known.since))

    async def tick(self, ctx: ObjectContext, asked: dict[str, Any]) -> None:
        """Start the case of the tick that is due, if there is one."""
        known, look = await ctx.get("schedule", _KNOWN), _LOOK.of(asked)
        if known is None or known.begun != look.begun:
            return  # it has begun again since
        seen: Seen = await ctx.run_typed("look", partial(self._look, ctx.key(), known, look), RunOptions(_SEEN))
        last, then = seen.last, seen.then
        if seen.start is not None and then is not None:
            try:
                await begin(ctx, self._start, process_of(ctx.key()), seen.start)
            except TerminalError as refused:
                # The rest of what is refused may name a private value.
                log.warning("schedule %s cannot start its case (%s); it is tried again", ctx.key(), refused.message.partition(":")[0])
                last, then = known.last, then._replace(at=then.at + LOOK_SECONDS)
        ctx.set("schedule", known._replace(last=last), _KNOWN)
        if then is not None:
            self._send(ctx, then)

    async def _look(self, key: str, known: Known, look: Look) -> Seen:
        now, again = self._work.clock.now(), look._replace(gone=0)
        if key not in self._schedules:
            then = look._replace(at=now + LOOK_SECONDS * 2**look.gone, gone=look.gone + 1)
            return Seen(known.last, then if look.gone <= GONE_MAX else None)
        process, schedule = self._schedules[key]
        try:
            due, over = schedule.due(known.last, now, known.since)
            if due:
                return Seen(due[0], again._replace(at=now), await self._case_of(process, schedule, due[0]))
            following = schedule.following(now, known.since)
        except Exception as error:  # the inputs of an author's function may be wrong
            told = "schedule %r of process %r could not start its case (%s); it is tried again"
            log.exception(told, schedule.name, process.name, type(error).__name__, exc_info=not process.private)
            return Seen(known.last, again._replace(at=now + LOOK_SECONDS))
        early = max(0.0, look.at - now)  # the server's clock is ahead of this one: without it, one look would follow another
        return Seen(over, again._replace(at=min(now + WAIT_SECONDS, following or float("inf")) + early))

    async def _case_of(self, process: AnyProcess, schedule: Schedule, tick: float) -> Start:
        inputs = schedule.inputs(schedule.shown(tick)) if callable(schedule.inputs) else schedule.inputs
        cells, key = input_cells(process, inputs), schedule.key(tick)
        await check_blobs(self._work.blobs, [cell.value for cell in cells.values()], InputInvalid)
        return Start(seed_of(process.name, "", key), texts={name: cell.text for name, cell in cells.items()}, key=key)

    def _send(self, ctx: ObjectContext, look: Look) -> None:
        rest = max(0.0, look.at - self._work.clock.now())  # a program that died may have been away since the look was computed
        ctx.object_send(self._tick, ctx.key(), _LOOK.plain(look), send_delay=delay_of(rest))
