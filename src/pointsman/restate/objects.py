"""The virtual object of a case: its handlers, and how the result of a turn is kept.

A case is an object, its key the process and the number. A handler is one happening, and Restate runs one of them at a time. It reads the record,
takes a turn inside journaled calls, one for each transition, and keeps the result of each: the record, the events, and a message to itself for what
comes later. So no case waits inside an invocation. Steps that are short follow each other in one invocation, up to a few.

An effect is called in the journaled call after the one that brought its intent. If the program dies during the call, the invocation runs again, finds
the intent in its journal, calls nothing and records the interruption. The machine then treats the effect as one in doubt. If only the server dies, the
call goes on, and the invocation that runs again in this program takes its result.
"""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python
from restate import ObjectContext, ObjectSharedContext, RunOptions, Service, TerminalError, VirtualObject
from restate.serde import BytesSerde
from restate.server_context import restate_context_is_replaying

from pointsman.client.restate_names import DIGITS_MAX, NAME, PROCESSES, key_of, place_of, seed_of
from pointsman.client.restate_requests import Message, Start, fitting, refusing
from pointsman.errors import AnswerInvalid, InputInvalid, PointsmanError, Refused, UnknownCase
from pointsman.kernel.answering import Pending
from pointsman.kernel.codec import codec_of
from pointsman.kernel.happenings import Resolved
from pointsman.kernel.hiding import hide_fields
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import AT_REST, ENDED, Status
from pointsman.restate.blobs import blob_service
from pointsman.restate.correlations import Correlations
from pointsman.restate.journal import RETRIES, Json, attempt, delay_of, refusal
from pointsman.restate.limits import GIVEN, PERMITTED, WANTED, LimitHandlers, PermitGiven
from pointsman.restate.record import Record, Stamped, begin
from pointsman.restate.schedules import ScheduleHandlers
from pointsman.restate.turns import EVENTS, FOUND, RECORD, Brought, ChildFound, Results, Turn, TurnResult, as_child
from pointsman.restate.work import Work
from pointsman.store.blob_folder import check_blobs

LONGEST_CALL = timedelta(days=1)  # no case waits inside an invocation, so one that says nothing makes a call
NONCE_BITS = 64
LEFT_MAX = 1_000  # turns that are kept for invocations that the server may have tried again elsewhere


_RESULT, _STORED = Results(TurnResult), BytesSerde()
_MESSAGE, _START = Json(Message), Json(Start)


_Do = Callable[[Turn], Awaitable[object]]
_Asked = Callable[[Turn, dict[str, Any]], Awaitable[object]]


def _named(key: str) -> tuple[str, int]:
    """The process and the number of a case. Raises TerminalError."""
    name, _, number = key.rpartition(":")
    if not number.isdecimal() or len(number) > DIGITS_MAX or key != key_of(name, int(number)):  # one number has one key
        raise TerminalError(f"UnknownCase: {key!r} is not the key of a case; write it as process:number.", 404)
    return name, int(number)


async def _record(ctx: ObjectContext | ObjectSharedContext) -> Record:
    """The record of a case. Raises TerminalError if there is none."""
    if (record := await ctx.get("case", RECORD)) is None:
        name, number = _named(ctx.key())
        raise refusal(refusing(UnknownCase(number, name)))
    return record


_OUTSIDE: Mapping[str, _Asked] = {
    "answer": lambda turn, asked: turn.engine.decisions.resume(
        asked["token"], asked["answer"], by=asked["by"], edits=asked.get("edits") or {}
    ),
    "assign": lambda turn, asked: turn.engine.decisions.assign(turn.number, asked["to"], by=asked["by"], note=asked.get("note", "")),
    "cancel": lambda turn, asked: turn.engine.operators.cancel(turn.number, by=asked["by"], why=asked["why"]),
    "redrive": lambda turn, asked: turn.engine.redrive(by=asked["by"], why=asked["why"], fields=asked.get("fields") or {}),
    "resolve": lambda turn, asked: turn.engine.operators.resolve(Resolved(**asked)),
}
"""The handlers for people and programs, by name."""


def objects(work: Work) -> list[VirtualObject | Service]:
    """The virtual objects and the service whose handlers move cases and take messages."""
    case = VirtualObject(
        NAME, "A case of Pointsman.", {PROCESSES: json.dumps(work.registry.names)}, inactivity_timeout=LONGEST_CALL, abort_timeout=LONGEST_CALL, enable_lazy_state=True,
        invocation_retry_policy=RETRIES,
    )  # fmt: skip
    handlers = _Handlers(work)
    handles: dict[str, Any] = {"start": case.handler("start")(handlers.start)}
    for name in ("step", "deliver", "nudge"):
        handles[name] = case.handler(name, ingress_private=True)(getattr(handlers, name))
    correlations = Correlations(work, handles["start"], handles["deliver"])
    limits = LimitHandlers(work, handles["nudge"])
    handlers.handles = {**handles, "left": correlations.leaves, "take": limits.takes, "give": limits.gives}
    for name in ("show", "events"):
        case.handler(name, kind="shared")(getattr(handlers, name))
    for name, do in _OUTSIDE.items():
        case.handler(name)(handlers.outside(name, do))
    schedules = ScheduleHandlers(work, handles["start"])
    blobs = [blob_service(work.blobs)] if work.blobs else []
    return [case, correlations.service, correlations.object, limits.object, schedules.object, *blobs]


class _Handlers:
    """The handlers of a case's object. `handles` are those that a handler calls, as the SDK knows them."""

    def __init__(self, work: Work) -> None:
        self._work = work
        # By the number of the invocation: a turn, which goes on while the server is away, and the handler that asks for its steps.
        self._begun: dict[str, tuple[Turn, asyncio.Task[Any]]] = {}
        self.handles: Mapping[str, Any] = {}

    async def start(self, ctx: ObjectContext, asked: dict[str, Any]) -> dict[str, Any]:
        """Start the case, or find it."""
        record, (name, number), wanted = await ctx.get("case", RECORD), _named(ctx.key()), _START.of(asked)
        if record is not None:
            row, same = record.row, record.seed == wanted.seed
            takes = row.correlation == wanted.correlation and row.status not in ENDED
            told = {"case": number, "duplicate": same, "other": not same, "open": takes}
            return told | (as_child(record) if same and wanted.home else {})

        record = Record(CaseRow(number, name, 0), ctx.uuid().hex, seed=wanted.seed, home=wanted.home, result=wanted.result)
        # The blobs were there when a message or a parent named them.
        return (await self._turn(ctx, record, lambda turn: turn.start(wanted), InputInvalid if wanted.texts is None else None)).answer

    async def step(self, ctx: ObjectContext, revision: int) -> None:
        """Take the step that is due at this revision."""
        record = await ctx.get("case", RECORD)
        if record is None or record.row.revision != revision or record.row.status in AT_REST - {Status.WAITING}:
            return  # another happening came first
        invocation, number, goes_on = str(ctx.request().id), 0, True
        brought: Brought = None
        begun = self._begin(invocation, record)
        while goes_on:
            result = await ctx.run_typed("step", partial(self._take, invocation, begun, record, number, brought), RunOptions(_RESULT))
            if begun is not None and result.by != begun.by:
                begun.close()
                begun = None  # another program has taken this step
            self._keep(ctx, result)
            brought, number, goes_on = None, number + 1, result.more
            record = record if begun is not None else result.record or record
            if result.wanted is not None:
                brought = PERMITTED.of(await ctx.object_call(self.handles["take"], result.wanted.limit, WANTED.plain(result.wanted)))
            elif result.child is not None:
                brought = await self._started_child(ctx, *result.child)
        self._forget(invocation)

    def _forget(self, invocation: str) -> None:
        left, _ = self._begun.pop(invocation, (None, None))
        if left is not None:
            left.close()

    def _begin(self, invocation: str, record: Record) -> Turn | None:
        """The turn of an invocation, or None if it has begun in a program that died, or in another one.

        The journal has a next entry only if an earlier run of the invocation has asked for it. That it has it is not waited for, so a death may go
        uncounted. What a call may have done is known from the record: the intent of an effect is in the journal before its call begins.
        """
        turn, _ = self._begun.get(invocation, (None, None))
        if turn is None and not restate_context_is_replaying.get():
            if len(self._begun) >= LEFT_MAX:
                oldest, (left, handler) = next(iter(self._begun.items()))
                # Between two steps, a handler waits for the journal or for another object, and will ask for the next one.
                if all(one.done() for one in (handler, *left.steps)):
                    self._forget(oldest)
            turn = Turn(self._work, record, f"{self._work.random.getrandbits(NONCE_BITS):x}")
        if turn is not None:
            self._begun[invocation] = turn, cast("asyncio.Task[Any]", asyncio.current_task())
        return turn

    async def _take(self, invocation: str, begun: Turn | None, record: Record, number: int, brought: Brought) -> TurnResult:
        """Take a step of a turn, or wait for its end. If the program died that began it, record that."""
        if begun is None:
            turn = Turn(self._work, record)
            turn.interrupted()
            return turn.result()
        if number == len(begun.steps):
            begun.step(brought)
        step = begun.steps[number]
        try:
            return await asyncio.shield(step)
        finally:
            if step.done() and (step.cancelled() or step.exception() is not None):
                self._forget(invocation)  # the next attempt records an interruption

    async def deliver(self, ctx: ObjectContext, asked: dict[str, Any]) -> dict[str, Any]:
        """Put a message into the inbox of the case."""
        message = _MESSAGE.of(asked)
        told = await self._change(ctx, lambda turn: turn.take_in(message))
        if not told["taken"] and message.post.to.case is None:
            ctx.object_send(self.handles["left"], place_of(*message.post.to[:3]), {"case": told["case"], "messages": [asked]})
        return told

    async def nudge(self, ctx: ObjectContext, asked: dict[str, Any]) -> dict[str, Any]:
        """Let a case that waits for a permit ask again. If it no longer does, the limit wakes another one."""
        told = await self._change(ctx, Turn.nudge)
        if "waits" not in told and asked:
            ctx.object_send(self.handles["give"], asked["limit"], GIVEN.plain(PermitGiven(asked["limit"], "", "nothing", told["case"])))
        return told

    def outside(self, name: str, do: _Asked) -> Callable[[ObjectContext, dict[str, Any]], Awaitable[dict[str, Any]]]:
        """The handler with this name, for somebody outside."""

        async def handle(ctx: ObjectContext, asked: dict[str, Any]) -> dict[str, Any]:
            return await self._change(ctx, lambda turn: do(turn, fitting(name, asked)), AnswerInvalid if name == "answer" else Refused)

        return handle

    async def show(self, ctx: ObjectSharedContext) -> dict[str, Any]:
        """Tell of the case: its row, its fields as JSON, its open pause and its ledger. Private values are hidden."""
        record = await _record(ctx)
        process = self._work.registry.accepting(record.row.process, record.row.version)
        private = frozenset(record.fields) if process is None else process.private
        return {
            **record.row._asdict(), "fields": hide_fields({name: json.loads(field.text) for name, field in record.fields.items()}, private),
            "pause": _asked(await Turn(self._work, record).engine.pending(), private),
            "effects": [{**entry._asdict(), "outcome": entry.outcome is not None} for entry in record.ledger],
            "branches": [branch.name for branch in record.branches],
        }  # fmt: skip

    async def events(self, ctx: ObjectSharedContext) -> list[dict[str, Any]]:
        """Tell the events of the case."""
        await _record(ctx)
        names = sorted(name for name in await ctx.state_keys() if name.startswith("event "))
        stored = [cast("Stamped", await ctx.get(name, EVENTS)) for name in names]
        return [
            {"revision": one.revision, "at": one.at, **event._asdict(), "facts": json.loads(event.facts)}
            for one in stored for event in one.events
        ]  # fmt: skip

    async def _change(self, ctx: ObjectContext, do: _Do, error: type[PointsmanError] | None = None) -> dict[str, Any]:
        """Do something with the case, and return the answer to the caller."""
        return (await self._turn(ctx, await _record(ctx), do, error)).answer

    async def _turn(self, ctx: ObjectContext, record: Record, do: _Do, error: type[PointsmanError] | None) -> TurnResult:
        """Take a turn for a caller, and keep what it leaves. With an `error`, that is what a blob raises which the store lacks."""

        async def turn() -> TurnResult:
            one = Turn(self._work, record)
            if record.row.status is Status.RUNNING:
                one.interrupted()  # somebody has killed the invocation that ran it
            _, refused = await attempt(partial(do, one))
            result = one.result()
            _, absent = await attempt(partial(self._check_blobs, record, result, error))
            if absent is not None:
                return TurnResult(refused=absent)
            result.refused = refused
            return result

        result = await ctx.run_typed("turn", turn, RunOptions(_RESULT))
        self._keep(ctx, result)
        return result

    async def _check_blobs(self, before: Record, result: TurnResult, error: type[PointsmanError] | None) -> None:
        """Raise this `error` if a field that has been written names a blob that the store lacks."""
        if error is None or self._work.blobs is None or (after := result.record) is None:
            return  # without a store, no field has a blob
        process = self._work.registry.accepting(after.row.process, after.row.version)
        if process is None:
            return
        codec = codec_of(process.state)
        for name, row in after.fields.items():
            if before.fields.get(name) != row and codec.knows(name):
                await check_blobs(self._work.blobs, codec.decode(name, row.text, "").value, error)

    def _keep(self, ctx: ObjectContext, result: TurnResult) -> None:
        """Keep what a turn leaves. Raises TerminalError for a caller that is refused."""
        for name, text in zip(result.state[::2], result.state[1::2], strict=True):
            ctx.set(name.decode(), text, _STORED)
        for given in result.given:
            ctx.object_send(self.handles["give"], given.limit, GIVEN.plain(given))
        for to, message in result.sent:
            ctx.object_send(self.handles["deliver"], to, _MESSAGE.plain(message))
        if result.later is not None:
            ctx.object_send(self.handles["step"], ctx.key(), result.later[0], send_delay=delay_of(result.later[1]))
        if result.left:
            back = [_MESSAGE.plain(message) for message in result.back]
            ctx.object_send(self.handles["left"], result.left, {"case": result.answer["case"], "messages": back})
        if result.refused is not None:
            raise refusal(result.refused)

    async def _started_child(self, ctx: ObjectContext, process: str, asked: Start) -> ChildFound:
        """Start a child, or find the one that was started with this key. If that one was cancelled, start another one."""
        for key in itertools.chain([asked.key], (f"{asked.key}/{number}" for number in itertools.count(2))):
            wanted = asked._replace(seed=seed_of(process, asked.tenant, key or ""), key=key)
            try:
                _, answer = await begin(ctx, self.handles["start"], process, wanted)
            except TerminalError as refused:
                return ChildFound(refused=refused.message)
            found = FOUND.of(answer["child"])
            if found.row is not None and found.row.status is not Status.CANCELLED:
                return found
        raise AssertionError(asked)


def _asked(pending: Pending | None, private: frozenset[str]) -> Any:
    """The open pause as JSON, with the schema of its answer."""
    if pending is None:
        return None
    return to_jsonable_python(pending.without(private)._asdict() | {"answer": TypeAdapter(pending.answer).json_schema()})
