"""Claim the cases that are due while there are free places, and run each in a task. One timer serves all waiting cases."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from pointsman.errors import Conflict, StoreError, StoreForeign, VersionNotAccepted
from pointsman.kernel.attempts import INTERRUPTIONS_MAX
from pointsman.kernel.codec import message_of
from pointsman.kernel.commands import Command
from pointsman.kernel.events import Event
from pointsman.kernel.happenings import CannotGoOn, NotAcceptedHere
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import AT_REST, Status
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

CANCEL_SECONDS = (
    2.0  # the time for a cancelled step to clean up; one that ignores its cancellation is left behind, and its commits are fenced
)

IN_VAIN_MAX = 2  # interruptions beyond those that park a step when it begins: one claim finds that out, another may die for another reason

SUSPECT_FROM = 2  # interruptions: a power cut adds one to every running case, which need not slow them all down

SUSPECT_SECONDS = (
    0.1  # the delay of a suspect that is put back; a later claim finds that the running suspect has ended, or puts it back again
)

HESITATION_SECONDS = 1.0  # the wait after a claim that took no case although one seemed to be due


def case_name(session: CaseSession) -> str:
    """Return the name of the task that drives a case."""
    return f"pointsman-case-{session.case.row.id}"


class Scheduler:
    """Runs at most `concurrency` cases at a time. A waiting case uses no place."""

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
        self.rests: Callable[[CaseRow], None] = _ignore  # called with a case that was found at rest although this engine drove it
        self._suspect: int | None = None
        self._wake = asyncio.Event()
        self._lull = asyncio.Event()
        self._due = True  # cases that an earlier engine left may be due at once
        self._next_wake: float | None = None
        self._stopping = False
        self._given_back: list[int] = []
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def _free(self) -> int:
        return 0 if self._stopping else self._concurrency - len(self._sessions) - self._reserved

    def enter(self) -> bool:
        """Reserve a place for a case that is about to be committed as running. Return False if there is none.

        Use the place with `occupy`, or give it back with `leave`. While due cases wait to be claimed, no new case gets a place before them.
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
        """Return whether every place has a running case. Reserved places do not count."""
        return len(self._sessions) >= self._concurrency

    def holds(self, case: int) -> bool:
        """Return whether this engine runs the case."""
        return case in self._sessions

    def begin(self) -> None:
        """Start claiming."""
        self._loop_task = asyncio.create_task(self._claim_loop(), name="pointsman-scheduler")

    def occupy(self, session: CaseSession, task: asyncio.Task[Any]) -> None:
        """Give a reserved place to a running case, whose `task` calls `drive`."""
        self._reserved -= 1
        self._lull.clear()
        session.task = task
        self._sessions[session.case.row.id] = session

    def let_go(self, case: int) -> None:
        """Free the place of a case that is resting, or ready again, after a commit."""
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
            return  # the claim loop wakes before that time anyway
        self._lull.clear()
        self._wake.set()

    def opens(self, at: float) -> None:
        """Note that a limit that cases wait for has room at this time (Unix seconds)."""
        self.woken(at)
        self._wake.set()

    async def cancel(self, case: int, event: Event) -> None:
        """Cancel the case after its current step, and return when this engine no longer runs it."""
        session = self._sessions[case]
        session.cancel = event
        assert session.task is not None
        await asyncio.wait([session.task])

    def look_again(self) -> None:
        """Claim again, and find the next timer again: a case may have changed outside this engine."""
        self._due = True
        self._wake.set()

    async def look_around(self) -> None:
        """Claim if another engine has left a case that is due, and find the next timer again. This reads only."""
        next_wake = await self._store.next_wake(self._registry.names, closed=self._limits.closed())
        if next_wake is not None:
            self.woken(next_wake)

    async def idle(self, horizon_seconds: float) -> None:
        """Return when no case is running and none becomes due by itself within `horizon_seconds`."""
        while True:
            await self._lull.wait()
            due = self._next_wake
            if self._stopping or due is None or due - self._ports.clock.now() > horizon_seconds:
                return
            self._lull.clear()

    async def stop(self, grace_seconds: float, all_committed: Callable[[], Awaitable[None]]) -> None:
        """Claim no more cases, wait up to `grace_seconds` for the current steps to end, and release the cases whose steps have not.

        `all_committed` returns when no commit of a caller is under way. A case that such a commit made running finishes its step like the others.
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

    def _tasks(self) -> list[asyncio.Task[Any]]:
        return [session.task for session in self._sessions.values() if session.task is not None]

    def give_up(self, error: Exception) -> None:
        """Stop the engine after a store error. Only the next engine can find out which cases were committed as running."""
        self._failed(error)

    def fail(self) -> None:
        """Claim no more cases, and end every wait."""
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
        self._lull.clear()  # what is claimed now may run: nobody who asks meanwhile is told of a lull
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
        # Claim again only when a case is known to be due: a claim reserves places, which starts then cannot use.
        next_wake = await self._store.next_wake(self._registry.names, closed=self._limits.closed())
        if next_wake is not None and next_wake <= now and not taken and not self._due:
            # The store's clock and this engine's differ: do not claim again at once.
            next_wake = now + HESITATION_SECONDS
        for at in (next_wake, self._limits.opens_at()):
            if at is not None:
                self.woken(at)

    async def _with_one_suspect(self, claimed: Sequence[Claimed]) -> Sequence[Claimed]:
        """Put back all suspects but one, and return the other cases. A suspect has been interrupted `SUSPECT_FROM` times or more.

        A death of the engine counts as an interruption of every running case, although one of them may have caused it. Running one suspect at a
        time finds the cause.
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
        """Run a claimed case. Park or block it if this code cannot run or read it."""
        found = await self.session_of(claimed)
        if isinstance(found, CaseSession):
            self._reserved += 1
            self.occupy(found, asyncio.create_task(self.drive(found, None), name=case_name(found)))
            return
        self._limits.moved(claimed.case.id)
        with suppress(Conflict):
            await self._runner.advance(self.bare(claimed.case), found, Offer)

    async def session_of(self, claimed: Claimed) -> CaseSession | CannotGoOn | NotAcceptedHere:
        """Load a claimed case, or return why it cannot run."""
        row = claimed.case
        if row.interruptions >= INTERRUPTIONS_MAX + IN_VAIN_MAX:
            return CannotGoOn(f"the engine died {row.interruptions} times before it could continue step {row.step!r}; "
                              "its fields or a rule's condition may be the cause: correct that, and redrive the case")  # fmt: skip
        try:
            process = self._registry.for_case(row.process, row.version)
            return CaseSession(program_of(process), await self._loader.load(process, row, claimed.fields, claimed.branches))
        except VersionNotAccepted as error:
            return NotAcceptedHere(str(error))
        except StoreError as error:
            if not isinstance(error, StoreForeign):
                raise  # the case is well: the next engine reads it
            return CannotGoOn(f"its state cannot be read: {message_of(error)}")
        except Exception as error:
            return CannotGoOn(f"its state cannot be read: {message_of(error)}")

    async def drive(self, session: CaseSession, commands: tuple[Command, ...] | None) -> None:
        """Drive a case that has a place until it rests, from the commands of the plan just committed. None asks the machine for them."""
        case = session.case.row.id
        try:
            await self._runner.drive(session, commands, going_on=lambda: not self._stopping)
        except Conflict as refused:
            await self._let_go_of(session, refused)
        except StoreError as error:
            self._failed(error)
        except BaseException as error:  # a failure of one case must not stop the engine, which runs others
            task = asyncio.current_task()
            torn_down = self._loop_task is not None and self._loop_task.cancelling()  # as `asyncio.run` does to all tasks at its end
            if isinstance(error, asyncio.CancelledError) and (self._stopping or torn_down):
                self._given_back.append(case)
                raise
            if self._stopping or is_ctrl_c(error) or task is None:
                raise
            while task.uncancel():
                pass
            log.exception("case %d cannot go on: %s", case, type(error).__name__, exc_info=not session.process.private)
            try:
                await self._fail_case(session, f"it cannot go on: {type(error).__name__}: {message_of(error)}")
            except Conflict as refused:  # the error interrupted a commit that has reached the store
                await self._let_go_of(session, refused)
            except StoreError as failure:
                self._failed(failure)
        finally:
            if self._sessions.get(case) is session:
                self.let_go(case)

    async def _let_go_of(self, session: CaseSession, refused: Conflict) -> None:
        """Stop driving a case whose commit was refused. If nobody else has moved it, park it, because nobody would drive it again."""
        try:
            row = await self._store.case(session.case.row.id)
            if row is not None and row.status in AT_REST:
                self.rests(row)
            if row is None or row.status is not Status.RUNNING or row.fence != session.case.row.fence:
                log.info("case %d was changed by another engine or an operator; this engine stops running it", session.case.row.id)
                return
            with suppress(Conflict):
                problem = (
                    f"the store refused the result of step {row.step!r}, although nobody else has changed the case: {message_of(refused)}"
                )
                await self._fail_case(self.bare(row), f"{problem}; redrive it")
        except StoreError as error:
            self._failed(error)

    async def _fail_case(self, session: CaseSession, reason: str) -> None:
        await self._runner.advance(session, CannotGoOn(reason), Offer)

    def bare(self, row: CaseRow) -> CaseSession:
        """Return a session for a transition that does not read the case's fields."""
        process = self._registry.accepting(row.process, row.version) or self._registry.for_start(row.process)
        return CaseSession(program_of(process), self._loader.bare(process, row))


def _ignore(_: CaseRow) -> None:
    """The default for `Scheduler.rests`."""
