"""The case machine: it decides everything that happens to a case.

    advance(program, case, happening, now, chance, offer) -> Plan(transition, commands) | Refusal

Rules for this module and the modules that it imports: no clock and no chance of their own, no event loop, no store. The same case and the
same happening give the same plan.

Theory of operation. A case is a record of fields. There is no program counter: the program reads the fields and says what comes next. So
a case moves in one loop. Something happens to it: a call ended, a person answered, a message came, a timer is due. The machine applies
that, asks the program what comes next, and answers with a plan. The engine commits the plan's transition as a whole, and only then
performs the plan's commands (`commands.py` lists them). What a command brings is the next happening.

A crash loses the memory of an engine and never a committed transition. The engine that claims the case afterwards gives the machine
`Claimed`. The machine finds in the stored case how far it had come: which branches ended, which effects may have happened, which question
of a guard is next.

A message is part of the case from the commit that delivers it. A transition says how many messages it has seen. If there are more, the
store refuses the commit, the engine reads the messages, and the machine is asked again. It applies messages before the result of the
step, and drops a result that was computed from fields that they rewrote.

A cancel that comes while a step runs is part of the offer, because the step's result is kept: the transition has both.

`NEXT` says which happenings a case takes in each status, and to which statuses they can lead. The machine refuses a happening that does
not fit the status, and then nothing changes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from pointsman.definition.children import Child
from pointsman.definition.effects import AnyEffect, Effect
from pointsman.definition.nodes import AnyNode, Node
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.rules import Compensate, Finish, Parallel, Step
from pointsman.definition.transactions import Transaction
from pointsman.errors import Refused
from pointsman.kernel import attempts, compensations, effects, happenings, joins, messages, operators, timers
from pointsman.kernel.attempts import INTERRUPTIONS_MAX
from pointsman.kernel.case import Case, committed
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.commands import CallEffect, CallNode, Command, Continue, Rest, RunBranches, RunTransaction, StartChild
from pointsman.kernel.decide import Decision
from pointsman.kernel.events import ERASED_TEXT, Event, Kind
from pointsman.kernel.evolve import Next, next_after, parked, rests_on_changes, standing_after
from pointsman.kernel.guarding import BEGINNING
from pointsman.kernel.happenings import Happening
from pointsman.kernel.hiding import HIDDEN, hidden, hiding
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.messages import NONE_RECEIVED, Received
from pointsman.kernel.moment import FULL_OFFER, NOTHING, Chance, Moment, Offer, StepResult
from pointsman.kernel.private_texts import private_texts
from pointsman.kernel.program import Program
from pointsman.kernel.record import record
from pointsman.kernel.rows import MessageRow, MessageStatus, PauseClimb, Transition
from pointsman.kernel.snapshot import ENDED, Snapshot, Status
from pointsman.kernel.transitions import accepted_event, blocks, moves, runnable, stays

_REST = (Rest(),)
_RUNNING = Status.RUNNING  # to look a member of an enum up takes as long as a call
_CALLABLE = (Parallel, Node)

# The table.

_RULED = frozenset({Status.READY, Status.RUNNING, Status.WAITING, Status.PARKED, Status.DONE})
"""Where the rules lead. The next step runs at once, or is ready while it waits for a place, a permit or its next attempt."""

_RULED_OR_CANCELLED = _RULED | {Status.CANCELLED}
"""Where a step leads. A cancel can come while it runs: its result is kept, and the case ends."""

_RULED_OR_BLOCKED = _RULED | {Status.BLOCKED}
"""Where a case goes that other code may take up. A case is blocked if that code no longer has an effect that is in doubt. The code that
called the effect has it, so a step does not lead there. Nor does a start or an answer: a case that starts or waits has no effect in doubt."""

_AS_IT_ENDED = {status: frozenset({status}) for status in Status if status in ENDED}


def _from(status: Status, *more: Status, to: frozenset[Status]) -> dict[Status, frozenset[Status]]:
    return dict.fromkeys((status, *more), to)


NEXT: Mapping[type, Mapping[Status, frozenset[Status]]] = {
    happenings.StartAsked: _from(Status.READY, to=_RULED),
    happenings.Answered: _from(Status.WAITING, to=_RULED),
    happenings.Assigned: _from(Status.WAITING, to=frozenset({Status.WAITING})),
    happenings.Reconsidered: _from(Status.WAITING, to=_RULED),
    happenings.CancelAsked: _from(Status.READY, Status.WAITING, Status.PARKED, Status.BLOCKED, to=frozenset({Status.CANCELLED})),
    happenings.Redriven: _from(Status.PARKED, to=_RULED_OR_BLOCKED) | _from(Status.WAITING, to=_RULED),  # the latter with corrections only
    happenings.Resolved: _from(Status.READY, Status.PARKED, Status.BLOCKED, to=_RULED_OR_BLOCKED)
    | _from(Status.RUNNING, Status.WAITING, to=frozenset())  # refused, with what the ledger says
    | _AS_IT_ENDED,
    happenings.EraseAsked: _AS_IT_ENDED,
    happenings.NotAcceptedHere: _from(Status.READY, Status.RUNNING, Status.WAITING, to=frozenset({Status.BLOCKED})),
    happenings.AcceptedHere: _from(Status.BLOCKED, to=frozenset({Status.READY})),
    happenings.Claimed: _from(Status.RUNNING, to=frozenset(Status))
    | _from(Status.READY, to=frozenset(Status) - {Status.RUNNING}),  # no claim: somebody asks whether its pause is still open
    **{
        kind: _from(Status.RUNNING, to=_RULED_OR_CANCELLED)
        for kind in (
            happenings.Continued, happenings.NodeEnded, happenings.PermitRefused, happenings.Acquired, happenings.EffectEnded,
            happenings.LookedUp, happenings.TransactionEnded, happenings.BranchesRested, happenings.ChildStarted,
            happenings.ChildRefused,
        )
    },
    happenings.CancelledBeforeCall: _from(Status.RUNNING, to=frozenset({Status.CANCELLED})),
    happenings.BranchesEnded: _from(Status.RUNNING, to=frozenset({Status.RUNNING})),
    happenings.CannotGoOn: _from(Status.RUNNING, to=frozenset({Status.PARKED})),
}  # fmt: skip
"""For each happening the statuses in which a case takes it, and the statuses to which it leads. `tests/kernel/test_machine.py` shows that it
leads to each of them and to no other."""


@record
class Plan:
    """What to commit, what to do once that is committed, and the case as it is then."""

    transition: Transition | None
    commands: tuple[Command, ...]
    case: Case


class Refusal(NamedTuple):
    """The happening does not fit the case as it stands; nothing changes."""

    reason: str


def advance(program: Program, case: Case, happening: Happening, now: float, chance: Chance, offer: Offer = FULL_OFFER) -> Plan | Refusal:
    """What follows when `happening` comes to `case` at `now` (Unix seconds)."""
    kind = type(happening)
    if case.row.status not in NEXT[kind]:
        return Refusal(f"a case that is {case.row.status} does not take {kind.__name__}")
    at = Moment(program, case, now, chance, offer, program.process)
    handle: Callable[[Moment, Any], Plan | Refusal] = _HANDLERS[kind]
    if not at.process.private:
        return handle(at, happening)
    with hiding(lambda: private_texts(at, happening)):
        return handle(at, happening)


# From the caller's side.


def _start_asked(at: Moment, came: happenings.StartAsked) -> Plan | Refusal:
    if at.case.row.revision:
        return Refusal("the case has been started")
    event = accepted_event(at.process, came.cells)
    after = next_after(at.program, at.case.snapshot, event)
    plan = _go_on(at, after, StepResult((event,)))
    if plan.transition is not None:
        plan.transition.new = came.new
    return plan


def _answered(at: Moment, came: happenings.Answered) -> Plan | Refusal:
    if not _waits_at(at, came.pause):
        return Refusal(f"the case does not wait at pause {came.pause!r}")
    event = Event(Kind.RESUMED, came.pause, facts={"by": came.by, "fields": list(came.cells)}, writes=came.cells)
    return _go_on(at, next_after(at.program, at.case.snapshot, event), StepResult((event,), answered_by=came.by))


def _assigned(at: Moment, came: happenings.Assigned) -> Plan | Refusal:
    """The pause keeps its token, its digest and its place on the ladder: only who is asked changes."""
    pause = at.case.pause
    if pause is None or not _waits_at(at, came.pause):
        return Refusal(f"the case does not wait at pause {came.pause!r}")
    if at.case.messages:
        return Refusal("a message has come, which may close the pause; it is taken in first")
    facts = {"assignee": came.to or None, "by": came.by, "note": came.note}
    t = stays(at, StepResult((Event(Kind.REASSIGNED, came.pause, facts=facts),), wake_at=at.case.row.wake_at), Status.WAITING)
    t.climbs, t.inbox = PauseClimb(pause.rung, came.to or None), 0
    return _plan(at, t, at.case.snapshot, _REST)


def _waits_at(at: Moment, pause: str) -> bool:
    if at.case.pause is None or at.case.row.step != pause:
        return False
    return at.program.pause(at.case.row.id, at.case.snapshot.cells, pause) is not None


def _reconsidered(at: Moment, _: happenings.Reconsidered) -> Plan:
    return _go_on(at, next_after(at.program, at.case.snapshot, None), NOTHING)


def _cancel_asked(at: Moment, came: happenings.CancelAsked) -> Plan:
    event = Event(Kind.CANCELLED, facts={"by": came.by, "why": came.why})
    t = stays(at, StepResult((*_untaken_events(at), event), ends_branches=True), Status.CANCELLED)
    t.reason, t.leaves_pause = came.why, True
    t.inbox, t.takes = len(at.case.messages), [(message.id, _untaken(at, message)) for message in at.case.messages]
    return _plan(at, t, at.case.snapshot, _REST)


def _redriven(at: Moment, came: happenings.Redriven) -> Plan | Refusal:
    if at.case.row.status is Status.WAITING and (not came.fields or at.case.pause is None):
        return Refusal(f"case {at.case.row.id} waits, and is not parked: there is nothing to call again.")
    renewed = joins.renewed(at.case.branches.values())
    facts = {"by": came.by, "why": came.why, "fields": list(came.fields)}
    again = {} if came.fields else at.program.redriven(at.case.row.id, at.case.snapshot.cells)
    if not came.fields and not again:
        event = Event(Kind.REDRIVEN, facts=facts)
        return _back_to_backlog(at, StepResult((event,), wake_at=at.now, branches=renewed, attempts=0))
    received = messages.received(at)
    if received.cancel is not None:
        return Refusal(f"case {at.case.row.id} is about to be cancelled: {received.cancel.facts['why']}.")
    try:
        event = Event(Kind.REDRIVEN, facts=facts, writes=again or operators.corrected(at, came.fields))
    except Refused as refused:
        return Refusal(str(refused))
    after = _after(at, event, received)
    return _go_on(at, after, StepResult((event,), branches=renewed), received)


def _resolved(at: Moment, came: happenings.Resolved) -> Plan | Refusal:
    if came.key not in at.case.ledger:
        return Refusal(f"case {at.case.row.id} has no effect with key {came.key}.")
    try:
        event, settlement, cells = operators.resolution(at, came)
    except Refused as refused:
        return Refusal(str(refused))
    if at.case.row.status in ENDED:
        if cells:
            event = replace(event, facts={**event.facts, "fields": list(cells)})
        t = stays(at, StepResult((event,), settlement=settlement), at.case.row.status, added=cells or {})
        t.reason, t.outcome = at.case.row.reason, at.case.row.outcome
        return _plan(at, t, at.case.snapshot, _REST)
    if cells is None or (at.case.migrated is None and not at.case.messages and not _goes_on_elsewhere(at, came.key)):
        # The step finds the outcome in the ledger.
        return _back_to_backlog(at, StepResult((event,), wake_at=at.now, settlement=settlement, attempts=0))
    # A migration, a message that waits, or a changed body may change what the effect reads, and so its key, or lead to another step first.
    # Under another key the step would not find the outcome, so it is written at once.
    received = messages.received(at)
    event = replace(event, facts={**event.facts, "fields": list(cells)}, writes=cells)
    after = _after(at, event, received)
    return _go_on(at, after, StepResult((event,), settlement=settlement), received)


def _goes_on_elsewhere(at: Moment, key: str) -> bool:
    """Whether the case would go on with something else than the effect under this key."""
    after = next_after(at.program, at.case.snapshot, None)
    step = after.decision.step
    if not isinstance(step, Effect):
        return not isinstance(step, Compensate)  # which finds in the ledger what is taken back
    try:
        return effects.effect_key(at.case.incarnation, at.process, after.snapshot, step)[0] != key
    except Exception:  # the author's key function may raise anything, and the step says so
        return False


def _erase_asked(at: Moment, came: happenings.EraseAsked) -> Plan:
    row = at.case.row
    t = stays(at, StepResult((Event(Kind.ERASED, facts={"by": came.by, "why": came.why}),)), row.status)
    t.reason, t.outcome, t.erases = None if row.reason is None else ERASED_TEXT, row.outcome, True
    return _plan(at, t, at.case.snapshot, _REST)


def _not_accepted(at: Moment, came: happenings.NotAcceptedHere) -> Plan:
    return _plan(at, blocks(at, came.reason), at.case.snapshot, _REST)


def _accepted(at: Moment, came: happenings.AcceptedHere) -> Plan:
    event = Event(Kind.UNBLOCKED, facts={"version": came.version})
    return _plan(at, stays(at, StepResult((event,), wake_at=at.now), Status.READY), at.case.snapshot, _REST)


def _cannot_go_on(at: Moment, came: happenings.CannotGoOn) -> Plan:
    # Without its fields, nobody knows what is private in the text of the error.
    bare = at.process.private and not at.case.whole
    reason = f"{came.reason.partition(': ')[0]}: {HIDDEN}" if bare else hidden(came.reason)
    t = stays(at, StepResult((Event(Kind.PARKED, facts={"reason": reason}),)), Status.PARKED)
    t.reason = reason
    return _plan(at, t, at.case.snapshot, _REST)


def _back_to_backlog(at: Moment, result: StepResult) -> Plan:
    return _plan(at, stays(at, result, Status.READY), at.case.snapshot, _REST)


# From the engine's side.


def _claimed(at: Moment, _: happenings.Claimed) -> Plan | Refusal:
    """Decide afresh what comes next: the rules may have changed since the last decision was committed."""
    case = at.case
    if case.row.status is Status.READY and at.offer.place:
        return Refusal("a ready case must be claimed before it can run")
    if case.pause is not None:
        return _conclude(at, timers.due(at))
    decision = at.program.next(case.row.id, case.snapshot.cells)
    # Messages wait while nobody knows whether an effect happened: its outcome comes first.
    first = not case.messages or (isinstance(decision.step, Effect) and bool(case.unsettled))
    if at.offer.place and first and runnable(decision) and decision.step.name == case.row.step and not decision.writes:
        same = Next(case.snapshot, decision, ())
        if effects.prepare(at, same, NOTHING, going_on=False)[0].decision is decision:
            return _perform(at, decision.step)
    return _conclude(at, NOTHING)


def _continued(at: Moment, came: happenings.Continued) -> Plan | Refusal:
    if at.case.row.step != came.step.name:
        return Refusal(f"the case is not at {came.step.name!r}")
    if not isinstance(came.step, Node | Parallel | Child | Compensate):
        return Refusal(f"there is nothing to do at {came.step.name!r}")
    return _perform(at, came.step)


def _node_ended(at: Moment, came: happenings.NodeEnded) -> Plan | Refusal:
    call = came.call
    if at.case.row.step != call.step:
        return Refusal(f"the case is not at {call.step!r}")
    if call.tasks is not None:
        return _conclude(at, joins.only_call_ended(at, call.tasks, came.end))
    return _conclude(at, attempts.node_ended(at, call.node, came.end))


def _permit_refused(at: Moment, came: happenings.PermitRefused) -> Plan | Refusal:
    if isinstance(came.wanted, CallNode):
        if at.case.row.step != came.wanted.step or came.wanted.node.limit is None:
            return Refusal(f"the case does not wait for a permit of {came.wanted.node.name!r}")
        if came.wanted.tasks is not None:
            return _conclude(at, joins.without_permit(at, joins.only_call(came.wanted.tasks), 1, came.why))
        return _conclude(at, attempts.wait_for_permit(at, came.wanted.node, why=came.why))
    if not _is_at(at, came.wanted.effect, came.wanted.undoes) or came.wanted.effect.limit is None:
        return Refusal(f"the case does not wait for a permit of {came.wanted.effect.name!r}")
    then = compensations.as_of(at, came.wanted.cells)
    return _moved_on(at, effects.refused_permit(then, came.wanted, came.why), came.wanted.undoes)


def _acquired(at: Moment, came: happenings.Acquired) -> Plan | Refusal:
    if not _is_at(at, came.wanted.effect, came.wanted.undoes):
        return Refusal(f"the case is not at {came.wanted.effect.name!r}")
    wanted, then = came.wanted, compensations.as_of(at, came.wanted.cells)
    move = effects.call_absent(then, wanted) if wanted.absent else effects.reach(then, wanted.effect, wanted.undoes, granted=wanted)
    return _moved_on(at, move, wanted.undoes)


def _effect_ended(at: Moment, came: happenings.EffectEnded) -> Plan | Refusal:
    entry = at.case.ledger.get(came.call.intent.key)
    if entry is None or entry.status is not EffectStatus.INTENDED or not _is_at(at, came.call.effect, came.call.undoes):
        return Refusal(f"no intent is committed under key {came.call.intent.key}")
    then = compensations.as_of(at, came.call.cells)
    return _moved_on(at, effects.call_ended(then, came.call, came.end), came.call.undoes)


def _looked_up(at: Moment, came: happenings.LookedUp) -> Plan | Refusal:
    if came.asked.key not in at.case.unsettled or not _is_at(at, came.asked.effect, came.asked.undoes):
        return Refusal(f"the effect with key {came.asked.key} is not in doubt")
    then = compensations.as_of(at, came.asked.cells)
    return _moved_on(at, effects.looked_up(then, came.asked, came.found, came.error), came.asked.undoes)


def _transaction_ended(at: Moment, came: happenings.TransactionEnded) -> Plan | Refusal:
    if at.case.row.step != came.node.name:
        return Refusal(f"the case is not at {came.node.name!r}")
    result = attempts.node_ended(at, came.node, came.end)
    if came.end.error is None and result.wake_at is None and result.park is None:
        # The messages wait for the next transition: this one is put together where the author's rows are written.
        after = next_after(at.program, at.case.snapshot, result.events[-1])
        if at.offer.cancel is not None:
            return _plan(at, moves(at, after, result, cancel=at.offer.cancel), after.snapshot, _REST)
        return _decided(at, moves(at, after, result), after)
    return _conclude(at, result)


def _branches_ended(at: Moment, came: happenings.BranchesEnded) -> Plan:
    """Commit what came out of branches while others go on."""
    result = joins.kept(at, came.step, came.ends)
    added = {**came.notes, **result.events[-1].writes} if result.events else came.notes
    t = stays(at, replace(result, attempts=int(came.calling)), Status.RUNNING, added=added)
    cells = {name: standing_after(at.case.snapshot.cells, name, item) for name, item in added.items()}
    return _plan(at, t, at.case.with_cells({**at.case.snapshot.cells, **cells}).snapshot if added else at.case.snapshot, ())


def _branches_rested(at: Moment, came: happenings.BranchesRested) -> Plan | Refusal:
    if at.case.row.step != came.branches.step.name:
        return Refusal(f"the case is not at {came.branches.step.name!r}")
    kept = joins.kept(at, came.branches.step, came.ends)
    verdict = came.branches.verdict
    if verdict is not None:
        return _conclude(at, joins.joined(at, came.branches, verdict, (*kept.events, *came.late), kept.branches))
    if came.branches.over or (kept.events and kept.events[-1].writes):
        return _conclude(at, replace(kept, events=(*came.late, *kept.events)))
    if came.branches.refused is not None:
        branch, why = came.branches.refused
        attempt = came.branches.rows[branch.name].attempts + 1
        return _conclude(at, joins.without_permit(at, branch, attempt, why, kept))
    return _conclude(at, replace(kept, wake_at=came.branches.wake_at(at.now), attempts=0))


def _child_started(at: Moment, came: happenings.ChildStarted) -> Plan | Refusal:
    if at.case.row.step != came.child.name:
        return Refusal(f"the case is not at {came.child.name!r}")
    begun = Event(Kind.CHILD_STARTED, came.child.name, facts={"child": came.row.id})
    if came.row.status is Status.DONE and not came.end_pending:  # the message of its end was taken in earlier, and does not come again
        body = {"case": came.row.id, "status": came.row.status, "outcome": came.row.outcome}
        ended, park = messages.child_end(at, came.child, body, came.fields)
        return _conclude(at, StepResult((begun, ended), park=park))
    return _conclude(at, StepResult((begun,), waits=True))


def _child_refused(at: Moment, came: happenings.ChildRefused) -> Plan | Refusal:
    if at.case.row.step != came.child.name:
        return Refusal(f"the case is not at {came.child.name!r}")
    return _conclude(at, StepResult(park=hidden(came.reason)))


def _cancelled_before_call(at: Moment, came: happenings.CancelledBeforeCall) -> Plan | Refusal:
    if at.offer.cancel is None:
        return Refusal("nobody has asked to cancel the case")
    if came.call is not None and came.call.intent.key not in at.case.unsettled:
        return Refusal(f"no intent is committed under key {came.call.intent.key}")
    return _conclude(at, NOTHING if came.call is None else effects.cancelled_before_call(came.call))


# What a step does.


def _perform(at: Moment, step: Step) -> Plan:
    """The command with which a step begins or goes on, or what follows if it cannot."""
    match step:
        case Effect():
            return _moved_on(at, effects.reach(at, step))
        case Compensate():
            return _moved_on(at, compensations.next_move(at, step))
        case Child():
            return _start_child(at, step)
        case Parallel() | Node():
            if at.case.row.interruptions >= INTERRUPTIONS_MAX:
                return _conclude(at, attempts.interrupted(at, step))
            return Plan(None, (_call(at.case, step),), at.case)
        case _:
            raise AssertionError(step)


def _call(case: Case, step: "Parallel | Node[Any, Any]") -> Command:
    if isinstance(step, Parallel):
        return CallNode(step.nodes[0], 1, BEGINNING, step) if joins.needs_no_branch(step, case) else RunBranches(step)
    if isinstance(step, Transaction):
        return RunTransaction(step)
    return CallNode(step, case.row.attempts, attempts.progress_in(case, step))


def _is_at(at: Moment, effect: AnyEffect, undoes: str) -> bool:
    """Whether the case is at this effect or, for a compensation, at a `compensate` step."""
    return (at.case.row.step or "") in at.process.compensates if undoes else at.case.row.step == effect.name


def _start_child(at: Moment, child: Child) -> Plan:
    codec = codec_of(at.process.state)
    try:
        inputs = child.inputs(*(codec.fresh(at.case.snapshot.cells, name) for name in child.signature.reads))
    except Exception as error:  # the author's function may raise anything
        reason = f"child {child.name!r} cannot be started: {type(error).__name__}: {message_of(error)}"
        return _conclude(at, StepResult(park=reason))
    return Plan(None, (StartChild(child, inputs, messages.child_key(at.case.snapshot, child)),), at.case)


def _moved_on(at: Moment, move: effects.Move, undoes: str = "") -> Plan:
    """The plan of an effect's next move; `undoes` is the key of the call that a compensation reverses."""
    if isinstance(move, effects.Intend):
        return _intend(at, move)
    if not isinstance(move, StepResult):
        return Plan(None, (move,), at.case)
    step = at.process.compensates.get(at.case.row.step or "") if undoes else None
    if step is None or move.park is not None or move.wake_at is not None:
        return _conclude(at, move)
    t = stays(at, replace(move, attempts=1), Status.RUNNING)
    return _plan(at, t, at.case.snapshot, (Continue(step),))


def _intend(at: Moment, move: effects.Intend) -> Plan:
    """Commit the intent, then call: unless a message has come that the effect should know."""
    if at.case.messages and (not move.repeats or messages.touch(at, move.call.effect)):
        return _conclude(at, move.otherwise)
    event = effects.intended(at.process, move.call.intent)
    t = stays(at, StepResult((*move.events, event)), Status.RUNNING)
    t.intent, t.inbox = move.call.intent, len(at.case.messages)
    return _plan(at, t, at.case.snapshot, (move.call,))


# What follows from what came out of a step.


def _conclude(at: Moment, result: StepResult) -> Plan:
    """Apply the messages that came meanwhile and the result of the step, and plan what follows."""
    received = messages.received(at) if at.case.messages else NONE_RECEIVED
    cancel = at.offer.cancel or received.cancel
    in_doubt = result.settlement is not None and result.in_doubt
    if cancel is None and (in_doubt or not at.case.messages) and (result.wake_at is not None or result.waits):
        t = stays(at, result, Status.WAITING if result.waits else Status.READY)
        t.inbox = None if in_doubt else len(at.case.messages)
        return _plan(at, t, at.case.snapshot, _REST)
    if cancel is None and in_doubt:
        # The case stays what it was at the call, or nobody could say any more what may have been sent. Messages wait.
        received = NONE_RECEIVED
    after = _after(at, result.events[-1] if result.events else None, received)
    if cancel is not None:
        # What the step did is kept; what would come next is not begun.
        t = moves(at, after, result, received, cancel=cancel)
        return _plan(at, t, after.snapshot, _REST)
    moved = bool(received.events) and _moved(at, after)
    reason = received.park or (None if moved else result.park)
    if reason is not None:
        after = parked(after, reason)
    elif result.finishes is not None and not moved:
        after = replace(after, decision=Decision(Finish(result.finishes)))
    if moved:
        result = replace(result, wake_at=None, waits=False, answered_by=None if after.dropped else result.answered_by)
    return _go_on(at, after, result, received)


def _after(at: Moment, event: Event | None, received: Received) -> Next:
    """The case after what happened, and what comes next: what the rules choose, or the rest of a compensation that has begun."""
    after = next_after(at.program, at.case.snapshot, event, received.events)
    if not at.case.ledger:
        return after
    begun = compensations.begun(at.process, at.case.row.step, at.case.ledger.values())
    if begun is None or not after.decision.rule:
        return after
    return replace(after, decision=Decision(begun, at.case.row.rule or ""))


def _moved(at: Moment, after: Next) -> bool:
    """Whether the messages rewrote what the present step reads, or led the program to another step."""
    step = after.decision.step
    if step.name != at.case.row.step:
        return True
    steps = step.nodes if isinstance(step, Parallel) else (step,) if isinstance(step, Node | Child | Pause | Sleep) else ()
    return any(rests_on_changes(at.process, one, at.case.snapshot.cells, after.snapshot.cells) for one in steps)


def _go_on(at: Moment, after: Next, result: StepResult, received: Received = NONE_RECEIVED) -> Plan:
    """The transition to the decision that follows, and the command with which its step begins."""
    step = after.decision.step
    queues = _queues(at, step) if isinstance(step, Node) and step.limit is not None else None
    after, result, intent = effects.prepare(at, after, result, going_on=at.offer.place and queues is None)
    return _decided(at, moves(at, after, result, received, intent=intent, queues=queues), after)


def _queues(at: Moment, step: AnyNode) -> Event | None:
    """The event of a case that must wait for a permit of its next step, or None."""
    assert step.limit is not None
    why = at.offer.shut(step.limit.name)
    return None if why is None else attempts.waits_event(step.name, step.limit.name, at.case.row.attempts, why)


def _begins(case: Case, t: Transition, step: Step) -> Command:
    """What begins with a decision that was committed; `case` is as the transition leaves it."""
    if isinstance(step, Effect):
        return Continue(step) if t.intent is None else CallEffect(step, t.intent, case.snapshot.cells, t.attempts)
    return _call(case, step) if isinstance(step, _CALLABLE) else Continue(step)


def _decided(at: Moment, t: Transition, after: Next) -> Plan:
    case = committed(at.case, t, after.snapshot)
    return Plan(t, (_begins(case, t, after.decision.step),) if t.status is _RUNNING else _REST, case)


def _plan(at: Moment, t: Transition, snapshot: Snapshot, commands: tuple[Command, ...]) -> Plan:
    return Plan(t, commands, committed(at.case, t, snapshot))


def _untaken(at: Moment, message: MessageRow) -> MessageStatus:
    return MessageStatus.HELD if messages.starts_next(at.process, message) else MessageStatus.PASSED


def _untaken_events(at: Moment) -> tuple[Event, ...]:
    """The events of the messages that a cancelled case has not taken in."""
    return tuple(
        messages.passed(message, f"the case was cancelled{'; it starts the next one' * messages.starts_next(at.process, message)}")
        for message in at.case.messages
        if message.name in at.process.accepts_messages
    )


_HANDLERS: Mapping[type, Callable[[Moment, Any], Plan | Refusal]] = {
    happenings.StartAsked: _start_asked,
    happenings.Answered: _answered,
    happenings.Assigned: _assigned,
    happenings.Reconsidered: _reconsidered,
    happenings.CancelAsked: _cancel_asked,
    happenings.Redriven: _redriven,
    happenings.Resolved: _resolved,
    happenings.EraseAsked: _erase_asked,
    happenings.NotAcceptedHere: _not_accepted,
    happenings.AcceptedHere: _accepted,
    happenings.Claimed: _claimed,
    happenings.Continued: _continued,
    happenings.NodeEnded: _node_ended,
    happenings.PermitRefused: _permit_refused,
    happenings.Acquired: _acquired,
    happenings.EffectEnded: _effect_ended,
    happenings.LookedUp: _looked_up,
    happenings.TransactionEnded: _transaction_ended,
    happenings.BranchesEnded: _branches_ended,
    happenings.BranchesRested: _branches_rested,
    happenings.ChildStarted: _child_started,
    happenings.ChildRefused: _child_refused,
    happenings.CancelledBeforeCall: _cancelled_before_call,
    happenings.CannotGoOn: _cannot_go_on,
}
