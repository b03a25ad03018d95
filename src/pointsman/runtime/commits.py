"""Turn what happened to a case into one transition, and commit it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from pydantic_core import to_json

from pointsman.definition.children import Child
from pointsman.definition.effects import Effect
from pointsman.definition.fingerprint import SHORT
from pointsman.definition.nodes import Node
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Finish, Park
from pointsman.kernel.codec import digest_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Advance, Block, standing_after
from pointsman.kernel.guarding import usage_in
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import (
    BILLION,
    BranchWrite,
    EventWrite,
    FieldWrite,
    Intent,
    MessageRow,
    MessageStatus,
    NewCase,
    PauseOpening,
    Post,
    Transition,
    UsageWrite,
)
from pointsman.kernel.snapshot import ENDED, Cell, LogCell, Status
from pointsman.runtime.hold import Hold, Origin, Outcome, runnable
from pointsman.runtime.inbox import CALLED_OFF, CHILD_ENDED, NOTHING, PARENT_ENDED, Arrivals, child_key, starts_next
from pointsman.runtime.ports import Ports
from pointsman.runtime.recent import Recent
from pointsman.runtime.waits import next_rung_at, wake_time

NO_CELLS: Mapping[str, Cell] = MappingProxyType({})
"""No items of logs."""
TOKEN_BITS = 80  # at a thousand guesses a second, longer than the universe has lasted


class Commits:
    """Makes transitions and hands them to the store; each commit is announced to `committed`, a lone event to `appended`."""

    def __init__(self, ports: Ports, recent: Recent, committed: Callable[[Hold, Transition], None], appended: Callable[[], None]) -> None:
        self._recent = recent
        self._store = ports.store
        self._clock = ports.clock
        self._random = ports.random
        self._committed = committed
        self._appended = appended

    async def append(self, case: int, event: Event) -> None:
        """Commit an event that changes nothing of its case."""
        await self._store.append(case, [_event_write(event)], at=self._clock.now(), usage=_usage((event,)))
        self._appended()

    async def stay(
        self,
        hold: Hold,
        status: Status,
        outcome: Outcome,
        *,
        intent: Intent | None = None,
        reason: str | None = None,
        leaves_pause: bool = False,
        guarded: bool = False,
        passes: bool = False,
        ended_as: str | None = None,
        added: Mapping[str, Cell] = NO_CELLS,
    ) -> None:
        """Commit that the case stays at its step: an intent, a postponed attempt, a cancel, a redrive.

        `added` are items of logs, which are written all the same.

        A case that has ended stays what it `ended_as`, its outcome.
        A `guarded` commit raises News where a message has come that the hold does not know; one that `passes` lets be those that it does,
        or holds them for the case that they start.
        """
        transition = self._begin(hold, outcome)
        transition.inbox = len(hold.mail) if guarded or passes else None
        transition.takes = [(message.id, _untaken(hold, message)) for message in hold.mail] if passes else ()
        transition.status, transition.wake_at, transition.reason = status, outcome.wake_at, reason
        transition.outcome = ended_as
        transition.attempts, transition.step, transition.rule = hold.attempt, hold.step, hold.rule
        transition.intent, transition.leaves_pause = intent, leaves_pause
        transition.needs = _need(hold, transition, outcome)
        transition.fields = _field_writes(hold, added=added)
        transition.events = [*_migrated(hold), *(_event_write(event) for event in outcome.events)]
        transition.posts = _to_parent(hold, transition)
        await self._hand_in(hold, transition)
        hold.snapshot = hold.snapshot._replace(case=transition.case, revision=transition.revision + 1)

    async def block(self, hold: Hold, reason: str) -> None:
        """Commit that the case rests, as it is, until there is code that can go on with it; its pause stays open until then."""
        hold.migrated = None
        event = Event(Kind.BLOCKED, facts={"reason": reason})
        await self.stay(hold, Status.BLOCKED, Outcome((event,)), reason=reason)

    async def land(
        self, hold: Hold, after: Advance, outcome: Outcome, *, going_on: bool = True, claims: bool = False, intent: Intent | None = None,
        answered_by: str | None = None, new: NewCase | None = None, cancel: Event | None = None, arrivals: Arrivals = NOTHING,
        queues: Event | None = None,
    ) -> int:  # fmt: skip
        """Commit what happened and the decision that follows, and bring the hold up to date. Answers the case's number.

        A next step runs at once while the case is `going_on` in this engine's hands (`claims` takes it there), and is
        ready for a claim otherwise; `queues` is the event of one that waits for a permit. With `cancel` nothing follows: the case ends with that event. Raises News where a
        message has come that is not among the `arrivals`.
        """
        transition = self.landing(
            hold, after, outcome, going_on=going_on, claims=claims, intent=intent, answered_by=answered_by, new=new, cancel=cancel,
            arrivals=arrivals, queues=queues,
        )  # fmt: skip
        number = await self._hand_in(hold, transition, after)
        self.landed(hold, after, transition)
        return number

    def landing(
        self, hold: Hold, after: Advance, outcome: Outcome, *, going_on: bool, claims: bool = False, intent: Intent | None = None,
        answered_by: str | None = None, new: NewCase | None = None, cancel: Event | None = None, arrivals: Arrivals = NOTHING,
        queues: Event | None = None,
    ) -> Transition:  # fmt: skip
        """The transition of `land`, not handed in yet."""
        if isinstance(after.decision.step, Park) and not (outcome.events or arrivals.events):
            hold.migrated = None  # it does not go on, so older code may still take it up
        transition = self._begin(hold, outcome)
        transition.inbox, transition.takes = len(hold.mail), arrivals.takes
        transition.fields = _field_writes(hold, after)
        transition.steps, transition.claims = after.snapshot.steps, claims
        transition.new, transition.intent = new, intent
        transition.answered_by = outcome.answered_by if answered_by is None else answered_by
        # A step that parks its case stays the case's step; a rule that parks it is a step of its own.
        stays = cancel is not None or (isinstance(after.decision.step, Park) and not after.decision.rule)
        transition.step = hold.step if stays else after.decision.step.name
        transition.rule = hold.rule if stays else after.decision.rule or hold.rule
        events = [*_migrated(hold), *(_event_write(event) for event in (*arrivals.events, *outcome.events))]
        if after.dropped:
            events.append(_event_write(Event(Kind.RESULT_DROPPED, hold.step, hold.attempt, {"fields": after.dropped})))
        if after.cleared:
            events.append(_event_write(Event(Kind.FIELD_CLEARED, facts={"fields": list(after.cleared)})))
        if cancel is not None:
            transition.status, transition.reason = Status.CANCELLED, cancel.facts["why"]
            events.append(_event_write(cancel))
        else:
            events += self._arrive(hold, transition, after, outcome, going_on and queues is None)
            transition.needs = _need(hold, transition, outcome)
            if queues is not None and transition.status is Status.READY:
                events.append(_event_write(queues))
        transition.leaves_pause = (hold.status is Status.WAITING or hold.waiting is not None) and not self._keeps_pause(
            hold, after, transition
        )
        transition.events = events
        # What branches have written so far was computed for this step; a case that leaves it does not come back to that.
        left = transition.step != hold.step or cancel is not None
        transition.ends_branches = outcome.ends_branches or (bool(hold.branches) and left)
        transition.posts = _to_parent(hold, transition)
        return transition

    def landed(self, hold: Hold, after: Advance, transition: Transition) -> None:
        """Bring the hold up to date with a transition that has been committed."""
        hold.snapshot = after.snapshot._replace(case=transition.case, revision=transition.revision + 1)
        if transition.ends_branches or transition.step != hold.step:
            hold.branches = {}
        hold.attempt, hold.step, hold.rule = transition.attempts, transition.step, transition.rule
        hold.mail, hold.waiting = (), None
        if transition.status not in ENDED:
            self._recent.keep(hold.process, hold.snapshot)

    def _begin(self, hold: Hold, outcome: Outcome) -> Transition:
        return Transition(
            case=hold.snapshot.case,
            revision=hold.snapshot.revision,
            fence=hold.fence,
            at=self._clock.now(),
            status=hold.status,
            steps=hold.snapshot.steps,
            settlement=outcome.settlement,
            branches=outcome.branches if hold.migrated is None else _branches(hold, outcome),
            ends_branches=outcome.ends_branches,
            usage=_usage(outcome.events),
            migrated=None if hold.migrated is None else hold.migrated.to,
        )

    def _arrive(self, hold: Hold, transition: Transition, after: Advance, outcome: Outcome, going_on: bool) -> list[EventWrite]:
        """Set where the case stands after the decision; the events say so."""
        decision = after.decision
        if self._keeps_pause(hold, after, transition):
            return self._wait_on(hold, transition, outcome)
        events = [_decided(decision.rule, decision.reads, decision.step.name)] if decision.rule else []
        if outcome.waits and isinstance(decision.step, Child):
            transition.status = Status.WAITING
        elif outcome.wake_at is not None and decision.step.name == hold.step:
            transition.status, transition.attempts, transition.wake_at = Status.READY, hold.attempt, outcome.wake_at
        elif runnable(decision):
            transition.status = Status.RUNNING if going_on else Status.READY
            transition.attempts, transition.wake_at = (1, None) if going_on else (0, transition.at)
            if transition.intent is not None:
                events.append(_event_write(intended(hold.process, transition.intent)))
        else:
            events.append(_event_write(self._rest(transition, after, outcome)))
        return events

    def _keeps_pause(self, hold: Hold, after: Advance, transition: Transition) -> bool:
        """Whether the case waits on at the open pause: what it shows is what it showed, so an answer to it stays good."""
        step = after.decision.step
        if hold.waiting is None or transition.answered_by is not None or not isinstance(step, Pause | Sleep):
            return False
        return hold.process.called(hold.waiting.name) == step.name and hold.waiting.digest == digest_of(after.snapshot.cells, step.shows)

    def _wait_on(self, hold: Hold, transition: Transition, outcome: Outcome) -> list[EventWrite]:
        assert hold.waiting is not None
        step = hold.process.steps[hold.process.called(hold.waiting.name)]
        transition.status, transition.climbs = Status.WAITING, outcome.climbs
        rung = outcome.climbs.rung if outcome.climbs is not None else hold.waiting.rung
        transition.wake_at = next_rung_at(step, hold.waiting.opened_at, rung) if isinstance(step, Pause) else hold.waiting.expires_at
        return []

    def _token(self) -> str:
        return f"{self._random.getrandbits(TOKEN_BITS):020x}"

    def _rest(self, transition: Transition, after: Advance, came: Outcome) -> Event:
        """Set how the case rests after a decision that leaves the engine nothing to do; the event says so."""
        cells = after.snapshot.cells
        match after.decision.step:
            case Pause(name=name, shows=shows) as pause:
                expires_at = None if pause.expires_seconds is None else transition.at + pause.expires_seconds
                transition.status, transition.wake_at = Status.WAITING, next_rung_at(pause, transition.at, 0)
                transition.pause = PauseOpening(name, self._token(), digest_of(cells, shows), pause.assignee, expires_at)
                return Event(Kind.PAUSED, name, facts={"shows": shows, "digest": transition.pause.digest})
            case Sleep(name=name) as sleep:
                until = transition.at + sleep.seconds if sleep.seconds is not None else wake_time(cells[sleep.until or ""].value)
                transition.status, transition.wake_at = Status.WAITING, until
                transition.pause = PauseOpening(name, self._token(), digest_of(cells, sleep.shows), None, until)
                return Event(Kind.SLEEPING, name, facts={"until": until})
            case Finish(outcome):
                transition.status, transition.outcome = Status.DONE, outcome
                return Event(Kind.FINISHED, facts={"outcome": outcome})
            case Block(reason):
                transition.status, transition.reason = Status.BLOCKED, reason
                return Event(Kind.BLOCKED, facts={"reason": reason})
            case Park(reason):
                transition.status, transition.reason = Status.PARKED, reason
                evidence = came.evidence if reason == came.park and came.evidence is not None else {}
                return Event(Kind.PARKED, facts={"reason": reason, **evidence})
            case step:
                raise AssertionError(step)

    async def _hand_in(self, hold: Hold, transition: Transition, after: Advance | None = None) -> int:
        step = hold.process.steps.get(hold.step or "")
        if isinstance(step, Child):
            transition.posts = [*transition.posts, *await self._to_children(hold, step, transition, after)]
        number = await self._store.commit(transition)
        self.taken(hold, transition)
        return number

    async def _to_children(self, hold: Hold, step: Child, transition: Transition, after: Advance | None) -> list[Post]:
        """What a case tells those of its children that it no longer waits for: all of them, or those of other inputs."""
        stays = transition.step == hold.step and not _ends(hold, transition)
        if stays and after is None:
            return []
        waits_for = child_key(after.snapshot, step) if stays and after is not None else None
        why = {"by": f"case {transition.case}", "why": CALLED_OFF}
        return [
            Post(child.process, PARENT_ENDED, str(child.id), None, json.dumps(why), transition.at, case=child.id)
            for child in await self._store.children(transition.case)
            if child.status not in ENDED and (waits_for is None or not (child.key or "").startswith(waits_for))
        ]

    def taken(self, hold: Hold, transition: Transition) -> None:
        """Note in the hold what has been committed, and announce it."""
        if transition.new is not None:
            hold.origin = Origin(*transition.new[1:], created_at=transition.at)
        hold.status, hold.intent, hold.needs = transition.status, transition.intent, transition.needs
        if hold.migrated is not None:
            hold.origin = hold.origin._replace(version=hold.migrated.to)
            hold.migrated = None
        if transition.settlement is not None and transition.settlement.status is not EffectStatus.IN_DOUBT:
            hold.unsettled.discard(transition.settlement.key)
        if transition.intent is not None:
            hold.unsettled.add(transition.intent.key)
        hold.fence += transition.claims
        if transition.status in ENDED:
            self._recent.forget(transition.case)
        hold.counted = transition.attempts > 0
        self._committed(hold, transition)


def _ends(hold: Hold, transition: Transition) -> bool:
    return transition.status in ENDED and hold.status not in ENDED


def _untaken(hold: Hold, message: MessageRow) -> MessageStatus:
    return MessageStatus.HELD if starts_next(hold.process, message) else MessageStatus.PASSED


def _to_parent(hold: Hold, transition: Transition) -> list[Post]:
    """What a case that ends tells its parent."""
    origin = hold.origin
    if origin.parent is None or not _ends(hold, transition):
        return []
    outcome = transition.outcome or transition.reason
    end = {"key": origin.key, "case": transition.case, "status": transition.status, "outcome": outcome}
    return [Post(hold.process.name, CHILD_ENDED, str(transition.case), None, json.dumps(end), transition.at, case=origin.parent)]


def accepted_event(process: AnyProcess, cells: Mapping[str, Cell]) -> Event:
    """The event of a start with these inputs."""
    facts = {"fields": list(cells), "version": process.version, "fingerprint": process.fingerprint[:SHORT]}
    return Event(Kind.ACCEPTED, facts=facts, writes=cells)


def intended(process: AnyProcess, intent: Intent) -> Event:
    """The event of an intent; it keeps the policy under which the call is made, for whoever looks at the case with other settings."""
    facts: dict[str, Any] = {"key": intent.key, "deadline": intent.deadline}
    step = process.steps.get(process.called(intent.effect))
    if isinstance(step, Effect):
        facts["safety"] = type(step.safety).__name__
    return Event(Kind.EFFECT_INTENDED, intent.effect, facts=facts)


def _need(hold: Hold, transition: Transition, outcome: Outcome) -> str | None:
    """The limit that a case in line needs a permit of for its step; what is in doubt is looked into first, and that needs none."""
    if transition.status is not Status.READY or outcome.needs is not None:
        return outcome.needs if transition.status is Status.READY else None
    if outcome.settlement is not None and outcome.settlement.status is EffectStatus.IN_DOUBT:
        return None
    step = hold.process.steps.get(transition.step or "")
    return step.limit.name if isinstance(step, Node) and step.limit is not None else None


def _field_writes(hold: Hold, after: Advance | None = None, added: Mapping[str, Cell] = NO_CELLS) -> Sequence[FieldWrite]:
    """The rows that a transition adds: what was written, and what was cleared by it; and before both what a migration changed."""
    rows = {} if hold.migrated is None else {name: FieldWrite(name, *change) for name, change in hold.migrated.changes.items()}
    before = hold.snapshot.cells
    cells: Mapping[str, Cell] = {name: standing_after(before, name, item) for name, item in added.items()}
    written: frozenset[str] = frozenset(cells)
    cleared: Sequence[str] = ()
    if after is not None:
        cells, written, cleared = after.snapshot.cells, after.written, after.cleared
    for name in sorted(written & cells.keys()):
        items = None if name in rows else _added(before.get(name), cells[name])
        rows[name] = FieldWrite(name, cells[name].text if items is None else items, cells[name].writer, items is not None)
    rows |= {name: FieldWrite(name, None, before[name].writer) for name in cleared}
    return [*rows.values()]


def _added(before: Cell | None, cell: Cell) -> str | None:
    """The items that were added to a log, where that is all that has become of it."""
    # Where nothing is known to stand, something may: a correction does not look at what it takes the place of.
    return cell.added_since(before) if isinstance(cell, LogCell) and isinstance(before, LogCell) else None


def _branches(hold: Hold, outcome: Outcome) -> Sequence[BranchWrite]:
    """With a migration all that is known of the branches is written, as it counts from now on."""
    ended = {write.name for write in outcome.branches}
    return [*(BranchWrite(*row) for name, row in hold.branches.items() if name not in ended), *outcome.branches]


def _usage(events: Iterable[Event]) -> Sequence[UsageWrite]:
    """What the answers used that these events tell of: in the commit of the events, so once, whatever becomes of the answers."""
    told = [answer for event in events if (answer := usage_in(event.facts)) is not None]
    return [UsageWrite(model, used.input_tokens, used.output_tokens, int(used.cost * BILLION)) for model, used in told]


def _migrated(hold: Hold) -> Sequence[EventWrite]:
    if hold.migrated is None:
        return ()
    since, to, _, changes = hold.migrated
    facts = {"since": since, "to": to, "fingerprint": hold.process.fingerprint[:SHORT], "fields": [*changes]}
    return (_event_write(Event(Kind.MIGRATED, facts=facts)),)


@lru_cache(maxsize=4_096)  # as many as there are ways through the rules; a busy engine writes the same few again and again
def _decided(rule: str, reads: tuple[str, ...], step: str) -> EventWrite:
    return _event_write(Event(Kind.DECIDED, facts={"rule": rule, "reads": reads, "step": step}))


def _event_write(event: Event) -> EventWrite:
    return EventWrite(event.kind, event.step, event.attempt, to_json(event.facts, fallback=str).decode())
