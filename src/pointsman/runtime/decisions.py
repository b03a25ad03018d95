"""Show pauses to people and take their answers. A pause takes one answer, and only while it shows what the answer refers to."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import ValidationError

from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.signature import show
from pointsman.errors import AlreadyAnswered, AnswerInvalid, Conflict, NotWaiting, Refused, Stale, ValueRefused
from pointsman.kernel import people
from pointsman.kernel.codec import adapter_of, check_name, check_text, codec_of, describe, digest_of
from pointsman.kernel.happenings import Answered, Assigned, Reconsidered
from pointsman.kernel.operators import standing
from pointsman.kernel.rows import CaseRow, PauseRow
from pointsman.kernel.snapshot import AT_REST, Cell, Status
from pointsman.kernel.timers import escalates_to, expires_at
from pointsman.runtime.cases import Cases, state_of
from pointsman.runtime.clock import Clock
from pointsman.runtime.session import CaseSession
from pointsman.store.base import CaseReader


class Pending(NamedTuple):
    """A pause that waits for an answer. Give it with `Engine.resume(token, ...)`.

    `shown` has the fields that the answer decides on, and `beside` the other fields that are shown. `digest` is the digest of `shown`.
    `edits` are the shown fields that an answer may rewrite.
    `assignee` is the person who is asked. `since` and `expires_at` are when the pause opened and when it expires (Unix seconds), and `escalates_to`
    is to whom its ladder passes it on next.
    """

    case: int
    pause: str
    token: str
    digest: str
    shown: Mapping[str, Any]
    beside: Mapping[str, Any]
    answer: type
    since: float
    assignee: str | None = None
    expires_at: float | None = None
    process: str = ""
    edits: tuple[str, ...] = ()
    escalates_to: str = ""


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
        return _pending(*await self._asked(case))

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
            declared = _declared(session, pause)
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
            declared = _declared(session, pause)
            if declared is None:
                await self._show_afresh(session)
                continue
            deadline = expires_at(declared, pause)
            if deadline is not None and deadline <= self._clock.now():
                raise NotWaiting(f"the deadline of pause {pause.name!r} of case {row.id} has passed; nothing was changed.")
            cells = _answer_cells(session, declared, answer, edits, by)
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
        change = f"was answered by {pause.closed_by}" if pause.closed == "answered" else "has been rewritten"
        if row.status is Status.WAITING and (pause.closed == "void" or self._asks_again(row, pause)):
            message = f"what case {row.id} showed {change} since, and it shows something new; look at it again."
            raise Stale(message, current=await self.pending(row.id))
        if pause.closed == "void" and row.status in {Status.READY, Status.RUNNING}:
            raise Stale(f"what case {row.id} showed has been rewritten since, and is being computed again.", current=None)
        if pause.closed == "answered":
            message = f"case {row.id} was already answered by {pause.closed_by}; nothing was changed."
            raise AlreadyAnswered(message, by=str(pause.closed_by))
        raise NotWaiting(f"case {row.id} is no longer waiting for an answer: {standing(row)}.")

    def _asks_again(self, row: CaseRow, pause: PauseRow) -> bool:
        called = self._cases.bare(row).process.called
        return called(row.step or "") == called(pause.name)

    def _sleeps(self, row: CaseRow) -> bool:
        session = self._cases.bare(row)
        return isinstance(session.process.steps.get(session.case.row.step or ""), Sleep)

    async def _show_afresh(self, session: CaseSession) -> None:
        """Decide again after the code has changed or removed the pause, so that nobody answers the old one."""
        with suppress(Conflict):
            await self._cases.apply(session, Reconsidered(), drives=True)


def _declared(session: CaseSession, pause: PauseRow) -> Pause | None:
    """Return the pause that the code declares, or None if it no longer shows what the stored pause showed."""
    cells = session.case.snapshot.cells
    declared = session.program.pause(session.case.row.id, cells, session.process.called(pause.name))
    return declared if declared is not None and digest_of(cells, declared.shows) == pause.digest else None


def _pending(session: CaseSession, declared: Pause, pause: PauseRow) -> Pending:
    state = state_of(session.process, session.case.snapshot.cells)
    shown = {name: getattr(state, name) for name in declared.shows}
    beside = {name: getattr(state, name) for name in declared.beside}
    return Pending(
        pause.case,
        declared.name,
        pause.token,
        pause.digest,
        shown,
        beside,
        declared.answer,
        pause.opened_at,
        pause.assignee,
        expires_at(declared, pause),
        session.process.name,
        declared.edits,
        escalates_to(declared, pause.assignee),
    )


def _check_signature(pause: Pause, answer: object, by: str) -> None:
    """Raise AnswerInvalid if a signed field of the answer names somebody else than the person who answers."""
    if (problem := people.other_signer(answer, by)) is not None:
        raise AnswerInvalid(f"the answer to {pause.name!r} {problem}.")


def _answer_cells(session: CaseSession, pause: Pause, answer: object, edits: Mapping[str, object], by: str) -> dict[str, Cell]:
    codec = codec_of(session.process.state)
    not_editable = sorted(set(edits) - set(pause.edits))
    if not_editable:
        editable = ", ".join(pause.edits) or "nothing"
        raise AnswerInvalid(f"pause {pause.name!r} does not let an answer rewrite {not_editable[0]!r}; it lets it rewrite {editable}.")
    try:
        checked = adapter_of(pause.answer).validate_python(answer)
        _check_signature(pause, checked, by)
        cells = {pause.writes[0]: codec.write(pause.writes[0], checked, pause.name)}
        return cells | {name: codec.encode(name, value, pause.name) for name, value in edits.items()}
    except ValidationError as error:
        raise AnswerInvalid(f"the answer does not fit {show(pause.answer)}: {describe(error)}.") from None
    except ValueRefused as error:
        raise AnswerInvalid(f"the answer was refused: {error}") from None
