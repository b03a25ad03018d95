"""The engine's parts for one case: for a host that keeps each case as a record (`store.one_case`) and says when something happens to it.

A virtual object is such a host. It does what an engine does around its cases: it claims them, keeps their timers, and carries their messages.
"""

import logging
import random as chance
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, cast

from pointsman.definition.process import AnyProcess, Process
from pointsman.definition.rules import finish, otherwise
from pointsman.definition.state import State
from pointsman.errors import DefinitionError, PointsmanError
from pointsman.kernel.answering import Pending
from pointsman.kernel.case import Case, bare_case, new_case
from pointsman.kernel.codec import check_name, check_text, message_of
from pointsman.kernel.happenings import AcceptedHere, CannotGoOn, NotAcceptedHere, StartAsked
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import NewCase
from pointsman.kernel.snapshot import Cell, Status
from pointsman.runtime.begun import Begun
from pointsman.runtime.calls import Calls
from pointsman.runtime.cases import Cases
from pointsman.runtime.clock import Clock, SystemClock
from pointsman.runtime.commits import Commits
from pointsman.runtime.decisions import Decisions
from pointsman.runtime.lease import Lease
from pointsman.runtime.limits import Limits
from pointsman.runtime.loading import Loader, may_be_undone
from pointsman.runtime.operator_commands import OperatorCommands
from pointsman.runtime.ports import Ports
from pointsman.runtime.recent import Recent
from pointsman.runtime.registry import Registry
from pointsman.runtime.resources import check_resources
from pointsman.runtime.runner import Runner, StartCase
from pointsman.runtime.scheduler import Scheduler
from pointsman.runtime.session import CaseSession
from pointsman.runtime.threads import Threads
from pointsman.runtime.watchdog import Watchdog
from pointsman.store.base import Claimed, Failpoints, Store
from pointsman.store.one_case import OneCase

log = logging.getLogger("pointsman")

THREADS = 16  # plain functions that run at once, as many as an engine has


class Shared:
    """What the cases of a program share: its processes, the calls of their functions, and the clock.

    Raises DefinitionError if there is no process, or a resource is missing.

    `resources` are what the functions name, and `threads` how many plain functions run at once. Calls read blobs in the `store`, which has no cases, and
    tell it of waits for a thread. Make it anywhere, and use it in one event loop.
    """

    def __init__(
        self, processes: Sequence[AnyProcess], resources: Mapping[str, Any], store: Store, *, threads: int = THREADS, clock: Clock | None,
        random: chance.Random | None, failpoints: Failpoints,
    ) -> None:  # fmt: skip
        if not processes:
            raise DefinitionError("a program needs a process to run; give it one at least.")
        self.registry = Registry(processes)
        check_resources([*self.registry], resources)
        self.limited = [process for process in self.registry if any(node.limit is not None for node in process.nodes())]
        self.limits = {node.limit.name: node.limit for process in self.limited for node in process.nodes() if node.limit is not None}
        self.clock: Clock = clock or SystemClock()
        self.random = random or chance.SystemRandom()
        self.ports = Ports(store, self.clock, self.random, failpoints, Lease(store, self.clock))
        self._resources, self._threads = resources, Threads(threads, self.clock)

    @cached_property
    def calls(self) -> Calls:
        """The calls of functions, in the event loop that first asks for them."""
        return Calls(self.ports, self._resources, self._threads, Begun(self.ports.store), Watchdog(self.clock, self.registry))

    def close(self) -> None:
        """End the threads of plain functions: each with its call."""
        self._threads.close()


class OneCaseEngine:
    """Does with one case what an engine does with many.

    Permits come from the store, which has the only word on who gets one.
    """

    def __init__(self, store: OneCase[Any], shared: Shared, start_child: StartCase) -> None:
        ports, registry, calls = shared.ports, shared.registry, shared.calls
        self._store, self._clock, self._registry = store, ports.clock, registry
        row = store.record.row
        process = registry.accepting(row.process, row.version)
        if process is not None:
            store.undone = partial(may_be_undone, process)
            if row.step is not None and (step := process.called(row.step)) != row.step:
                store.record = replace(store.record, row=row._replace(step=step))
        ports, recent = replace(ports, store=cast("Store", store)), Recent()  # as much of a store as is needed here
        commits, loader = Commits(ports, recent, calls.threads, lambda _, __: None, lambda: None), _Loader(store, recent)
        self._limits = Limits(ports, shared.limited)
        self._limits.claimed([row], {}, all_of_it=True)
        self._runner = _Runner(ports, commits, calls, self._limits, loader, start_child)
        self._scheduler = Scheduler(ports, loader, self._runner, registry, self._limits, 0, _raise)  # without places
        self._make_cases = partial(Cases, ports, commits, loader, self._scheduler, self._limits, registry)
        self._ports = ports

    @cached_property
    def _cases(self) -> Cases:
        return self._make_cases()

    @cached_property
    def decisions(self) -> Decisions:
        """Takes the answers of people."""
        return Decisions(self._ports.store, self._cases, self._clock, self._cases.row, self._runner.confirm)

    @cached_property
    def operators(self) -> OperatorCommands:
        """Takes the commands of operators."""
        return OperatorCommands(self._ports, self._cases, lambda: None)

    async def start(self, new: NewCase, cells: Mapping[str, Cell]) -> None:
        """Start the case with these inputs."""
        store = self._store
        case = new_case(store.record.row.id, new, self._clock.now(), store.incarnation)
        store.record = replace(store.record, row=case.row)
        session = CaseSession(program_of(self._registry.for_start(new.process)), case)
        await self._runner.advance(session, StartAsked(new, cells), lambda: Offer(place=False))

    async def drive(self, going_on: Callable[[], bool]) -> None:
        """Claim the case and drive it, until it rests, or `going_on` returns False at the end of a step."""
        session = await self._session(self._store.claim())
        if session is None:
            return
        try:
            await self._runner.drive(session, None, going_on=going_on)
        except Exception as error:
            log.exception("case %d cannot go on: %s", session.case.row.id, type(error).__name__, exc_info=not session.process.private)
            await self._runner.advance(session, CannotGoOn(f"it cannot go on: {type(error).__name__}: {message_of(error)}"), Offer)

    async def permits_given(self) -> None:
        """Return when the store has all permits that were given back."""
        await self._limits.close()

    async def pending(self) -> Pending | None:
        """Return the open pause, if a person can answer it now."""
        with suppress(PointsmanError):  # this code may lack the process or the version, or the fields may not fit it
            return await self.decisions.pending(self._store.record.row.id) if self._store.record.row.status is Status.WAITING else None
        return None

    async def redrive(self, *, by: str, why: str, fields: Mapping[str, object]) -> None:
        """Return a parked or blocked case to the backlog, or correct one that waits. Raises Refused."""
        row = self._store.record.row
        if row.status is not Status.BLOCKED:
            await self.operators.redrive(row.id, by=by, why=why, fields=fields)
            return
        check_name("by", by)
        check_text("why", why)
        accepted = AcceptedHere(self._registry.for_case(row.process, row.version).version)
        await self._cases.apply(self._cases.bare(row), accepted)

    async def _session(self, claimed: Claimed) -> CaseSession | None:
        """The claimed case, or None if this code cannot continue it, which is then recorded."""
        row, names = claimed.case, self._registry.names
        if row.process in names:
            found = await self._scheduler.session_of(claimed)
            if isinstance(found, CaseSession):
                return found
            session = self._scheduler.bare(row)
        else:
            problem = f"the program has no process {row.process!r}, but {', '.join(names)}"
            found = NotAcceptedHere(f"{problem}; serve all processes in one program, and redrive the case")
            stand_in = Process(row.process, State)
            stand_in.rules(otherwise(finish("unknown")))
            session = CaseSession(program_of(stand_in), bare_case(stand_in, row, self._store.incarnation))
        await self._runner.advance(session, found, Offer)
        return None


class _Loader(Loader):
    def __init__(self, store: OneCase[Any], recent: Recent) -> None:
        super().__init__(cast("Store", store), recent)
        self._of = store

    async def with_history(self, process: AnyProcess, case: Case) -> Case:  # noqa: ARG002 - the record has it
        """Return the case with its history."""
        return replace(case, history=self._of.record.history)


class _Runner(Runner):
    async def _reserve_thread(self, session: CaseSession) -> None:
        """Reserve none: the host may go on with the case in another program, and this one would keep the thread."""


def _raise(error: Exception) -> None:
    raise error
