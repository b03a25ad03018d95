"""Turn what happened to a case into one transition, and commit it."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from pydantic_core import to_json

from pointsman.definition.fingerprint import SHORT
from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Finish, Park
from pointsman.kernel.codec import digest_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Advance, Block
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.snapshot import NULL, Cell, Snapshot, Status
from pointsman.runtime.hold import Hold, Outcome, runnable
from pointsman.runtime.ports import Ports
from pointsman.store.base import EventWrite, FieldWrite, Intent, NewCase, PauseOpening, Transition

TOKEN_BITS = 80  # at a thousand guesses a second, longer than the universe has lasted


class Commits:
    """Makes transitions and hands them to the store; each commit is announced to `committed`."""

    def __init__(self, ports: Ports, committed: Callable[[Hold, Transition], None]) -> None:
        self._store = ports.store
        self._clock = ports.clock
        self._random = ports.random
        self._committed = committed

    async def stay(
        self,
        hold: Hold,
        status: Status,
        outcome: Outcome,
        *,
        intent: Intent | None = None,
        reason: str | None = None,
        leaves_pause: bool = False,
    ) -> None:
        """Commit that the case stays at its step: an intent, a postponed attempt, a cancel, a redrive."""
        transition = self._begin(hold, outcome)
        transition.status, transition.wake_at, transition.reason = status, outcome.wake_at, reason
        transition.attempts, transition.step, transition.rule = hold.attempt, hold.step, hold.rule
        transition.intent, transition.leaves_pause = intent, leaves_pause
        transition.fields = _field_writes(hold, (), {}, {})
        transition.events = [*_migrated(hold), *(_event_write(event) for event in outcome.events)]
        await self._hand_in(hold, transition)
        hold.snapshot = Snapshot(transition.case, hold.snapshot.cells, transition.revision + 1, hold.snapshot.steps)

    async def block(self, hold: Hold, reason: str) -> None:
        """Commit that the case rests, as it is, until there is code that can go on with it."""
        hold.migrated = None
        event = Event(Kind.BLOCKED, facts={"reason": reason})
        await self.stay(hold, Status.BLOCKED, Outcome((event,)), reason=reason, leaves_pause=True)

    async def land(
        self, hold: Hold, after: Advance, outcome: Outcome, *, going_on: bool = True, claims: bool = False, intent: Intent | None = None,
        answered_by: str | None = None, new: NewCase | None = None, cancel: Event | None = None,
    ) -> int:  # fmt: skip
        """Commit what happened and the decision that follows, and bring the hold up to date. Answers the case's number.

        A next step runs at once while the case is `going_on` in this engine's hands (`claims` takes it there), and is
        ready for a claim otherwise. With `cancel` nothing follows: the case ends with that event.
        """
        if isinstance(after.decision.step, Park) and not outcome.events:
            hold.migrated = None  # it does not go on, so older code may still take it up
        transition = self._begin(hold, outcome)
        transition.fields = _field_writes(hold, after.cleared, hold.snapshot.cells, outcome.events[-1].writes if outcome.events else {})
        transition.steps, transition.claims = after.snapshot.steps, claims
        transition.new, transition.intent = new, intent
        transition.leaves_pause, transition.answered_by = hold.status is Status.WAITING, answered_by
        # A step that parks its case stays the case's step; a rule that parks it is a step of its own.
        stays = cancel is not None or (isinstance(after.decision.step, Park) and not after.decision.rule)
        transition.step = hold.step if stays else after.decision.step.name
        transition.rule = hold.rule if stays else after.decision.rule or hold.rule
        events = [*_migrated(hold), *(_event_write(event) for event in outcome.events)]
        if after.cleared:
            events.append(_event_write(Event(Kind.FIELD_CLEARED, facts={"fields": list(after.cleared)})))
        if cancel is not None:
            transition.status, transition.reason = Status.CANCELLED, cancel.facts["why"]
            events.append(_event_write(cancel))
        else:
            events += self._arrive(transition, after, going_on)
        transition.events = events
        # What branches have written so far was computed for this step; a case that leaves it does not come back to that.
        transition.ends_branches = outcome.ends_branches or (bool(hold.branches) and transition.step != hold.step)
        number = await self._hand_in(hold, transition)
        hold.snapshot = Snapshot(transition.case, after.snapshot.cells, transition.revision + 1, transition.steps)
        hold.attempt, hold.step, hold.rule, hold.branches = transition.attempts, transition.step, transition.rule, {}
        return number

    def _begin(self, hold: Hold, outcome: Outcome) -> Transition:
        return Transition(
            case=hold.snapshot.case,
            revision=hold.snapshot.revision,
            fence=hold.fence,
            at=self._clock.now(),
            status=hold.status,
            steps=hold.snapshot.steps,
            settlement=outcome.settlement,
            branches=outcome.branches,
            migrated=None if hold.migrated is None else hold.migrated.to,
        )

    def _arrive(self, transition: Transition, after: Advance, going_on: bool) -> list[EventWrite]:
        """Set where the case stands after the decision; the events say so."""
        decision = after.decision
        events = [_decided(decision.rule, decision.reads, decision.step.name)] if decision.rule else []
        if runnable(decision):
            transition.status = Status.RUNNING if going_on else Status.READY
            transition.attempts, transition.wake_at = (1, None) if going_on else (0, transition.at)
            if transition.intent is not None:
                events.append(_event_write(intended(transition.intent)))
        else:
            events.append(_event_write(self._rest(transition, after)))
        return events

    def _rest(self, transition: Transition, after: Advance) -> Event:
        """Set how the case rests after a decision that leaves the engine nothing to do; the event says so."""
        cells = after.snapshot.cells
        match after.decision.step:
            case Pause(name=name, shows=shows):
                transition.status = Status.WAITING
                transition.pause = PauseOpening(name, f"{self._random.getrandbits(TOKEN_BITS):020x}", digest_of(cells, shows))
                return Event(Kind.PAUSED, name, facts={"shows": shows, "digest": transition.pause.digest})
            case Finish(outcome):
                transition.status, transition.outcome = Status.DONE, outcome
                return Event(Kind.FINISHED, facts={"outcome": outcome})
            case Block(reason):
                transition.status, transition.reason = Status.BLOCKED, reason
                return Event(Kind.BLOCKED, facts={"reason": reason})
            case Park(reason):
                transition.status, transition.reason = Status.PARKED, reason
                return Event(Kind.PARKED, facts={"reason": reason})
            case step:
                raise AssertionError(step)

    async def _hand_in(self, hold: Hold, transition: Transition) -> int:
        number = await self._store.commit(transition)
        hold.status, hold.intent = transition.status, transition.intent
        if hold.migrated is not None:
            hold.origin = hold.origin._replace(version=hold.migrated.to)
            hold.migrated = None
        if transition.settlement is not None and transition.settlement.status is not EffectStatus.IN_DOUBT:
            hold.unsettled.discard(transition.settlement.key)
        if transition.intent is not None:
            hold.unsettled.add(transition.intent.key)
        hold.fence += transition.claims
        self._committed(hold, transition)
        return number


def accepted_event(process: AnyProcess, cells: Mapping[str, Cell]) -> Event:
    """The event of a start with these inputs."""
    facts = {"fields": list(cells), "version": process.version, "fingerprint": process.fingerprint[:SHORT]}
    return Event(Kind.ACCEPTED, facts=facts, writes=cells)


def intended(intent: Intent) -> Event:
    """The event of an intent."""
    return Event(Kind.EFFECT_INTENDED, intent.effect, facts={"key": intent.key, "deadline": intent.deadline})


def _field_writes(hold: Hold, cleared: Sequence[str], before: Mapping[str, Cell], writes: Mapping[str, Cell]) -> Sequence[FieldWrite]:
    """The rows that a transition adds: what was written, and what was cleared by it; and before both what a migration changed."""
    rows = {} if hold.migrated is None else {name: FieldWrite(name, *change) for name, change in hold.migrated.changes.items()}
    rows |= {name: FieldWrite(name, None if cell.text == NULL else cell.text, cell.writer) for name, cell in writes.items()}
    rows |= {name: FieldWrite(name, None, before[name].writer) for name in cleared if name not in writes}
    return [*rows.values()]


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
