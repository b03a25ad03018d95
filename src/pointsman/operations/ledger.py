"""What has become of each effect of a case, and what the engine would do about it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pointsman.definition.effects import Compensation, Effect
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Step
from pointsman.definition.signature import accepts_none
from pointsman.kernel.case import UNKNOWN
from pointsman.kernel.codec import codec_of, digest_of
from pointsman.kernel.effects import effect_key
from pointsman.kernel.events import Kind
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import CaseRow, EffectRow
from pointsman.kernel.snapshot import ENDED, Cell, Snapshot, Status
from pointsman.operations.history import History
from pointsman.operations.times import format_time

EffectStands = Literal["settled", "in doubt", "being called", "to be called", "not called"]

EFFECT_STANDS: tuple[EffectStands, ...] = ("in doubt", "being called", "to be called", "settled", "not called")
"""In the order in which a person wants to know of them."""


@dataclass(frozen=True, slots=True)
class EffectDescription:
    """A call of an effect, or an effect without a call.

    `words` say how it `stands` and what the engine would do. `key` is None for an effect that nothing chooses yet. `policy` is the name of
    the safety policy of the call.
    """

    name: str
    stands: EffectStands
    key: str | None
    policy: str
    words: str

    @property
    def text(self) -> str:
        """The words, with the key and the policy."""
        return f"{self.words} ({self.policy})" if self.key is None else f"{self.words} (key {self.key}, {self.policy})"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The effects of a case: those that were not called, its calls, and the call that comes next. `unsettled` has the words for each effect without an outcome."""

    calls: tuple[EffectDescription, ...]
    unsettled: Mapping[str, str]

    def keys(self, stands: EffectStands) -> list[str]:
        """The keys of the calls that stand so."""
        return [call.key for call in self.calls if call.stands == stands and call.key is not None]


def ledger_of(
    process: AnyProcess, history: History, cells: Mapping[str, Cell], *, chosen: Step | None = None, incarnation: str = ""
) -> Ledger:
    """Describe the effects of a case. `chosen` is the step that comes next, and `incarnation` that of the store, for its key.

    A call that certainly did not happen, or was rejected, says nothing of a call that reads other values: that has another key.
    """
    unsettled: dict[str, str] = {}
    calls: list[EffectDescription] = []
    policies = {facts["key"]: facts["safety"] for facts in facts_of(history, Kind.EFFECT_INTENDED) if "safety" in facts}
    for entry in history.effects:
        name = process.called(entry.effect)
        effect = process.steps.get(name)
        policy = policies.get(entry.key) or (type(effect.safety).__name__ if isinstance(effect, Effect) else "unknown")
        words = _of_call(history.case, entry, policy, effect.retry.attempts_max if isinstance(effect, Effect) else None)
        calls.append(EffectDescription(name, _stands(history.case, entry), entry.key, policy, words))
        reads_others = isinstance(effect, Effect) and effect.key is None and entry.arguments != digest_of(cells, effect.depends)
        if entry.status is EffectStatus.DONE or (entry.status not in UNKNOWN and reads_others):
            unsettled.pop(name, None)
        else:
            unsettled[name] = words
    uncalled = _uncalled(process, history, cells, chosen, incarnation)
    named, following = [one for one in uncalled if one.key is None], [one for one in uncalled if one.key is not None]
    return Ledger((*named, *calls, *following), unsettled)


def facts_of(history: History, kind: Kind) -> list[dict[str, Any]]:
    """The facts of the events of this kind."""
    return [json.loads(event.facts) for event in history.events if event.kind == kind]


def key_of(process: AnyProcess, case: int, cells: Mapping[str, Cell], effect: Step | None, incarnation: str) -> str | None:
    """The key under which an effect with these fields is called; None where it is no such effect, or has no key yet."""
    if not isinstance(effect, Effect) or isinstance(effect, Compensation) or not incarnation:
        return None
    codec = codec_of(process.state)
    if any(codec.value(cells, name) is None and not accepts_none(annotation) for name, annotation in effect.signature.reads.items()):
        return None
    try:
        return effect_key(incarnation, process, Snapshot(case, cells), effect)[0]
    except Exception:  # the author's key function may raise anything, and parks the case then
        return None


def _uncalled(
    process: AnyProcess, history: History, cells: Mapping[str, Cell], chosen: Step | None, incarnation: str
) -> Sequence[EffectDescription]:
    """The effects that have no call, and the call that comes next."""
    found: list[EffectDescription] = []
    called = {process.called(entry.effect) for entry in history.effects}
    known = {entry.key for entry in history.effects}
    ended = history.case.status in ENDED
    steps = dict(process.steps)
    if isinstance(chosen, Effect):
        steps[chosen.name] = chosen  # that of a body is not declared
    for name, step in steps.items():
        if not isinstance(step, Effect):
            continue
        policy = type(step.safety).__name__
        key = None if ended or step is not chosen else key_of(process, history.case.id, cells, step, incarnation)
        if key is not None and key not in known:
            found.append(
                EffectDescription(name, "to be called", key, policy, "not called yet; it is next, and will be called under this key")
            )
        elif name not in called:
            when = "its effect is reversed" if isinstance(step, Compensation) else "a rule chooses it"
            if not process.ordered_rules:
                when = "the body asks for it"
            found.append(
                EffectDescription(
                    name, "not called", None, policy, "not called" if ended else f"not called yet; it will be called when {when}"
                )
            )
    return found


def _stands(row: CaseRow, entry: EffectRow) -> EffectStands:
    match entry.status:
        case EffectStatus.DONE | EffectStatus.FAILED:
            return "settled"
        case EffectStatus.NOT_SENT:
            return "not called" if row.status in ENDED else "to be called"
        case EffectStatus.INTENDED if row.status is Status.RUNNING:
            return "being called"
    return "in doubt"


def _of_call(row: CaseRow, entry: EffectRow, policy: str, calls_max: int | None) -> str:
    """The state of a call, and what the engine would do about it."""
    due = row.wake_at if row.status is Status.READY else None
    when = "" if due is None else f" at {format_time(due)}" if row.needs is None else f" when {row.needs!r} has a permit"
    most = "" if calls_max is None else f" of {calls_max}"
    ended = row.status in ENDED
    match entry.status:
        case EffectStatus.DONE if entry.outcome is None and entry.error is not None:
            return f"done, but its outcome is not known ({entry.error}); an operator says what it returned"
        case EffectStatus.DONE:
            return "done; it will not be called again under this key"
        case EffectStatus.FAILED:
            return f"rejected: {entry.error}; it will not be called again under this key, unless an operator says so"
        case EffectStatus.NOT_SENT if ended:
            return f"not sent ({entry.error or 'an operator said so'})"
        case EffectStatus.NOT_SENT:
            again = f"{when}, call {entry.attempts + 1}{most}" if row.status is Status.READY else " once the case goes on"
            return f"not sent ({entry.error or 'an operator said so'}); it will be called again{again}"
        case EffectStatus.INTENDED if row.status is Status.RUNNING:
            return "intended; its call may be running"
    doubt = f"in doubt ({entry.error or 'the engine ended during the call'})"
    if ended:
        return f"{doubt}; the case has ended, and an operator can still say whether it happened"
    if policy == "Reconcile" and row.status is Status.READY:
        return f"{doubt}; a look-up finds out whether it happened{when}, and it will not be called again before that"
    if policy in {"Idempotent", "AtLeastOnce"} and row.status is Status.READY:
        unless = ", unless a message in the inbox changes what it reads" if row.inbox else ""
        return f"{doubt}; it will be called again under the same key{when}{unless}"
    return f"{doubt}; an operator must decide whether to call it again"
