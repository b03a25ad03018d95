"""Show pauses to people and take their answers. A pause takes one answer, and only while it shows what the answer refers to."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from pointsman.definition.pauses import Pause, Sleep
from pointsman.errors import Conflict, NotWaiting, Refused, Stale
from pointsman.kernel.answering import Pending, answer_cells, declared_pause, pending_of, too_late
from pointsman.kernel.codec import check_name, check_text
from pointsman.kernel.happenings import Answered, Assigned, Reconsidered
from pointsman.kernel.operators import standing
from pointsman.kernel.rows import CaseRow, PauseRow
from pointsman.kernel.snapshot import AT_REST, Status
from pointsman.kernel.timers import expires_at
from pointsman.runtime.cases import Cases
from pointsman.runtime.clock import Clock
from pointsman.runtime.session import CaseSession
from pointsman.store.base import CaseReader


class Decisions:
    """The engine's methods for people's answers."""

    def __init__(
        self,
        store: CaseReader,
        cases: Cases,
        clock: Clock,
        wait_until_resting: Callable[[int], Awaitable[CaseRow]],
        confirm: Callable[[CaseSession], Coroutine[Any, Any, None]],
    ) -> None:
        self._store = store
        self._cases = cases
        self._clock = clock
        self._wait_until_resting = wait_until_resting
        self._confirm = confirm

    async def pending(self, case: int) -> Pending:
        """Return the open pause of a case; see `Engine.pending`."""
        session, declared, pause = await self._asked(case)
        return pending_of(session.process, session.case, declared, pause)

    async def assign(self, case: int, to: str, *, by: str, note: str) -> CaseRow:
        """Assign the open pause of a case; see `Engine.assign`."""
        check_name("by", by)
        check_text("to", to)
        check_text("note", note)
        while True:
            session, declared, _ = await self._asked(case)
            with suppress(Conflict, Refused):  # the case has changed meanwhile: look at it again
                return await self._cases.row(await self._cases.apply(session, Assigned(declared.name, to.strip(), by, note.strip())))

    async def _asked(self, case: int) -> tuple[CaseSession, Pause, PauseRow]:
        """Return a case with its open pause, as the code declares it and as it is stored. Raises NotWaiting."""
        while True:
            row = await self._cases.row(case)
            pause = await self._store.pause(case)
            if row.status is Status.READY and pause is not None and pause.closed is None:
                await self._take_in(row)
                continue
            if row.status is not Status.WAITING or pause is None or pause.closed is not None or self._sleeps(row):
                raise NotWaiting(f"case {case} is not waiting for an answer: {standing(row)}.")
            session = await self._cases.session(row)
            declared = declared_pause(session.program, session.case, pause)
            if declared is not None:
                return session, declared, pause
            await self._show_afresh(session)

    async def resume(self, token: str, answer: object, *, by: str, edits: Mapping[str, object]) -> CaseRow:
        """Take an answer; see `Engine.resume`."""
        check_name("by", by)
        while True:
            row = await self._cases.row((await self._open_pause(token)).case)
            # Read the row before the pause. Its revision guards the commit: if the case changes from here on, the commit is a Conflict.
            pause = await self._open_pause(token)
            if row.status in AT_REST - {Status.WAITING}:
                raise NotWaiting(f"case {row.id} is not waiting for an answer: {standing(row)}.")
            if row.status is Status.READY:
                await self._take_in(row)
                continue
            if row.status is not Status.WAITING:
                await self._wait_until_resting(row.id)
                continue
            session = await self._cases.session(row)
            declared = declared_pause(session.program, session.case, pause)
            if declared is None:
                await self._show_afresh(session)
                continue
            deadline = expires_at(declared, pause)
            if deadline is not None and deadline <= self._clock.now():
                raise NotWaiting(f"the deadline of pause {pause.name!r} of case {row.id} has passed; nothing was changed.")
            cells = answer_cells(session.process, declared, answer, edits, by)
            with suppress(Conflict, Refused):  # the case has changed meanwhile: look at it again
                return await self._cases.row(await self._cases.apply(session, Answered(declared.name, by, cells), drives=True))

    async def _take_in(self, row: CaseRow) -> None:
        """Find out whether a case that a message or a timer has woken still shows the same pause.

        If it does not, wait for the new pause, unless other cases occupy all places.
        """
        with suppress(Conflict):
            await self._cases.apart(self._confirm(await self._cases.session(row)))
        if (await self._cases.row(row.id)).status is not Status.WAITING and not self._cases.scheduler.full():
            await self._wait_until_resting(row.id)

    async def _open_pause(self, token: str) -> PauseRow:
        pause = await self._store.pause_by_token(token)
        if pause is None:
            raise NotWaiting("no pause has this token; look at the case again and answer with the token that it shows.")
        if pause.closed is None:
            return pause
        row = await self._cases.row(pause.case)
        refused = too_late(self._cases.bare(row).process, row, pause)
        if isinstance(refused, Stale) and row.status is Status.WAITING:
            refused.current = await self.pending(row.id)
        raise refused

    def _sleeps(self, row: CaseRow) -> bool:
        session = self._cases.bare(row)
        return isinstance(session.process.steps.get(session.case.row.step or ""), Sleep)

    async def _show_afresh(self, session: CaseSession) -> None:
        """Decide again after the code has changed or removed the pause, so that nobody answers the old one."""
        with suppress(Conflict):
            await self._cases.apply(session, Reconsidered(), drives=True)
