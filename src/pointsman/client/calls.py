"""The calls of the API as values: what to send, and how to read the answer. Both clients send the same calls."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

from pointsman.client.schemas import (
    Answer,
    Assign,
    Cancel,
    CaseDetail,
    CaseFilters,
    CasesView,
    CaseView,
    DeliveredView,
    EffectView,
    Erase,
    ErasePerson,
    EventView,
    IntakeView,
    LimitView,
    Message,
    PauseIntake,
    PersonErasedView,
    ProcessView,
    Redeliver,
    RedeliveredView,
    Redrive,
    Resolve,
    Start,
    StartedView,
    TaskFilters,
    TasksView,
    TaskView,
    VacuumedView,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """A request, and the type of its answer. `safe` says that repeating it changes nothing more."""

    method: str
    path: str
    returns: TypeAdapter[T]
    body: BaseModel | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    safe: bool = False


CASE, CASES, DETAIL = TypeAdapter(CaseView), TypeAdapter(CasesView), TypeAdapter(CaseDetail)
STARTED, DELIVERED = TypeAdapter(StartedView), TypeAdapter(DeliveredView)
TASKS = TypeAdapter(TasksView)
TASK, EVENTS, EFFECTS = TypeAdapter(TaskView), TypeAdapter(list[EventView]), TypeAdapter(list[EffectView])
PROCESSES, LIMITS = TypeAdapter(list[ProcessView]), TypeAdapter(list[LimitView])
INTAKE, VACUUMED = TypeAdapter(IntakeView), TypeAdapter(VacuumedView)
PERSON_ERASED, REDELIVERED = TypeAdapter(PersonErasedView), TypeAdapter(RedeliveredView)
COUNTS, ANYTHING = TypeAdapter(dict[str, int]), TypeAdapter(dict[str, Any])


def start(
    process: str, state: Mapping[str, Any], *, key: str | None = None, correlation: str | None = None, tenant: str = "", priority: int = 0
) -> Call[StartedView]:
    """Start a case with these inputs. Give a `key` to make a repetition safe: it returns the existing case."""
    body = Start(process=process, state=dict(state), key=key, correlation=correlation, tenant=tenant, priority=priority)
    return Call("POST", "/cases", STARTED, body, safe=key is not None)


def send(
    process: str, message: Any, *, name: str | None = None, key: str | None = None, tenant: str = "", priority: int = 0
) -> Call[DeliveredView]:
    """Deliver a message to the open case with its correlation key, or start a case with it."""
    body = Message(process=process, message=message, name=name, key=key, tenant=tenant, priority=priority)
    return Call("POST", "/messages", DELIVERED, body, safe=key is not None)


def cases(filters: CaseFilters | None = None) -> Call[CasesView]:
    """Return a page of the cases that fit the filters, or of all cases by number."""
    return _get("/cases", CASES, **(filters or CaseFilters()).model_dump(mode="json", exclude_defaults=True))


def tasks(filters: TaskFilters | None = None) -> Call[TasksView]:
    """Return a page of the work list, the longest wait first."""
    return _get("/tasks", TASKS, **(filters or TaskFilters()).model_dump(exclude_defaults=True))


def case(case: int) -> Call[CaseDetail]:
    """Return a case with its state, events and effects. Raises UnknownCase."""
    return _get(f"/cases/{case}", DETAIL)


def explain(case: int) -> Call[dict[str, Any]]:
    """Explain why a case is where it is, and what the engine would do next. Raises UnknownCase."""
    return _get(f"/cases/{case}/explanation", ANYTHING)


def task(case: int) -> Call[TaskView]:
    """Return the pause at which a case waits. Raises UnknownCase, NotWaiting."""
    return _get(f"/cases/{case}/task", TASK)


def answer(case: int, digest: str, answer: Any, *, edits: Mapping[str, Any] | None = None, by: str | None = None) -> Call[CaseView]:
    """Answer the pause of a case. `digest` is the one of the task that you saw.

    Raises AnswerInvalid, AlreadyAnswered, Stale and NotWaiting; an answer that is refused changes nothing.
    """
    return Call("POST", f"/cases/{case}/answer", CASE, Answer(digest=digest, answer=answer, edits=dict(edits or {}), by=by))


def assign(case: int, to: str, *, note: str = "", by: str | None = None) -> Call[CaseView]:
    """Ask somebody else to answer the pause of a case; "" is nobody in particular. Raises UnknownCase, NotWaiting."""
    return Call("POST", f"/cases/{case}/assign", CASE, Assign(to=to, note=note, by=by))


def cancel(case: int, *, why: str, by: str | None = None) -> Call[CaseView]:
    """Cancel a case. Raises UnknownCase, Refused."""
    return Call("POST", f"/cases/{case}/cancel", CASE, Cancel(why=why, by=by))


def redrive(case: int, *, why: str, fields: Mapping[str, Any] | None = None, by: str | None = None) -> Call[CaseView]:
    """Return a parked case to the backlog; `fields` corrects its state first. Raises UnknownCase, Refused."""
    return Call("POST", f"/cases/{case}/redrive", CASE, Redrive(why=why, fields=dict(fields or {}), by=by))


def resolve(
    key: str, *, happened: bool, why: str, outcome: Any = None, expected_attempts: int | None = None, by: str | None = None
) -> Call[CaseView]:
    """Record whether the effect in doubt with this key happened. Raises Refused."""
    body = Resolve(key=key, happened=happened, why=why, outcome=outcome, expected_attempts=expected_attempts, by=by)
    return Call("POST", "/effects/resolve", CASE, body)


def erase(case: int, *, why: str, by: str | None = None) -> Call[CaseView]:
    """Delete the content of a case. Raises UnknownCase, Refused."""
    return Call("POST", f"/cases/{case}/erase", CASE, Erase(why=why, by=by))


def erase_person(person: str, *, why: str, dry_run: bool = True, by: str | None = None) -> Call[PersonErasedView]:
    """Delete the content of all cases that a searchable field finds by exactly this value; a `dry_run` only says which. Raises ValueRefused."""
    return Call("POST", "/persons/erase", PERSON_ERASED, ErasePerson(person=person, why=why, dry_run=dry_run, by=by), safe=True)


def intake() -> Call[IntakeView]:
    """Return whether the intake is paused."""
    return _get("/intake", INTAKE)


def pause_intake(*, why: str, by: str | None = None) -> Call[IntakeView]:
    """Refuse starts until the intake is resumed, also after a restart."""
    return Call("POST", "/intake/pause", INTAKE, PauseIntake(why=why, by=by), safe=True)


def resume_intake() -> Call[IntakeView]:
    """Take starts again."""
    return Call("POST", "/intake/resume", INTAKE, safe=True)


def redeliver(subscriber: str, *, forget: bool = False, by: str | None = None) -> Call[RedeliveredView]:
    """Call a subscriber again with what it has given up, or `forget` that. Raises Refused."""
    return Call("POST", "/subscribers/redeliver", REDELIVERED, Redeliver(subscriber=subscriber, forget=forget, by=by))


def vacuum() -> Call[VacuumedView]:
    """Delete every case whose retention has passed, and compact the file. Nothing else is written meanwhile."""
    return Call("POST", "/vacuum", VACUUMED, safe=True)


def in_doubt() -> Call[list[EffectView]]:
    """List the effects in doubt."""
    return _get("/effects/in-doubt", EFFECTS)


def processes() -> Call[list[ProcessView]]:
    """List the processes that the engine runs."""
    return _get("/processes", PROCESSES)


def limits() -> Call[list[LimitView]]:
    """List the limits that have been used."""
    return _get("/limits", LIMITS)


def counts() -> Call[dict[str, int]]:
    """Count the cases in each status."""
    return _get("/counts", COUNTS)


def events(*, after: str = "", case: int | None = None, limit: int = 100) -> Call[list[EventView]]:
    """List events in the order of their commits, behind the cursor `after`."""
    return _get("/events", EVENTS, after=after, case=case, limit=limit)


def _get(path: str, returns: TypeAdapter[T], **query: Any) -> Call[T]:
    return Call("GET", path, returns, query={name: value for name, value in query.items() if value is not None}, safe=True)
