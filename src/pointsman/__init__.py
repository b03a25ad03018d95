"""A process manager for agent workflows: explicit durable state, deterministic routing, effects that are never repeated by accident."""

from collections.abc import Mapping
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from pointsman.definition.state import Blob, Failure, Private, Searchable, State
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
        StoreAway,
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
    from pointsman.kernel.answering import Pending
    from pointsman.kernel.rows import CaseRow, EffectRow, EventRow
    from pointsman.kernel.snapshot import Status
    from pointsman.mappings.http import http_outcome, raise_for_outcome
    from pointsman.mappings.smtp import SmtpInDoubt, smtp_outcome, smtp_send
    from pointsman.operations.backtest import Backtest, Selected, backtest
    from pointsman.operations.check import check_cases
    from pointsman.operations.decided import decided_since, last_event
    from pointsman.operations.explain import Explanation, explain_case
    from pointsman.operations.export import Export, export_case
    from pointsman.operations.fork import Trial, fork_case, try_fork
    from pointsman.operations.history import History, history_of
    from pointsman.operations.past import Difference, Past, difference_of, past_of
    from pointsman.operations.times import format_duration, format_time
    from pointsman.operations.verify.report import Refutation, Verified, verify
    from pointsman.operations.what_if import Change, explain_change
    from pointsman.runtime.blocking import BlockingEngine, open_blocking
    from pointsman.runtime.called import CaseFilter
    from pointsman.runtime.clock import Clock, SystemClock
    from pointsman.runtime.engine import Engine
    from pointsman.runtime.starts import Delivered, Started
    from pointsman.runtime.subscribers import Delivery, GivenUp, Subscriber
    from pointsman.runtime.tasks import Task, TaskPage
    from pointsman.runtime.worker import Worker, stop_signals
    from pointsman.store.base import Reader
    from pointsman.store.gaps import Gap
    from pointsman.store.postgres import is_url, migrate_url, postgres_place, reading_url
    from pointsman.store.query import CaseCount, CasePage, CaseQuery, FoundCase, Order
    from pointsman.store.sqlite_file import has_engine
    from pointsman.store.sqlite_reader import open_reader

_NAMES: Mapping[str, str] = MappingProxyType({
    "definition.children": "Child ChildEnd",
    "definition.counts": "format_count",
    "definition.effects": "ABSENT UNKNOWN AtLeastOnce AtMostOnce Effect Found Idempotent Reconcile Safety",
    "definition.guards": "Budget Guard ModelResponse Unsafe Usage Violation",
    "definition.ladder": "answer_with reassign remind",
    "definition.limits": "CircuitBreaker Intake Limit",
    "definition.messages": "Accept Log",
    "definition.nodes": "Context Node Retry",
    "definition.pauses": "Pause Sleep",
    "definition.process": "Process",
    "definition.retention": "Retention",
    "definition.rules": "Rule compensate each finish otherwise parallel park quorum when",
    "definition.schedules": "cron every",
    "definition.signature": "Item Peek Signed",
    "definition.state": "Blob Failure Private Searchable State",
    "definition.transactions": "Database Transaction",
    "errors": "AlreadyAnswered AnswerInvalid BudgetSpent Busy CheckError DefinitionError EngineStopped InputInvalid NoModelResponse NotSent NotWaiting PointsmanError Refused Rejected Stale StoreAway StoreError StoreForeign StoreLocked StoreNewer StoreUnwritable SubprocessCrashed UnknownCase UnknownProcess ValueRefused VersionNotAccepted",
    "kernel.answering": "Pending",
    "kernel.rows": "CaseRow EffectRow EventRow",
    "kernel.snapshot": "Status",
    "mappings.http": "http_outcome raise_for_outcome",
    "mappings.smtp": "SmtpInDoubt smtp_outcome smtp_send",
    "operations.check": "check_cases",
    "operations.decided": "decided_since last_event",
    "operations.explain": "Explanation explain_case",
    "operations.what_if": "Change explain_change",
    "operations.export": "Export export_case",
    "operations.history": "History history_of",
    "operations.past": "Difference Past difference_of past_of",
    "operations.backtest": "Backtest Selected backtest",
    "operations.fork": "Trial fork_case try_fork",
    "operations.times": "format_duration format_time",
    "operations.verify.report": "Refutation Verified verify",
    "runtime.blocking": "BlockingEngine open_blocking",
    "runtime.called": "CaseFilter",
    "runtime.clock": "Clock SystemClock",
    "runtime.engine": "Engine",
    "runtime.starts": "Delivered Started",
    "runtime.subscribers": "Delivery GivenUp Subscriber",
    "runtime.tasks": "Task TaskPage",
    "runtime.worker": "Worker stop_signals",
    "store.base": "Reader",
    "store.gaps": "Gap",
    "store.postgres": "is_url migrate_url postgres_place reading_url",
    "store.query": "CaseCount CasePage CaseQuery FoundCase Order",
    "store.sqlite_file": "has_engine",
    "store.sqlite_reader": "open_reader",
})  # fmt: skip
"""The names of each module. A name is imported when it is first used: a command that talks to a running program needs few of them."""

_HOME: Mapping[str, str] = MappingProxyType({name: module for module, names in _NAMES.items() for name in names.split()})

__all__ = [
    "ABSENT",
    "UNKNOWN",
    "Accept",
    "AlreadyAnswered",
    "AnswerInvalid",
    "AtLeastOnce",
    "AtMostOnce",
    "Backtest",
    "Blob",
    "BlockingEngine",
    "Budget",
    "BudgetSpent",
    "Busy",
    "CaseCount",
    "CaseFilter",
    "CasePage",
    "CaseQuery",
    "CaseRow",
    "Change",
    "CheckError",
    "Child",
    "ChildEnd",
    "CircuitBreaker",
    "Clock",
    "Context",
    "Database",
    "DefinitionError",
    "Delivered",
    "Delivery",
    "Difference",
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
    "Gap",
    "GivenUp",
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
    "Past",
    "Pause",
    "Peek",
    "Pending",
    "PointsmanError",
    "Private",
    "Process",
    "Reader",
    "Reconcile",
    "Refused",
    "Refutation",
    "Rejected",
    "Retention",
    "Retry",
    "Rule",
    "Safety",
    "Searchable",
    "Selected",
    "Signed",
    "Sleep",
    "SmtpInDoubt",
    "Stale",
    "Started",
    "State",
    "Status",
    "StoreAway",
    "StoreError",
    "StoreForeign",
    "StoreLocked",
    "StoreNewer",
    "StoreUnwritable",
    "SubprocessCrashed",
    "Subscriber",
    "SystemClock",
    "Task",
    "TaskPage",
    "Transaction",
    "Trial",
    "UnknownCase",
    "UnknownProcess",
    "Unsafe",
    "Usage",
    "ValueRefused",
    "Verified",
    "VersionNotAccepted",
    "Violation",
    "Worker",
    "answer_with",
    "backtest",
    "check_cases",
    "compensate",
    "cron",
    "decided_since",
    "difference_of",
    "each",
    "every",
    "explain_case",
    "explain_change",
    "export_case",
    "finish",
    "fork_case",
    "format_count",
    "format_duration",
    "format_time",
    "has_engine",
    "history_of",
    "http_outcome",
    "is_url",
    "last_event",
    "migrate_url",
    "open_blocking",
    "open_reader",
    "otherwise",
    "parallel",
    "park",
    "past_of",
    "postgres_place",
    "quorum",
    "raise_for_outcome",
    "reading_url",
    "reassign",
    "remind",
    "smtp_outcome",
    "smtp_send",
    "stop_signals",
    "try_fork",
    "verify",
    "when",
]


def __getattr__(name: str) -> Any:
    """Import a name of the library when it is first used (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return found


def __dir__() -> list[str]:
    return [*globals(), *__all__]
