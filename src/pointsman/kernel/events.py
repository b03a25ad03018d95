"""The events of a case: what happened, in the order in which it was committed. They are an interface (docs/events.md)."""

import json
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from pointsman.kernel.record import record
from pointsman.kernel.snapshot import Cell


class Kind(StrEnum):
    """The kinds of event."""

    ACCEPTED = "accepted"
    DECIDED = "decided"
    NODE_SUCCEEDED = "node.succeeded"
    NODE_FAILED = "node.failed"
    NODE_RETRIED = "node.retried"
    NODE_INTERRUPTED = "node.interrupted"
    NODE_LATE = "node.late"
    GUARD_VIOLATED = "guard.violated"
    JOINED = "joined"
    EFFECT_INTENDED = "effect.intended"
    EFFECT_SETTLED = "effect.settled"
    EFFECT_NOT_SENT = "effect.not_sent"
    EFFECT_IN_DOUBT = "effect.in_doubt"
    MESSAGE_RECEIVED = "message.received"
    RESULT_DROPPED = "result.dropped"
    PAUSED = "paused"
    RESUMED = "resumed"
    REMINDED = "reminded"
    REASSIGNED = "reassigned"
    DEADLINE_PASSED = "deadline.passed"
    SLEEPING = "sleeping"
    WOKEN = "woken"
    CHILD_STARTED = "child.started"
    CHILD_ENDED = "child.ended"
    COMPENSATED = "compensated"
    FIELD_CLEARED = "field.cleared"
    PARKED = "parked"
    REDRIVEN = "redriven"
    CANCELLED = "cancelled"
    FINISHED = "finished"
    MIGRATED = "migrated"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    PERMIT_WAITED = "permit.waited"
    ERASED = "erased"
    EXPIRED = "expired"


MEANING: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    Kind.ACCEPTED: ("a case was started", ("fields", "version", "fingerprint")),
    Kind.DECIDED: ("a rule, or the body of an entrypoint, chose the next step", ("rule", "reads", "step")),
    Kind.NODE_SUCCEEDED: ("a node, or a branch of a parallel step, returned", ("fields",)),
    Kind.NODE_FAILED: ("an attempt raised an exception or timed out", ("error", "message", "raised_at")),
    Kind.NODE_RETRIED: ("another attempt was scheduled", ("at",)),
    Kind.NODE_INTERRUPTED: ("engines died repeatedly during a step", ("interruptions",)),
    Kind.NODE_LATE: ("a call ended after its step had ended or given it up; the result is ignored", ("result",)),
    Kind.GUARD_VIOLATED: ("a guard found violations in a result", ("violations", "next")),
    Kind.JOINED: ("a parallel step ended", ("why", "succeeded", "failed", "cancelled", "fields")),
    Kind.EFFECT_INTENDED: ("the intent to call an effect was committed, before the call", ("key", "deadline", "safety")),
    Kind.EFFECT_SETTLED: ("the outcome of an effect was recorded", ("key", "how", "fields")),
    Kind.EFFECT_NOT_SENT: ("the call of an effect ended before it could change anything", ("key", "message")),
    Kind.EFFECT_IN_DOUBT: ("the call of an effect ended, and nobody knows whether it happened", ("key", "message")),
    Kind.MESSAGE_RECEIVED: ("a message was taken in, or ignored for the reason given", ("message", "fields")),
    Kind.RESULT_DROPPED: ("the result of a step was dropped, because fields that it had read were rewritten meanwhile", ("fields",)),
    Kind.PERMIT_WAITED: ("the case, or a branch of its step, waits for a permit of a limit", ("limit", "why")),
    Kind.PAUSED: ("the case waits for a person", ("shows", "digest")),
    Kind.RESUMED: ("a person's answer was accepted", ("by", "fields")),
    Kind.REMINDED: ("a reminder of an open pause was due", ("assignee",)),
    Kind.REASSIGNED: (
        "an open pause was assigned to somebody else, by its ladder or by a person, who may say why",
        ("assignee", "by", "note"),
    ),
    Kind.DEADLINE_PASSED: ("a pause reached its deadline without an answer", ("answer",)),
    Kind.SLEEPING: ("the case waits for a time", ("until",)),
    Kind.WOKEN: ("a sleep ended", ("fields",)),
    Kind.CHILD_STARTED: ("a case of another process was started as a step of this case", ("child",)),
    Kind.CHILD_ENDED: ("the child ended, and its parent took in the result", ("child", "status", "fields")),
    Kind.COMPENSATED: ("the effects of the case were reversed, the last one first", ("effects",)),
    Kind.FIELD_CLEARED: ("fields were cleared, because a field that they were computed from was rewritten", ("fields",)),
    Kind.PARKED: ("the case cannot go on and waits for an operator", ("reason",)),
    Kind.REDRIVEN: (
        "an operator returned a parked case to the backlog, possibly with corrected fields, or corrected a waiting one",
        ("by", "why", "fields"),
    ),
    Kind.CANCELLED: ("the case was ended from outside", ("by", "why")),
    Kind.FINISHED: ("the case ended as its rules say", ("outcome",)),
    Kind.MIGRATED: ("the fields of the case were migrated to a newer version of the process", ("since", "to", "fingerprint", "fields")),
    Kind.BLOCKED: ("no registered version accepts the case; it waits for code that does", ("reason",)),
    Kind.UNBLOCKED: ("an engine was opened whose code accepts the case", ("version",)),
    Kind.ERASED: ("the content of the case was erased, also from its earlier events", ("by", "why")),
    Kind.EXPIRED: (
        "retention deleted a batch of cases; the event's `case` is the highest of them; the event itself is deleted after a year",
        ("process", "cases"),
    ),
}
"""For each kind: when it is written, and which facts it carries."""


SKELETON = frozenset({"fields", "rule", "reads", "step", "at", "attempts", "key", "deadline", "how", "shows", "digest", "by", "outcome", "error", "assignee",
                      "until", "since", "to", "version", "fingerprint", "child", "status", "effects", "raised_at", "next", "used", "safety"})  # fmt: skip
"""The facts that are left of an erased case: names that the process's author gave, who, when, and digests."""

ERASED_TEXT = "erased"

OF_PROCESS = frozenset({"fields", "rule", "reads", "step", "outcome", "version", "fingerprint"})
"""The facts that only name parts of a process: the author gave them, and case after case has the same."""


def is_common(facts: str) -> bool:
    """Return whether an event's facts (JSON) only name parts of its process. Erasing a case leaves them as they are."""
    return OF_PROCESS.issuperset(json.loads(facts))


def skeleton_of(facts: str) -> str:
    """An event's facts (JSON) after the case was erased: values that may hold content are emptied, and the structure stays."""
    parsed: dict[str, Any] = json.loads(facts)
    return json.dumps({name: value if name in SKELETON else _emptied(value) for name, value in parsed.items()})


def _emptied(value: object) -> object:
    if isinstance(value, str):
        return ERASED_TEXT
    if isinstance(value, list | dict):
        return type(value)()
    return value if isinstance(value, bool) or value is None else 0


NOTHING: Mapping[str, Any] = MappingProxyType({})


@record
class Event:
    """One thing that happened: its facts go into the journal, its `writes` into the fields.

    `step` and `attempt` name the step and the attempt that it is about, if there is one.
    """

    kind: Kind
    step: str | None = None
    attempt: int = 0
    facts: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    writes: Mapping[str, Cell] = field(default_factory=lambda: NOTHING)


BODY_DECIDES = "the body "
"""How the rule of a decision begins that a body has made: `the body pauses`."""


def chosen_by(rule: str | None) -> str:
    """Say what chose a step: the rule with this name, or a body."""
    return rule if rule is not None and rule.startswith(BODY_DECIDES) else f"rule {rule!r}"
