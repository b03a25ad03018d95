"""Transitions: put together all changes of one step, for the store to commit at once."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic_core import to_json

from pointsman.definition.children import Child
from pointsman.definition.fingerprint import SHORT
from pointsman.definition.nodes import Node
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate, Finish, Parallel, Park
from pointsman.kernel.case import Case
from pointsman.kernel.codec import digest_of
from pointsman.kernel.decide import Decision
from pointsman.kernel.effects import intended
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Block, Next, standing_after
from pointsman.kernel.guarding import usage_in
from pointsman.kernel.messages import CALLED_OFF, CHILD_ENDED, NONE_RECEIVED, PARENT_ENDED, Received, called_off, child_key
from pointsman.kernel.migrate import Migrated
from pointsman.kernel.moment import Moment, StepResult
from pointsman.kernel.rows import (
    BILLION,
    Address,
    BranchRow,
    CaseRow,
    EventWrite,
    FieldWrite,
    Intent,
    PauseOpening,
    PauseRow,
    Post,
    Transition,
    UsageWrite,
)
from pointsman.kernel.snapshot import ENDED, Cell, LogCell, Status
from pointsman.kernel.timers import next_rung_at, wake_time
from pointsman.kernel.words import NOTHING_SEARCHED, SearchWrite, search_write

NO_CELLS: Mapping[str, Cell] = MappingProxyType({})
_READY, _RUNNING, _WAITING = Status.READY, Status.RUNNING, Status.WAITING  # to look a member of an enum up takes as long as a call
_SUCCEEDED = Kind.NODE_SUCCEEDED
TOKEN_BITS = 80  # at a thousand guesses a second, longer than the universe has lasted


def stays(at: Moment, result: StepResult, status: Status, *, added: Mapping[str, Cell] = NO_CELLS) -> Transition:
    """The case stays at its step: an intent, a postponed attempt, a cancel, a redrive. `added` are items of logs."""
    case = at.case
    t = _begin(at, result)
    t.status, t.wake_at, t.steps = status, result.wake_at, case.snapshot.steps
    t.attempts = case.row.attempts if result.attempts is None else result.attempts
    t.step, t.rule = case.row.step, case.row.rule
    t.interruptions = _kept_interruptions(case, t, result) if case.row.interruptions else 0
    t.needs = _need(at, t, result) if status is Status.READY else None
    t.fields = _field_writes(case, added=added)
    if at.process.searchable:
        t.search = search_writes(at.process.searchable, t.fields)
    t.events = _event_writes(at, case.migrated, result.events)
    t.posts = _posts(at, t, None)
    return t


def blocks(at: Moment, reason: str) -> Transition:
    """Block the case, unchanged, until there is code that can continue it; its pause stays open."""
    bare = replace(at, case=replace(at.case, migrated=None))
    attempts = at.case.row.attempts - (at.case.row.status is Status.RUNNING)  # the claim was no attempt
    t = stays(bare, StepResult((Event(Kind.BLOCKED, facts={"reason": reason}),), attempts=attempts), Status.BLOCKED)
    t.reason = reason
    return t


def moves(
    at: Moment, after: Next, result: StepResult, came: Received = NONE_RECEIVED, *, intent: Intent | None = None, queues: Event | None = None,
    cancel: Event | None = None,
) -> Transition:  # fmt: skip
    """What happened, and the decision that follows.

    The next step runs at once where the engine has a place for it, and is ready for a claim otherwise; `queues` is the event of
    a step that waits for a permit. With `cancel` nothing follows: the case ends with that event.
    """
    case, row, decision, step = at.case, at.case.row, after.decision, after.decision.step
    parks = isinstance(step, Park)
    if parks and not (result.events or came.events):
        case = replace(case, migrated=None)  # it does not go on, so older code may still take it up
        at = replace(at, case=case)
    t = _begin(at, result)
    t.inbox, t.takes = len(case.messages), came.takes
    t.fields = _field_writes(case, after)
    if at.process.searchable:
        t.search = search_writes(at.process.searchable, t.fields)
    t.steps, t.intent, t.answered_by = after.snapshot.steps, intent, result.answered_by
    # A step that parks its case stays the case's step; a rule that parks it is a step of its own.
    stay = cancel is not None or (parks and not decision.rule)
    t.step, t.rule = (row.step, row.rule) if stay else (step.name, decision.rule or row.rule)
    keeps_pause = case.pause is not None and cancel is None and _keeps_pause(case.pause, at.process, after, result)
    in_order = _in_order(result, came, keeps_pause=keeps_pause) if came.events or result.climbs is not None else result.events
    t.events = events = _event_writes(at, case.migrated, in_order)
    if after.dropped:
        events.append(event_write(Event(Kind.RESULT_DROPPED, row.step, row.attempts, {"fields": after.dropped})))
    if after.cleared:
        events.append(event_write(Event(Kind.FIELD_CLEARED, facts={"fields": list(after.cleared)})))
    if cancel is not None:
        t.status, t.reason = Status.CANCELLED, cancel.facts["why"]
        events.append(event_write(cancel))
    elif keeps_pause:
        _wait_on(at, t, after, result)
    else:
        _arrive(at, t, events, after, result, going_on=at.offer.place and queues is None)
    if t.status is _READY:
        t.needs = _need(at, t, result)
        if queues is not None:
            events.append(event_write(queues))
    if row.interruptions:
        t.interruptions = _kept_interruptions(case, t, result)
    t.claims = t.status is _RUNNING and row.status is not _RUNNING
    t.leaves_pause = (row.status is _WAITING or case.pause is not None) and not keeps_pause
    # The results of branches belong to this step. A case that leaves the step never uses them again.
    t.ends_branches = result.ends_branches or (bool(case.branches or result.branches) and (t.step != row.step or cancel is not None))
    if row.parent is not None or case.children:
        t.posts = _posts(at, t, after)
    return t


def _in_order(result: StepResult, came: Received, *, keeps_pause: bool) -> Iterable[Event]:
    """The events in their order: first those of messages, then those of the step's result, which is applied after them.

    A child was started before it could end, and its end is a message. Nobody is reminded of a pause that is no longer open.
    """
    climbed = result.climbs is not None and not keeps_pause
    begun = [event for event in result.events if event.kind is Kind.CHILD_STARTED]
    return *begun, *came.events, *(event for event in result.events if not climbed and event.kind is not Kind.CHILD_STARTED)


def accepted_event(process: AnyProcess, cells: Mapping[str, Cell]) -> Event:
    """The event of a start with these inputs."""
    facts = {"fields": list(cells), "version": process.version, "fingerprint": process.fingerprint[:SHORT]}
    return Event(Kind.ACCEPTED, facts=facts, writes=cells)


def event_write(event: Event) -> EventWrite:
    """An event as the store keeps it."""
    kind, facts = event.kind, event.facts
    if kind is _SUCCEEDED and len(facts) == 1:
        return EventWrite(_SUCCEEDED, event.step, event.attempt, _fields(facts["fields"]))
    return EventWrite(kind, event.step, event.attempt, _json(facts))


def _event_writes(at: Moment, migrated: Migrated | None, events: Iterable[Event]) -> list[EventWrite]:
    writes = [*map(event_write, events)]
    return writes if migrated is None else [_migrated(migrated, at.process), *writes]


def usage_writes(events: Iterable[Event]) -> Sequence[UsageWrite]:
    """The usage that these events record. It is committed with the events, so it is counted once."""
    writes: list[UsageWrite] = []
    for event in events:
        answer = usage_in(event.facts) if "used" in event.facts else None
        if answer is not None:
            model, used = answer
            writes.append(UsageWrite(model, used.input_tokens, used.output_tokens, int(used.cost * BILLION)))
    return writes


_RUNNABLE = (Node, Parallel, Child, Compensate)  # `isinstance` checks a tuple faster than a union


def runnable(decision: Decision) -> bool:
    """Whether the decision names a step that the engine runs."""
    return isinstance(decision.step, _RUNNABLE)


_NO_PROGRESS = frozenset({Kind.PERMIT_WAITED, Kind.EFFECT_INTENDED, Kind.EFFECT_IN_DOUBT})


def _kept_interruptions(case: Case, t: Transition, result: StepResult) -> int:
    """The interruptions that the case keeps: an intent, a call in doubt or a wait in the backlog does not end a step."""
    stays = t.step == case.row.step and t.status in {Status.RUNNING, Status.READY}
    return case.row.interruptions if stays and (result.in_doubt or all(event.kind in _NO_PROGRESS for event in result.events)) else 0


def _begin(at: Moment, result: StepResult) -> Transition:
    case, row = at.case, at.case.row
    t = Transition(row.id, row.revision, row.fence, at.now, row.status)
    t.settlement, t.branches, t.ends_branches = result.settlement, result.branches, result.ends_branches
    t.usage = usage_writes(result.events)
    if case.migrated is not None:
        t.migrated, t.branches = case.migrated.to, _all_branches(case, result)
    return t


def _arrive(at: Moment, t: Transition, events: list[EventWrite], after: Next, result: StepResult, *, going_on: bool) -> None:
    """Set the status of the case after the decision, and add the events of both."""
    decision, step, row = after.decision, after.decision.step, at.case.row
    if decision.rule:
        events.append(_decided(decision.rule, decision.reads, step.name))
    if result.waits and isinstance(step, Child):
        t.status = _WAITING
    elif result.wake_at is not None and step.name == row.step:
        t.status, t.wake_at = _READY, result.wake_at
        t.attempts = row.attempts if result.attempts is None else result.attempts
    elif not isinstance(step, _RUNNABLE):
        events.append(event_write(_rest(at, t, after, result)))
    elif going_on:
        t.status, t.attempts = _RUNNING, 1
        if t.intent is not None:
            events.append(event_write(intended(at.process, t.intent)))
    else:
        t.status, t.wake_at = _READY, t.at


def _keeps_pause(pause: PauseRow, process: AnyProcess, after: Next, result: StepResult) -> bool:
    """Whether the case keeps its open pause: what it shows has not changed, so an answer is still valid."""
    step = after.decision.step
    if result.answered_by is not None or not isinstance(step, (Pause, Sleep)):
        return False
    return process.called(pause.name) == step.name and pause.digest == digest_of(after.snapshot.cells, step.shows)


def _wait_on(at: Moment, t: Transition, after: Next, result: StepResult) -> None:
    pause = at.case.pause
    assert pause is not None
    step = after.decision.step
    t.status, t.climbs = Status.WAITING, result.climbs
    rung = result.climbs.rung if result.climbs is not None else pause.rung
    t.wake_at = next_rung_at(step, pause.opened_at, rung) if isinstance(step, Pause) else pause.expires_at


def _rest(at: Moment, t: Transition, after: Next, result: StepResult) -> Event:
    """Set the resting status of the case after a decision that leaves the engine nothing to do, with its event."""
    cells = after.snapshot.cells
    match after.decision.step:
        case Pause(name=name, shows=shows) as pause:
            expires_at = None if pause.expires_seconds is None else t.at + pause.expires_seconds
            t.status, t.wake_at = Status.WAITING, next_rung_at(pause, t.at, 0)
            t.pause = PauseOpening(name, _token(at), digest_of(cells, shows), pause.assignee, expires_at)
            return Event(Kind.PAUSED, name, facts={"shows": shows, "digest": t.pause.digest})
        case Sleep(name=name) as sleep:
            until = t.at + sleep.seconds if sleep.seconds is not None else wake_time(cells[sleep.until or ""].value)
            t.status, t.wake_at = Status.WAITING, until
            t.pause = PauseOpening(name, _token(at), digest_of(cells, sleep.shows), None, until, asks=False)
            return Event(Kind.SLEEPING, name, facts={"until": until})
        case Finish(outcome):
            t.status, t.outcome = Status.DONE, outcome
            return Event(Kind.FINISHED, facts={"outcome": outcome})
        case Block(reason):
            t.status, t.reason = Status.BLOCKED, reason
            return Event(Kind.BLOCKED, facts={"reason": reason})
        case Park(reason):
            t.status, t.reason = Status.PARKED, reason
            evidence = result.evidence if reason == result.park and result.evidence is not None else {}
            return Event(Kind.PARKED, facts={"reason": reason, **evidence})
        case step:
            raise AssertionError(step)


def _token(at: Moment) -> str:
    return f"{at.chance.getrandbits(TOKEN_BITS):020x}"


def _ends(case: Case, t: Transition) -> bool:
    return t.status in ENDED and case.row.status not in ENDED


def _posts(at: Moment, t: Transition, after: Next | None) -> list[Post]:
    """The messages of the case to its parent, unless that has called it off, and to its children."""
    reports = at.case.row.parent is not None and _ends(at.case, t) and not called_off(at.case.messages)
    posts = [_to_parent(at.case.row, t)] if reports else []
    return posts + _to_children(at, t, after) if at.case.children else posts


def _to_parent(row: CaseRow, t: Transition) -> Post:
    """The message of an ended case to its parent."""
    end = {"key": row.key, "case": t.case, "status": t.status, "outcome": t.outcome or t.reason}
    return Post(Address(row.process, case=row.parent), CHILD_ENDED, str(t.case), json.dumps(end), t.at)


def _to_children(at: Moment, t: Transition, after: Next | None) -> list[Post]:
    """The cancels of a case to the children that it no longer waits for: all of them, or those with other inputs."""
    case = at.case
    step = at.process.steps.get(case.row.step or "")
    if not isinstance(step, Child):
        return []
    stay = t.step == case.row.step and not _ends(case, t)
    if stay and after is None:
        return []
    waits_for = child_key(after.snapshot, step) if stay and after is not None else None
    why = json.dumps({"by": f"case {t.case}", "why": CALLED_OFF})
    return [
        Post(Address(child.process, case=child.id), PARENT_ENDED, str(child.id), why, t.at)
        for child in case.children
        if child.status not in ENDED and (waits_for is None or not (child.key or "").startswith(waits_for))
    ]


def _need(at: Moment, t: Transition, result: StepResult) -> str | None:
    """The limit whose permit a ready case needs for its step. A look-up of an effect in doubt comes first, and needs none."""
    if result.needs is not None or result.in_doubt:
        return result.needs
    step = at.process.steps.get(t.step or "")
    return step.limit.name if isinstance(step, Node) and step.limit is not None else None


def _field_writes(case: Case, after: Next | None = None, added: Mapping[str, Cell] = NO_CELLS) -> Sequence[FieldWrite]:
    """The rows of `fields` that a transition adds: first those that a migration changed, then writes and clears."""
    rows = {} if case.migrated is None else {name: FieldWrite(name, *change) for name, change in case.migrated.changes.items()}
    before = case.snapshot.cells
    if after is not None:
        cells, written, cleared = after.snapshot.cells, after.written, after.cleared
    else:
        cells = {name: standing_after(before, name, item) for name, item in added.items()}
        written, cleared = cells.keys(), ()
    for name in written if len(written) == 1 else sorted(written):
        cell = cells.get(name)
        if cell is None:
            continue
        items = None
        if isinstance(cell, LogCell):
            was = before.get(name) if name not in rows else None
            items = cell.added_since(was) if isinstance(was, LogCell) else None
        rows[name] = FieldWrite(name, cell.text, cell.writer) if items is None else FieldWrite(name, items, cell.writer, appends=True)
    for name in cleared:
        rows[name] = FieldWrite(name, None, before[name].writer)
    return [*rows.values()]


def search_writes(searchable: Collection[str], fields: Sequence[FieldWrite]) -> Sequence[SearchWrite]:
    """What a case is found by after these writes."""
    if not searchable:
        return NOTHING_SEARCHED
    return [search_write(write.field, write.text, adds=write.appends) for write in fields if write.field in searchable]


def _all_branches(case: Case, result: StepResult) -> Sequence[BranchRow]:
    """A migration rewrites all branches, in the form that counts from now on."""
    ended = {write.name for write in result.branches}
    return [*(row for name, row in case.branches.items() if name not in ended), *result.branches]


def _migrated(migrated: Migrated, process: AnyProcess) -> EventWrite:
    since, to, _, changes = migrated
    facts = {"since": since, "to": to, "fingerprint": process.fingerprint[:SHORT], "fields": [*changes]}
    return event_write(Event(Kind.MIGRATED, facts=facts))


def _json(facts: Mapping[str, Any]) -> str:
    return to_json(facts, fallback=str, inf_nan_mode="strings").decode()


# A busy engine writes the same few events of these two kinds again and again.


@lru_cache(maxsize=4_096)  # as many as there are ways through the rules
def _decided(rule: str, reads: tuple[str, ...], step: str) -> EventWrite:
    return EventWrite(Kind.DECIDED, None, 0, _json({"rule": rule, "reads": reads, "step": step}))


@lru_cache(maxsize=4_096)  # as many sets of fields as steps write
def _fields(fields: tuple[str, ...]) -> str:
    return _json({"fields": fields})
