"""Cases as the engine's calls see them: find one, take it up, and commit what came to it from outside."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from pointsman.definition.process import AnyProcess
from pointsman.definition.state import State
from pointsman.errors import Conflict, EngineStopped, StoreError, UnknownCase, ValueRefused, VersionNotAccepted
from pointsman.kernel.codec import codec_of
from pointsman.kernel.decide import Decision
from pointsman.kernel.events import Event
from pointsman.kernel.evolve import Advance
from pointsman.kernel.rows import CaseRow, NewCase, Post
from pointsman.kernel.snapshot import Cell, Status
from pointsman.runtime.commits import Commits
from pointsman.runtime.effects import Effects
from pointsman.runtime.hold import Hold, Outcome, bare_hold, hold_of, runnable
from pointsman.runtime.inbox import NOTHING, Arrivals
from pointsman.runtime.limits import Limits
from pointsman.runtime.recent import Recent
from pointsman.runtime.registry import Registry
from pointsman.runtime.scheduler import Scheduler
from pointsman.store.base import Posted, Store

T = TypeVar("T")


@dataclass(slots=True)
class _Place:
    """Where a case that is about to be committed goes: `going_on` where it can run at once, `queues` where it waits for a permit.

    `drives` is the decision that it is driven from, once it has been committed.
    """

    going_on: bool
    queues: Event | None
    drives: Decision | None = None


class Cases:
    """What starting, answering and operating share."""

    def __init__(
        self,
        store: Store,
        commits: Commits,
        recent: Recent,
        effects: Effects,
        scheduler: Scheduler,
        limits: Limits,
        registry: Registry,
    ) -> None:
        self.store = store
        self.commits = commits
        self._recent = recent
        self.scheduler = scheduler
        self._effects = effects
        self._limits = limits
        self._registry = registry
        self._underway: set[asyncio.Task[Any]] = set()

    def process(self, name: str) -> AnyProcess:
        """A registered process, in its newest version. Raises UnknownProcess."""
        return self._registry.for_start(name)

    async def row(self, case: int) -> CaseRow:
        """Where a case stands. Raises UnknownCase."""
        row = await self.store.case(case)
        if row is None:
            raise UnknownCase(f"there is no case {case}; list the cases with `pointsman ps`.")
        return row

    async def hold(self, row: CaseRow, *, corrected: Collection[str] = ()) -> Hold:
        """Take up a case with its fields, to move it. Raises ValueRefused where they do not fit the present code.

        Fields that are about to be `corrected` need not fit it.

        A case that no registered version can go on with is blocked: raises VersionNotAccepted.
        """
        try:
            return await self.read(row, corrected=corrected)
        except VersionNotAccepted as error:
            if row.status is Status.WAITING:
                with suppress(Conflict):
                    await self.apart(self.commits.block(self.bare(row), str(error)))
            raise VersionNotAccepted(f"case {row.id} cannot go on: {error}.") from None

    async def read(self, row: CaseRow, *, corrected: Collection[str] = ()) -> Hold:
        """The same, to look at it only."""
        # Only a step that parked can have left branches behind in a case that nobody has in hand.
        branches = await self.store.branches(row.id) if row.status is Status.PARKED else ()
        process = self._registry.for_case(row.process, row.version)
        cells = self._recent.cells(process, row)
        fields = await self.store.fields(row.id) if cells is None else ()
        try:
            return hold_of(process, row, fields, branches, cells=cells, corrected=corrected)
        except ValueRefused as error:
            raise ValueRefused(f"case {row.id}: {error}.") from None

    def bare(self, row: CaseRow) -> Hold:
        """Take up a case for a transition that does not look at its fields."""
        return bare_hold(self._registry.accepting(row.process, row.version) or self.process(row.process), row)

    async def go_on(
        self,
        hold: Hold,
        after: Advance,
        outcome: Outcome,
        *,
        new: NewCase | None = None,
        answered_by: str | None = None,
        arrivals: Arrivals = NOTHING,
    ) -> int:
        """Commit a transition that came from outside, and drive the case if there is room. Answers its number.

        A caller that is cancelled meanwhile does not stop it: a case that was committed as running must be driven.
        """
        return await self.apart(self._commit_and_take(hold, after, outcome, new, answered_by, arrivals))

    async def apart(self, commit: Coroutine[Any, Any, T]) -> T:
        """Commit in a task of its own, so that what follows from it happens although the caller may be cancelled."""
        return await asyncio.shield(self._begin(commit))

    def detach(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that nobody waits for; what this engine cannot do of it, the next one does."""

        async def quietly() -> None:
            try:
                with suppress(EngineStopped):
                    await work
            except StoreError as error:
                self.scheduler.give_up(error)

        self._begin(quietly())

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._underway.add(task)
        task.add_done_callback(self._ended)
        return task

    @property
    def committing(self) -> bool:
        """Whether a commit from outside is under way."""
        return bool(self._underway)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._underway.discard(task)
        if not task.cancelled() and isinstance(task.exception(), StoreError):
            self.scheduler.look_again()  # it may have been committed all the same, and put its case into the line

    async def all_committed(self) -> None:
        """Return when no commit from outside is under way."""
        while self._underway:
            await asyncio.wait(self._underway)

    async def post(
        self, post: Post, hold: Hold, after: Advance, accepted: Outcome, new: NewCase, released: int | None, *, full: bool
    ) -> Posted | None:  # fmt: skip
        """Deliver a message, with the case that it starts where there is no open one, and drive that if there is room.

        Where the intake is `full` it starts none, and None says so.
        """
        async with self._place(hold, after) as place:
            after, outcome, intent = await self._effects.prepare(hold, after, accepted, going_on=place.going_on)
            landing = self.commits.landing(
                hold, after, outcome, going_on=place.going_on, claims=place.going_on, intent=intent, new=new, queues=place.queues
            )  # fmt: skip
            posted = await self.store.post(post, landing, released=released, full=full)
            if posted is not None and posted.started:
                self.commits.taken(hold, landing)
                self.commits.landed(hold, after, landing)
                place.drives = after.decision
        return posted

    async def _commit_and_take(
        self, hold: Hold, after: Advance, outcome: Outcome, new: NewCase | None, answered_by: str | None, arrivals: Arrivals
    ) -> int:  # fmt: skip
        async with self._place(hold, after) as place:
            if new is None:
                hold.unsettled = await self._effects.unsettled_keys(hold.snapshot.case)
            after, outcome, intent = await self._effects.prepare(hold, after, outcome, going_on=place.going_on)
            number = await self.commits.land(
                hold, after, outcome, going_on=place.going_on, claims=place.going_on, intent=intent, new=new, answered_by=answered_by,
                queues=place.queues, arrivals=arrivals,
            )  # fmt: skip
            if number == hold.snapshot.case:
                place.drives = after.decision
        return number

    @asynccontextmanager
    async def _place(self, hold: Hold, after: Advance) -> AsyncIterator[_Place]:
        """Reserve a place for a case that is about to be committed, and drive it there if it has been; else give the place back."""
        queues = self._limits.queue(hold, after.decision.step)
        going_on = runnable(after.decision) and queues is None and self.scheduler.enter()
        place = _Place(going_on, queues)
        taken = False
        try:
            yield place
            if place.drives is not None and hold.status is Status.RUNNING:
                self.scheduler.take(hold, place.drives)
                taken = True
        except StoreError as error:
            if going_on:
                # It may have been committed as running, in this engine's hands, and nobody would ever drive it.
                self.scheduler.give_up(error)
            raise
        finally:
            if going_on and not taken:
                self.scheduler.leave()


def state_of(process: AnyProcess, cells: Mapping[str, Cell]) -> State:
    """The state that the cells make, each of which was held against the type of its field when it was read."""
    codec = codec_of(process.state)
    return cast(
        "State",
        process.state.model_construct(**{name: codec.fresh(cells, name) for name in process.state.model_fields}),
    )


def standing(row: CaseRow) -> str:
    """Where a case stands, in words."""
    match row.status:
        case Status.DONE:
            more = f" ({row.outcome})"
        case Status.PARKED | Status.BLOCKED | Status.CANCELLED:
            more = f" ({row.reason})"
        case _:
            more = f" at {row.step!r}"
    return f"it is {row.status}{more}"
