"""Take a stored permit just before a call, and give it back right after. A case that gets no permit returns to the backlog.

A case that waits for a permit is only a row in the store: it uses no place in the engine, and this module does not remember it.
Claims skip it while its limit has no room, and then take it in its turn. The case of a parallel step returns to the backlog when a branch
got no permit and no other branch is running.
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

# How long a permit of a call without a timeout counts after its engine died. While the engine lives, it counts as long as the call runs.
UNTIMED_SECONDS = 300.0
MARGIN_SECONDS = 5.0  # between taking a permit and the start of the call's time: two commits on a slow disk
TIMER_SECONDS = 1.0  # when a limit stays shut for longer than this, a branch waits with a timer of its own


def _ignore(at: float) -> None:
    """The default of `Limits.opens`, until a scheduler sets it."""


class Permit:
    """The right to make one call. Call `ended` after the call, or `unused` if there was none."""

    def __init__(self, limits: "Limits", limit: Limit, holder: str, case: int, *, tried: bool) -> None:
        self.limit = limit
        self.holder = holder
        self.case = case
        self.call: Future[Any] | None = None
        self.end = Ended()
        self._limits = limits
        self._tried = tried

    async def ended(self, error: BaseException | None) -> None:
        """Give the permit back. After a failed call, wait until the change to the limit is stored and known in `end`."""
        ending: Ending = "nothing" if isinstance(error, NotBegun) or (error and not isinstance(error, Exception)) else ending_of(error)
        running = self.call is not None and not self.call.done()
        giving = self._limits.give(self, ending, keeps=running)
        if running and self.call is not None:
            # A plain function that the engine gave up on still runs and still uses the resource. Its permit comes back when it ends.
            self.call.add_done_callback(partial(self._left, asyncio.get_running_loop()))
        if isinstance(error, Exception) or self._tried:
            self.end = await asyncio.shield(giving)

    def unused(self) -> None:
        """Give the permit back without a call."""
        self._limits.give(self, "nothing")

    @property
    def refused(self) -> bool:
        """Whether the downstream refused the call and asked to wait, so that the attempt does not count."""
        return not self.end.counts

    @property
    def facts(self) -> dict[str, Any]:
        """How the end of the call changed the limit, for the facts of the call's event."""
        changes = {"held_until": self.end.holds, "open_until": self.end.opens, "closed": self.end.closes or None}
        changes = {name: value for name, value in changes.items() if value is not None}
        return {"limit": self.limit.name, **changes} if changes else {}

    def _left(self, loop: asyncio.AbstractEventLoop, _: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed; the permit expires by itself
            loop.call_soon_threadsafe(self.unused)


class Limits:
    """The limits of one engine's processes: their last known state, and whether cases wait for them."""

    def __init__(self, ports: Ports, processes: Iterable[AnyProcess]) -> None:
        nodes = [node for process in processes for node in process.nodes() if node.limit is not None]
        check_limits("the engine", [node.limit for node in nodes if node.limit is not None])
        self._limits = {node.limit.name: node.limit for node in nodes if node.limit is not None}
        self._ports = ports
        self._store: LimitStore = ports.store
        self._states: dict[str, LimitState] = dict.fromkeys(self._limits, LimitState())
        self._alive: dict[str, set[str]] = {name: set() for name in self._limits}
        self._promised: dict[str, set[int]] = {name: set() for name in self._limits}
        self._queued = set(self._limits)  # limits for which cases may wait: all of them, until the first claim shows what is stored
        self._offered: Mapping[str, int] = {}
        self._joined: set[str] = set()  # limits that a case has begun to wait for since the last offer
        self._serial = itertools.count(1)
        self._giving: set[asyncio.Task[Ended]] = set()
        self.opens: Callable[[float], None] = _ignore

    async def look(self) -> None:
        """Read the stored limits, which other engines on the store may have changed."""
        if self._limits:
            stored = await self._store.limits()
            for name in self._limits:
                self._know(name, stored.get(name, LimitState()))

    # For the queue.

    def offer(self) -> dict[str, int]:
        """Return the number of free permits of each limit, and reserve them for the claim until `claimed` is called."""
        self._offered = {name: self._free(name) for name in self._limits}
        self._joined.clear()
        return self._offered

    def closed(self) -> list[str]:
        """Return the limits without room. A claim skips the cases that need them."""
        names = [name for name in self._limits if self._free(name) <= 0]
        self._queued.update(names)
        return names

    def opens_at(self) -> float | None:
        """Return when the next limit that cases wait for has room again (Unix seconds), or None."""
        now = self._ports.clock.now()
        times = [opens_at(self._limits[name], self._states[name], now, self._alive[name]) for name in self._queued]
        return min((at for at in times if at > now), default=None)

    def joined(self, name: str) -> bool:
        """Note that a case waits for a limit. Return whether the limit has room for it."""
        if name not in self._limits:
            return True
        self._queued.add(name)
        self._joined.add(name)
        return self._free(name) > 0

    def claimed(self, rows: Iterable[CaseRow], room: Mapping[str, int], *, all_of_it: bool) -> None:
        """Keep a permit for each claimed case that needs one. `all_of_it` says that the claim left no case behind for lack of places."""
        counts: dict[str, int] = defaultdict(int)
        self._offered = {}
        for row in rows:
            if row.needs in self._limits:
                self._promised[row.needs].add(row.id)
                counts[row.needs] += 1
        for name, free in room.items():
            if all_of_it and counts[name] < free and name not in self._joined:
                self._queued.discard(name)
            self._tell_of_room(name)

    def moved(self, case: int, step: object = None) -> None:
        """Free the permit that was kept for a case, unless the step that it has come to needs it."""
        for name, cases in self._promised.items():
            limit = step.limit if case in cases and isinstance(step, Node) else None
            if case in cases and (limit is None or limit.name != name):
                cases.discard(case)
                self._tell_of_room(name)

    def shut(self, case: int, name: str) -> str | None:
        """Return why a case must wait for this limit before its step, or None if it need not."""
        if case in self._promised[name] or (name not in self._queued and self._free(name) > 0):
            return None
        return self.why_shut(name)

    def why_shut(self, name: str) -> str:
        """Return why a limit may give no permit."""
        return why_shut(self._limits[name], self._states[name], self._ports.clock.now())

    # For a call.

    async def take(self, case: Case, node: AnyNode) -> Permit | None:
        """Take a permit for the call that follows. Return None if the case must wait. A permit that was kept for the case is used up."""
        limit = node.limit
        assert limit is not None
        promised = self._promised[limit.name]
        if case.row.id in promised:
            promised.discard(case.row.id)
        elif limit.name in self._queued or self._free(limit.name) <= 0:
            return None
        asking = -next(self._serial)  # a negative number stands for no case, and keeps the permit from being offered meanwhile
        promised.add(asking)
        try:
            return await self._take(limit, case, node)
        finally:
            promised.discard(asking)
            self._tell_of_room(limit.name)

    def rests_until(self, name: str) -> float | None:
        """Return until when a limit is shut (Unix seconds) if that is long enough for a timer, else None."""
        until = shut_until(self._limits[name], self._states[name])
        return until if until > self._ports.clock.now() + TIMER_SECONDS else None

    def give(self, permit: Permit, ending: Ending, *, keeps: bool = False) -> "asyncio.Task[Ended]":
        """Give a permit back in a separate task. With `keeps`, only record how its call ended; the permit is given back later."""
        giving = asyncio.ensure_future(self._give(permit, ending, keeps=keeps))
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)
        return giving

    async def given_so_far(self) -> None:
        """Wait until all permits given back so far are stored. Permits given back meanwhile are not waited for."""
        if self._giving:
            await asyncio.wait(tuple(self._giving))

    async def close(self) -> None:
        """Wait until all permits that were given back are stored."""
        while self._giving:
            await asyncio.wait(self._giving)

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
            changing.add_done_callback(partial(self._give_back_unwanted, Permit(self, limit, holder, case.row.id, tried=False)))
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
            # This engine stood still meanwhile. The permit would expire before the call ends, and another call could take it.
            permit.unused()
            return None
        return permit

    def _give_back_unwanted(self, permit: Permit, changing: "asyncio.Future[LimitChanged]") -> None:
        """Give back a permit whose taker was cancelled before the store answered."""
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
            return Ended()  # this error stops the engine; the permit expires by itself
        finally:
            if not keeps:
                self._alive[limit.name].discard(holder)
        self._ports.failpoints("permit.given")
        self._know(limit.name, state)
        return ended

    def _know(self, name: str, state: LimitState) -> None:
        if state.changes >= self._states[name].changes:  # the store's answers may arrive out of order
            self._states[name] = state
        self._tell_of_room(name)

    def _tell_of_room(self, name: str) -> None:
        if name in self._queued:
            now = self._ports.clock.now()
            at = opens_at(self._limits[name], self._states[name], now, self._alive[name])
            if at > now or self._free(name) > 0:
                self.opens(at)

    def _free(self, name: str) -> int:
        """Return the number of permits that are neither kept for a claimed case nor offered to a claim."""
        had = room(self._limits[name], self._states[name], self._ports.clock.now(), self._alive[name])
        return max(0, had - len(self._promised[name]) - self._offered.get(name, 0))
