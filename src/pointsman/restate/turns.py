"""Turns: what one invocation does with a case. The machine decides; a turn loads the case, performs its commands, and gives what to keep.

A step of a turn runs inside one journaled call, and its result is what the journal has. So nothing that differs from one run to the next, such as the time,
chance, an author's function or newer code, changes the shape of a journal.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pointsman.client.restate_names import key_of
from pointsman.definition.limits import Limit
from pointsman.definition.nodes import Node
from pointsman.definition.process import Process
from pointsman.definition.rules import finish, otherwise
from pointsman.definition.state import State
from pointsman.errors import NotWaiting, PointsmanError, Refused, Stale, ValueRefused, VersionNotAccepted
from pointsman.kernel import happenings
from pointsman.kernel.answering import answer_cells, declared_pause, too_late
from pointsman.kernel.attempts import INTERRUPTIONS_MAX, CallEnd
from pointsman.kernel.case import UNKNOWN, new_case
from pointsman.kernel.codec import check_name, check_text, codec_of, message_of
from pointsman.kernel.commands import (
    Acquire,
    CallEffect,
    CallNode,
    Command,
    Continue,
    LoadHistory,
    LookUpEffect,
    Rest,
    RunBranches,
    StartChild,
)
from pointsman.kernel.happenings import Happening
from pointsman.kernel.inputs import input_cells
from pointsman.kernel.machine import Plan, Refusal
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.moment import Offer
from pointsman.kernel.operators import standing
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import CaseRow, FieldRow, MessageRow, MessageStatus, NewCase, PauseRow, Post
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.kernel.timers import expires_at
from pointsman.restate.journal import refusing
from pointsman.restate.limits import HeldPermit, PermitGiven, PermitWanted
from pointsman.restate.record import Message, Permitted, Record, Refusing, Stamped
from pointsman.restate.work import Work
from pointsman.runtime.calls import Request
from pointsman.runtime.limits import MARGIN_SECONDS, UNTIMED_SECONDS
from pointsman.runtime.session import CaseSession

_SLEEPS = frozenset({Status.WAITING, Status.PARKED})
INCARNATION_BITS = 64
STEPS_MAX, STEPS_SECONDS = 8, 0.1  # of one invocation: what comes for the case meanwhile waits, and a journal should be short
IN_VAIN_MAX = 4  # deaths of the program before it could continue a step, beyond those that the machine counts


class Later(NamedTuple):
    """The next step of a case: after so many `seconds`, if the case is at this `revision` then."""

    revision: int
    seconds: float


class Arrival(NamedTuple):
    """What comes to the inbox of a case: a `message` from outside, or of another case. `fields` are those of a child that ended."""

    name: str
    key: str | None
    body: str
    at: float
    urgent: bool = True
    fields: dict[str, FieldRow] = {}  # noqa: RUF012 - a message has none, and nobody changes it
    message: Message | None = None


class Sent(NamedTuple):
    """A message to the case whose object has this key."""

    to: str
    arrival: Arrival


class ChildWanted(NamedTuple):
    """A child to start, and the JSON of its inputs. `key` is its start key, `result` the field that its parent takes."""

    process: str
    key: str
    texts: dict[str, str]
    tenant: str
    priority: int
    result: str


class ChildFound(NamedTuple):
    """A child that has been started, or why it cannot be."""

    row: CaseRow | None = None
    fields: dict[str, FieldRow] = {}  # noqa: RUF012 - nobody changes it
    refused: str = ""


@dataclass(slots=True)
class TurnResult:
    """What a turn leaves: the new record and its events, messages, the next step, and the answer to the caller. A record of None changes nothing.

    `by` marks the turn. A turn with `more` has a next step: with a `child`, when that has been started, and with a permit `wanted`, when there is an answer; `given` is one to give back. A case that `ended` has left `back` messages for the next case with its correlation key.
    """

    record: Record | None = None
    events: list[Stamped] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    later: Later | None = None
    more: bool = False
    by: str = ""
    child: ChildWanted | None = None
    back: list[Message] = field(default_factory=list)
    ended: bool = False
    wanted: PermitWanted | None = None
    given: PermitGiven | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    refused: Refusing | None = None


class Turn:
    """What is done with a case in one invocation: steps that follow each other, or one thing for somebody outside.

    `by` marks the results in the journal, so that a program knows its own.
    """

    def __init__(self, work: Work, record: Record, by: str = "") -> None:
        self.by = by
        self._permitted: Permitted | None = None
        self._child: ChildFound | None = None
        self._work = work
        self._record = record
        self._result = TurnResult()
        self._moved = self._woken = False
        self._next: tuple[CaseSession, Command] | None = None
        self._steps, self._spent, self._begun = 0, 0.0, 0.0

    def result(self) -> TurnResult:
        """What the turn leaves."""
        result, row, permitted = self._result, self._record.row, self._permitted
        result.answer = {"case": row.id, "status": row.status, **result.answer}
        result.more = self._next is not None
        if permitted is not None and permitted.granted and not (self._next is not None and isinstance(self._next[1], CallEffect)):
            result.given, self._permitted = PermitGiven(permitted.limit, permitted.holder, "nothing", row.id), None
        if result.record is None or not (self._moved or self._woken):
            return result
        if row.status in {Status.READY, Status.WAITING} and row.wake_at is not None:
            # One that waits for a permit asks again then, or when another call gives its permit back.
            waits = 0.0 if permitted is None or permitted.granted or row.needs is None else permitted.seconds
            result.later = Later(row.revision, max(waits, row.wake_at - self._work.clock.now()))
        return result

    # The steps of the case.

    async def step(self, brought: Permitted | ChildFound | None = None) -> None:
        """Take the step that is due. `brought` is what the step before wanted: the answer of a limit's object, or a child that has been started."""
        self._permitted = brought if isinstance(brought, Permitted) else self._permitted
        self._child = brought if isinstance(brought, ChildFound) else None
        self._result, self._moved = TurnResult(by=self.by), False
        self._begun, self._steps = self._work.clock.monotonic(), self._steps + 1
        due, self._next = self._next, None
        if due is not None:
            session, command = due
            await self._go(session, await self._perform(session, command))
        elif (claimed := self._claimed()) is not None:
            await self._go(claimed, happenings.Claimed())
        self._spent += self._work.clock.monotonic() - self._begun

    def interrupted(self) -> None:
        """Record that the program died while it took the step. The case is due again, and an effect that was being called is in doubt."""
        record, row = self._record, self._record.row
        attempts = row.attempts - (row.status is Status.RUNNING and row.attempts > 0)
        row = row._replace(status=Status.READY, wake_at=self._work.clock.now(), interruptions=row.interruptions + 1, attempts=attempts)
        self._record = self._result.record = replace(record, row=row)
        self._woken, self._permitted = True, None  # a call that may still run keeps its permit until that expires

    def _claimed(self) -> CaseSession | None:
        """The case as a running one, or None if this code cannot continue it, which is then recorded."""
        row = self._record.row
        row = row._replace(status=Status.RUNNING, fence=row.fence + 1, attempts=row.attempts + 1, wake_at=None)
        self._record = replace(self._record, row=row)
        found = self._session()
        if isinstance(found, CaseSession):
            return found
        served = row.process in self._work.registry.names
        self.apply(self._bare() if served else _without_process(self._record), found)
        return None

    async def _go(self, session: CaseSession, happening: Happening | None) -> None:
        """Ask the machine and perform its command, until there is a transition, or a permit or a child is wanted."""
        while happening is not None:
            plan = self.apply(session, happening)
            if plan.transition is not None or isinstance(plan.commands[0], Rest):
                if plan.commands and not isinstance(plan.commands[0], Rest):
                    self._next = session, plan.commands[0]
                return
            happening = await self._perform(session, plan.commands[0])

    def nudge(self) -> None:
        """Let a case that waits for a permit ask again."""
        row = self._record.row
        if row.status is Status.READY and row.needs is not None and (row.wake_at or 0.0) <= self._work.clock.now():
            self._result.record, self._woken = self._record, True

    async def _perform(self, session: CaseSession, command: Command) -> Happening | None:
        """What came of a command, or None if it comes after what the result wants."""
        limit, clock, case = _limit_of(command), self._work.clock, session.case
        if limit is not None and self._permitted is None:
            self._next, self._result.wanted = (session, command), _wanted(session, limit)
            return None
        if limit is not None and self._permitted is not None and not self._permitted.granted:
            assert isinstance(command, CallNode | Acquire)
            return happenings.PermitRefused(command, self._permitted.why)
        match command:
            case CallNode():
                request = Request(command.node, case.snapshot.cells, command.attempt, progress=command.progress)
                return happenings.NodeEnded(command, await self._call(session, request))
            case CallEffect(effect, intent, cells, attempt):

                def late() -> bool:
                    return clock.now() >= intent.deadline

                left = intent.deadline - clock.now()
                request = Request(effect, cells, attempt, intent.key, timeout_seconds=left, late=late)
                return happenings.EffectEnded(command, await self._call(session, request))
            case LookUpEffect():
                return await self._work.calls.look_up(session, command)
            case RunBranches(step):
                return await self._work.branches(self._keep).run(session, step, self._offer)
            case Acquire():
                return happenings.Acquired(command)  # a thread is free at once, or the call is late
            case StartChild():
                return self._start_child(session, command)
            case LoadHistory():
                session.case = replace(case, history=self._record.history)
                name = case.row.step or ""
                return happenings.Continued(session.process.compensates.get(name) or session.process.steps[name])
            case Continue(step):
                return happenings.Continued(step)
            case _:
                raise AssertionError(command)

    async def _call(self, session: CaseSession, request: Request) -> CallEnd:
        """Make a call under its permit."""
        limit, permitted = request.node.limit, self._permitted
        if limit is None or permitted is None or permitted.state is None:
            return await self._work.calls.call(session, request)
        self._permitted, held = None, HeldPermit(self._work, limit, permitted, self._record.row.id)
        end = await self._work.calls.call(session, replace(request, permit=held.permit))
        self._result.given = held.given
        return end

    def _start_child(self, session: CaseSession, wanted: StartChild) -> Happening | None:
        """What came of a child, or None if it is still to be started."""
        child, found, row = wanted.child, self._child, session.case.row
        if found is not None and found.row is not None:
            pending = any(message.name == CHILD_ENDED for message in session.case.messages)
            session.case = replace(session.case, children=(*session.case.children, found.row))
            return happenings.ChildStarted(child, found.row, pending, found.fields)
        if found is not None:
            return happenings.ChildRefused(child, found.refused)
        try:
            cells = input_cells(child.process, wanted.inputs)
        except PointsmanError as error:
            return happenings.ChildRefused(child, f"child {child.name!r} cannot be started: {type(error).__name__}: {message_of(error)}")
        texts = {name: cell.text for name, cell in cells.items()}
        self._result.child = ChildWanted(child.process.name, wanted.key, texts, row.tenant, row.priority, child.result or "")
        self._next = session, wanted
        return None

    async def _keep(self, session: CaseSession, happening: Happening, _: Callable[[], Offer]) -> tuple[Command, ...]:
        return self.apply(session, happening).commands

    # From outside.

    def take_in(self, arrival: Arrival) -> None:
        """Put a message into the inbox, and wake the case. One that has ended does not take it."""
        record, row, now = self._record, self._record.row, self._work.clock.now()
        self._result.answer["taken"] = row.status not in ENDED
        if row.status in ENDED:
            return
        from_outside, number = arrival.message, record.arrived + 1
        correlation = None if from_outside is None else from_outside.correlation
        message = MessageRow._make((
            number, row.process, arrival.name, arrival.key, correlation, row.id, MessageStatus.PENDING, arrival.body, arrival.at, row.tenant
        ))  # fmt: skip
        if row.status in _SLEEPS or (row.status is Status.READY and arrival.urgent):
            row, self._woken = row._replace(status=Status.READY, wake_at=now), True
        ends = {**record.ends, json.loads(arrival.body)["case"]: arrival.fields} if arrival.name == CHILD_ENDED else record.ends
        row = row._replace(inbox=row.inbox + 1)
        self._record = self._result.record = replace(record, row=row, messages=(*record.messages, message), arrived=number, ends=ends)
        if from_outside is not None:
            self._record.came = {**record.came, number: from_outside}

    def answer(self, token: str, answer: object, by: str, edits: Mapping[str, object]) -> None:
        """Give the open pause its answer. Raises Refused."""
        check_name("by", by)
        pause = self._pause(token)
        if self._record.row.status is not Status.WAITING:
            raise NotWaiting(f"case {self._record.row.id} is not waiting for an answer now: {standing(self._record.row)}.")
        session = self._readable()
        declared = declared_pause(session.program, session.case, pause)
        if declared is None:
            self.apply(session, happenings.Reconsidered())
            self._result.refused = refusing(
                Stale(f"what case {pause.case} showed has changed with the code; look at it again.", current=None)
            )
            return
        deadline = expires_at(declared, pause)
        if deadline is not None and deadline <= self._work.clock.now():
            raise NotWaiting(f"the deadline of pause {pause.name!r} of case {pause.case} has passed; nothing was changed.")
        cells = answer_cells(session.process, declared, answer, edits, by)
        self.apply(session, happenings.Answered(declared.name, by, cells))

    def _pause(self, token: str) -> PauseRow:
        """The open pause with this token. Raises NotWaiting, AlreadyAnswered and Stale."""
        record, number = self._record, self._record.row.id
        pause = next((one for one in record.pauses if one.token == token), None)
        if pause is None:
            raise NotWaiting(f"no pause of case {number} has this token; look at the case again and answer with the token that it shows.")
        if pause.closed is None:
            return pause
        raise too_late(self._bare().process, record.row, pause)

    def assign(self, to: str, by: str, note: str) -> None:
        """Ask somebody else to answer the open pause. Raises Refused."""
        check_name("by", by)
        check_text("to", to)
        check_text("note", note)
        self.apply(self._readable(), happenings.Assigned(self._record.row.step or "", to.strip(), by, note.strip()))

    def cancel(self, by: str, why: str) -> None:
        """Cancel the case. Raises Refused."""
        check_name("by", by)
        check_text("why", why)
        row = self._record.row
        if row.status is Status.DONE:
            raise Refused(f"case {row.id} was not cancelled: {standing(row)}.")
        if row.status is not Status.CANCELLED:
            self.apply(self._bare(), happenings.CancelAsked(by, why))

    def redrive(self, by: str, why: str, fields: Mapping[str, object]) -> None:
        """Return a parked case to the backlog, or correct one that waits. Raises Refused."""
        check_name("by", by)
        check_text("why", why)
        row = self._record.row
        if row.status is Status.BLOCKED:
            process = self._work.registry.for_case(row.process, row.version)
            self.apply(self._bare(), happenings.AcceptedHere(process.version))
        elif row.status is not Status.PARKED and not (fields and row.status is Status.WAITING):
            raise Refused(f"case {row.id} is not parked: {standing(row)}.")
        else:
            self.apply(self._readable(fields) if fields else self._bare(), happenings.Redriven(by, why, fields))

    def resolve(self, said: happenings.Resolved) -> None:
        """Record what a person found out about an effect in doubt. Raises Refused."""
        check_name("by", said.by)
        check_text("why", said.why)
        try:
            session = self._readable() if said.happened else self._bare()
        except (VersionNotAccepted, ValueRefused):
            if self._record.row.status not in ENDED:
                raise
            session = self._bare()
        self.apply(session, said)

    # The case and its transitions.

    def _session(self) -> CaseSession | happenings.NotAcceptedHere | happenings.CannotGoOn:
        """The case, or why this code cannot continue it."""
        row, registry = self._record.row, self._work.registry
        if row.process not in registry.names:
            return happenings.NotAcceptedHere(f"the program that Restate called has no process {row.process!r}, but {', '.join(registry.names)}; "
                                              "serve all processes in one program, and redrive the case")  # fmt: skip
        if row.interruptions >= INTERRUPTIONS_MAX + IN_VAIN_MAX:
            return happenings.CannotGoOn(f"the program died {row.interruptions} times before it could continue step {row.step!r}; "
                                         "its fields or a rule's condition may be the cause: correct that, and redrive the case")  # fmt: skip
        try:
            process = registry.for_case(row.process, row.version)
            return CaseSession(program_of(process), self._record.case(process))
        except VersionNotAccepted as error:
            return happenings.NotAcceptedHere(str(error))
        except Exception as error:
            return happenings.CannotGoOn(f"its state cannot be read: {message_of(error)}")

    def _readable(self, corrected: Mapping[str, object] | None = None) -> CaseSession:
        """The case. Raises VersionNotAccepted and ValueRefused."""
        process = self._work.registry.for_case(self._record.row.process, self._record.row.version)
        return CaseSession(program_of(process), self._record.case(process, corrected))

    def _bare(self) -> CaseSession:
        row = self._record.row
        process = self._work.registry.accepting(row.process, row.version) or self._work.registry.for_start(row.process)
        return CaseSession(program_of(process), self._record.bare(process))

    def _offer(self) -> Offer:
        spent = self._spent + self._work.clock.monotonic() - self._begun
        place = 0 < self._steps < STEPS_MAX and spent < STEPS_SECONDS
        return Offer(place=place, given_up=self._work.calls.threads.abandoned_calls)

    def apply(self, session: CaseSession, happening: Happening) -> Plan:
        """Ask the machine, and keep its transition. Raises Refused."""
        plan = session.advance(self._work.ports, happening, self._offer())
        if isinstance(plan, Refusal):
            raise Refused(plan.reason)
        if plan.transition is not None:
            t = plan.transition
            self._moved, came = True, self._record.came
            self._result.back += [came[number] for number, status in t.takes if status is MessageStatus.HELD and number in came]
            self._result.ended = t.status in ENDED and session.case.row.status not in ENDED
            self._record = self._result.record = self._record.after(session.process, plan)
            self._result.sent += [self._sent(post) for post in t.posts]
            self._result.events.append(Stamped(t.revision + 1, t.at, tuple(t.events)))
            if t.settlement is not None and t.settlement.status not in UNKNOWN:
                self._work.calls.threads.forget(t.settlement.key)
        session.case = plan.case
        return plan

    def _sent(self, post: Post) -> Sent:
        """The message of a case to its parent, which has the field that the parent takes, or to a child."""
        record, home = self._record, post.name == CHILD_ENDED
        fields = {name: row for name, row in record.fields.items() if home and name == record.result}
        to = record.home if home else key_of(post.to.process, post.to.case or 0)
        return Sent(to, Arrival(post.name, post.key, post.body, post.at, fields=fields))


class Start(NamedTuple):
    """A start: what the number was computed from, and the inputs, or the JSON of each. The rest is as in `NewCase`, and for a child in `Record`."""

    seed: str
    inputs: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    texts: dict[str, str] | None = None
    key: str | None = None
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None
    home: str = ""
    result: str = ""


def started(work: Work, name: str, number: int, asked: Start) -> TurnResult:
    """Start a case under this number. Raises UnknownProcess and InputInvalid."""
    process = work.registry.for_start(name)
    if asked.texts is None:
        cells = input_cells(process, asked.inputs)
    else:
        cells = {field: codec_of(process.state).decode(field, text, "") for field, text in asked.texts.items()}
    new = NewCase(name, process.version, asked.key, asked.tenant, asked.priority, asked.correlation, asked.parent)
    incarnation = f"{work.random.getrandbits(INCARNATION_BITS):016x}"
    case = new_case(number, new, work.clock.now(), incarnation)
    turn = Turn(work, Record(case.row, incarnation, asked.seed, home=asked.home, result=asked.result))
    turn.apply(CaseSession(program_of(process), case), happenings.StartAsked(new, cells))
    return turn.result()


def _without_process(record: Record) -> CaseSession:
    """The case, bare, where the program has no such process. Its stand-in can only record that."""
    process = Process(record.row.process, State)
    process.rules(otherwise(finish("unknown")))
    return CaseSession(program_of(process), record.bare(process))


def _wanted(session: CaseSession, limit: Limit) -> PermitWanted:
    row = session.case.row
    node = session.process.steps.get(row.step or "")
    seconds = (node.timeout_seconds if isinstance(node, Node) else None) or UNTIMED_SECONDS
    return PermitWanted(limit.name, f"{row.id}/{row.step}/{row.fence}", seconds + MARGIN_SECONDS, key_of(row.process, row.id))


def _limit_of(command: Command) -> Limit | None:
    """The limit whose permit a command takes."""
    if isinstance(command, CallNode):
        return command.node.limit
    return command.effect.limit if isinstance(command, Acquire) else None
