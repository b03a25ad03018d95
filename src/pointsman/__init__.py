"""A process manager for agent workflows: explicit durable state, deterministic routing, effects that are never repeated by accident."""

from pointsman.definition.children import Child, ChildEnd
from pointsman.definition.counts import format_count
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
from pointsman.definition.guards import Budget, Guard, ModelResponse, Unsafe, Usage, Violation
from pointsman.definition.ladder import answer_with, reassign, remind
from pointsman.definition.limits import CircuitBreaker, Intake, Limit
from pointsman.definition.messages import Accept, Log
from pointsman.definition.nodes import Context, Node, Retry
from pointsman.definition.pauses import Pause, Sleep
from pointsman.definition.process import Process
from pointsman.definition.retention import Retention
from pointsman.definition.rules import Rule, compensate, each, finish, otherwise, parallel, park, quorum, when
from pointsman.definition.schedules import cron, every
from pointsman.definition.signature import Item, Peek, Signed
from pointsman.definition.state import Blob, Failure, Searchable, State
from pointsman.definition.transactions import Database, Transaction
from pointsman.errors import (
    AlreadyAnswered,
    AnswerInvalid,
    BudgetSpent,
    Busy,
    CheckError,
    DefinitionError,
    EngineStopped,
    InputInvalid,
    NoModelResponse,
    NotSent,
    NotWaiting,
    PointsmanError,
    Refused,
    Rejected,
    Stale,
    StoreError,
    StoreForeign,
    StoreLocked,
    StoreNewer,
    StoreUnwritable,
    SubprocessCrashed,
    UnknownCase,
    UnknownProcess,
    ValueRefused,
    VersionNotAccepted,
)
from pointsman.kernel.rows import CaseRow, EffectRow, EventRow
from pointsman.kernel.snapshot import Status
from pointsman.mappings.http import http_outcome, raise_for_outcome
from pointsman.mappings.smtp import SmtpInDoubt, smtp_outcome, smtp_send
from pointsman.operations.check import check_cases
from pointsman.operations.decided import decided_since, last_event
from pointsman.operations.explain import Explanation, explain_case
from pointsman.operations.export import Export, export_case
from pointsman.operations.history import History, history_of
from pointsman.operations.times import format_duration, format_time
from pointsman.runtime.blocking import BlockingEngine, open_blocking
from pointsman.runtime.clock import Clock, SystemClock
from pointsman.runtime.decisions import Pending
from pointsman.runtime.engine import Engine
from pointsman.runtime.starts import Delivered, Started
from pointsman.runtime.tasks import Task, TaskPage
from pointsman.store.base import Reader
from pointsman.store.query import CaseCount, CasePage, CaseQuery, FoundCase, Order
from pointsman.store.sqlite_file import has_engine
from pointsman.store.sqlite_reader import open_reader

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "Accept",
    "AlreadyAnswered",
    "AnswerInvalid",
    "AtLeastOnce",
    "AtMostOnce",
    "Blob",
    "BlockingEngine",
    "Budget",
    "BudgetSpent",
    "Busy",
    "CaseCount",
    "CasePage",
    "CaseQuery",
    "CaseRow",
    "CheckError",
    "Child",
    "ChildEnd",
    "CircuitBreaker",
    "Clock",
    "Context",
    "Database",
    "DefinitionError",
    "Delivered",
    "Effect",
    "EffectRow",
    "Engine",
    "EngineStopped",
    "EventRow",
    "Explanation",
    "Export",
    "Failure",
    "Found",
    "FoundCase",
    "Guard",
    "History",
    "Idempotent",
    "InputInvalid",
    "Intake",
    "Item",
    "Limit",
    "Log",
    "ModelResponse",
    "NoModelResponse",
    "Node",
    "NotSent",
    "NotWaiting",
    "Order",
    "Pause",
    "Peek",
    "Pending",
    "PointsmanError",
    "Process",
    "Reader",
    "Reconcile",
    "Refused",
    "Rejected",
    "Retention",
    "Retry",
    "Rule",
    "Safety",
    "Searchable",
    "Signed",
    "Sleep",
    "SmtpInDoubt",
    "Stale",
    "Started",
    "State",
    "Status",
    "StoreError",
    "StoreForeign",
    "StoreLocked",
    "StoreNewer",
    "StoreUnwritable",
    "SubprocessCrashed",
    "SystemClock",
    "Task",
    "TaskPage",
    "Transaction",
    "UnknownCase",
    "UnknownProcess",
    "Unsafe",
    "Usage",
    "ValueRefused",
    "VersionNotAccepted",
    "Violation",
    "answer_with",
    "check_cases",
    "compensate",
    "cron",
    "decided_since",
    "each",
    "every",
    "explain_case",
    "export_case",
    "finish",
    "format_count",
    "format_duration",
    "format_time",
    "has_engine",
    "history_of",
    "http_outcome",
    "last_event",
    "open_blocking",
    "open_reader",
    "otherwise",
    "parallel",
    "park",
    "quorum",
    "raise_for_outcome",
    "reassign",
    "remind",
    "smtp_outcome",
    "smtp_send",
    "when",
]
