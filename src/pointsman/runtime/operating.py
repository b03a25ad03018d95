"""What operators do to a case: cancel it, put it back into the line, say what became of an effect in doubt."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress

from pointsman.definition.effects import Effect
from pointsman.errors import Conflict, Refused, ValueRefused
from pointsman.kernel.codec import check_name, check_text, codec_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import advance
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import BranchRow, BranchWrite, CaseRow, EffectRow, Settlement
from pointsman.kernel.snapshot import Cell, Status
from pointsman.runtime.cases import Cases, standing
from pointsman.runtime.clock import Clock
from pointsman.runtime.commits import NO_CELLS
from pointsman.runtime.hold import Hold, Outcome, cells_from, encode, outcome_text
from pointsman.runtime.inbox import Inbox, passed, starts_next

MOMENT_SECONDS = 0.002  # what the store takes for a commit or a look, about
ELSEWHERE_SECONDS = 1.0  # between two looks at a case that another engine has in hand


class Operating:
    """The engine's calls for operators; each is an event that says who and why."""

    def __init__(self, cases: Cases, inbox: Inbox, clock: Clock, check_running: Callable[[], None]) -> None:
        self._cases = cases
        self._inbox = inbox
        self._clock = clock
        self._check_running = check_running

    async def cancel(self, case: int, *, by: str, why: str) -> CaseRow:
        """End a case from outside; see `Engine.cancel`."""
        check_name("by", by)
        check_text("why", why)
        event = Event(Kind.CANCELLED, facts={"by": by, "why": why})
        while (row := await self._cases.row(case)).status not in {Status.DONE, Status.CANCELLED}:
            self._check_running()
            if self._cases.scheduler.holds(case):
                await self._cases.scheduler.cancel(case, event)
            elif row.status is Status.RUNNING:
                if self._cases.store.lease_seconds is None:
                    # It is between its commit and its task. The loop's time and not the clock's, which a test may hold still.
                    await asyncio.sleep(MOMENT_SECONDS)
                else:
                    await self._clock.wait(asyncio.Event(), ELSEWHERE_SECONDS)  # in another engine's hands until it rests
            else:
                self._cases.scheduler.look_again()
                hold = self._cases.bare(row)
                hold.mail = await self._cases.store.messages(case)
                with suppress(Conflict):
                    outcome = Outcome((*_let_be(hold), event), ends_branches=True)
                    await self._stay(hold, Status.CANCELLED, outcome, reason=why, leaves_pause=True, passes=True)
        if row.status is Status.DONE:
            raise Refused(f"case {case} was not cancelled: {standing(row)}.")
        return row

    async def redrive(self, case: int, *, by: str, why: str, fields: Mapping[str, object]) -> CaseRow:
        """Put a parked case back into the line; see `Engine.redrive`."""
        check_name("by", by)
        check_text("why", why)
        row = await self._cases.row(case)
        if row.status is not Status.PARKED:
            raise Refused(f"case {case} is not parked: {standing(row)}.")
        if fields:
            return await self._correct(row, by, why, fields)
        renewed = _renewed(await self._cases.store.branches(case))
        event = Event(Kind.REDRIVEN, facts={"by": by, "why": why, "fields": []})
        return await self._back_into_line(row, Outcome((event,), wake_at=self._clock.now(), branches=renewed))

    async def redrive_all(self, *, by: str, why: str, fields: Mapping[str, object], process: str | None, reason: str) -> list[CaseRow]:
        """Put parked cases back into the line; see `Engine.redrive_all`."""
        redriven: list[CaseRow] = []
        after = 0
        while rows := await self._cases.store.cases(process=process, status=Status.PARKED, after=after):
            after = rows[-1].id
            for row in rows:
                if reason in (row.reason or ""):
                    with suppress(Refused):  # somebody else has moved it since it was listed
                        redriven.append(await self.redrive(row.id, by=by, why=why, fields=fields))
        return redriven

    async def _correct(self, row: CaseRow, by: str, why: str, fields: Mapping[str, object]) -> CaseRow:
        """Rewrite fields, clear what was computed from them, and go on from what the state then says."""
        hold = await self._cases.hold(row, corrected=fields.keys())
        await self._inbox.read(hold)
        arrivals = await self._inbox.arrivals(hold)
        if arrivals.cancel is not None:
            raise Refused(f"case {row.id} is about to be cancelled: {arrivals.cancel.facts['why']}.")
        event = Event(Kind.REDRIVEN, facts={"by": by, "why": why, "fields": list(fields)}, writes=_corrected(hold, fields))
        renewed = _renewed(hold.branches.values())
        hold.branches |= {branch.name: BranchRow(*branch) for branch in renewed}
        try:
            after = advance(hold.process, hold.snapshot, event, arrivals.events)
            await self._cases.go_on(hold, after, Outcome((event,), branches=renewed), arrivals=arrivals)
        except Conflict:
            raise Refused(f"case {row.id} was moved by somebody else meanwhile; look at it again.") from None
        return await self._cases.row(row.id)

    async def resolve(self, key: str, *, happened: bool, by: str, why: str, outcome: object, calls: int | None) -> CaseRow:
        """Say what became of an effect in doubt; see `Engine.resolve`."""
        check_name("by", by)
        check_text("why", why)
        row = await self._cases.row((await self._entry(key)).case)
        # Read behind the case's row, whose revision guards the commit: if the effect is called again from here on, it is a Conflict.
        entry = await self._entry(key)
        if calls not in {None, entry.attempts}:
            told = f"effect {entry.effect!r} of case {row.id} has been called again since ({entry.attempts} calls in all)"
            raise Refused(f"{told}; find out what became of the last call.")
        recorded = entry.status is EffectStatus.DONE and (entry.outcome is not None or not happened)
        if recorded or row.status in {Status.RUNNING, Status.WAITING}:
            told = f"effect {entry.effect!r} of case {row.id} is {entry.status}, and as to the case, {standing(row)}"
            raise Refused(f"{told}; there is nothing to resolve.")
        text = _resolved_outcome(self._cases.bare(row), entry.effect, outcome) if happened else None
        settlement = Settlement(key, EffectStatus.DONE if happened else EffectStatus.NOT_SENT, text, None)
        how = f"resolved: {'it happened' if happened else 'it did not happen'}"
        event = Event(Kind.EFFECT_SETTLED, entry.effect, 0, {"key": key, "how": how, "fields": [], "by": by, "why": why})
        if row.status in {Status.DONE, Status.CANCELLED}:
            return await self._settle_ended(row, event, settlement)
        hold = await self._cases.hold(row) if text is not None else None
        if hold is not None and text is not None and (hold.migrated is not None or hold.inbox):
            return await self._taken(hold, event, settlement, text)
        return await self._back_into_line(row, Outcome((event,), wake_at=self._clock.now(), settlement=settlement))

    async def _settle_ended(self, row: CaseRow, event: Event, settlement: Settlement) -> CaseRow:
        """Record what became of an effect of a case that has ended. Nothing follows from it, but what belongs in a log is added."""
        hold, added = self._cases.bare(row), {}
        if settlement.outcome is not None:
            cells = cells_from(hold.process, settlement.outcome, hold.process.called(event.step or ""))
            added = {name: cell for name, cell in cells.items() if cell.appends}
        if added:
            hold = await self._cases.hold(row)
            event = event._replace(facts={**event.facts, "fields": list(added)})
        settled = Outcome((event,), settlement=settlement)
        return await self._move(hold, row.status, settled, reason=row.reason, ended_as=row.outcome, added=added)

    async def _entry(self, key: str) -> EffectRow:
        entry = await self._cases.store.effect(key)
        if entry is None:
            raise Refused(f"no effect has the key {key}; `pointsman show CASE` lists a case's keys.")
        return entry

    async def _taken(self, hold: Hold, event: Event, settlement: Settlement, text: str) -> CaseRow:
        """Write an outcome at once: a migration, or a message that waits, may change what the effect reads, and so its key.

        Under another key it would not be found, and what it adds to a log would be missing there.
        """
        await self._inbox.read(hold)
        arrivals = await self._inbox.arrivals(hold)
        cells = cells_from(hold.process, text, hold.process.called(event.step or ""))
        event = event._replace(facts={**event.facts, "fields": list(cells)}, writes=cells)
        after = advance(hold.process, hold.snapshot, event, arrivals.events)
        outcome = Outcome((event,), settlement=settlement)
        try:
            return await self._cases.row(await self._cases.go_on(hold, after, outcome, arrivals=arrivals))
        except Conflict:
            raise Refused(f"case {hold.snapshot.case} was moved by somebody else meanwhile; look at it again.") from None

    async def _stay(
        self, hold: Hold, status: Status, outcome: Outcome, *, reason: str | None = None, leaves_pause: bool = False, passes: bool = False,
        ended_as: str | None = None, added: Mapping[str, Cell] = NO_CELLS,
    ) -> None:  # fmt: skip
        commits = self._cases.commits
        stay = commits.stay(hold, status, outcome, reason=reason, leaves_pause=leaves_pause, passes=passes, ended_as=ended_as, added=added)
        await self._cases.apart(stay)

    async def _back_into_line(self, row: CaseRow, outcome: Outcome) -> CaseRow:
        hold = self._cases.bare(row)
        hold.attempt = 0
        return await self._move(hold, Status.READY, outcome)

    async def _move(
        self, hold: Hold, status: Status, outcome: Outcome, *, reason: str | None = None, ended_as: str | None = None,
        added: Mapping[str, Cell] = NO_CELLS,
    ) -> CaseRow:  # fmt: skip
        case = hold.snapshot.case
        try:
            await self._stay(hold, status, outcome, reason=reason, ended_as=ended_as, added=added)
        except Conflict:
            raise Refused(f"case {case} was moved by somebody else meanwhile; look at it again.") from None
        return await self._cases.row(case)


def _let_be(hold: Hold) -> Iterator[Event]:
    """What becomes of the messages that a case which is cancelled has not taken in."""
    for message in hold.mail:
        if message.name in hold.process.accepts_messages:
            more = "; it starts the next one" if starts_next(hold.process, message) else ""
            yield passed(message, f"the case was cancelled{more}")


def _renewed(branches: Iterable[BranchRow]) -> tuple[BranchWrite, ...]:
    """Branches that have not succeeded, as if they had not run."""
    return tuple(BranchWrite(branch.name, 0, None, None) for branch in branches if branch.outcome is None)


def _corrected(hold: Hold, fields: Mapping[str, object]) -> dict[str, Cell]:
    """The cells of an operator's correction; each is cleared by what would clear the value that it takes the place of."""
    codec = codec_of(hold.process.state)
    unknown = sorted(name for name in fields if not codec.knows(name))
    if unknown:
        raise Refused(
            f"{unknown[0]!r} is no field of {hold.process.state.__name__}; its fields are {', '.join(hold.process.state.model_fields)}."
        )
    cells: dict[str, Cell] = {}
    for name, value in fields.items():
        writers = [step.name for step in hold.process.steps.values() if name in step.writes]
        standing = hold.snapshot.cells.get(name)
        try:
            cells[name] = codec.encode(name, value, standing.writer if standing is not None else next(iter(writers), ""))
        except ValueRefused as error:
            raise Refused(f"the correction was refused: {error}") from None
    return cells


def _resolved_outcome(hold: Hold, name: str, outcome: object) -> str:
    effect = hold.process.steps.get(hold.process.called(name))
    if not isinstance(effect, Effect):
        raise Refused(f"effect {name!r} is no longer declared on process {hold.process.name!r}; register the code that has it.")
    if outcome is None and effect.writes:
        fields = ", ".join(effect.writes)
        raise Refused(f"say with `outcome` what {name!r} returned: without it {fields} stays empty, and it would be called again.")
    try:
        return outcome_text(encode(hold, effect, effect.split(outcome)))
    except (ValueRefused, TypeError) as error:
        raise Refused(f"the outcome does not fit what {name!r} writes: {error}") from None
