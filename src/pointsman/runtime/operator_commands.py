"""The commands of operators: cancel, redrive or erase a case, and resolve an effect in doubt."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress

from pointsman.errors import Conflict, InboxChanged, Refused, ValueRefused, VersionNotAccepted
from pointsman.kernel.case import UNKNOWN
from pointsman.kernel.codec import check_name, check_text
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.happenings import CancelAsked, EraseAsked, Happening, Redriven, Resolved
from pointsman.kernel.ledger import say_whether
from pointsman.kernel.operators import standing
from pointsman.kernel.rows import CaseRow, MessageStatus
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.runtime.cases import Cases
from pointsman.runtime.ports import Ports
from pointsman.runtime.session import CaseSession
from pointsman.store.base import Dossier, Reader

MOMENT_SECONDS = 0.002  # about the time of one commit
ELSEWHERE_SECONDS = 1.0  # between two looks at a case that another engine runs


class OperatorCommands:
    """The engine's methods for operators. Each records an event that says who gave the command and why."""

    def __init__(self, ports: Ports, cases: Cases, check_running: Callable[[], None]) -> None:
        self._store: Reader = ports.store
        self._lease = ports.lease
        self._clock = ports.clock
        self._cases = cases
        self._check_running = check_running

    async def cancel(self, case: int, *, by: str, why: str) -> CaseRow:
        """Cancel a case; see `Engine.cancel`."""
        check_name("by", by)
        check_text("why", why)
        event = Event(Kind.CANCELLED, facts={"by": by, "why": why})
        while (row := await self._cases.row(case)).status not in ENDED:
            self._check_running()
            if self._cases.scheduler.holds(case):
                await self._cases.scheduler.cancel(case, event)
            elif row.status is Status.RUNNING:
                if not self._lease.shared:
                    # The case is between its commit and its task. Sleep on the loop's time: a test may stop the engine's clock.
                    await asyncio.sleep(MOMENT_SECONDS)
                else:
                    await self._clock.wait(asyncio.Event(), ELSEWHERE_SECONDS)  # another engine runs it until it rests
            else:
                session = await self._cases.completed(self._cases.bare(row))
                with suppress(Conflict):
                    await self._cases.apply(session, CancelAsked(by, why))
                self._cases.scheduler.look_again()  # the case's timer has gone
        if row.status is Status.DONE:
            raise Refused(f"case {case} was not cancelled: {standing(row)}.")
        return row

    async def redrive(self, case: int, *, by: str, why: str, fields: Mapping[str, object]) -> CaseRow:
        """Redrive a parked case, or correct one that waits; see `Engine.redrive`."""
        check_name("by", by)
        check_text("why", why)
        row = await self._cases.row(case)
        if row.status is not Status.PARKED and not (fields and row.status is Status.WAITING):
            then = "; give the fields to correct" if row.status is Status.WAITING else ""
            raise Refused(f"case {case} is not parked: {standing(row)}{then}.")
        if fields:
            session = await self._cases.session(row, corrected=fields.keys())
        else:
            session = await self._cases.with_branches(self._cases.bare(row))
            if session.program.redrive_reads:
                with suppress(ValueRefused, VersionNotAccepted):
                    session = await self._cases.read(row)
        return await self._apply(session, Redriven(by, why, fields))

    async def redrive_all(self, *, by: str, why: str, fields: Mapping[str, object], process: str | None, reason: str) -> list[CaseRow]:
        """Redrive parked cases; see `Engine.redrive_all`."""
        redriven: list[CaseRow] = []
        after = 0
        while rows := await self._store.cases(process=process, status=Status.PARKED, after=after):
            after = rows[-1].id
            for row in rows:
                if reason in (row.reason or ""):
                    with suppress(Refused):  # the case has changed since it was listed
                        redriven.append(await self.redrive(row.id, by=by, why=why, fields=fields))
        return redriven

    async def resolve(self, said: Resolved) -> CaseRow:
        """Resolve an effect in doubt; see `Engine.resolve`."""
        check_name("by", said.by)
        check_text("why", said.why)
        entry = await self._store.effect(said.key)
        if entry is None:
            raise Refused(f"no effect has the key {said.key}; the page of a case and `pointsman show CASE --json` list its keys.")
        # Read the row before the ledger. Its revision guards the commit: if the effect is called again from here on, the commit is a Conflict.
        row = await self._cases.row(entry.case)
        if not said.happened:
            return await self._apply(await self._cases.completed(self._cases.bare(row)), said)
        try:
            session = await self._cases.session(row)
        except (VersionNotAccepted, ValueRefused):
            if row.status not in ENDED:
                raise
            session = await self._cases.completed(self._cases.bare(row))
        return await self._apply(session, said)

    async def erase(self, case: int, *, by: str, why: str) -> CaseRow:
        """Delete a case's content; see `Engine.erase`."""
        check_name("by", by)
        check_text("why", why)
        row = await self._cases.row(case)
        dossier = await self.check_erasable(case)
        if dossier is None:
            return row  # retention has just deleted it
        if row.status in {Status.PARKED, Status.BLOCKED}:
            await self.cancel(case, by=by, why=why)
            return await self.erase(case, by=by, why=why)  # which looks again: it may have gone on meanwhile
        late = any(message.status is not MessageStatus.HELD for message in dossier.messages)
        if dossier.events[-1].kind == Kind.ERASED and not late:
            return row
        return await self._apply(self._cases.bare(row), EraseAsked(by, why))

    async def check_erasable(self, case: int) -> Dossier | None:
        """Return what is stored of a case that can be erased now. Raises UnknownCase, and Refused for one that cannot."""
        row = await self._cases.row(case)
        if row.status not in ENDED | {Status.PARKED, Status.BLOCKED}:
            raise Refused(f"case {case} cannot be erased while it is open: {standing(row)}; cancel it first.")
        dossier = await self._store.dossier(case)
        for entry in () if dossier is None else dossier.effects:
            if entry.status in UNKNOWN:
                problem = f"effect {entry.effect!r} of case {case} is in doubt, and what it did would be forgotten"
                raise Refused(f"{problem}; first {say_whether(entry.key)}.")
        parent = await self._store.case(row.parent) if row.parent is not None else None
        if parent is not None and parent.status not in ENDED:
            raise Refused(f"case {case} is a child of case {parent.id}, which is still open and may read it; erase it when that has ended.")
        return dossier

    async def _apply(self, session: CaseSession, happening: Happening) -> CaseRow:
        while True:
            try:
                return await self._cases.row(await self._cases.apply(session, happening, drives=True))
            except InboxChanged:
                await self._cases.read_messages(session)
            except Conflict:
                message = f"case {session.case.row.id} changed meanwhile; look at it again."
                raise Refused(message) from None
