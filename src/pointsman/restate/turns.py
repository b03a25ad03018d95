"""Turns: what one invocation does with a case. The machine decides; a turn loads the case, performs its command, and gives what to keep.

A turn runs inside one journaled call, and its result is what the journal has. So nothing that differs from one run to the next, such as the time,
chance, an author's function or newer code, changes the shape of a journal.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pointsman.definition.children import Child
from pointsman.definition.effects import Effect, Reconcile
from pointsman.definition.limits import Limit
from pointsman.definition.nodes import Node
from pointsman.errors import AlreadyAnswered, NotWaiting, PointsmanError, Refused, Stale, ValueRefused, VersionNotAccepted
from pointsman.kernel import happenings
from pointsman.kernel.answering import answer_cells, declared_pause
from pointsman.kernel.attempts import INTERRUPTIONS_MAX, CallEnd
from pointsman.kernel.case import UNKNOWN, cells_of, new_case
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
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.happenings import Happening
from pointsman.kernel.inputs import input_cells
from pointsman.kernel.machine import Plan, Refusal
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.moment import Offer
from pointsman.kernel.operators import standing
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import CaseRow, FieldRow, Intent, MessageRow, MessageStatus, NewCase, PauseRow, Post
from pointsman.kernel.snapshot import AT_REST, ENDED, Status
from pointsman.kernel.timers import expires_at
from pointsman.restate.journal import refusing
from pointsman.restate.limits import HeldPermit, PermitGiven, PermitWanted
from pointsman.restate.record import CancelWanted, Message, Permitted, Record, Refusing, Stamped, key_of
from pointsman.restate.work import Work
from pointsman.runtime.calls import Request, without_cancel
from pointsman.runtime.limits import MARGIN_SECONDS, UNTIMED_SECONDS
from pointsman.runtime.session import CaseSession

_SLEEPS = frozenset({Status.WAITING, Status.PARKED})
INCARNATION_BITS = 64
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

    With a `child`, the turn goes on when that has been started, and with a permit `wanted`, when there is an answer; `given` is one to give back. A case that `ended` has left `back` messages for the next case with its correlation key.
    """

    record: Record | None = None
    events: list[Stamped] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    later: Later | None = None
    child: ChildWanted | None = None
    back: list[Message] = field(default_factory=list)
    ended: bool = False
    wanted: PermitWanted | None = None
    given: PermitGiven | None = None
    answer: dict[str, Any] = field(default_factory=dict)
    refused: Refusing | None = None


class Turn:
    """One turn of a case. `permitted` is what the object of a limit has answered, if the turn wanted a permit before."""

    def __init__(self, work: Work, record: Record, permitted: Permitted | None = None) -> None:
        self._work = work
        self._permitted = permitted
        self._record = record
        self._result = TurnResult()
        self._moved = self._woken = False

    def result(self) -> TurnResult:
        """What the turn leaves."""
        result, row = self._result, self._record.row
        result.answer = {"case": row.id, "status": row.status, **result.answer}
        if self._permitted is not None and self._permitted.granted:
            result.given = PermitGiven(self._permitted.limit, self._permitted.holder, "nothing", row.id)
        if result.record is None or not (self._moved or self._woken):
            return result
        now = self._work.clock.now()
        if row.status is Status.RUNNING:
            result.later = Later(row.revision, 0.0)
        elif row.status in {Status.READY, Status.WAITING} and row.wake_at is not None:
            refused = self._permitted is not None and not self._permitted.granted and row.needs is not None
            waits = (
                self._permitted.seconds if refused and self._permitted is not None else 0.0
            )  # or until another call gives its permit back
            result.later = Later(row.revision, max(waits, row.wake_at - now))
        return result

    # The steps of the case.

    async def step(self) -> None:
        """Take the step that is due."""
        found = self._claimed()
        if found is not None:
            await self._go(found, self._due_call(found))

    def interrupted(self) -> None:
        """Record that the program died while it took the step. The case is due again, and an effect that was being called is in doubt."""
        record = self._record
        row = record.row._replace(status=Status.READY, wake_at=self._work.clock.now(), interruptions=record.row.interruptions + 1)
        self._record = self._result.record = replace(record, row=row._replace(attempts=max(row.attempts - 1, 0)), call=None)
        self._woken, self._permitted = True, None  # a call that may still run keeps its permit until that expires

    def go_on(self, child: ChildFound) -> None:
        """Go on with a step whose child has been started."""
        found = self._claimed()
        step = None if found is None else found.process.steps.get(found.case.row.step or "")
        if found is None or not isinstance(step, Child):
            if found is not None:  # newer code has taken the child away, and the next step sees to it
                self._result.record, self._woken = self._record, True
            return
        if child.row is None:
            self.apply(found, happenings.ChildRefused(step, child.refused))
            return
        pending = any(message.name == CHILD_ENDED for message in found.case.messages)
        found.case = replace(found.case, children=(*found.case.children, child.row))
        self.apply(found, happenings.ChildStarted(step, child.row, pending, child.fields))

    def _claimed(self) -> CaseSession | None:
        """The case as a running one, or None if this code cannot continue it, which is then recorded."""
        row, begun = self._record.row, self._record.row.status is Status.RUNNING
        row = row._replace(status=Status.RUNNING, fence=row.fence + 1, attempts=row.attempts + (not begun), wake_at=None)
        self._record = replace(self._record, row=row)
        found = self._session()
        if isinstance(found, CaseSession):
            return found
        self.apply(self._bare(), found)
        return None

    async def _go(self, session: CaseSession, command: Command | None) -> None:
        """Ask the machine and perform its command, until there is a transition."""
        happening: Happening = happenings.Claimed()
        while True:
            if command is None:
                plan = self.apply(session, happening)
                if plan.transition is not None or isinstance(plan.commands[0], Rest):
                    return
                [command] = plan.commands
            wanted = self._record.cancel
            if wanted is not None and not (isinstance(command, CallEffect) and command.doubtful):
                happening = happenings.CancelledBeforeCall(command if isinstance(command, CallEffect) else None)
            elif (limit := _limit_of(command)) is not None and self._permitted is None:
                self._result.wanted = self._wanted(session, limit)
                return
            elif limit is not None and self._permitted is not None and not self._permitted.granted:
                assert isinstance(command, CallNode | Acquire)
                happening = happenings.PermitRefused(command, self._permitted.why)
            elif isinstance(command, StartChild):
                refused = self._want(session, command)
                if refused is None:
                    return
                happening = refused
            else:
                happening = await self._perform(session, command)
            command = None

    def _wanted(self, session: CaseSession, limit: Limit) -> PermitWanted:
        row = session.case.row
        node = session.process.steps.get(row.step or "")
        seconds = (node.timeout_seconds if isinstance(node, Node) else None) or UNTIMED_SECONDS
        key = key_of(row.process, row.id)
        return PermitWanted(limit.name, f"{row.id}/{row.step}/{row.fence}", seconds + MARGIN_SECONDS, key)

    def _held(self, limit: Limit | None) -> HeldPermit | None:
        """The permit for the call that begins now."""
        permitted, self._permitted = self._permitted, None
        if limit is None or permitted is None or permitted.state is None:
            return None
        return HeldPermit(self._work, limit, permitted, self._record.row.id)

    async def _call(self, session: CaseSession, request: Request) -> CallEnd:
        """Make a call under its permit."""
        held = self._held(request.node.limit)
        if held is None:
            return await self._work.calls.call(session, request)
        end = await self._work.calls.call(session, replace(request, permit=held.permit))
        self._result.given = held.given
        return end

    def nudge(self) -> None:
        """Let a case that waits for a permit ask again."""
        row = self._record.row
        if row.status is Status.READY and row.needs is not None and (row.wake_at or 0.0) <= self._work.clock.now():
            self._result.record, self._woken = self._record, True

    def _want(self, session: CaseSession, wanted: StartChild) -> happenings.ChildRefused | None:
        """Ask for a child, or return why it cannot start."""
        child, row = wanted.child, session.case.row
        try:
            cells = input_cells(child.process, wanted.inputs)
        except PointsmanError as error:
            return happenings.ChildRefused(child, f"child {child.name!r} cannot be started: {type(error).__name__}: {message_of(error)}")
        texts = {name: cell.text for name, cell in cells.items()}
        self._result.child = ChildWanted(child.process.name, wanted.key, texts, row.tenant, row.priority, child.result or "")
        return None

    def _due_call(self, session: CaseSession) -> CallEffect | None:
        """The call whose intent was committed last, if the code still has it. No call under this intent has begun."""
        call, process = self._record.call, session.process
        entry = None if call is None else session.case.ledger.get(call.key)
        step = None if entry is None else process.steps.get(process.called(entry.effect))
        if call is None or entry is None or not isinstance(step, Effect):
            return None
        self._permitted = call.permit
        cells = cells_of(process, call.fields) if call.undoes else session.case.snapshot.cells
        intent = Intent(entry.key, entry.effect, entry.arguments, entry.deadline, entry.attempts > 1)
        return CallEffect(step, intent, cells, session.case.row.attempts, call.undoes, call.doubtful)

    async def _perform(self, session: CaseSession, command: Command) -> Happening:
        clock, case = self._work.clock, session.case
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
                return await self._look_up(session, command)
            case RunBranches(step):
                return await self._work.branches(self._keep).run(session, step, self._offer)
            case Acquire():
                return happenings.Acquired(command)  # a thread is free at once, or the call is late
            case LoadHistory():
                session.case = replace(case, history=self._record.history)
                name = case.row.step or ""
                return happenings.Continued(session.process.compensates.get(name) or session.process.steps[name])
            case Continue(step):
                return happenings.Continued(step)
            case _:
                raise AssertionError(command)

    async def _look_up(self, session: CaseSession, asked: LookUpEffect) -> Happening:
        calls, safety = self._work.calls, asked.effect.safety
        assert isinstance(safety, Reconcile)
        calls.threads.forget(asked.key)
        request = Request(asked.effect, asked.cells, asked.attempts, asked.key, look_up=safety.look_up)
        try:
            looked_up = happenings.LookedUp(asked, await calls.invoke(session, request))
        except Exception as error:  # the author's function may raise anything
            looked_up = happenings.LookedUp(asked, None, error)
        if (cancelled := calls.cancelled_task()) is not None:
            await without_cancel(cancelled)
        return looked_up

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
        if pause.closed == "answered" and record.pauses[-1] is pause:
            raise AlreadyAnswered(f"case {number} was already answered by {pause.closed_by}; nothing was changed.", by=str(pause.closed_by))
        if record.row.status in AT_REST - {Status.WAITING}:
            raise NotWaiting(f"case {number} is no longer waiting for an answer: {standing(record.row)}.")
        raise Stale(f"what case {number} showed has changed since; look at it again.", current=None)

    def assign(self, to: str, by: str, note: str) -> None:
        """Ask somebody else to answer the open pause. Raises Refused."""
        check_name("by", by)
        check_text("to", to)
        check_text("note", note)
        self.apply(self._readable(), happenings.Assigned(self._record.row.step or "", to.strip(), by, note.strip()))

    def cancel(self, by: str, why: str) -> None:
        """Cancel the case: at once, or, if it is running, before its next call. Raises Refused."""
        check_name("by", by)
        check_text("why", why)
        row = self._record.row
        if row.status is Status.DONE:
            raise Refused(f"case {row.id} was not cancelled: {standing(row)}.")
        if row.status is Status.RUNNING:
            self._record = self._result.record = replace(self._record, cancel=CancelWanted(by, why))
        elif row.status is not Status.CANCELLED:
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
        row = self._record.row
        if row.interruptions >= INTERRUPTIONS_MAX + IN_VAIN_MAX:
            return happenings.CannotGoOn(f"the program died {row.interruptions} times before it could continue step {row.step!r}; "
                                         "its fields or a rule's condition may be the cause: correct that, and redrive the case")  # fmt: skip
        try:
            process = self._work.registry.for_case(row.process, row.version)
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
        wanted, given_up = self._record.cancel, self._work.calls.threads.abandoned_calls
        cancel = None if wanted is None else Event(Kind.CANCELLED, facts=wanted._asdict())
        return Offer(cancel=cancel, given_up=given_up)

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
            if self._record.call is not None and self._permitted is not None and self._permitted.granted:
                self._record.call, self._permitted = self._record.call._replace(permit=self._permitted), None
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


def _limit_of(command: Command) -> Limit | None:
    """The limit whose permit a command takes."""
    if isinstance(command, CallNode):
        return command.node.limit
    return command.effect.limit if isinstance(command, Acquire) else None
