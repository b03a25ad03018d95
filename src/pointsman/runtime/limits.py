"""Permits: taken just before a call and given back right after it, durably; a case that gets none goes back into the line.

A case that waits for a permit is a row like any other that waits: it has no place in the engine, and nothing here remembers it.
The claim leaves it where it is as long as the limit has no room, and takes it in its turn. So it is with the branches of a parallel
step: when none of them is under way and one has got no permit, their case goes into the line.
"""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from pointsman.definition.limits import Limit, check_limits
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.process import AnyProcess
from pointsman.errors import EngineStopped, NotBegun, StoreError
from pointsman.kernel.case import Case
from pointsman.kernel.limits import (
    Ended,
    Ending,
    GivePermit,
    LimitChanged,
    LimitState,
    TakePermit,
    ending_of,
    opens_at,
    room,
    shut_until,
    why_shut,
)
from pointsman.kernel.rows import CaseRow
from pointsman.runtime.ports import Ports
from pointsman.store.base import LimitStore

# How long a permit of a call without a timeout counts after its engine has died; while that lives, as long as it runs.
UNTIMED_SECONDS = 300.0
MARGIN_SECONDS = 5.0  # from taking a permit to the beginning of the call's time: two commits on a slow disk
TIMER_SECONDS = 1.0  # a rest of the downstream that is longer than this is a timer of its branch, which others need not wait for


def _ignore(at: float) -> None:
    """Whoever claims is not there yet."""


class Permit:
    """The right to make one call. `ended` is told how that ended, and gives it back."""

    def __init__(self, limits: "Limits", limit: Limit, holder: str, case: int, *, tried: bool) -> None:
        self.limit = limit
        self.holder = holder
        self.case = case
        self.call: Future[Any] | None = None
        self.end = Ended()
        self._limits = limits
        self._tried = tried

    async def ended(self, error: BaseException | None) -> None:
        """Give the permit back. What a failure has done to the limit is durable, and known in `end`, when this returns."""
        ending: Ending = "nothing" if isinstance(error, NotBegun) or (error and not isinstance(error, Exception)) else ending_of(error)
        running = self.call is not None and not self.call.done()
        giving = self._limits.give(self, ending, keeps=running)
        if running and self.call is not None:
            # A plain function that was given up still runs, and what it calls still has it: its permit comes back with its end.
            self.call.add_done_callback(partial(self._left, asyncio.get_running_loop()))
        if isinstance(error, Exception) or self._tried:
            self.end = await asyncio.shield(giving)

    def unused(self) -> None:
        """Give the permit back: nothing was called."""
        self._limits.give(self, "nothing")

    @property
    def refused(self) -> bool:
        """Whether the downstream asked for rest, so that the attempt of its case does not count."""
        return not self.end.counts

    @property
    def facts(self) -> dict[str, Any]:
        """What the end of the call has done to the limit, for the event that tells of the end."""
        told = {"held_until": self.end.holds, "open_until": self.end.opens, "closed": self.end.closes or None}
        told = {name: value for name, value in told.items() if value is not None}
        return {"limit": self.limit.name, **told} if told else {}

    def _left(self, loop: asyncio.AbstractEventLoop, _: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed; the permit comes free by itself
            loop.call_soon_threadsafe(self.unused)


class Limits:
    """The limits of one engine's processes: what it knows of them, and who of its cases waits for them."""

    def __init__(self, ports: Ports, processes: Iterable[AnyProcess]) -> None:
        nodes = [node for process in processes for node in process.nodes() if node.limit is not None]
        check_limits("the engine", [node.limit for node in nodes if node.limit is not None])
        self._limits = {node.limit.name: node.limit for node in nodes if node.limit is not None}
        self._ports = ports
        self._store: LimitStore = ports.store
        self._states: dict[str, LimitState] = dict.fromkeys(self._limits, LimitState())
        self._alive: dict[str, set[str]] = {name: set() for name in self._limits}
        self._promised: dict[str, set[int]] = {name: set() for name in self._limits}
        self._line = set(self._limits)  # where cases may be waiting; what an earlier engine left shows with the first claim
        self._offered: Mapping[str, int] = {}
        self._joined: set[str] = set()  # the line, since the last offer
        self._serial = itertools.count(1)
        self._giving: set[asyncio.Task[Ended]] = set()
        self.opens: Callable[[float], None] = _ignore

    async def look(self) -> None:
        """Read what is stored, which other engines on the store may have changed."""
        if self._limits:
            stored = await self._store.limits()
            for name in self._limits:
                self._know(name, stored.get(name, LimitState()))

    # For the line.

    def offer(self) -> dict[str, int]:
        """How many cases of the line there are permits for, of each limit; nobody else gets these until `claimed` is told."""
        self._offered = {name: self._free(name) for name in self._limits}
        self._joined.clear()
        return self._offered

    def closed(self) -> list[str]:
        """The limits that have no room. Whoever leaves their cases out does not know whether one is due, so one may be."""
        names = [name for name in self._limits if self._free(name) <= 0]
        self._line.update(names)
        return names

    def opens_at(self) -> float | None:
        """When the next limit with cases in line opens by itself (Unix seconds), or None."""
        now = self._ports.clock.now()
        times = [opens_at(self._limits[name], self._states[name], now, self._alive[name]) for name in self._line]
        return min((at for at in times if at > now), default=None)

    def lined(self, name: str) -> bool:
        """Note that a case waits in line for a limit; answers whether there is room for it."""
        if name not in self._limits:
            return True
        self._line.add(name)
        self._joined.add(name)
        return self._free(name) > 0

    def claimed(self, rows: Iterable[CaseRow], room: Mapping[str, int], *, all_of_it: bool) -> None:
        """Keep a permit for each claimed case that needs one. `all_of_it` says that the claim left nothing for want of places."""
        counts: dict[str, int] = defaultdict(int)
        self._offered = {}
        for row in rows:
            if row.needs in self._limits:
                self._promised[row.needs].add(row.id)
                counts[row.needs] += 1
        for name, free in room.items():
            if all_of_it and counts[name] < free and name not in self._joined:
                self._line.discard(name)
            self._told_of_room(name)

    def moved(self, case: int, step: object = None) -> None:
        """The case is let go, or comes to this step: what was kept for it is free, unless the step needs it."""
        limit = step.limit if isinstance(step, Node) else None
        for name, cases in self._promised.items():
            if case in cases and (limit is None or limit.name != name):
                cases.discard(case)
                self._told_of_room(name)

    def shut(self, case: int, name: str) -> str | None:
        """Why a case that comes to a step has to wait in line for this limit; None where it may go on."""
        if case in self._promised[name] or (name not in self._line and self._free(name) > 0):
            return None
        return self.why_shut(name)

    def why_shut(self, name: str) -> str:
        """Why a limit gives no permit, or may give none."""
        return why_shut(self._limits[name], self._states[name], self._ports.clock.now())

    # For a call.

    async def take(self, case: Case, node: AnyNode) -> Permit | None:
        """A permit for the call that comes now, or None: the case has to wait in line. A permit kept for the case is used up."""
        limit = node.limit
        assert limit is not None
        promised = self._promised[limit.name]
        if case.row.id in promised:
            promised.discard(case.row.id)
        elif limit.name in self._line or self._free(limit.name) <= 0:
            return None
        asking = -next(self._serial)  # nobody else is offered the permit meanwhile
        promised.add(asking)
        try:
            return await self._take(limit, case, node)
        finally:
            promised.discard(asking)
            self._told_of_room(limit.name)

    def rests_until(self, name: str) -> float | None:
        """Until when a limit gives no permit, whatever is given back (Unix seconds), if that is worth a timer; else None."""
        until = shut_until(self._limits[name], self._states[name])
        return until if until > self._ports.clock.now() + TIMER_SECONDS else None

    def give(self, permit: Permit, ending: Ending, *, keeps: bool = False) -> "asyncio.Task[Ended]":
        """Give a permit back in a task of its own; one that `keeps` tells how its call ended, and is given back later."""
        giving = asyncio.ensure_future(self._give(permit, ending, keeps=keeps))
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)
        return giving

    async def given_so_far(self) -> None:
        """Return when all that has been given back by now is stored; what others give back meanwhile is not waited for."""
        if self._giving:
            await asyncio.wait(tuple(self._giving))

    async def close(self) -> None:
        """Return when nothing is left to be given back."""
        while self._giving:
            await asyncio.wait(self._giving)

    # The inside.

    async def _take(self, limit: Limit, case: Case, node: AnyNode) -> Permit | None:
        clock, alive = self._ports.clock, self._alive[limit.name]
        holder = f"{case.row.id}/{node.name}/{case.row.fence}.{next(self._serial)}"
        asked = clock.monotonic()
        until = clock.now() + (node.timeout_seconds or UNTIMED_SECONDS) + MARGIN_SECONDS

        change = TakePermit(limit, holder, clock.now(), until, frozenset(alive))
        alive.add(holder)
        changing = asyncio.ensure_future(self._store.change_limit(change))
        try:
            state, refused_until, _ = await asyncio.shield(changing)
        except asyncio.CancelledError:
            changing.add_done_callback(partial(self._unwanted, Permit(self, limit, holder, case.row.id, tried=False)))
            raise
        except BaseException:
            alive.discard(holder)
            raise
        if refused_until is not None:
            alive.discard(holder)
        self._know(limit.name, state)
        if refused_until is not None:
            return None
        self._ports.failpoints("permit.taken")
        permit = Permit(self, limit, holder, case.row.id, tried=state.trial == holder)
        if clock.monotonic() >= asked + MARGIN_SECONDS:
            # This engine has stood still: by the end of the call the permit would long count no more, and be somebody else's.
            permit.unused()
            return None
        return permit

    def _unwanted(self, permit: Permit, changing: "asyncio.Future[LimitChanged]") -> None:
        """Whoever asked for a permit was cancelled before the answer came."""
        if not changing.cancelled() and changing.exception() is None and changing.result().refused_until is None:
            permit.unused()
        else:
            self._alive[permit.limit.name].discard(permit.holder)

    async def _give(self, permit: Permit, ending: Ending, *, keeps: bool) -> Ended:
        limit, holder = permit.limit, permit.holder
        change = GivePermit(limit, holder, ending, self._ports.clock.now(), permit.case, keeps)
        try:
            state, _, ended = await self._store.change_limit(change)
        except (StoreError, EngineStopped):
            return Ended()  # the engine stops of it; the permit comes free by itself
        finally:
            if not keeps:
                self._alive[limit.name].discard(holder)
        self._ports.failpoints("permit.given")
        self._know(limit.name, state)
        return ended

    def _know(self, name: str, state: LimitState) -> None:
        if state.changes >= self._states[name].changes:  # answers may be taken in in another order than they were given
            self._states[name] = state
        self._told_of_room(name)

    def _told_of_room(self, name: str) -> None:
        if name in self._line:
            now = self._ports.clock.now()
            at = opens_at(self._limits[name], self._states[name], now, self._alive[name])
            if at > now or self._free(name) > 0:
                self.opens(at)

    def _free(self, name: str) -> int:
        """Permits that are neither promised to a claimed case nor offered to a claim."""
        had = room(self._limits[name], self._states[name], self._ports.clock.now(), self._alive[name])
        return max(0, had - len(self._promised[name]) - self._offered.get(name, 0))
