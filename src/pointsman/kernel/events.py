"""The events of a case: what happened, in the order in which it was committed. They are an interface (docs/events.md)."""

import json
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, NamedTuple

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
    Kind.ACCEPTED: ("a start was committed", ("fields", "version", "fingerprint")),
    Kind.DECIDED: ("a rule chose the next step", ("rule", "reads", "step")),
    Kind.NODE_SUCCEEDED: ("a node returned, or a branch of a parallel step did", ("fields",)),
    Kind.NODE_FAILED: ("an attempt raised or timed out", ("error", "message", "raised_at")),
    Kind.NODE_RETRIED: ("another attempt was set for a later time", ("at",)),
    Kind.NODE_INTERRUPTED: ("the engine died during attempts, and they were all the step has", ("attempts",)),
    Kind.NODE_LATE: ("a call ended after its step had, or after it was given up; nothing follows from it", ("result",)),
    Kind.GUARD_VIOLATED: ("an answer was held against its guard, and did not pass", ("violations", "next")),
    Kind.JOINED: ("a step of several branches ended, with this verdict", ("why", "succeeded", "failed", "cancelled", "fields")),
    Kind.EFFECT_INTENDED: ("the intent to call an effect was committed, before the call", ("key", "deadline", "safety")),
    Kind.EFFECT_SETTLED: ("an effect's outcome was recorded", ("key", "how", "fields")),
    Kind.EFFECT_NOT_SENT: ("an effect's call ended before it could change anything", ("key", "message")),
    Kind.EFFECT_IN_DOUBT: ("nobody knows whether an effect's call happened", ("key", "message")),
    Kind.MESSAGE_RECEIVED: ("a message was taken in; one that was let be says why", ("message", "fields")),
    Kind.RESULT_DROPPED: ("what a step had computed was dropped, because what it had read was rewritten meanwhile", ("fields",)),
    Kind.PERMIT_WAITED: ("the case, or a branch of its step, waits for a permit of a limit", ("limit", "why")),
    Kind.PAUSED: ("the case waits for a person", ("shows", "digest")),
    Kind.RESUMED: ("an answer was taken", ("by", "fields")),
    Kind.REMINDED: ("whoever is asked was to be reminded", ("assignee",)),
    Kind.REASSIGNED: ("somebody else is asked from now on", ("assignee",)),
    Kind.DEADLINE_PASSED: ("nobody answered in time", ("answer",)),
    Kind.SLEEPING: ("the case waits for a time", ("until",)),
    Kind.WOKEN: ("the time had come", ("fields",)),
    Kind.CHILD_STARTED: ("a case of another process was started as a step of this one", ("child",)),
    Kind.CHILD_ENDED: ("the child ended, and its end was taken in", ("child", "status", "fields")),
    Kind.COMPENSATED: ("what the case's effects did has been taken back, the last one first", ("effects",)),
    Kind.FIELD_CLEARED: ("fields were cleared, because something they were computed from was rewritten", ("fields",)),
    Kind.PARKED: ("the case left the line for an operator", ("reason",)),
    Kind.REDRIVEN: ("an operator put a parked case back into the line, and may have corrected fields", ("by", "why", "fields")),
    Kind.CANCELLED: ("the case was ended from outside", ("by", "why")),
    Kind.FINISHED: ("the case ended as its rules say", ("outcome",)),
    Kind.MIGRATED: ("a newer version of the process has taken the case up", ("since", "to", "fingerprint", "fields")),
    Kind.BLOCKED: ("the case left the line until there is code that can go on with it", ("reason",)),
    Kind.UNBLOCKED: ("such code was opened, and the case came back into the line", ("version",)),
    Kind.ERASED: ("the case's content was erased, and what its events said of it", ("by", "why")),
    Kind.EXPIRED: ("cases had been kept long enough and went; the event's `case` is the highest of them", ("process", "cases")),
}
"""For each kind: when it is written, and which facts it carries."""


SKELETON = frozenset({"fields", "rule", "reads", "step", "at", "attempts", "key", "deadline", "how", "shows", "digest", "by", "outcome", "error", "assignee",
                      "until", "since", "to", "version", "fingerprint", "child", "status", "effects", "raised_at", "next", "used", "safety"})  # fmt: skip
"""The facts that are left of an erased case: names that the process's author gave, who, when, and digests."""

ERASED_TEXT = "erased"


def skeleton_of(facts: str) -> str:
    """An event's facts (JSON) as they are after the case was erased: what may hold content is emptied, its shape stays."""
    told: dict[str, Any] = json.loads(facts)
    return json.dumps({name: value if name in SKELETON else _emptied(value) for name, value in told.items()})


def _emptied(value: object) -> object:
    if isinstance(value, str):
        return ERASED_TEXT
    if isinstance(value, list | dict):
        return type(value)()
    return value if isinstance(value, bool) or value is None else 0


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Event(NamedTuple):
    """One thing that happened: its facts go into the journal, its `writes` into the fields.

    `step` and `attempt` say who it is about; a case has both only while a step is at work.
    """

    kind: Kind
    step: str | None = None
    attempt: int = 0
    facts: Mapping[str, Any] = NOTHING
    writes: Mapping[str, Cell] = NOTHING
