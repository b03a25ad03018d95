"""Turns: what one invocation does with a case. The engine's own runner and commands do it, on a store that is the case's record.

A step of a turn runs inside one journaled call, and its result is what the journal has. So nothing that differs from one run to the next, such as the time,
chance, an author's function or newer code, changes the shape of a journal.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, cast

from pydantic import Field

from pointsman.client.restate_names import key_of, place_of
from pointsman.client.restate_requests import Message, Refusing, Start
from pointsman.definition.children import Child
from pointsman.errors import Refused
from pointsman.kernel.codec import codec_of
from pointsman.kernel.inputs import check_keys, input_cells
from pointsman.kernel.limits import GivePermit, LimitChange, LimitChanged, LimitState, changed, state_of
from pointsman.kernel.messages import CHILD_ENDED, called_off
from pointsman.kernel.rows import CaseRow, FieldRow, MessageStatus, NewCase, Post, Transition
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.restate.journal import Json
from pointsman.restate.limits import PermitGiven, Permitted, PermitWanted
from pointsman.restate.record import Record, Stamped
from pointsman.restate.work import Work
from pointsman.runtime.one_case import OneCaseEngine
from pointsman.runtime.session import CaseSession
from pointsman.store.one_case import OneCase

STEPS_MAX, STEPS_SECONDS = 8, 0.1  # of one invocation: what comes for the case meanwhile waits, and a journal should be short

RECORD_MAX = 12 * 2**20  # bytes: the server takes 32 MiB in a message, and does not get on with one of more than half of that
RECORD, EVENTS = Json(Record), Json(Stamped)


class ChildFound(NamedTuple):
    """A child that has been started, or why it cannot be."""

    row: CaseRow | None = None
    fields: dict[str, FieldRow] = {}  # noqa: RUF012 - nobody changes it
    refused: str = ""


Brought = Permitted | ChildFound | None
"""What a step wanted: it comes with the next one."""


@dataclass(slots=True)
class TurnResult:
    """What a turn leaves: what changes in the object's state, messages, the next step, and the answer to the caller.

    `state` has the new events and, last, the new record: the name of each, and then what is stored. `by` marks the turn. `sent` has the keys of the
    objects of other cases, and `later` the revision at which the case has a step to take, after so many seconds. A turn with `more` has a next step: with
    a `child` (its process, and how it starts), when that has been started, and with a permit `wanted`, when there is an answer; `given` are those to give
    back. A case that has ended has `left` the object of its correlation key, with `back` messages for the next case.
    """

    state: Annotated[list[bytes], Field(exclude=True)] = field(default_factory=list)
    sent: list[tuple[str, Message]] = field(default_factory=list)
    later: tuple[int, float] | None = None
    more: bool = False
    by: str = ""
    child: tuple[str, Start] | None = None
    back: list[Message] = field(default_factory=list)
    left: str = ""
    wanted: PermitWanted | None = None
    given: list[PermitGiven] = field(default_factory=list)
    answer: dict[str, Any] = field(default_factory=dict)
    refused: Refusing | None = None

    @property
    def record(self) -> Record | None:
        """The new record. None if nothing changes."""
        return RECORD.deserialize(self.state[-1]) if self.state else None


class Results(Json[TurnResult]):
    """Results as lines of JSON: what goes into the object's state has lines of its own, so it is made once, and read only where it is needed."""

    def serialize(self, obj: TurnResult | None) -> bytes:
        """The bytes of a result."""
        return b"\n".join([super().serialize(obj), *(obj.state if obj else [])])

    def deserialize(self, buf: bytes) -> TurnResult:
        """The result of these bytes."""
        told, *state = buf.split(b"\n")
        result = cast("TurnResult", super().deserialize(told))
        result.state = state
        return result


FOUND = Json(ChildFound)


class _Store(OneCase[Record]):
    """The record of a case as the store of a turn, which goes on when the journal has what was committed.

    `given` are the permits that were given back. If a permit was refused last, there may be one in `waits` seconds.
    """

    def __init__(self, record: Record, turn: "Turn") -> None:
        super().__init__(record, size=lambda record: len(RECORD.serialize(record)), size_max=RECORD_MAX)
        self.given: list[PermitGiven] = []
        self.waits = 0.0
        self._seen: dict[str, LimitState] = {}
        self._turn = turn

    async def commit(self, transition: Transition) -> int:
        """Change the record. While the case runs, return when the journal has that; a case that rests takes no further step."""
        while transition.status is not Status.RUNNING and self._turn.telling.locked():
            async with self._turn.telling:  # a permit is on its way to a branch that is no longer needed, and is given back at once
                await asyncio.sleep(0)
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
        wanted = PermitWanted(name, change.holder, change.until - change.now, key_of(row.process, row.id))
        told = cast("Permitted", await self._turn.tell(permit=wanted))
        seen[name], self.waits = state_of(told.state), told.seconds or 0.0
        return LimitChanged(seen[name], None if told.seconds is None else change.now + told.seconds)


class Turn:
    """What is done with a case in one invocation: steps that follow each other, or one thing for somebody outside.

    `by` marks the results in the journal, so that a program knows its own. `number` is the case's, and `engine` takes what people want of it.
    `steps` are those that have begun. `telling` is locked while something waits for what the next step brings.
    """

    def __init__(self, work: Work, record: Record, by: str = "") -> None:
        self.by, self.number = by, record.row.id
        self._work, self._result, self._moves, self._writes = work, TurnResult(by=by), False, False
        self._store = _Store(record, self)
        self.engine = OneCaseEngine(self._store, work, self._start_child)
        self.steps: list[asyncio.Future[TurnResult]] = []
        self._driving: asyncio.Task[None] | None = None
        self.telling = asyncio.Lock()
        self._brought: asyncio.Future[Any]
        self._spent, self._begun, self._early = 0.0, 0.0, 0.0

    def result(self) -> TurnResult:
        """What the turn, or its last step, leaves."""
        result, row = self._result, self._store.record.row
        result.answer = {"case": row.id, "status": row.status, **result.answer}
        result.more = self._driving is not None and not self._driving.done()
        result.given, self._store.given = self._store.given, []
        if self._writes:
            result.state += (b"case", RECORD.serialize(self._store.record))
        if self._moves and row.status in {Status.READY, Status.WAITING} and row.wake_at is not None:
            # A case that waits for a permit asks again when there may be one, or when another call gives its permit back.
            waits = self._store.waits if row.needs is not None else 0.0
            result.later = row.revision, max(waits, row.wake_at - self._work.clock.now()) + self._early
        self._result, self._moves, self._writes = TurnResult(by=self.by), False, False
        return result

    # The steps of the case.

    def step(self, brought: Brought = None) -> None:
        """Go on until there is something for the journal. `brought` is what the step before wanted."""
        if self._driving is None:
            self._early = max(0.0, (self._store.record.row.wake_at or 0.0) - self._work.clock.now())  # this clock is behind the server's
            self._driving = asyncio.create_task(self._drive())
            self._driving.add_done_callback(self._ended)
        else:
            self._brought.set_result(brought)
        self.steps.append(asyncio.get_running_loop().create_future())

    def _ended(self, driving: asyncio.Task[None]) -> None:
        if driving.cancelled():
            self.steps[-1].cancel()
        elif (error := driving.exception()) is not None:
            self.steps[-1].set_exception(error)
        else:
            self.steps[-1].set_result(self.result())

    def close(self) -> None:
        """Go on no more: another program does."""
        if self._driving is not None:
            self._driving.cancel()

    async def _drive(self) -> None:
        await self.engine.drive(self._goes_on)
        await self.engine.permits_given()

    def _goes_on(self) -> bool:
        self._begun = self._begun or self._work.clock.monotonic()  # once the case is read, which may take long: it takes a step at least
        return len(self.steps) < STEPS_MAX and self._spent + self._work.clock.monotonic() - self._begun < STEPS_SECONDS

    async def committed(self, before: Record, record: Record, t: Transition) -> None:
        """Note what follows from a transition, and return when the journal has it, if the case runs on."""
        result, came = self._result, before.came
        if t.takes:
            result.back += [came[number] for number, status in t.takes if status is MessageStatus.HELD and number in came]
            record.came = {}
        row = record.row
        if t.status in ENDED and before.row.status not in ENDED and row.correlation is not None:
            result.left = place_of(row.process, row.tenant, row.correlation)
        self._moves = self._writes = True
        result.state += (b"event %08d" % row.revision, EVENTS.serialize(Stamped(row.revision, t.at, tuple(t.events))))
        result.sent += [_sent(record, post) for post in t.posts]
        if t.status is Status.RUNNING:
            await self.tell()

    async def tell(self, *, permit: PermitWanted | None = None, child: tuple[str, Start] | None = None) -> Any:
        """Let the step end. Return what the next one brings: what is wanted here. Branches want something one after the other."""
        async with self.telling:
            self._result.wanted, self._result.child = permit, child
            self._brought = asyncio.get_running_loop().create_future()
            self._spent += self._work.clock.monotonic() - self._begun
            self.steps[-1].set_result(self.result())
            brought = await self._brought
            self._begun = self._work.clock.monotonic()  # not earlier: the event loop may have many others to go on with first
            return brought

    async def _start_child(self, session: CaseSession, name: str, inputs: Mapping[str, Any], key: str) -> int:
        row, child = session.case.row, session.process.steps[session.case.row.step or ""]
        texts = {name: cell.text for name, cell in input_cells(self._work.registry.for_start(name), inputs).items()}
        asked = Start("", texts=texts, key=key, tenant=row.tenant, priority=row.priority, parent=row.id, home=key_of(row.process, row.id))
        wanted = asked._replace(result=(child.result if isinstance(child, Child) else None) or "")
        found = cast("ChildFound", await self.tell(child=(name, wanted)))
        if found.row is None:
            raise Refused(found.refused)
        self._store.has_started(found.row, found.fields)
        return found.row.id

    def interrupted(self) -> None:
        """Record that the program died while it took the step."""
        self._store.recover(self._work.clock.now())
        self._writes = self._moves = True

    # From outside.

    async def start(self, asked: Start) -> None:
        """Start the case, with early messages in its inbox. Raises InputInvalid and ValueRefused."""
        check_keys(key=asked.key, correlation=asked.correlation, tenant=asked.tenant, priority=asked.priority)
        process = self._work.registry.for_start(self._store.record.row.process)
        decode, texts = codec_of(process.state).decode, asked.texts
        cells = input_cells(process, asked.inputs) if texts is None else {name: decode(name, text, "") for name, text in texts.items()}
        new = NewCase(process.name, process.version, asked.key, asked.tenant, asked.priority, asked.correlation, asked.parent)
        await self.engine.start(new, cells)
        for message in asked.early:
            await self.take_in(message)
        if asked.home:
            self._result.answer |= as_child(self._store.record)

    async def nudge(self) -> None:
        """Let a case that waits for a permit ask again."""
        row = self._store.record.row
        if row.status is Status.READY and row.needs is not None and (row.wake_at or 0.0) <= self._work.clock.now():
            self._result.answer["waits"] = self._writes = self._moves = True

    async def take_in(self, message: Message) -> None:
        """Put a message into the inbox, and wake the case. One that has ended does not take it."""
        store, ended = self._store, self._store.record.row.status in ENDED
        self._result.answer["taken"] = not ended
        if ended:
            return
        number = store.record.arrived + 1
        wakes = store.take_in(message.post, number, self._work.clock.now(), message.fields)
        store.record.arrived = number
        if message.post.to.case is None:
            # If the case leaves it, it waits also for the end of another open case, as on an engine.
            store.record.came = {**store.record.came, number: message._replace(post=message.post._replace(while_open="hold"))}
        self._writes, self._moves = True, self._moves or wakes


def as_child(record: Record) -> dict[str, Any]:
    """What a parent is told of its child. One that it has called off counts as cancelled, because its end is not reported."""
    row = record.row._replace(status=Status.CANCELLED) if called_off(record.messages) else record.row
    return {"child": FOUND.plain(ChildFound(row, {name: row for name, row in record.fields.items() if name == record.result}))}


def _sent(record: Record, post: Post) -> tuple[str, Message]:
    """The message of a case to its parent, which has the field that the parent takes, or to a child."""
    if post.name != CHILD_ENDED:
        return key_of(post.to.process, post.to.case or 0), Message(post)
    return record.home, Message(post, {name: row for name, row in record.fields.items() if name == record.result})
