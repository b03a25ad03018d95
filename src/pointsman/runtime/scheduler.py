"""Which cases this engine has in hand: claims what is due while there is room, one task a case, one timer for all."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from pointsman.errors import Conflict, StoreError, VersionNotAccepted
from pointsman.kernel.attempts import INTERRUPTIONS_MAX
from pointsman.kernel.codec import message_of
from pointsman.kernel.commands import Command
from pointsman.kernel.events import Event
from pointsman.kernel.happenings import CannotGoOn, NotAcceptedHere
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.calls import is_ctrl_c
from pointsman.runtime.clock import seconds_until
from pointsman.runtime.limits import Limits
from pointsman.runtime.loading import Loader
from pointsman.runtime.ports import Ports
from pointsman.runtime.registry import Registry
from pointsman.runtime.runner import Runner
from pointsman.runtime.session import CaseSession
from pointsman.store.base import CaseStore, Claimed

log = logging.getLogger("pointsman")

CANCEL_SECONDS = 2.0  # what a cancelled step gets to clean up; one that swallows its cancellation is left behind, and fenced

IN_VAIN_MAX = 2  # deaths beyond those that park a step when it begins: one claim finds that out, another may die for another reason

SUSPECT_FROM = 2  # interruptions: a power cut leaves one on every case in hand, and need not slow them down

SUSPECT_SECONDS = 0.1  # how long a suspect is put back for: the next claim finds that the one in hand has ended, or puts it back again

HESITATION_SECONDS = 1.0  # after a claim that took nothing in hand, although something seemed to be due


class Scheduler:
    """Holds at most `concurrency` cases at a time; a case that waits is not held."""

    def __init__(
        self,
        ports: Ports,
        loader: Loader,
        runner: Runner,
        registry: Registry,
        limits: Limits,
        concurrency: int,
        failed: Callable[[Exception], None],
    ) -> None:
        self._ports = ports
        self._store: CaseStore = ports.store
        self._loader = loader
        self._runner = runner
        self._registry = registry
        self._limits = limits
        self._concurrency = concurrency
        self._failed = failed
        self._sessions: dict[int, CaseSession] = {}
        self._reserved = 0
        self._suspect: int | None = None
        self._wake = asyncio.Event()
        self._lull = asyncio.Event()
        self._due = True  # what an earlier engine left may be due at once
        self._next_wake: float | None = None
        self._stopping = False
        self._given_back: list[int] = []
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def _free(self) -> int:
        return 0 if self._stopping else self._concurrency - len(self._sessions) - self._reserved

    def enter(self) -> bool:
        """Reserve a place for a case that is about to be committed as running. Return False if there is none.

        A place is used with `take`, or given back with `leave`. Nobody overtakes what is due and waits to be claimed.
        """
        if self._free <= 0 or self._due:
            return False
        self._reserved += 1
        self._lull.clear()
        return True

    def leave(self) -> None:
        """Give a reserved place back."""
        self._reserved -= 1
        self._wake.set()

    def full(self) -> bool:
        """Whether every place has a case in hand; one that a claim or a start keeps for the moment is not counted."""
        return len(self._sessions) >= self._concurrency

    def holds(self, case: int) -> bool:
        """Whether the case is in hand."""
        return case in self._sessions

    def begin(self) -> None:
        """Start claiming."""
        self._loop_task = asyncio.create_task(self._claim_loop(), name="pointsman-scheduler")

    def take(self, session: CaseSession, commands: tuple[Command, ...] | None) -> None:
        """Drive a running case in its reserved place: from the commands of the plan just committed, or None to ask afresh."""
        self._reserved -= 1
        case = session.case.row.id
        self._lull.clear()
        session.task = asyncio.create_task(self._drive(session, commands), name=f"pointsman-case-{case}")
        self._sessions[case] = session

    def let_go(self, case: int) -> None:
        """The case is no longer in hand: its place is free from the commit that put it to rest or back into the line."""
        if case == self._suspect:
            self._suspect = None
        if self._sessions.pop(case, None) is not None:
            self._limits.moved(case)
            self._wake.set()

    def woken(self, at: float) -> None:
        """Note that a case has become ready and is due at this time (Unix seconds)."""
        if at <= self._ports.clock.now():
            self._due = True
        elif self._next_wake is None or at < self._next_wake:
            self._next_wake = at
        else:
            return  # the loop looks at it in time anyway; it would not be woken to say again that nothing is in hand
        self._lull.clear()
        self._wake.set()

    def opens(self, at: float) -> None:
        """Note that a limit that cases wait for has room, or will have it at this time (Unix seconds)."""
        self.woken(at)
        self._wake.set()

    async def cancel(self, case: int, event: Event) -> None:
        """End the case when its current step has ended, and return when it is no longer in hand."""
        session = self._sessions[case]
        session.cancel = event
        assert session.task is not None
        await asyncio.wait([session.task])

    def look_again(self) -> None:
        """A case that was due later may have been moved: what the timer waits for is found anew."""
        self._due = True
        self._wake.set()

    async def idle(self, horizon_seconds: float) -> None:
        """Return when no case is in hand, and none will be due by itself within `horizon_seconds`."""
        while True:
            await self._lull.wait()
            due = self._next_wake
            if self._stopping or due is None or due - self._ports.clock.now() > horizon_seconds:
                return
            self._lull.clear()

    async def stop(self, grace_seconds: float, all_committed: Callable[[], Awaitable[None]]) -> None:
        """Claim nothing more, let the current steps end within `grace_seconds`, and give back what has not ended.

        `all_committed` returns when no commit from outside is under way: what was committed as running is run to the end
        of its step like the rest.
        """
        self._stopping = True
        self._wake.set()
        try:
            if self._loop_task is not None:
                await asyncio.wait([self._loop_task])
            await all_committed()
            if self._sessions:
                await asyncio.wait(self._tasks(), timeout=grace_seconds)
        finally:
            late, tasks = list(self._sessions), self._tasks()
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
            with suppress(StoreError):
                await self._store.release([*late, *self._given_back], now=self._ports.clock.now())

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [session.task for session in self._sessions.values() if session.task is not None]

    def give_up(self, error: Exception) -> None:
        """Stop the engine: only its successor can find out what it has in hand."""
        self._failed(error)

    def fail(self) -> None:
        """Claim nothing more and let nobody wait."""
        self._stopping = True
        self._wake.set()
        self._lull.set()

    async def _claim_loop(self) -> None:
        try:
            while not self._stopping:
                self._wake.clear()
                if self._due and self._free > 0 and self._ports.lease.held():
                    await self._claim()
                    continue
                if not self._sessions and not self._reserved and not self._due:
                    self._lull.set()
                seconds = None if self._next_wake is None or self._due else seconds_until(self._next_wake, self._ports.clock)
                await self._ports.clock.wait(self._wake, seconds)
                if self._next_wake is not None and self._ports.clock.now() >= self._next_wake:
                    self._due = True
        except Exception as error:
            self._failed(error)

    async def _claim(self) -> None:
        limit, now = self._free, self._ports.clock.now()
        self._due = False
        self._next_wake = None
        room = self._limits.offer()
        self._reserved += limit
        try:
            claimed = await self._store.claim(self._registry.names, now=now, limit=limit, room=room, known=self._loader.known())
        finally:
            self._reserved -= limit
        if self._stopping:
            self._given_back += [one.case.id for one in claimed]
            return
        self._limits.claimed([one.case for one in claimed], room, all_of_it=len(claimed) < limit)
        taken = await self._with_one_suspect(claimed)
        for one in taken:
            await self._take_claimed(one)
            if one.case.id == self._suspect and not self.holds(one.case.id):
                self._suspect = None
        # Only what is known to be due is claimed: a claim keeps its places from those who start a case meanwhile.
        next_wake = await self._store.next_wake(self._registry.names, closed=self._limits.closed())
        if next_wake is not None and next_wake <= now and not taken and not self._due:
            # The store's clock says otherwise than this engine's: do not ask again and again.
            next_wake = now + HESITATION_SECONDS
        for at in (next_wake, self._limits.opens_at()):
            if at is not None:
                self.woken(at)

    async def _with_one_suspect(self, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        """Put all but one of the suspects back: a death counts for all cases in hand, and one of them may be its cause.

        So from the second death on, the next one counts only for the suspect that is in hand then.
        """
        suspects = [one.case.id for one in claimed if one.case.interruptions >= SUSPECT_FROM]
        if suspects and self._suspect is None:
            self._suspect = suspects.pop(0)
        if suspects:
            await self._store.release(suspects, now=self._ports.clock.now() + SUSPECT_SECONDS)
            for case in suspects:
                self._limits.moved(case)
        return [one for one in claimed if one.case.id not in suspects]

    async def _take_claimed(self, claimed: Claimed) -> None:
        """Take a claimed case in hand, or put one aside that this code cannot go on with or cannot read."""
        found = await self._session_of(claimed)
        if isinstance(found, CaseSession):
            self._reserved += 1
            self.take(found, None)
            return
        self._limits.moved(claimed.case.id)
        with suppress(Conflict):
            await self._runner.advance(self.bare(claimed.case), found, Offer)

    async def _session_of(self, claimed: Claimed) -> CaseSession | CannotGoOn | NotAcceptedHere:
        """The whole of a claimed case, or why it is put aside."""
        row = claimed.case
        if row.interruptions >= INTERRUPTIONS_MAX + IN_VAIN_MAX:
            return CannotGoOn(f"an engine has ended {row.interruptions} times before it could go on with step {row.step!r}; "
                              "its fields or a rule's condition may be what ends them: correct that, and redrive the case")  # fmt: skip
        try:
            process = self._registry.for_case(row.process, row.version)
            return CaseSession(program_of(process), await self._loader.load(process, row, claimed.fields, claimed.branches))
        except VersionNotAccepted as error:
            return NotAcceptedHere(str(error))
        except Exception as error:
            return CannotGoOn(f"its state cannot be read: {message_of(error)}")

    async def _drive(self, session: CaseSession, commands: tuple[Command, ...] | None) -> None:
        case = session.case.row.id
        try:
            await self._runner.drive(session, commands, going_on=lambda: not self._stopping)
        except Conflict as refused:
            await self._let_go_of(session, refused)
        except StoreError as error:
            self._failed(error)
        except BaseException as error:  # an engine that serves other cases must not fall over one of them
            task = asyncio.current_task()
            if self._stopping or is_ctrl_c(error) or task is None:
                raise
            if self._loop_task is not None and self._loop_task.cancelling():  # as `asyncio.run` does at its end: nobody is to blame
                self._given_back.append(case)
                raise
            while task.uncancel():
                pass
            log.exception("case %d cannot go on", case)
            with suppress(Conflict, StoreError):
                await self._fail_case(session, f"it cannot go on: {type(error).__name__}: {message_of(error)}")
        finally:
            if self._sessions.get(case) is session:
                self.let_go(case)

    async def _let_go_of(self, session: CaseSession, refused: Conflict) -> None:
        """A commit was refused: somebody else has the case now; or nobody, and it is parked, since nobody would go on with it."""
        try:
            row = await self._store.case(session.case.row.id)
            if row is None or row.status is not Status.RUNNING or row.fence != session.case.row.fence:
                log.info("case %d was moved by somebody else; this engine lets go of it", session.case.row.id)
                return
            with suppress(Conflict):
                told = (
                    f"the store refused what came out of step {row.step!r}, although nobody else has moved the case: {message_of(refused)}"
                )
                await self._fail_case(self.bare(row), f"{told}; redrive it")
        except StoreError as error:
            self._failed(error)

    async def _fail_case(self, session: CaseSession, reason: str) -> None:
        await self._runner.advance(session, CannotGoOn(reason), Offer)

    def bare(self, row: CaseRow) -> CaseSession:
        """A case for a transition that does not look at its fields."""
        process = self._registry.accepting(row.process, row.version) or self._registry.for_start(row.process)
        return CaseSession(program_of(process), self._loader.bare(process, row))
