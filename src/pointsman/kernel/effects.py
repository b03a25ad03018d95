"""Effects: the intent before the call, the outcome after it, and what the policy allows when nobody knows the outcome.

The protocol has four rules. No effect is called without a committed intent. The end of the call is committed before anything else follows
from it. An effect whose outcome is recorded under a key is never called again under that key. A case with an effect in doubt goes on to
nothing but that effect.
"""

import inspect
from dataclasses import replace
from typing import NamedTuple

from pointsman.definition.counts import format_count
from pointsman.definition.effects import ABSENT, AnyEffect, Compensation, Effect, Found
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate, Park
from pointsman.errors import AllHang, NotBegun, NotSent, Rejected
from pointsman.kernel.attempts import INTERRUPTIONS_MAX, CallEnd, wait_for_permit
from pointsman.kernel.case import UNKNOWN, cells_from, encode, failure_cells, outcome_text
from pointsman.kernel.codec import codec_of, digest, digest_of, message_of
from pointsman.kernel.commands import Acquire, CallEffect, LoadHistory, LookUpEffect
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evidence import evidence_of, raised_at
from pointsman.kernel.evolve import Next, blocked, parked
from pointsman.kernel.ledger import CallAgain, EffectStatus, GiveUp, LookUp, WaitUntil, move_in_doubt, say_what, say_whether
from pointsman.kernel.moment import Moment, StepResult
from pointsman.kernel.rows import EffectRow, Intent, Settlement
from pointsman.kernel.snapshot import Snapshot

ATTEMPTS_A_CALL = 4  # a call may take a wait, a look-up and its retry; more would be a loop
KEY_LENGTH = 40  # hexadecimal digits of the SHA-256: 160 bits, within every provider's limit for keys


class Intend(NamedTuple):
    """Commit the intent of a call, with these events, then make the call.

    If a message has come that the effect has not read, nothing is committed, and `otherwise` is the result of the step. If the
    call may already have happened (`repeats`), only a message that changes what the effect reads stops the next call.
    """

    call: CallEffect
    events: tuple[Event, ...] = ()
    otherwise: StepResult = StepResult()
    repeats: bool = False


Move = Intend | Acquire | LookUpEffect | LoadHistory | StepResult
"""The next move of an effect."""


# Before a decision for an effect, or away from one, is committed.


def prepare(at: Moment, after: Next, result: StepResult, *, going_on: bool) -> tuple[Next, StepResult, Intent | None]:
    """Create the intent of the chosen effect, and make sure that no effect in doubt is forgotten.

    A case with an effect of unknown outcome may continue with that effect only. There is no intent if the ledger knows
    the key already, if the case is not `going_on`, or if the call needs a permit or a thread first.
    """
    step = after.decision.step
    if isinstance(step, Park) or not (at.case.ledger or isinstance(step, Effect)):
        return after, result, None
    key = arguments = None
    if isinstance(step, Effect):
        try:
            key, arguments = effect_key(at.case.incarnation, at.process, after.snapshot, step)
        except Exception as error:  # the author's key function may raise anything
            return parked(after, _no_key(step, error)), result, None
    forgotten = at.case.unsettled - {key}
    if result.settlement is not None and not result.in_doubt:
        forgotten.discard(result.settlement.key)
    if isinstance(step, Compensate):
        forgotten = {key for key in forgotten if not isinstance(declared(at.process, at.case.ledger[key]), Compensation)}
    if forgotten:
        return *_remember(at, after, result, min(forgotten)), None
    fresh = going_on and isinstance(step, Effect) and not _needs_more(step) and key not in at.case.ledger
    if not isinstance(step, Effect) or key is None or arguments is None or not fresh:
        return after, result, None
    return after, result, _intent(at, step, key, arguments, again=False)


def _remember(at: Moment, after: Next, result: StepResult, key: str) -> tuple[Next, StepResult]:
    """Park a case that would leave an effect of unknown outcome behind, or block it if the code no longer has that effect."""
    entry = at.case.ledger[key]
    if vanished(at.process, entry):
        return blocked(after, vanished_reason(entry)), result
    if result.settlement is None:
        reason = _forgotten(key, after.decision.step.name)
        result = replace(result, settlement=Settlement(key, EffectStatus.IN_DOUBT, None, reason))
    return parked(after, forgotten_reason(key, after.decision.step.name)), result


# Before the call.


def reach(at: Moment, effect: AnyEffect, undoes: str = "", *, granted: Acquire | None = None) -> Move:
    """The next move of the case's current effect; `granted` is the permit and the thread that it has."""
    deaths = at.case.row.interruptions
    if deaths >= INTERRUPTIONS_MAX:
        problem = f"the engine died {deaths} times while step {effect.name!r} was running"
        return StepResult(park=f"{problem}; correct it, resolve its call if that is in doubt, and redrive the case")
    if at.case.row.attempts > ATTEMPTS_A_CALL * effect.retry.attempts_max:
        problem = f"{effect.name!r} was started {format_count(at.case.row.attempts - 1, 'time')} and never ended"
        return StepResult(park=f"{problem}; correct it, resolve its call if that is in doubt, and redrive the case")
    try:
        key, arguments = effect_key(at.case.incarnation, at.process, at.case.snapshot, effect, undoes)
    except Exception as error:  # the author's key function may raise anything
        return StepResult(park=_no_key(effect, error))
    entry = at.case.ledger.get(key)
    if entry is not None and entry.arguments != arguments:
        problem = f"effect {effect.name!r} was intended under key {key} with other arguments"
        return StepResult(park=f"{problem}; its key= must name everything that distinguishes two effects")
    if entry is None or entry.status is EffectStatus.NOT_SENT:
        if _needs_more(effect) and granted is None:
            return Acquire(effect, at.case.snapshot.cells, undoes)
        intent = _intent(at, effect, key, arguments, again=entry is not None)
        return Intend(CallEffect(effect, intent, at.case.snapshot.cells, at.case.row.attempts, undoes))
    if entry.status is EffectStatus.DONE:
        return _adopt(at, effect, entry)
    if entry.status is EffectStatus.FAILED:
        return _rejected(at, effect, key, Rejected(entry.error or "rejected"), recorded=True)
    return _resolve_doubt(at, effect, entry, undoes, granted)


def refused_permit(at: Moment, wanted: Acquire, why: str | None) -> StepResult:
    """Let the case wait for a permit, and keep what is known about an earlier call."""
    effect = wanted.effect
    key, _ = effect_key(at.case.incarnation, at.process, at.case.snapshot, effect, wanted.undoes)
    entry = at.case.ledger.get(key)
    if entry is None or entry.status not in UNKNOWN:
        return wait_for_permit(at, effect, why=why)
    doubt, settlement = _doubt(effect, entry)
    if wanted.absent:
        settlement = settlement._replace(status=EffectStatus.NOT_SENT)
    return replace(wait_for_permit(at, effect, doubt, why=why), settlement=settlement)


def looked_up(at: Moment, asked: LookUpEffect, found: object, error: Exception | None) -> Move:
    """What follows from a look-up of a call in doubt."""
    effect, entry = asked.effect, at.case.ledger[asked.key]
    doubt, settlement = _doubt(effect, entry)
    attempt = at.case.row.attempts
    if error is not None:
        if attempt < effect.retry.attempts_max:
            wake_at = at.now + effect.retry.wait_seconds(attempt, at.chance.random())
            retried = Event(Kind.NODE_RETRIED, effect.name, attempt, {"at": wake_at})
            return StepResult((*doubt, retried), wake_at=wake_at, settlement=settlement)
        return StepResult(doubt, park=_give_up(effect, entry.key, f"the look-up failed: {message_of(error)}"), settlement=settlement)
    if isinstance(found, Found):
        result = _settled(at, effect, entry.key, found.outcome, "found")
        return replace(result, events=(*doubt, *result.events))
    if found is not ABSENT:
        return StepResult(doubt, park=_give_up(effect, entry.key, "the look-up could not tell whether it happened"), settlement=settlement)
    not_sent = settlement._replace(status=EffectStatus.NOT_SENT)
    if entry.attempts >= effect.retry.attempts_max:
        return StepResult(
            doubt, park=f"{effect.name!r} was called {format_count(entry.attempts, 'time')} and did not arrive", settlement=not_sent
        )
    wanted = Acquire(effect, asked.cells, asked.undoes, absent=True)
    return wanted if _needs_more(effect) else call_absent(at, wanted)


def call_absent(at: Moment, wanted: Acquire) -> Move:
    """Call an effect again after its look-up has shown that the earlier call did not happen."""
    effect = wanted.effect
    key, arguments = effect_key(at.case.incarnation, at.process, at.case.snapshot, effect, wanted.undoes)
    entry = at.case.ledger.get(key)
    if entry is None or entry.status not in UNKNOWN:  # the look-up was about another call
        return reach(at, effect, wanted.undoes, granted=wanted)
    doubt, settlement = _doubt(effect, entry)
    intent = _intent(at, effect, key, arguments, again=True)
    otherwise = StepResult(doubt, settlement=settlement._replace(status=EffectStatus.NOT_SENT))
    return Intend(CallEffect(effect, intent, at.case.snapshot.cells, at.case.row.attempts, wanted.undoes), doubt, otherwise, repeats=True)


def _resolve_doubt(at: Moment, effect: AnyEffect, entry: EffectRow, undoes: str, granted: Acquire | None) -> Move:
    """Do what the policy allows after a call that began and has no recorded outcome."""
    doubt, settlement = _doubt(effect, entry)
    given_up = at.offer.given_up(entry.key)
    for call in given_up:
        if call.happened():
            result = _settled(at, effect, entry.key, call.result(), "called late")
            return replace(result, events=(*doubt, *result.events))
    deadline = max(entry.deadline, *(call.ended_at or 0.0 for call in given_up), 0.0)
    match move_in_doubt(effect, attempts=entry.attempts, intended_at=entry.intended_at, deadline=deadline, now=at.now):
        case LookUp() if any(call.ended_at is None for call in given_up):
            return _wait_for_its_end(at, effect, entry, doubt, settlement)
        case CallAgain():
            if _needs_more(effect) and granted is None:
                return Acquire(effect, at.case.snapshot.cells, undoes)
            intent = _intent(at, effect, entry.key, entry.arguments, again=True)
            unread = _give_up(effect, entry.key, "its call may have happened, and a message has changed what it reads")
            call_again = CallEffect(effect, intent, at.case.snapshot.cells, at.case.row.attempts, undoes, doubtful=True)
            return Intend(call_again, doubt, StepResult(doubt, park=unread, settlement=settlement), repeats=True)
        case WaitUntil(wake_at):
            return StepResult(doubt, wake_at=wake_at, settlement=settlement)
        case GiveUp(reason):
            return StepResult(doubt, park=_give_up(effect, entry.key, f"{reason} ({settlement.error})"), settlement=settlement)
        case LookUp():
            return LookUpEffect(effect, entry.key, at.case.snapshot.cells, entry.attempts, undoes)


def _wait_for_its_end(at: Moment, effect: AnyEffect, entry: EffectRow, doubt: tuple[Event, ...], settlement: Settlement) -> StepResult:
    """Wait for a call that was given up but still runs, because it could act after a look-up."""
    attempt = at.case.row.attempts
    if attempt >= ATTEMPTS_A_CALL * effect.retry.attempts_max:
        return StepResult(doubt, park=_give_up(effect, entry.key, "the engine abandoned its call, which still runs"), settlement=settlement)
    wait = max(effect.timeout_seconds, effect.retry.wait_seconds(attempt, at.chance.random()))
    return StepResult(doubt, wake_at=at.now + wait, settlement=settlement)


def _adopt(at: Moment, effect: AnyEffect, entry: EffectRow) -> Move:
    """Use the recorded outcome of an effect that is already done. Items that it added to a log are not added again."""
    if entry.outcome is None:
        return StepResult(park=unknown_outcome(entry, effect.name))
    cells = cells_from(at.process, entry.outcome, effect.name)
    if any(cell.appends for cell in cells.values()):
        if at.case.history is None:
            return LoadHistory()
        logged = at.case.history.written.get(entry.key, frozenset())
        cells = {name: cell for name, cell in cells.items() if not (cell.appends and name in logged)}
    if effect.writes and not cells:
        done = f"effect {effect.name!r} is done already under key {entry.key}, and {', '.join(effect.writes)} has its outcome"
        return StepResult(
            park=f"{done}; it would be chosen again for ever: correct its rule, or name in key= what distinguishes the next effect"
        )
    facts = {"key": entry.key, "how": "adopted", "fields": list(cells)}
    return StepResult((Event(Kind.EFFECT_SETTLED, effect.name, at.case.row.attempts, facts, cells),))


# After the call.


def call_ended(at: Moment, call: CallEffect, end: CallEnd) -> StepResult:
    """What follows from the call of an effect."""
    effect, error = call.effect, end.error
    if error is None:
        return _with_limit_facts(_settled(at, effect, call.intent.key, end.result, "called"), end)
    if isinstance(error, NotSent):
        return _not_sent(at, call, error, end)
    if isinstance(error, Rejected):
        return _rejected(at, effect, call.intent.key, error)
    if isinstance(error, TimeoutError) and not error.args:
        unanswered = TimeoutError(f"no answer within {effect.timeout_seconds} seconds")
        unanswered.__cause__ = error
        error = unanswered
    return _with_limit_facts(_doubted(at, call, error), end)


def cancelled_before_call(call: CallEffect) -> StepResult:
    """Settle an intent that was cancelled before its call. If an earlier call may have happened, the effect stays in doubt."""
    key, why = call.intent.key, "cancelled before the call"
    kind, status = (Kind.EFFECT_IN_DOUBT, EffectStatus.IN_DOUBT) if call.doubtful else (Kind.EFFECT_NOT_SENT, EffectStatus.NOT_SENT)
    event = Event(kind, call.effect.name, call.attempt, {"key": key, "message": why})
    return StepResult((event,), settlement=Settlement(key, status, None, why))


def _settled(at: Moment, effect: AnyEffect, key: str, result: object, how: str) -> StepResult:
    try:
        cells = encode(at.process, effect, effect.split(result))
    except Exception as error:
        # The effect happened: record that even though its outcome cannot be stored.
        settled = Event(Kind.EFFECT_SETTLED, effect.name, at.case.row.attempts, {"key": key, "how": how, "fields": []})
        problem = f"effect {effect.name!r} happened, but its outcome cannot be stored ({message_of(error)})"
        reason = f"{problem}; {say_what(key)}"
        return StepResult((settled,), park=reason, settlement=Settlement(key, EffectStatus.DONE, None, message_of(error)))
    settled = Event(Kind.EFFECT_SETTLED, effect.name, at.case.row.attempts, {"key": key, "how": how, "fields": list(cells)}, cells)
    return StepResult((settled,), settlement=Settlement(key, EffectStatus.DONE, outcome_text(cells)))


def _not_sent(at: Moment, call: CallEffect, error: NotSent, end: CallEnd) -> StepResult:
    """Record that this call did not happen. If an earlier call with its key may have happened, the effect stays in doubt."""
    effect, key, attempt = call.effect, call.intent.key, at.case.row.attempts
    event = Event(Kind.EFFECT_NOT_SENT, effect.name, attempt, {"key": key, "message": message_of(error), **end.facts})
    status = EffectStatus.IN_DOUBT if call.doubtful else EffectStatus.NOT_SENT
    settlement = Settlement(key, status, None, message_of(error))
    if end.refused:
        return replace(wait_for_permit(at, effect, (event,), has_event=True), settlement=settlement._replace(counts=False))
    free = isinstance(error, NotBegun) and not isinstance(error, AllHang)
    if attempt >= effect.retry.attempts_max and not free:
        reason = f"{effect.name!r} was not sent in {format_count(attempt, 'attempt')}: {message_of(error)}"
        doubtful = _give_up(effect, key, f"an earlier call may have happened ({message_of(error)})")
        return StepResult((event,), park=doubtful if call.doubtful else reason, settlement=settlement, evidence=evidence_of(error, attempt))
    wait = max(effect.retry.wait_seconds(attempt, at.chance.random()), error.retry_after or 0.0)
    return StepResult((event,), wake_at=at.now + wait, settlement=settlement, attempts=attempt - free)


def _rejected(at: Moment, effect: AnyEffect, key: str, error: Rejected, *, recorded: bool = False) -> StepResult:
    attempt = at.case.row.attempts
    settlement = None if recorded else Settlement(key, EffectStatus.FAILED, None, message_of(error))
    cells = failure_cells(at.process, effect, error, attempt) if effect.on_failure == "record" else {}
    cells = {name: cell for name, cell in cells.items() if not (recorded and cell.appends)}  # it was added when it was recorded
    if recorded:  # there was no call, so no attempt failed
        event = Event(Kind.EFFECT_SETTLED, effect.name, attempt, {"key": key, "how": "was rejected before", "fields": list(cells)}, cells)
    else:
        facts = {"error": "Rejected", "message": message_of(error), "raised_at": raised_at(error)}
        event = Event(Kind.NODE_FAILED, effect.name, attempt, facts, cells)
    park = None if cells else f"{effect.name!r} was rejected: {message_of(error)}"
    return StepResult((event,), park=park, settlement=settlement, evidence=evidence_of(error, attempt))


def _doubted(at: Moment, call: CallEffect, error: Exception) -> StepResult:
    effect, entry = call.effect, at.case.ledger[call.intent.key]
    doubt = (_in_doubt(effect, entry.key, at.case.row.attempts, f"{type(error).__name__}: {message_of(error)}"),)
    settlement = Settlement(entry.key, EffectStatus.IN_DOUBT, None, message_of(error))
    deadline = max(entry.deadline, at.now)  # a call that was delayed beyond its deadline may take effect that much later
    match move_in_doubt(effect, attempts=entry.attempts, intended_at=entry.intended_at, deadline=deadline, now=at.now):
        case GiveUp(reason):
            park = _give_up(effect, entry.key, f"{reason} ({message_of(error)})")
            return StepResult(doubt, park=park, settlement=settlement, evidence=evidence_of(error, at.case.row.attempts))
        case WaitUntil(wake_at):
            return StepResult(doubt, wake_at=wake_at, settlement=settlement)
        case LookUp() | CallAgain():
            wait = effect.retry.wait_seconds(entry.attempts, at.chance.random())
            return StepResult(doubt, wake_at=at.now + wait, settlement=settlement)


# For other modules.


def effect_key(incarnation: str, process: AnyProcess, snapshot: Snapshot, effect: AnyEffect, undoes: str = "") -> tuple[str, str]:
    """An effect's idempotency key, and the digest of what it reads. Raises what the author's `key=` raises.

    The key of a compensation is derived from `undoes`, the key of the call that it reverses. A key never depends on the attempt, the
    worker, the version or the time, because a repeated call must carry the key of the first one.
    """
    arguments = digest_of(snapshot.cells, effect.depends)
    named = undoes or arguments
    if effect.key is not None and not undoes:
        names = inspect.signature(effect.key).parameters
        named = effect.key(*(codec_of(process.state).fresh(snapshot.cells, name) for name in names))
        if not isinstance(named, str):
            raise TypeError(f"it is a {type(named).__name__}, not a str")
        if not named:
            raise ValueError("it is empty, so that every call would have the same key")
    parts = (incarnation, process.name, str(snapshot.case), effect.first_name, named)
    return digest(parts)[:KEY_LENGTH], arguments


def declared(process: AnyProcess, entry: EffectRow) -> AnyEffect | None:
    """The effect of an entry, if the code still has it."""
    step = process.steps.get(process.called(entry.effect))
    return step if isinstance(step, Effect) else None


def vanished(process: AnyProcess, entry: EffectRow) -> bool:
    """Whether the outcome of an entry is unknown and the code no longer has its effect."""
    return entry.status in UNKNOWN and declared(process, entry) is None


def vanished_reason(entry: EffectRow) -> str:
    """Why a case with such an entry is blocked."""
    problem = f"effect {entry.effect!r} with key {entry.key} may or may not have happened, and this code no longer has it"
    return f"{problem}; open code that has it, or that names it in former_names="


def forgotten_reason(key: str, step: str) -> str:
    """Why a case that would leave an effect of unknown outcome behind is parked."""
    return f"{_forgotten(key, step)}; {say_whether(key)}"


def unknown_outcome(entry: EffectRow, name: str) -> str:
    """Why a case whose effect is done, with an outcome that is not known, is parked."""
    problem = f"effect {name!r} happened, but its outcome is not known ({entry.error})"
    return f"{problem}; {say_what(entry.key)}"


def intended(process: AnyProcess, intent: Intent) -> Event:
    """Return the event of an intent. It keeps the policy of the call, because settings may change later."""
    facts: dict[str, object] = {"key": intent.key, "deadline": intent.deadline}
    step = process.steps.get(process.called(intent.effect))
    if isinstance(step, Effect):
        facts["safety"] = type(step.safety).__name__
    return Event(Kind.EFFECT_INTENDED, intent.effect, facts=facts)


def _needs_more(effect: AnyEffect) -> bool:
    """Whether the call takes a thread or a permit before its intent is committed."""
    return effect.limit is not None or not effect.asynchronous


def _intent(at: Moment, effect: AnyEffect, key: str, arguments: str, *, again: bool) -> Intent:
    return Intent(key, effect.name, arguments, at.now + effect.timeout_seconds, again)


def _doubt(effect: AnyEffect, entry: EffectRow) -> tuple[tuple[Event, ...], Settlement]:
    """The event of an effect that is newly in doubt, and the settlement that records the doubt."""
    why = "the engine ended during the call"
    doubt = (_in_doubt(effect, entry.key, entry.attempts, why),) if entry.status is EffectStatus.INTENDED else ()
    return doubt, Settlement(entry.key, EffectStatus.IN_DOUBT, None, entry.error or why)


def _with_limit_facts(result: StepResult, end: CallEnd) -> StepResult:
    """Add to the facts of the last event how the call changed its limit."""
    if not end.facts:
        return result
    *events, last = result.events
    return replace(result, events=(*events, replace(last, facts={**last.facts, **end.facts})))


def _forgotten(key: str, step: str) -> str:
    return f"the effect with key {key} may or may not have happened, and the case would go on with {step}"


def _in_doubt(effect: AnyEffect, key: str, attempt: int, message: str) -> Event:
    return Event(Kind.EFFECT_IN_DOUBT, effect.name, attempt, {"key": key, "message": message})


def _no_key(effect: AnyEffect, error: Exception) -> str:
    return f"the key of effect {effect.name!r} cannot be computed: {type(error).__name__}: {message_of(error)}"


def _give_up(effect: AnyEffect, key: str, reason: str) -> str:
    problem = f"effect {effect.name!r} is in doubt: {reason}"
    return f"{problem}; {say_whether(key)}"
