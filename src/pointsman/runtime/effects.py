"""Effects: the intent before the call, the outcome after it, and what the policy allows when nobody knows which.

The order of the lines in `perform` is the protocol (DESIGN.md, section 3): the local deadline is taken before the intent
is committed; no call without a confirmed intent; what the call did is recorded before anything follows from it; and a
settled key is never called again.
"""

import inspect
import json

from pointsman.definition.effects import ABSENT, AnyEffect, Compensation, Effect, Found, Reconcile
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Compensate, Park
from pointsman.definition.signature import signature_of
from pointsman.errors import AllHang, News, NotBegun, NotSent, Rejected
from pointsman.kernel.codec import codec_of, digest, digest_of, message_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import Advance, blocked, parked
from pointsman.kernel.ledger import CallAgain, EffectStatus, GiveUp, LookUp, WaitUntil, move_in_doubt
from pointsman.kernel.rows import EffectRow, Intent, Settlement
from pointsman.kernel.snapshot import Snapshot, Status
from pointsman.runtime.calls import TOO_LATE, Calls
from pointsman.runtime.commits import Commits, intended
from pointsman.runtime.evidence import evidence_of, raised_at
from pointsman.runtime.hold import Hold, Outcome, cells_from, encode, failure_cells, outcome_text
from pointsman.runtime.inbox import Inbox
from pointsman.runtime.limits import Limits, Permit
from pointsman.runtime.ports import Ports

ATTEMPTS_A_CALL = 4  # a call may take a wait, a look-up and its retry; what is begun more often than that dies each time
KEY_LENGTH = 40  # hexadecimal digits of the SHA-256: 160 bits, within every provider's limit for keys


class Effects:
    """Performs effects by the ledger."""

    def __init__(self, ports: Ports, commits: Commits, calls: Calls, limits: Limits, inbox: Inbox) -> None:
        self._limits = limits
        self._inbox = inbox
        self._store = ports.store
        self._clock = ports.clock
        self._random = ports.random
        self._points = ports.failpoints
        self._lease = ports.lease
        self._commits = commits
        self._calls = calls

    async def prepare(self, hold: Hold, after: Advance, outcome: Outcome, *, going_on: bool) -> tuple[Advance, Outcome, Intent | None]:
        """See to it, before a decision is committed, that no effect is forgotten, and make the intent of one that is chosen.

        A case with an effect of unknown outcome goes on to nothing but that effect. There is no intent where the ledger
        knows the key already, where the case is not `going_on`, or where the call takes a permit or a thread first.
        """
        step = after.decision.step
        if isinstance(step, Park):
            return after, outcome, None
        key = arguments = None
        if isinstance(step, Effect):
            try:
                key, arguments = self._key(hold, after.snapshot, step)
            except Exception as error:
                return parked(after, _no_key(step, error)), outcome, None
        forgotten = hold.unsettled - {key}
        if outcome.settlement is not None and outcome.settlement.status is not EffectStatus.IN_DOUBT:
            forgotten.discard(outcome.settlement.key)
        if isinstance(step, Compensate):
            forgotten = {key for key in forgotten if not await self._takes_back(hold, key)}
        if forgotten:
            return await self._remember(hold, after, outcome, min(forgotten))
        may_begin = going_on and isinstance(step, Effect) and step.limit is None and step.asynchronous
        fresh = may_begin and key is not None and await self._store.effect(key) is None
        if not isinstance(step, Effect) or key is None or arguments is None or not fresh:
            return after, outcome, None
        return after, outcome, self._intent(hold, step, key, arguments, again=False)

    async def _remember(self, hold: Hold, after: Advance, outcome: Outcome, key: str) -> tuple[Advance, Outcome, None]:
        """Park a case that would leave an effect of unknown outcome behind, or block it where the code has no such effect."""
        entry = await self._store.effect(key)
        if entry is not None and vanished(hold.process, entry):
            return blocked(after, vanished_reason(entry)), outcome, None
        if outcome.settlement is None:
            told = _forgotten(key, after.decision.step.name)
            outcome = outcome._replace(settlement=Settlement(key, EffectStatus.IN_DOUBT, None, told))
        return parked(after, forgotten_reason(key, after.decision.step.name)), outcome, None

    async def _takes_back(self, hold: Hold, key: str) -> bool:
        entry = await self._store.effect(key)
        return entry is not None and isinstance(hold.process.steps.get(hold.process.called(entry.effect)), Compensation)

    async def unsettled_keys(self, case: int) -> set[str]:
        """The keys of a case's effects whose outcome is not known."""
        unknown = {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}
        return {entry.key for entry in await self._store.effects(case) if entry.status in unknown}

    def key_of(self, hold: Hold, effect: AnyEffect) -> str:
        """The idempotency key that a call would have now. Raises what the author's key function raises."""
        return self._key(hold, hold.snapshot, effect)[0]

    def _key(self, hold: Hold, snapshot: Snapshot, effect: AnyEffect) -> tuple[str, str]:
        return effect_key(self._store.incarnation, hold.process, snapshot, effect, hold.undoes)

    async def perform(self, hold: Hold, effect: AnyEffect) -> Outcome:
        """Call the effect, or take the outcome that the ledger has, or do what its policy says of a call in doubt."""
        if hold.attempt > ATTEMPTS_A_CALL * effect.retry.attempts_max:
            told = f"{effect.name!r} was begun {hold.attempt - 1} times and never ended; correct it, resolve its call if that is in doubt, and redrive the case"
            return Outcome((), park=told)
        try:
            if hold.intent is None:
                outcome = await self._reach_intent(hold, effect)
                if outcome is not None:
                    return outcome
            assert hold.intent is not None
            return await self._call(hold, effect, hold.intent)
        finally:
            if hold.permit is not None:
                hold.permit.unused()
                hold.permit = None
            if hold.place is not None:
                self._calls.threads.let_go(hold.place)
                hold.place = None

    # Before the call.

    async def _reach_intent(self, hold: Hold, effect: AnyEffect) -> Outcome | None:
        """Commit an intent where one may be committed; otherwise give the outcome that stands or the reason to wait."""
        try:
            key, arguments = self._key(hold, hold.snapshot, effect)
        except Exception as error:  # the author's key function may raise anything
            return Outcome((), park=_no_key(effect, error))
        entry = await self._store.effect(key)
        if entry is None:
            if not await self._permitted(hold, effect):
                return self._limits.to_line(hold, effect)
            return await self._commit_intent(hold, self._intent(hold, effect, key, arguments, again=False))
        if entry.arguments != arguments:
            reason = f"effect {effect.name!r} was intended under key {key} with other arguments; its key must name everything that makes it another effect"
            return Outcome((), park=reason)
        if entry.status is EffectStatus.DONE:
            return await self._adopt(hold, effect, entry)
        if entry.status is EffectStatus.FAILED:
            return self._rejected(hold, effect, entry.key, Rejected(entry.error or "rejected"), recorded=True)
        if entry.status is EffectStatus.NOT_SENT:
            if not await self._permitted(hold, effect):
                return self._limits.to_line(hold, effect)
            return await self._commit_intent(hold, self._intent(hold, effect, key, arguments, again=True))
        return await self._resolve_doubt(hold, effect, entry)

    async def _resolve_doubt(self, hold: Hold, effect: AnyEffect, entry: EffectRow) -> Outcome | None:
        """A call was begun, and its outcome is not recorded: do what the policy allows."""
        doubt: tuple[Event, ...] = ()
        if entry.status is EffectStatus.INTENDED:
            doubt = (_in_doubt(effect, entry.key, entry.attempts, "the engine ended during the call"),)
        settlement = Settlement(entry.key, EffectStatus.IN_DOUBT, None, entry.error or "the engine ended during the call")
        given_up = self._calls.threads.abandoned_calls(entry.key)
        for call in given_up:
            if call.happened():
                outcome = self._settled(hold, effect, entry.key, call.result(), "called late")
                return outcome._replace(events=(*doubt, *outcome.events))
        move = move_in_doubt(
            effect,
            attempts=entry.attempts,
            intended_at=entry.intended_at,
            deadline=max(entry.deadline, *(call.ended_at or 0.0 for call in given_up), 0.0),
            now=self._clock.now(),
        )
        match move:
            case LookUp() if any(call.ended_at is None for call in given_up):
                return self._wait_for_its_end(hold, effect, entry, doubt, settlement)
            case CallAgain():
                if not await self._permitted(hold, effect):
                    return self._limits.to_line(hold, effect, doubt, settlement)
                hold.doubtful = True
                again = self._intent(hold, effect, entry.key, entry.arguments, again=True)
                if await self._commit_current(hold, effect, again, doubt):
                    return None
                reason = "its call may have happened, and a message has come that it does not know"
                return Outcome(doubt, park=_give_up(effect, entry.key, reason), settlement=settlement)
            case WaitUntil(at):
                return Outcome(doubt, wake_at=at, settlement=settlement)
            case GiveUp(reason):
                return Outcome(doubt, park=_give_up(effect, entry.key, reason), settlement=settlement)
            case LookUp():
                return await self._look_up(hold, effect, entry, doubt, settlement)

    def _wait_for_its_end(
        self, hold: Hold, effect: AnyEffect, entry: EffectRow, doubt: tuple[Event, ...], settlement: Settlement
    ) -> Outcome:
        """A plain function that was given up still runs, and could change the world after a look: look when it has ended."""
        if hold.attempt >= ATTEMPTS_A_CALL * effect.retry.attempts_max:
            return Outcome(doubt, park=_give_up(effect, entry.key, "its call was given up and still runs"), settlement=settlement)
        wait = max(effect.timeout_seconds, effect.retry.wait_seconds(hold.attempt, self._random.random()))
        return Outcome(doubt, wake_at=self._clock.now() + wait, settlement=settlement)

    async def _look_up(
        self, hold: Hold, effect: AnyEffect, entry: EffectRow, doubt: tuple[Event, ...], settlement: Settlement
    ) -> Outcome | None:
        """Ask the world whether the call in doubt happened."""
        safety = effect.safety
        assert isinstance(safety, Reconcile)
        asked = signature_of(safety.look_up, "look-up")
        self._calls.threads.forget(entry.key)
        self._points("effect.look_up")
        try:
            found = await self._calls.invoke(
                safety.look_up, effect, hold, attempt=entry.attempts, key=entry.key, timeout_seconds=effect.timeout_seconds,
                asynchronous=inspect.iscoroutinefunction(safety.look_up), only=(frozenset(asked.reads), frozenset(asked.uses)),
            )  # fmt: skip
        except Exception as error:
            if hold.attempt < effect.retry.attempts_max:
                wake_at = self._clock.now() + effect.retry.wait_seconds(hold.attempt, self._random.random())
                return Outcome(
                    (*doubt, Event(Kind.NODE_RETRIED, effect.name, hold.attempt, {"at": wake_at})),
                    wake_at=wake_at,
                    settlement=settlement,
                )
            return Outcome(
                doubt,
                park=_give_up(effect, entry.key, f"the look-up failed: {message_of(error)}"),
                settlement=settlement,
            )
        if isinstance(found, Found):
            outcome = self._settled(hold, effect, entry.key, found.outcome, "found")
            return outcome._replace(events=(*doubt, *outcome.events))
        if found is ABSENT and entry.attempts >= effect.retry.attempts_max:
            return Outcome(
                doubt,
                park=f"{effect.name!r} was called {entry.attempts} times and did not arrive",
                settlement=settlement._replace(status=EffectStatus.NOT_SENT),
            )
        if found is ABSENT and not await self._permitted(hold, effect):
            return self._limits.to_line(hold, effect, doubt, settlement._replace(status=EffectStatus.NOT_SENT))
        if found is ABSENT:
            again = self._intent(hold, effect, entry.key, entry.arguments, again=True)
            if await self._commit_current(hold, effect, again, doubt):
                return None
            return Outcome(doubt, settlement=settlement._replace(status=EffectStatus.NOT_SENT))
        return Outcome(
            doubt,
            park=_give_up(effect, entry.key, "the look-up could not tell whether it happened"),
            settlement=settlement,
        )

    async def _permitted(self, hold: Hold, effect: AnyEffect) -> bool:
        """Take the thread and the permit of the call to come, where it needs them: before its intent, and before its time begins to run."""
        if not effect.asynchronous and hold.place is None:
            hold.place = await self._calls.place(hold)
        if effect.limit is None:
            return True
        hold.permit = await self._limits.take(hold, effect)
        return hold.permit is not None

    async def _commit_intent(self, hold: Hold, intent: Intent, doubt: tuple[Event, ...] = ()) -> Outcome | None:
        await self._commits.stay(hold, Status.RUNNING, Outcome((*doubt, intended(hold.process, intent))), intent=intent, guarded=True)
        return None

    async def _commit_current(self, hold: Hold, effect: AnyEffect, intent: Intent, doubt: tuple[Event, ...]) -> bool:
        """Commit the intent of another call, unless a message has come that rewrites what the effect reads."""
        while True:
            if hold.mail and await self._inbox.touches(hold, effect):
                return False
            try:
                await self._commit_intent(hold, intent, doubt)
            except News:
                await self._inbox.read(hold)
            else:
                return True

    def _intent(self, hold: Hold, effect: AnyEffect, key: str, arguments: str, *, again: bool) -> Intent:
        # The call's own deadline begins before the commit, the ledger's within it: a slow commit shortens the call, and
        # never lets it outlive what the ledger says.
        hold.call_until = self._clock.monotonic() + effect.timeout_seconds
        return Intent(key, effect.name, arguments, self._clock.now() + effect.timeout_seconds, again)

    # The call and what follows from it.

    async def _call(self, hold: Hold, effect: AnyEffect, intent: Intent) -> Outcome:
        doubtful, hold.doubtful = hold.doubtful, False
        clock, lease = self._clock, self._lease

        def late() -> bool:
            # By both clocks: the monotonic one may stand still while the machine sleeps, the other one may be set back.
            return clock.monotonic() >= hold.call_until or clock.now() >= intent.deadline or not lease.held()

        if late():
            return self._not_sent(hold, effect, intent.key, NotBegun(TOO_LATE), doubtful=doubtful)
        remaining = hold.call_until - clock.monotonic()
        permit, hold.permit = hold.permit, None
        try:
            result = await self._calls.call(
                hold, effect, attempt=hold.attempt, key=intent.key, timeout_seconds=remaining, late=late, permit=permit
            )
        except NotSent as error:
            return self._not_sent(hold, effect, intent.key, error, doubtful=doubtful, permit=permit)
        except Rejected as error:
            return self._rejected(hold, effect, intent.key, error)
        except Exception as error:
            if isinstance(error, TimeoutError) and not error.args:
                unanswered = TimeoutError(f"no answer within {effect.timeout_seconds} seconds")
                unanswered.__cause__ = error
                return _also_told(await self._doubted(hold, effect, intent.key, unanswered), permit)
            return _also_told(await self._doubted(hold, effect, intent.key, error), permit)
        return _also_told(self._settled(hold, effect, intent.key, result, "called"), permit)

    def _settled(self, hold: Hold, effect: AnyEffect, key: str, result: object, how: str) -> Outcome:
        self._calls.threads.forget(key)
        try:
            cells = encode(hold, effect, effect.split(result))
        except Exception as error:
            # It did happen: that must not be lost because its outcome cannot be written down.
            settled = Event(Kind.EFFECT_SETTLED, effect.name, hold.attempt, {"key": key, "how": how, "fields": []})
            reason = f"effect {effect.name!r} happened, but its outcome cannot be stored ({message_of(error)}); say what it was with engine.resolve({key!r}, happened=True, outcome=...)"
            return Outcome((settled,), park=reason, settlement=Settlement(key, EffectStatus.DONE, None, message_of(error)))
        settled = Event(Kind.EFFECT_SETTLED, effect.name, hold.attempt, {"key": key, "how": how, "fields": list(cells)}, cells)
        return Outcome((settled,), settlement=Settlement(key, EffectStatus.DONE, outcome_text(cells)))

    async def _adopt(self, hold: Hold, effect: AnyEffect, entry: EffectRow) -> Outcome:
        """The same effect has been done before: its recorded outcome is the outcome. What it has added to a log is not added again."""
        if entry.outcome is None:
            return Outcome(
                (),
                park=f"effect {effect.name!r} happened, but its outcome is not known ({entry.error}); say what it was with engine.resolve({entry.key!r}, happened=True, outcome=...)",
            )
        cells = cells_from(hold.process, entry.outcome, effect.name)
        if any(cell.appends for cell in cells.values()):
            added = await self._fields_told(hold, entry.key)
            cells = {name: cell for name, cell in cells.items() if not (cell.appends and name in added)}
        if effect.writes and not cells:
            told = f"effect {effect.name!r} is done already under key {entry.key}, and {', '.join(effect.writes)} has its outcome"
            return Outcome(
                (), park=f"{told}; it would be chosen again for ever: correct its rule, or name with key= what makes it another effect"
            )
        facts = {"key": entry.key, "how": "adopted", "fields": list(cells)}
        return Outcome((Event(Kind.EFFECT_SETTLED, effect.name, hold.attempt, facts, cells),))

    async def _fields_told(self, hold: Hold, key: str) -> set[str]:
        """The fields that the outcome of a key has been written to."""
        fields: set[str] = set()
        after = 0
        while events := await self._store.events(case=hold.snapshot.case, after=after):
            after = events[-1].id
            for event in events:
                facts = json.loads(event.facts) if event.kind == Kind.EFFECT_SETTLED else {}
                fields.update(facts["fields"] if facts.get("key") == key else ())
        return fields

    def _not_sent(
        self, hold: Hold, effect: AnyEffect, key: str, error: NotSent, *, doubtful: bool, permit: Permit | None = None
    ) -> Outcome:
        """This call has not happened; if an earlier one under its key may have, that doubt stays."""
        facts = {"key": key, "message": message_of(error), **({} if permit is None else permit.facts)}
        event = Event(Kind.EFFECT_NOT_SENT, effect.name, hold.attempt, facts)
        status = EffectStatus.IN_DOUBT if doubtful else EffectStatus.NOT_SENT
        settlement = Settlement(key, status, None, message_of(error))
        if permit is not None and permit.refused:
            return self._limits.to_line(hold, effect, (event,), settlement._replace(counts=False), told=True)
        free = isinstance(error, NotBegun) and not isinstance(error, AllHang)
        if hold.attempt >= effect.retry.attempts_max and not free:
            told = f"{effect.name!r} was not sent in {hold.attempt} attempts: {message_of(error)}"
            park = _give_up(effect, key, f"an earlier call may have happened ({message_of(error)})") if doubtful else told
            return Outcome((event,), park=park, settlement=settlement, evidence=evidence_of(error, hold.attempt))
        wait = max(effect.retry.wait_seconds(hold.attempt, self._random.random()), error.retry_after or 0.0)
        if free:
            hold.attempt -= 1
        return Outcome((event,), wake_at=self._clock.now() + wait, settlement=settlement)

    def _rejected(self, hold: Hold, effect: AnyEffect, key: str, error: Rejected, *, recorded: bool = False) -> Outcome:
        settlement = None if recorded else Settlement(key, EffectStatus.FAILED, None, message_of(error))
        cells = failure_cells(hold, effect, error, hold.attempt) if effect.on_failure == "record" else {}
        cells = {name: cell for name, cell in cells.items() if not (recorded and cell.appends)}  # it was added when it was recorded
        facts = {"error": "Rejected", "message": message_of(error), "raised_at": raised_at(error)}
        event = Event(Kind.NODE_FAILED, effect.name, hold.attempt, facts, cells)
        park = None if cells else f"{effect.name!r} was rejected: {message_of(error)}"
        return Outcome((event,), park=park, settlement=settlement, evidence=evidence_of(error, hold.attempt))

    async def _doubted(self, hold: Hold, effect: AnyEffect, key: str, error: Exception) -> Outcome:
        entry = await self._store.effect(key)
        assert entry is not None, "its intent was committed before the call"
        doubt = (_in_doubt(effect, key, hold.attempt, f"{type(error).__name__}: {message_of(error)}"),)
        settlement = Settlement(key, EffectStatus.IN_DOUBT, None, message_of(error))
        now = self._clock.now()
        given_up = max(entry.deadline, now)  # a call that was held up beyond its deadline may arrive that much later
        match move_in_doubt(effect, attempts=entry.attempts, intended_at=entry.intended_at, deadline=given_up, now=now):
            case GiveUp(reason):
                told = _give_up(effect, key, f"{reason} ({message_of(error)})")
                return Outcome(doubt, park=told, settlement=settlement, evidence=evidence_of(error, hold.attempt))
            case WaitUntil(at):
                return Outcome(doubt, wake_at=at, settlement=settlement)
            case LookUp() | CallAgain():
                wait = effect.retry.wait_seconds(entry.attempts, self._random.random())
                return Outcome(doubt, wake_at=now + wait, settlement=settlement)


def effect_key(incarnation: str, process: AnyProcess, snapshot: Snapshot, effect: AnyEffect, undoes: str = "") -> tuple[str, str]:
    """An effect's idempotency key, and the digest of what it reads. Raises what the author's `key=` raises.

    The key of a call that takes back another one, `undoes`, is made of that one's. Never of attempt, worker, version or
    time: a repeated call must carry the key of the first one.
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


def _also_told(outcome: Outcome, permit: Permit | None) -> Outcome:
    """The same, with what the call has done to its limit among the facts of the last event."""
    if permit is None or not permit.facts:
        return outcome
    *events, last = outcome.events
    return outcome._replace(events=(*events, last._replace(facts={**last.facts, **permit.facts})))


def vanished(process: AnyProcess, entry: EffectRow) -> bool:
    """Whether the code no longer has the effect of an entry whose outcome is not known."""
    unknown = entry.status in {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}
    return unknown and not isinstance(process.steps.get(process.called(entry.effect)), Effect)


def vanished_reason(entry: EffectRow) -> str:
    """Why a case with such an entry is blocked."""
    told = f"effect {entry.effect!r} with key {entry.key} may or may not have happened, and this code no longer has it"
    return f"{told}; open code that has it, or that names it in former_names="


def forgotten_reason(key: str, step: str) -> str:
    """Why a case that would leave an effect of unknown outcome behind is parked."""
    return f"{_forgotten(key, step)}; find out whether it happened, and say so with engine.resolve({key!r}, happened=...)"


def _forgotten(key: str, step: str) -> str:
    return f"the effect with key {key} may or may not have happened, and the rules go on to {step}"


def _in_doubt(effect: AnyEffect, key: str, attempt: int, message: str) -> Event:
    return Event(Kind.EFFECT_IN_DOUBT, effect.name, attempt, {"key": key, "message": message})


def _no_key(effect: AnyEffect, error: Exception) -> str:
    return f"the key of effect {effect.name!r} cannot be made: {type(error).__name__}: {message_of(error)}"


def _give_up(effect: AnyEffect, key: str, reason: str) -> str:
    return (
        f"effect {effect.name!r} is in doubt: {reason}; find out whether it happened, and say so with engine.resolve({key!r}, happened=...)"
    )
