"""Forks a case as it was after a revision, and tries code on the fork: no effect is called.

A fork has the ledger of its case, with what was recorded later, too, and the same number and incarnation. So an effect that is chosen with the arguments of a
recorded call has its key, and the engine takes the recorded outcome, as it always does. In a trial the function of each effect is replaced by
one that tells what would be called, and the trial ends there.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

from pointsman.definition.effects import AnyEffect, AtMostOnce, Effect
from pointsman.definition.nodes import Context
from pointsman.definition.process import AnyProcess
from pointsman.errors import Refused
from pointsman.kernel.events import Kind
from pointsman.kernel.hiding import hide_fields
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import EffectRow, EventRow, EventWrite, FieldWrite, NewCase, PauseOpening, PauseRow, Transition
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.kernel.transitions import TOKEN_BITS
from pointsman.operations.export import export_case
from pointsman.operations.findings import short
from pointsman.operations.history import History, event_text, history_of
from pointsman.operations.past import past_of
from pointsman.operations.redaction import redacted
from pointsman.operations.times import format_time
from pointsman.runtime.clock import Clock
from pointsman.runtime.engine import Engine
from pointsman.store.base import Dossier, Reader
from pointsman.store.forking import Forked, read_fork, write_fork

TRIAL_SECONDS = 60.0  # longer than most cases need to rest, and short enough for a person to wait
BY = "a trial"


async def fork_case(reader: Reader, case: int, revision: int, path: Path, *, clock: Clock, chance: Random) -> None:
    """Write a case as it was after a revision into a new file, which no engine opens. Nothing else is changed.

    Private values are in the file, too. Raises UnknownCase, Refused if the case has no such revision or was erased, and StoreError.
    """
    past, export = await past_of(reader, case, revision), await export_case(reader, case)
    if past.erased is not None:
        raise Refused(f"the content of case {case} was erased, and nothing is left to try.")
    blobs = [(blob, content) for blob in export.blobs if (content := await reader.blob(blob)) is not None]
    token = f"{chance.getrandbits(TOKEN_BITS):020x}"
    private = [one for one in await reader.private() if one.process == past.case.process]
    transitions = tuple(_transitions(export.dossier, past.case._replace(revision=revision), token))
    effects = tuple(_effects(export.dossier, revision))
    write_fork(path, Forked(case, reader.incarnation, transitions, effects, private, blobs), now=clock.now())


def _transitions(dossier: Dossier, stood: Any, token: str) -> Iterator[Transition]:
    """The transitions from the start to where the case `stood`. Its open pause gets this token, because the old one could answer the case itself."""
    at = stood.created_at
    pause = _open_pause(dossier, stood.revision) if stood.status is Status.WAITING else None
    for revision in range(1, stood.revision + 1):
        events = [event for event in dossier.events if event.revision == revision]
        at = events[-1].at if events else at
        t = Transition(stood.id, revision - 1, 0, at, Status.READY, step=stood.step, rule=stood.rule)
        t.fields = [FieldWrite(*write[1:]) for write in dossier.writes if write.revision == revision]
        t.events = [EventWrite(event.kind, event.step, event.attempt, event.facts) for event in events]
        if revision == 1:
            t.new = NewCase(stood.process, stood.version, stood.key, stood.tenant, stood.priority)
        if pause is not None and pause.revision == revision:
            asks = any(event.kind == Kind.PAUSED for event in events)
            t.pause = PauseOpening(pause.name, token, pause.digest, pause.assignee, pause.expires_at, asks)
        if revision == stood.revision:
            t.status, t.reason, t.outcome = stood.status, stood.reason, stood.outcome
            if stood.status in {Status.READY, Status.RUNNING}:
                t.status, t.wake_at = Status.READY, at
        yield t


def _effects(dossier: Dossier, revision: int) -> Iterator[EffectRow]:
    """What the ledger had by then, as it ended since, and the outcomes that were recorded later."""
    intended = [
        json.loads(event.facts)["key"] for event in dossier.events if event.kind == Kind.EFFECT_INTENDED and event.revision <= revision
    ]
    yield from (entry for entry in dossier.effects if entry.key in intended or entry.status in {EffectStatus.DONE, EffectStatus.FAILED})


def _open_pause(dossier: Dossier, revision: int) -> PauseRow | None:
    """The last pause that had opened by then."""
    return next((pause for pause in reversed(dossier.pauses) if pause.revision <= revision), None)


class Call(NamedTuple):
    """A call of an effect that a trial did not make: the case, the effect, and what it would have read."""

    case: int
    effect: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """Where a fork has come in a trial. `history` is that of its case, `since` the last revision before the trial, `calls` the effects that were not called.

    `rests` is False if the case was still going on when the trial ended for the time.
    """

    history: History
    since: int
    calls: tuple[Call, ...]
    rests: bool

    @property
    def events(self) -> tuple[EventRow, ...]:
        """What happened in the trial."""
        return tuple(event for event in self.history.events if event.revision > self.since)

    def lines(self) -> Iterator[str]:
        """The lines of a text for a person."""
        case = self.history.case
        yield f"A trial of case {case.id}, which went on after revision {self.since}:"
        yield from (f"  {format_time(event.at)}  {event.kind}  {event_text(event)}" for event in self.events)
        for call in self.calls:
            of = f" of its child, case {call.case}" if call.case != case.id else ""
            yield f"It stops before the effect {call.effect!r}{of}, which has no recorded outcome for this call. It would be called with:"
            yield from (f"  {name} = {short(value)}" for name, value in call.arguments.items())
        if not self.calls:
            stands = case.reason or case.outcome or (f"at {case.step}" if case.step else "")
            yield f"It is {case.status}, {stands}." if self.rests else f"It was still at {case.step} when the time of the trial was over."
        yield "No effect was called, and nothing is stored."

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "since": self.since,
            "rests": self.rests,
            "calls": [call._asdict() for call in self.calls],
            **{name: value for name, value in self.history.as_json().items() if name != "pause"},
        }


NO_FIELDS: Mapping[str, object] = {}


async def try_fork(
    path: Path, processes: Sequence[AnyProcess], *, resources: Mapping[str, Any] | None = None, fields: Mapping[str, object] = NO_FIELDS,
    answer: Sequence[object] = (), seconds: float = TRIAL_SECONDS,
) -> Trial:  # fmt: skip
    """Run a copy of a fork in memory, until it rests, or until an effect without a recorded outcome would be called. The file stays as it is.

    Nodes are really called, and effects are not. A parked case is redriven. `fields` corrects a case that is parked or waits, and `answer` has the
    answer to its pause, if there is one. Looking for an effect in doubt is a call, too, so the case parks. Raises StoreError,
    DefinitionError, and Refused if the case has ended, or does not take the fields or the answer.
    """
    for process in processes:
        if not process.ordered_rules:
            raise Refused(
                f"{process.name!r} is an entrypoint, and only a process with rules can be tried on a fork; test its body in a `World`."
            )
    case, store = read_fork(path)
    row = await store.case(case)
    if row is None or row.status in ENDED:
        raise Refused(f"case {case} had ended by then, and there is nothing to try; fork it at an earlier revision.")
    calls: list[Call] = []
    stopped = asyncio.Event()
    with _not_calling(processes, calls, stopped):
        async with Engine.open("", processes, resources=resources, store=store, grace_seconds=0.0) as engine:
            if row.status is Status.PARKED or fields:
                await engine.redrive(case, by=BY, why=BY, fields=fields)
            for one in answer:
                await engine.resume((await engine.pending(case)).token, one, by=BY)
            rests = asyncio.ensure_future(engine.wait_until_resting(case))
            stops = asyncio.ensure_future(stopped.wait())
            done, left = await asyncio.wait({rests, stops}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for one_left in left:
                one_left.cancel()
            return Trial(await history_of(await redacted(store), case), row.revision, tuple(calls), rests in done)


@contextmanager
def _not_calling(processes: Sequence[AnyProcess], calls: list[Call], stopped: asyncio.Event) -> Iterator[None]:
    """Replace the function of each effect by one that tells of the call and never returns, and its policy by one that looks up nothing."""
    effects: dict[int, tuple[AnyEffect, frozenset[str]]] = {}
    for process in processes:
        _ = process.fingerprint  # it is computed once, and from the policies
        declared_here = [step for step in process.steps.values() if isinstance(step, Effect)]
        for effect in (*declared_here, *(effect.undo for effect in declared_here if effect.undo is not None)):
            effects[id(effect)] = effect, process.private
    names = ("function", "signature", "asynchronous", "safety")
    declared = [(effect, {name: getattr(effect, name) for name in names}) for effect, _ in effects.values()]
    for effect, private in effects.values():
        stand_in = _telling(effect, private, calls, stopped)
        settings = (stand_in, replace(effect.signature, uses={"ctx": Context}), True, AtMostOnce())
        for name, value in zip(names, settings, strict=True):
            object.__setattr__(effect, name, value)
    try:
        yield
    finally:
        for effect, before in declared:
            for name, value in before.items():
                object.__setattr__(effect, name, value)


def _telling(effect: AnyEffect, private: frozenset[str], calls: list[Call], stopped: asyncio.Event) -> Any:
    fields = tuple(effect.signature.reads)

    async def tell(*reads: Any, ctx: Context) -> None:
        plain = {name: to_jsonable_python(value, fallback=str) for name, value in zip(fields, reads, strict=True)}
        calls.append(Call(ctx.case, effect.name, hide_fields(plain, private)))
        stopped.set()
        await asyncio.Event().wait()  # until the engine is closed

    return tell
