"""Effects: the intent before the call, the outcome after it, and what the policy allows when nobody knows which.

The order of the lines in `perform` is the protocol (DESIGN.md, section 3): the local deadline is taken before the intent
is committed; no call without a confirmed intent; what the call did is recorded before anything follows from it; and a
settled key is never called again.
"""

import inspect

from pointsman.definition.effects import ABSENT, AnyEffect, Found, Reconcile
from pointsman.definition.signature import signature_of
from pointsman.errors import NotSent, Rejected, StoreError, ValueRefused
from pointsman.kernel.codec import digest, digest_of, message_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.ledger import CallAgain, EffectStatus, GiveUp, LookUp, WaitUntil, move_in_doubt
from pointsman.kernel.snapshot import Snapshot, Status
from pointsman.runtime.calls import Calls, value_of
from pointsman.runtime.commits import Commits, intended
from pointsman.runtime.hold import Hold, Outcome, cells_from, encode, failure_cells, outcome_text
from pointsman.runtime.ports import Ports
from pointsman.store.base import EffectRow, Intent, Settlement

KEY_LENGTH = 40  # hexadecimal digits of the SHA-256: 160 bits, within every provider's limit for keys


class Effects:
    """Performs effects by the ledger."""

    def __init__(self, ports: Ports, commits: Commits, calls: Calls) -> None:
        self._store = ports.store
        self._clock = ports.clock
        self._random = ports.random
        self._points = ports.points
        self._commits = commits
        self._calls = calls

    async def intend(self, hold: Hold, snapshot: Snapshot, effect: AnyEffect) -> Intent | None:
        """The intent to commit with the decision that chose an effect; None where the ledger knows its key already."""
        key, arguments = self._key(hold, snapshot, effect)
        if await self._store.effect(key) is not None:
            return None
        return self._intent(hold, effect, key, arguments, again=False)

    async def perform(self, hold: Hold, effect: AnyEffect) -> Outcome:
        """Call the effect, or take the outcome that the ledger has, or do what its policy says of a call in doubt."""
        if hold.intent is None:
            outcome = await self._reach_intent(hold, effect)
            if outcome is not None:
                return outcome
        assert hold.intent is not None
        return await self._call(hold, effect, hold.intent)

    # Before the call.

    async def _reach_intent(self, hold: Hold, effect: AnyEffect) -> Outcome | None:
        """Commit an intent where one may be committed; otherwise give the outcome that stands or the reason to wait."""
        key, arguments = self._key(hold, hold.snapshot, effect)
        entry = await self._store.effect(key)
        if entry is None:
            unresolved = await self._orphan(hold, key)
            if unresolved is not None:
                return unresolved
            return await self._commit_intent(hold, self._intent(hold, effect, key, arguments, again=False))
        if entry.arguments != arguments:
            reason = f"effect {effect.name!r} was intended under key {key} with other arguments; its key must name everything that makes it another effect"
            return Outcome((), park=reason)
        if entry.status is EffectStatus.DONE:
            return self._adopt(hold, effect, entry)
        if entry.status is EffectStatus.FAILED:
            return self._rejected(hold, effect, entry.key, Rejected(entry.error or "rejected"), recorded=True)
        if entry.status is EffectStatus.NOT_SENT:
            return await self._commit_intent(hold, self._intent(hold, effect, key, arguments, again=True))
        return await self._resolve_doubt(hold, effect, entry)

    async def _orphan(self, hold: Hold, key: str) -> Outcome | None:
        """An earlier effect of the case that nobody knows the outcome of must not be forgotten behind a new one."""
        for entry in await self._store.effects(hold.snapshot.case):
            if entry.key != key and entry.status in {EffectStatus.INTENDED, EffectStatus.IN_DOUBT}:
                doubt = Settlement(entry.key, EffectStatus.IN_DOUBT, None, "the case went on to another effect")
                return Outcome(
                    (),
                    settlement=doubt,
                    park=f"effect {entry.effect!r} (key {entry.key}) may or may not have happened; resolve it first",
                )
        return None

    async def _resolve_doubt(self, hold: Hold, effect: AnyEffect, entry: EffectRow) -> Outcome | None:
        """A call was begun, and its outcome is not recorded: do what the policy allows."""
        doubt: tuple[Event, ...] = ()
        if entry.status is EffectStatus.INTENDED:
            doubt = (_in_doubt(effect, entry.key, entry.attempts, "the engine died during the call"),)
        settlement = Settlement(
            entry.key, EffectStatus.IN_DOUBT, None, entry.error or "the engine died during the call"
        )
        move = move_in_doubt(
            effect,
            attempts=entry.attempts,
            intended_at=entry.intended_at,
            deadline=entry.deadline,
            now=self._clock.now(),
        )
        match move:
            case CallAgain():
                return await self._commit_intent(
                    hold, self._intent(hold, effect, entry.key, entry.arguments, again=True), doubt
                )
            case WaitUntil(at):
                return Outcome(doubt, wake_at=at, settlement=settlement)
            case GiveUp(reason):
                return Outcome(doubt, park=_give_up(effect, entry.key, reason), settlement=settlement)
            case LookUp():
                return await self._look_up(hold, effect, entry, doubt)

    async def _look_up(
        self, hold: Hold, effect: AnyEffect, entry: EffectRow, doubt: tuple[Event, ...]
    ) -> Outcome | None:
        """Ask the world whether the call in doubt happened."""
        safety = effect.safety
        assert isinstance(safety, Reconcile)
        asked = signature_of(safety.look_up, "look-up")
        settlement = Settlement(
            entry.key, EffectStatus.IN_DOUBT, None, entry.error or "the engine died during the call"
        )
        self._points("effect.look_up")
        try:
            found = await self._calls.invoke(
                safety.look_up, effect, hold, attempt=entry.attempts, key=entry.key, timeout_seconds=effect.timeout_seconds,
                asynchronous=inspect.iscoroutinefunction(safety.look_up), only=(frozenset(asked.reads), frozenset(asked.uses)),
            )  # fmt: skip
        except StoreError:
            raise
        except Exception as error:
            if hold.attempt < effect.retry.attempts_max:
                wake_at = self._clock.now() + effect.retry.pause_seconds(hold.attempt, self._random.random())
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
        if found is ABSENT:
            again = self._intent(hold, effect, entry.key, entry.arguments, again=True)
            return await self._commit_intent(hold, again, doubt)
        return Outcome(
            doubt,
            park=_give_up(effect, entry.key, "the look-up could not tell whether it happened"),
            settlement=settlement,
        )

    async def _commit_intent(self, hold: Hold, intent: Intent, doubt: tuple[Event, ...] = ()) -> Outcome | None:
        await self._commits.stay(hold, Status.RUNNING, Outcome((*doubt, intended(intent))), intent=intent)
        return None

    def _intent(self, hold: Hold, effect: AnyEffect, key: str, arguments: str, *, again: bool) -> Intent:
        # The call's own deadline begins before the commit, the ledger's within it: a slow commit shortens the call, and
        # never lets it outlive what the ledger says.
        hold.call_until = self._clock.monotonic() + effect.timeout_seconds
        return Intent(key, effect.name, arguments, self._clock.now() + effect.timeout_seconds, again)

    def _key(self, hold: Hold, snapshot: Snapshot, effect: AnyEffect) -> tuple[str, str]:
        """The idempotency key, and the digest of what the effect reads.

        Never of attempt, worker, version or time: a repeated call must carry the key of the first one.
        """
        arguments = digest_of(snapshot.cells, effect.depends)
        named = arguments
        if effect.key is not None:
            names = inspect.signature(effect.key).parameters
            named = effect.key(*(value_of(snapshot.cells, name) for name in names))
        parts = (self._store.incarnation, hold.process.name, str(hold.snapshot.case), effect.name, named)
        return digest(parts)[:KEY_LENGTH], arguments

    # The call and what follows from it.

    async def _call(self, hold: Hold, effect: AnyEffect, intent: Intent) -> Outcome:
        remaining = hold.call_until - self._clock.monotonic()
        if remaining <= 0:
            return self._not_sent(hold, effect, intent.key, NotSent("its time had passed before the call could begin"))
        try:
            result = await self._calls.call(
                hold, effect, attempt=hold.attempt, key=intent.key, timeout_seconds=remaining
            )
        except NotSent as error:
            return self._not_sent(hold, effect, intent.key, error)
        except Rejected as error:
            return self._rejected(hold, effect, intent.key, error)
        except Exception as error:
            told = error if str(error) else TimeoutError(f"no answer within {effect.timeout_seconds} seconds")
            return await self._doubted(hold, effect, intent.key, told)
        return self._settled(hold, effect, intent.key, result, "called")

    def _settled(self, hold: Hold, effect: AnyEffect, key: str, result: object, how: str) -> Outcome:
        try:
            cells = encode(hold, effect, effect.split(result))
        except (ValueRefused, TypeError) as error:
            # It did happen: that must not be lost because its outcome cannot be written down.
            settled = Event(Kind.EFFECT_SETTLED, effect.name, hold.attempt, {"key": key, "how": how, "fields": []})
            reason = f"effect {effect.name!r} happened, but its outcome cannot be stored ({error}); resolve key {key} with the outcome"
            return Outcome(
                (settled,), park=reason, settlement=Settlement(key, EffectStatus.DONE, None, message_of(error))
            )
        settled = Event(
            Kind.EFFECT_SETTLED, effect.name, hold.attempt, {"key": key, "how": how, "fields": list(cells)}, cells
        )
        return Outcome((settled,), settlement=Settlement(key, EffectStatus.DONE, outcome_text(cells)))

    def _adopt(self, hold: Hold, effect: AnyEffect, entry: EffectRow) -> Outcome:
        """The same effect has been done before: its recorded outcome is the outcome."""
        if entry.outcome is None:
            return Outcome(
                (),
                park=f"effect {effect.name!r} happened, but its outcome is not known ({entry.error}); resolve key {entry.key} with the outcome",
            )
        cells = cells_from(hold.process, entry.outcome, effect.name)
        facts = {"key": entry.key, "how": "adopted", "fields": list(cells)}
        return Outcome((Event(Kind.EFFECT_SETTLED, effect.name, hold.attempt, facts, cells),))

    def _not_sent(self, hold: Hold, effect: AnyEffect, key: str, error: NotSent) -> Outcome:
        event = Event(Kind.EFFECT_NOT_SENT, effect.name, hold.attempt, {"key": key, "message": message_of(error)})
        settlement = Settlement(key, EffectStatus.NOT_SENT, None, message_of(error))
        if hold.attempt >= effect.retry.attempts_max:
            return Outcome(
                (event,),
                park=f"{effect.name!r} was not sent in {hold.attempt} attempts: {message_of(error)}",
                settlement=settlement,
            )
        pause = max(effect.retry.pause_seconds(hold.attempt, self._random.random()), error.retry_after or 0.0)
        return Outcome((event,), wake_at=self._clock.now() + pause, settlement=settlement)

    def _rejected(self, hold: Hold, effect: AnyEffect, key: str, error: Rejected, *, recorded: bool = False) -> Outcome:
        settlement = None if recorded else Settlement(key, EffectStatus.FAILED, None, message_of(error))
        cells = failure_cells(hold, effect, error, hold.attempt) if effect.on_failure == "record" else {}
        event = Event(
            Kind.NODE_FAILED, effect.name, hold.attempt, {"error": "Rejected", "message": message_of(error)}, cells
        )
        park = None if cells else f"{effect.name!r} was rejected: {message_of(error)}"
        return Outcome((event,), park=park, settlement=settlement)

    async def _doubted(self, hold: Hold, effect: AnyEffect, key: str, error: Exception) -> Outcome:
        entry = await self._store.effect(key)
        assert entry is not None, "its intent was committed before the call"
        doubt = (_in_doubt(effect, key, hold.attempt, f"{type(error).__name__}: {message_of(error)}"),)
        settlement = Settlement(key, EffectStatus.IN_DOUBT, None, message_of(error))
        now = self._clock.now()
        match move_in_doubt(
            effect, attempts=entry.attempts, intended_at=entry.intended_at, deadline=entry.deadline, now=now
        ):
            case GiveUp(reason):
                return Outcome(
                    doubt, park=_give_up(effect, key, f"{reason} ({message_of(error)})"), settlement=settlement
                )
            case WaitUntil(at):
                return Outcome(doubt, wake_at=at, settlement=settlement)
            case LookUp() | CallAgain():
                pause = effect.retry.pause_seconds(entry.attempts, self._random.random())
                return Outcome(doubt, wake_at=now + pause, settlement=settlement)


def _in_doubt(effect: AnyEffect, key: str, attempt: int, message: str) -> Event:
    return Event(Kind.EFFECT_IN_DOUBT, effect.name, attempt, {"key": key, "message": message})


def _give_up(effect: AnyEffect, key: str, reason: str) -> str:
    return f"effect {effect.name!r} is in doubt: {reason}; find out whether it happened and resolve key {key}"
