"""Turns: what one invocation does with a case. The engine's own runner and commands do it, on a store that is the case's record.

A step of a turn runs inside one journaled call, and its result is what the journal has. So nothing that differs from one run to the next, such as the time,
chance, an author's function or newer code, changes the shape of a journal.
"""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

from pointsman.client.restate_names import key_of
from pointsman.definition.children import Child
from pointsman.definition.process import AnyProcess, Process
from pointsman.definition.rules import finish, otherwise
from pointsman.definition.state import State
from pointsman.errors import Refused
from pointsman.kernel.answering import Pending
from pointsman.kernel.case import Case, bare_case, new_case
from pointsman.kernel.codec import check_name, check_text, codec_of, message_of
from pointsman.kernel.happenings import AcceptedHere, CannotGoOn, NotAcceptedHere, StartAsked
from pointsman.kernel.inputs import check_keys, input_cells
from pointsman.kernel.limits import GivePermit, LimitChange, LimitChanged, LimitState, changed, state_of
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.moment import Offer
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import CaseRow, FieldRow, MessageRow, MessageStatus, NewCase, Post, Transition
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.restate.limits import PermitGiven, Permitted, PermitWanted
from pointsman.restate.record import Message, Record, Refusing, Stamped, Start
from pointsman.restate.work import Work
from pointsman.runtime.cases import Cases
from pointsman.runtime.commits import Commits
from pointsman.runtime.decisions import Decisions
from pointsman.runtime.limits import Limits
from pointsman.runtime.loading import Loader, may_be_undone
from pointsman.runtime.operator_commands import OperatorCommands
from pointsman.runtime.recent import Recent
from pointsman.runtime.runner import Runner
from pointsman.runtime.scheduler import Scheduler
from pointsman.runtime.session import CaseSession
from pointsman.store.base import Claimed, Store
from pointsman.store.one_case import OneCase

log = logging.getLogger("pointsman")

_SLEEPS = frozenset({Status.WAITING, Status.PARKED})
STEPS_MAX, STEPS_SECONDS = 8, 0.1  # of one invocation: what comes for the case meanwhile waits, and a journal should be short


class ChildFound(NamedTuple):
    """A child that has been started, or why it cannot be."""

    row: CaseRow | None = None
    fields: dict[str, FieldRow] = {}  # noqa: RUF012 - nobody changes it
    refused: str = ""


@dataclass(slots=True)
class TurnResult:
    """What a turn leaves: the new record and its events, messages, the next step, and the answer to the caller. A record of None changes nothing.

    `by` marks the turn. `sent` has the keys of the objects of other cases, and `later` the revision at which the case has a step to take, after so many
    seconds. A turn with `more` has a next step: with a `child` (its process, and how it starts), when that has been started, and with a permit `wanted`,
    when there is an answer; `given` are those to give back. A case that `ended` has left `back` messages for the next case with its correlation key.
    """

    record: Record | None = None
    events: list[Stamped] = field(default_factory=list)
    sent: list[tuple[str, Message]] = field(default_factory=list)
    later: tuple[int, float] | None = None
    more: bool = False
    by: str = ""
    child: tuple[str, Start] | None = None
    back: list[Message] = field(default_factory=list)
    ended: bool = False
    wanted: PermitWanted | None = None
    given: list[PermitGiven] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)
    refused: Refusing | None = None


class _Store(OneCase[Record]):
    """The record of a case as the store of a turn, which goes on when the journal has what was committed.

    `given` are the permits that were given back. If a permit was refused last, there may be one in `waits` seconds.
    """

    def __init__(self, record: Record, turn: "Turn") -> None:
        super().__init__(record)
        self.given: list[PermitGiven] = []
        self.waits = 0.0
        self._seen: dict[str, LimitState] = {}
        self._turn = turn

    async def commit(self, transition: Transition) -> int:
        """Change the record. While the case runs, return when the journal has that."""
        before = self.record
        await super().commit(transition)
        await self._turn.committed(before, self.record, transition)
        return transition.case

    async def change_limit(self, change: LimitChange) -> LimitChanged:
        """Have the limit's object give a permit. One that is given back goes with what is told next; what that changes is computed here."""
        seen, name = self._seen, change.limit.name
        if isinstance(change, GivePermit):
            self.given.append(PermitGiven(name, change.holder, change.ending, change.case, change.keeps))
            return changed(seen.get(name, LimitState()), change)
        row = self.record.row
        told = await self._turn.permitted(PermitWanted(name, change.holder, change.until - change.now, key_of(row.process, row.id)))
        seen[name], self.waits = state_of(told.state), told.seconds or 0.0
        return LimitChanged(seen[name], None if told.seconds is None else change.now + told.seconds)


class _Loader(Loader):
    """Finds the past of a case in its record."""

    def __init__(self, store: _Store, recent: Recent) -> None:
        super().__init__(cast("Store", store), recent)
        self._of = store

    async def with_history(self, process: AnyProcess, case: Case) -> Case:  # noqa: ARG002 - the record knew it
        """Return the case with its history."""
        return replace(case, history=self._of.record.history)


class _Runner(Runner):
    async def _reserve_thread(self, session: CaseSession) -> None:
        """Reserve none: the next step may be taken in another program, and this one would keep the thread."""


class Turn:
    """What is done with a case in one invocation: steps that follow each other, or one thing for somebody outside.

    `by` marks the results in the journal, so that a program knows its own. `number` is the case's; `decisions` and `operators` take what people want of it.
    """

    def __init__(self, work: Work, record: Record, by: str = "") -> None:
        self.by, self.number = by, record.row.id
        self._work, self._result = work, TurnResult(by=by)
        self._moved = self._woken = False
        self._process = work.registry.accepting(record.row.process, record.row.version)
        if self._process is not None and record.row.step is not None:
            record = replace(record, row=record.row._replace(step=self._process.called(record.row.step)))
        self._store = store = _Store(record, self)
        ports, recent = replace(work.ports, store=cast("Store", store)), Recent()
        commits = Commits(ports, recent, work.calls.threads, lambda _, __: None, lambda: None)
        self._limits = Limits(ports, work.limited)
        self._limits.claimed([record.row], dict.fromkeys(work.limits, 1), all_of_it=True)  # only the object of a limit knows who waits
        loader = _Loader(store, recent)
        self._runner = _Runner(ports, commits, work.calls, self._limits, loader, self._start_child)
        self._scheduler = Scheduler(ports, loader, self._runner, work.registry, self._limits, 0, _raise)  # without places
        self._cases = Cases(ports, commits, loader, self._scheduler, self._limits, work.registry)
        self.decisions = Decisions(ports.store, self._cases, work.clock, self._cases.row, self._runner.confirm)
        self.operators = OperatorCommands(ports, self._cases, lambda: None)
        self._driving: asyncio.Task[None] | None = None
        self._told, self._brought, self._telling = asyncio.Event(), asyncio.Queue[Any](), asyncio.Lock()
        self._steps, self._spent, self._begun = 0, 0.0, 0.0

    def result(self) -> TurnResult:
        """What the turn, or its last step, leaves."""
        result, row = self._result, self._store.record.row
        result.answer = {"case": row.id, "status": row.status, **result.answer}
        result.more = self._driving is not None and not self._driving.done()
        result.given, self._store.given = self._store.given, []
        if (
            result.record is not None
            and (self._moved or self._woken)
            and row.status in {Status.READY, Status.WAITING}
            and row.wake_at is not None
        ):
            # A case that waits for a permit asks again when there may be one, or when another call gives its permit back.
            waits = self._store.waits if row.needs is not None else 0.0
            result.later = row.revision, max(waits, row.wake_at - self._work.clock.now())
        self._result, self._moved, self._woken = TurnResult(by=self.by), False, False
        return result

    # The steps of the case.

    async def step(self, brought: Permitted | ChildFound | None = None) -> TurnResult:
        """Go on until there is something for the journal. `brought` is what the step before wanted."""
        self._begun, self._steps = self._work.clock.monotonic(), self._steps + 1
        if self._driving is None:
            self._driving = asyncio.create_task(self._drive())
            self._driving.add_done_callback(lambda _: self._told.set())
        else:
            self._brought.put_nowait(brought)
        await self._told.wait()
        self._told.clear()
        if self._driving.done():
            self._driving.result()
        self._spent += self._work.clock.monotonic() - self._begun
        return self.result()

    def close(self) -> None:
        """Go on no more: another program does."""
        if self._driving is not None:
            self._driving.cancel()

    async def _drive(self) -> None:
        record = self._store.record
        row = record.row._replace(status=Status.RUNNING, fence=record.row.fence + 1, attempts=record.row.attempts + 1, wake_at=None)
        self._store.record = replace(record, row=row)
        session = await self._session(row)
        if session is None:
            return
        try:
            await self._runner.drive(session, None, going_on=self._goes_on)
        except Exception as error:
            log.exception("case %d cannot go on: %s", row.id, type(error).__name__, exc_info=not session.process.private)
            await self._runner.advance(session, CannotGoOn(f"it cannot go on: {type(error).__name__}: {message_of(error)}"), Offer)
        while self._telling.locked():  # the permit of a branch that is no longer needed is on its way
            async with self._telling:
                pass
        await self._limits.close()

    async def _session(self, row: CaseRow) -> CaseSession | None:
        """The claimed case, or None if this code cannot continue it, which is then recorded."""
        names, record = self._work.registry.names, self._store.record
        if row.process not in names:
            problem = f"the program that Restate called has no process {row.process!r}, but {', '.join(names)}"
            absent = NotAcceptedHere(f"{problem}; serve all processes in one program, and redrive the case")
            await self._runner.advance(_without_process(record), absent, Offer)
            return None
        found = await self._scheduler.session_of(Claimed(row, tuple(record.fields.values()), record.branches))
        if isinstance(found, CaseSession):
            return found
        await self._runner.advance(self._scheduler.bare(row), found, Offer)
        return None

    def _goes_on(self) -> bool:
        return self._steps < STEPS_MAX and self._spent + self._work.clock.monotonic() - self._begun < STEPS_SECONDS

    async def committed(self, before: Record, record: Record, t: Transition) -> None:
        """Note what follows from a transition, and return when the journal has it, if the case runs on."""
        result, came = self._result, before.came
        process = self._process
        record.remember(t, lambda effect: process is not None and may_be_undone(process, effect))
        if t.takes:
            result.back += [came[number] for number, status in t.takes if status is MessageStatus.HELD and number in came]
            record.came = {}
        result.record, result.ended, self._moved = record, t.status in ENDED and before.row.status not in ENDED, True
        result.events.append(Stamped(t.revision + 1, t.at, tuple(t.events)))
        result.sent += [_sent(record, post) for post in t.posts]
        if t.status is Status.RUNNING:
            await self._tell()

    async def _tell(self, *, permit: PermitWanted | None = None, child: tuple[str, Start] | None = None) -> Any:
        """Let the step end. Return what the next one brings: what is wanted here. Branches want something one after the other."""
        async with self._telling:
            self._result.wanted, self._result.child = permit, child
            self._told.set()
            return await self._brought.get()

    async def permitted(self, wanted: PermitWanted) -> Permitted:
        """Ask the object of a limit for a permit."""
        return cast("Permitted", await self._tell(permit=wanted))

    async def _start_child(self, session: CaseSession, name: str, inputs: Mapping[str, Any], key: str) -> int:
        row, child = session.case.row, session.process.steps[session.case.row.step or ""]
        texts = {name: cell.text for name, cell in input_cells(self._work.registry.for_start(name), inputs).items()}
        asked = Start("", texts=texts, key=key, tenant=row.tenant, priority=row.priority, parent=row.id, home=key_of(row.process, row.id))
        wanted = asked._replace(result=(child.result if isinstance(child, Child) else None) or "")
        found = cast("ChildFound", await self._tell(child=(name, wanted)))
        if found.row is None:
            raise Refused(found.refused)
        self._store.has_started(found.row, found.fields)
        return found.row.id

    def interrupted(self) -> None:
        """Record that the program died while it took the step. The case is due again, and an effect that was being called is in doubt."""
        record, row = self._store.record, self._store.record.row
        attempts = row.attempts - (row.status is Status.RUNNING and row.attempts > 0)
        row = row._replace(status=Status.READY, wake_at=self._work.clock.now(), interruptions=row.interruptions + 1, attempts=attempts)
        self._change(replace(record, row=row), wakes=True)

    # From outside.

    async def start(self, asked: Start) -> None:
        """Start the case. Raises InputInvalid and ValueRefused."""
        check_keys(key=asked.key, correlation=asked.correlation, tenant=asked.tenant, priority=asked.priority)
        process, record = self._work.registry.for_start(self._store.record.row.process), self._store.record
        if asked.texts is None:
            cells = input_cells(process, asked.inputs)
        else:
            cells = {field: codec_of(process.state).decode(field, text, "") for field, text in asked.texts.items()}
        new = NewCase(process.name, process.version, asked.key, asked.tenant, asked.priority, asked.correlation, asked.parent)
        case = new_case(record.row.id, new, self._work.clock.now(), record.incarnation)
        self._store.record = replace(record, row=case.row)
        await self._cases.apply(CaseSession(program_of(process), case), StartAsked(new, cells))

    async def nudge(self) -> None:
        """Let a case that waits for a permit ask again."""
        row = self._store.record.row
        if row.status is Status.READY and row.needs is not None and (row.wake_at or 0.0) <= self._work.clock.now():
            self._change(self._store.record, wakes=True)

    async def take_in(self, message: Message) -> None:
        """Put a message into the inbox, and wake the case. One that has ended does not take it."""
        record, row, post = self._store.record, self._store.record.row, message.post
        self._result.answer["taken"] = row.status not in ENDED
        if row.status in ENDED:
            return
        wakes = row.status in _SLEEPS or (row.status is Status.READY and post.while_open == "supersede")
        if wakes:
            row = row._replace(status=Status.READY, wake_at=self._work.clock.now())
        record = replace(record, row=row._replace(inbox=row.inbox + 1), arrived=record.arrived + 1)
        pending = MessageRow._make((
            record.arrived, row.process, post.name, post.key, post.to.correlation, row.id, MessageStatus.PENDING, post.body, post.at, row.tenant
        ))  # fmt: skip
        record.messages = (*record.messages, pending)
        if post.name == CHILD_ENDED:
            record.ends = {**record.ends, json.loads(post.body)["case"]: message.fields}
        if post.to.case is None:
            record.came = {**record.came, record.arrived: message}
        self._change(record, wakes=wakes)

    def _change(self, record: Record, *, wakes: bool) -> None:
        self._store.record = self._result.record = record
        self._woken = wakes

    async def pending(self) -> Pending | None:
        """The open pause, if a person can answer it now."""
        with suppress(Refused):
            return await self.decisions.pending(self.number) if self._store.record.row.status is Status.WAITING else None
        return None

    async def redrive(self, by: str, why: str, fields: Mapping[str, object]) -> None:
        """Return a parked or blocked case to the backlog, or correct one that waits. Raises Refused."""
        row = self._store.record.row
        if row.status is not Status.BLOCKED:
            await self.operators.redrive(row.id, by=by, why=why, fields=fields)
            return
        check_name("by", by)
        check_text("why", why)
        accepted = AcceptedHere(self._work.registry.for_case(row.process, row.version).version)
        await self._cases.apply(self._cases.bare(row), accepted)


def _raise(error: Exception) -> None:
    raise error


def _sent(record: Record, post: Post) -> tuple[str, Message]:
    """The message of a case to its parent, which has the field that the parent takes, or to a child."""
    if post.name != CHILD_ENDED:
        return key_of(post.to.process, post.to.case or 0), Message(post)
    return record.home, Message(post, {name: row for name, row in record.fields.items() if name == record.result})


def _without_process(record: Record) -> CaseSession:
    """The case, bare, where the program has no such process. Its stand-in can only record that."""
    process = Process(record.row.process, State)
    process.rules(otherwise(finish("unknown")))
    return CaseSession(program_of(process), bare_case(process, record.row, record.incarnation))
