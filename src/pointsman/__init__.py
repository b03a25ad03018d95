"""A process manager for agent workflows: explicit durable state, deterministic routing, effects that are never repeated by accident."""

from pointsman.definition.effects import (
    ABSENT,
    UNKNOWN,
    AtLeastOnce,
    AtMostOnce,
    Effect,
    Found,
    Idempotent,
    Reconcile,
    Safety,
)
from pointsman.definition.nodes import Context, Node, Retry
from pointsman.definition.pauses import Pause
from pointsman.definition.process import Process
from pointsman.definition.rules import finish, otherwise, parallel, park, when
from pointsman.definition.signature import Peek
from pointsman.definition.state import Blob, Failure, State
from pointsman.errors import NotSent, PointsmanError, Rejected
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine, Pending, Started

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "AtLeastOnce",
    "AtMostOnce",
    "Blob",
    "Context",
    "Effect",
    "Engine",
    "Failure",
    "Found",
    "Idempotent",
    "Node",
    "NotSent",
    "Pause",
    "Peek",
    "Pending",
    "PointsmanError",
    "Process",
    "Reconcile",
    "Rejected",
    "Retry",
    "Safety",
    "Started",
    "State",
    "Status",
    "finish",
    "otherwise",
    "parallel",
    "park",
    "when",
]
