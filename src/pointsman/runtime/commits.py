"""Turn what happened to a case into one transition, and commit it."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from pydantic_core import to_json

from pointsman.definition.pauses import Pause
from pointsman.definition.rules import Finish, Park
from pointsman.kernel.codec import digest_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Advance
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
        transition.events = [_event_write(event) for event in outcome.events]
        await self._hand_in(hold, transition)
        hold.snapshot = Snapshot(transition.case, hold.snapshot.cells, transition.revision + 1, hold.snapshot.steps)

    async def land(
        self, hold: Hold, after: Advance, outcome: Outcome, *, going_on: bool = True, claims: bool = False, intent: Intent | None = None,
        answered_by: str | None = None, new: NewCase | None = None, cancel: Event | None = None,
    ) -> int:  # fmt: skip
        """Commit what happened and the decision that follows, and bring the hold up to date. Answers the case's number.

        A next step runs at once while the case is `going_on` in this engine's hands (`claims` takes it there), and is
        ready for a claim otherwise. With `cancel` nothing follows: the case ends with that event.
        """
        transition = self._begin(hold, outcome)
        transition.fields = _field_writes(hold.snapshot.cells, after, outcome.events[-1].writes if outcome.events else {})
        transition.steps, transition.claims = after.snapshot.steps, claims
        transition.new, transition.intent = new, intent
        transition.leaves_pause, transition.answered_by = hold.status is Status.WAITING, answered_by
        # A step that parks its case stays the case's step; a rule that parks it is a step of its own.
        stays = cancel is not None or (isinstance(after.decision.step, Park) and not after.decision.rule)
        transition.step = hold.step if stays else after.decision.step.name
        transition.rule = hold.rule if stays else after.decision.rule or hold.rule
        events = [_event_write(event) for event in outcome.events]
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
            case Park(reason):
                transition.status, transition.reason = Status.PARKED, reason
                return Event(Kind.PARKED, facts={"reason": reason})
            case step:
                raise AssertionError(step)

    async def _hand_in(self, hold: Hold, transition: Transition) -> int:
        number = await self._store.commit(transition)
        hold.status, hold.intent = transition.status, transition.intent
        if transition.settlement is not None and transition.settlement.status is not EffectStatus.IN_DOUBT:
            hold.unsettled.discard(transition.settlement.key)
        if transition.intent is not None:
            hold.unsettled.add(transition.intent.key)
        hold.fence += transition.claims
        self._committed(hold, transition)
        return number


def intended(intent: Intent) -> Event:
    """The event of an intent."""
    return Event(Kind.EFFECT_INTENDED, intent.effect, facts={"key": intent.key, "deadline": intent.deadline})


def _field_writes(before: Mapping[str, Cell], after: Advance, writes: Mapping[str, Cell]) -> Sequence[FieldWrite]:
    """The rows that a transition adds: what was written, and what was cleared by it."""
    rows = [FieldWrite(name, None if cell.text == NULL else cell.text, cell.writer) for name, cell in writes.items()]
    rows += [FieldWrite(name, None, before[name].writer) for name in after.cleared if name not in writes]
    return rows


@lru_cache(maxsize=4_096)  # as many as there are ways through the rules; a busy engine writes the same few again and again
def _decided(rule: str, reads: tuple[str, ...], step: str) -> EventWrite:
    return _event_write(Event(Kind.DECIDED, facts={"rule": rule, "reads": reads, "step": step}))


def _event_write(event: Event) -> EventWrite:
    return EventWrite(event.kind, event.step, event.attempt, to_json(event.facts, fallback=str).decode())
