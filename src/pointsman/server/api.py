"""The HTTP API, version 1: start, look, answer and operate. Every path is below /api/v1."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from pointsman.client.schemas import (
    LIST_MAX,
    NAME_MAX,
    NUMBER_MAX,
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
    TaskRow,
    TasksView,
    TaskView,
    VacuumedView,
)
from pointsman.definition.counts import format_count
from pointsman.definition.fingerprint import SHORT
from pointsman.errors import NotWaiting, Refused, Stale
from pointsman.kernel.answering import already_answered
from pointsman.kernel.snapshot import Status
from pointsman.operations.decided import answer_to, answered_alike
from pointsman.operations.explain import explain_case
from pointsman.operations.history import history_of
from pointsman.runtime.engine import Engine
from pointsman.server.access import Principal, Scope, acting, permit, tell_audit
from pointsman.server.problems import DOCUMENTED
from pointsman.server.redacted import looking
from pointsman.server.streams import EventStream, event_stream
from pointsman.server.views import (
    case_detail,
    case_view,
    effect_view,
    event_view,
    intake_view,
    limit_view,
    person_erased_view,
    process_view,
    task_view,
)
from pointsman.store.query import CaseQuery

router = APIRouter(prefix="/api/v1", responses=DOCUMENTED)


def requires(scope: Scope) -> Any:
    """Return the dependency of a route that needs `scope`; its value is the caller."""

    async def caller(request: Request) -> Principal:
        return await permit(request, scope)

    return Depends(caller)


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


InEngine = Annotated[Engine, Depends(_engine)]
Looks = Annotated[Engine, Depends(looking(Scope.READ))]
Reads = Annotated[Principal, requires(Scope.READ)]
Starts = Annotated[Principal, requires(Scope.START)]
Answers = Annotated[Principal, requires(Scope.ANSWER)]
Operates = Annotated[Principal, requires(Scope.OPERATE)]
Administers = Annotated[Principal, requires(Scope.ADMIN)]
CaseNumber = Annotated[int, Path(ge=1, le=NUMBER_MAX)]


@router.post("/cases", status_code=201)
async def start(body: Start, request: Request, engine: InEngine, _: Starts, response: Response) -> StartedView:
    """Start a case. The answer is 201 after the commit that stores it, and 200 for a known key."""
    started = await engine.start(
        body.process, body.state, key=body.key, correlation=body.correlation, tenant=body.tenant, priority=body.priority
    )
    tell_audit(request, {"case": started.case})
    if started.duplicate:
        response.status_code = 200
    return StartedView(case=started.case, duplicate=started.duplicate)


@router.get("/cases")
async def cases(engine: Looks, filters: Annotated[CaseFilters, Query()]) -> CasesView:
    """List the cases that fit the filters, a page at a time."""
    asked = filters.model_dump(exclude={"after", "limit", "search"})
    query = CaseQuery(**asked, search=dict(one.split("=", 1) for one in filters.search))
    page = await engine.reader.find(query, after=filters.after, limit=filters.limit)
    return CasesView(cases=[case_view(found.case) for found in page.rows], cursor=page.cursor)


@router.get("/tasks")
async def tasks(engine: Looks, filters: Annotated[TaskFilters, Query()]) -> TasksView:
    """List what waits for a person, the longest wait first."""
    page = await engine.tasks(**filters.model_dump())
    return TasksView(tasks=[TaskRow(**task._asdict()) for task in page.rows], cursor=page.cursor)


@router.get("/cases/{case}")
async def case(case: CaseNumber, engine: Looks) -> CaseDetail:
    """Return a case with its state, events and effects."""
    return case_detail(await history_of(engine.reader, case))


@router.get("/cases/{case}/explanation")
async def explanation(case: CaseNumber, engine: Looks) -> dict[str, Any]:
    """Explain why the case is where it is: its rules or the calls of its body, what the engine would do next, and what it would not repeat."""
    return (await explain_case(engine.reader, engine.processes, case)).as_json(engine.clock.now())


@router.get("/cases/{case}/task")
async def task(case: CaseNumber, engine: Looks) -> TaskView:
    """Return the pause at which a case waits."""
    return task_view(await engine.pending(case))


@router.post("/cases/{case}/answer")
async def answer(case: CaseNumber, body: Answer, request: Request, engine: InEngine, _: Answers) -> CaseView:
    """Answer the pause of a case. 409 says that somebody was first, or that what was shown has changed.

    The same answer of the same person again changes nothing, and is no error.
    """
    by = acting(request, body.by)
    try:
        pending = await engine.pending(case)
        if pending.digest != body.digest:
            raise Stale(f"what case {case} showed has changed since; look at it again.", current=pending)
        return case_view(await engine.resume(pending.token, body.answer, by=by, edits=body.edits))
    except Refused as refused:
        history = await history_of(engine.reader, case)
        if not answered_alike(history, body.digest, by, body.answer, body.edits):
            taken = answer_to(history, body.digest)
            if isinstance(refused, NotWaiting) and taken is not None:
                raise already_answered(case, taken["by"]) from None
            raise
        tell_audit(request, None)
        return case_view(history.case)


@router.post("/cases/{case}/assign")
async def assign(case: CaseNumber, body: Assign, request: Request, engine: InEngine, _: Answers) -> CaseView:
    """Ask somebody else to answer the pause of a case. What it shows stays as it is."""
    by = acting(request, body.by, to=body.to or "nobody", why=body.note)
    return case_view(await engine.assign(case, body.to, by=by, note=body.note))


@router.post("/cases/{case}/cancel")
async def cancel(case: CaseNumber, body: Cancel, request: Request, engine: InEngine, _: Operates) -> CaseView:
    """Cancel a case."""
    return case_view(await engine.cancel(case, by=acting(request, body.by, why=body.why), why=body.why))


@router.post("/cases/{case}/redrive")
async def redrive(case: CaseNumber, body: Redrive, request: Request, engine: InEngine, _: Operates) -> CaseView:
    """Return a parked case to the backlog, with corrected fields."""
    return case_view(await engine.redrive(case, by=acting(request, body.by, why=body.why), why=body.why, fields=body.fields))


@router.post("/cases/{case}/erase")
async def erase(case: CaseNumber, body: Erase, request: Request, engine: InEngine, _: Administers) -> CaseView:
    """Delete the content of a case from its state, events, ledger and messages."""
    return case_view(await engine.erase(case, by=acting(request, body.by, why=body.why), why=body.why))


@router.post("/persons/erase")
async def erase_person(body: ErasePerson, request: Request, engine: InEngine, who: Administers) -> PersonErasedView:
    """Delete the content of all cases of a person, whom a searchable field finds by exactly this value; a dry run only says which."""
    tell_audit(request, None)
    by = who.acting(body.by) if body.dry_run else acting(request, body.by, why=body.why)
    erased = await engine.erase_person(body.person, by=by, why=body.why, dry_run=body.dry_run)
    if not body.dry_run:
        named = {"person": erased.person[:SHORT], "count": format_count(len(erased.cases), "case")}  # the log does not name the person
        request.state.about |= {**named, "cases": [*erased.cases]}
    return person_erased_view(erased, dry_run=body.dry_run)


@router.get("/intake")
async def intake(engine: InEngine, _: Reads) -> IntakeView:
    """Return whether the intake is paused, by whom and why."""
    return intake_view(await engine.reader.intake_paused())


@router.post("/intake/pause")
async def pause_intake(body: PauseIntake, request: Request, engine: InEngine, _: Operates) -> IntakeView:
    """Refuse starts until the intake is resumed, also after a restart. Messages to open cases are still taken."""
    await engine.pause_intake(by=acting(request, body.by, why=body.why), why=body.why)
    return intake_view(await engine.reader.intake_paused())


@router.post("/intake/resume")
async def resume_intake(engine: InEngine, _: Operates) -> IntakeView:
    """Take starts again."""
    await engine.resume_intake()
    return intake_view(await engine.reader.intake_paused())


@router.post("/subscribers/redeliver")
async def redeliver(body: Redeliver, request: Request, engine: InEngine, _: Operates) -> RedeliveredView:
    """Call a subscriber, such as a webhook, again with what it has given up, or forget that."""
    acting(request, body.by)
    number = await engine.redeliver(body.subscriber, forget=body.forget)
    return RedeliveredView(subscriber=body.subscriber, messages=number, forgotten=body.forget)


@router.post("/vacuum")
async def vacuum(engine: InEngine, _: Administers) -> VacuumedView:
    """Delete every case whose retention has passed, and compact the file. Nothing else is written meanwhile."""
    return VacuumedView.model_validate((await engine.vacuum())._asdict())


@router.post("/messages", status_code=202)
async def send(body: Message, request: Request, engine: InEngine, _: Starts) -> DeliveredView:
    """Deliver a message. The answer comes after the commit that stores it."""
    delivered = await engine.send(body.process, body.message, name=body.name, key=body.key, tenant=body.tenant, priority=body.priority)
    tell_audit(request, {"case": delivered.case})
    return DeliveredView(case=delivered.case, how=delivered.how)


@router.get("/effects/in-doubt")
async def in_doubt(engine: Looks) -> list[EffectView]:
    """List the effects in doubt: calls that may or may not have happened."""
    return [effect_view(effect) for effect in await engine.reader.in_doubt()]


@router.post("/effects/resolve")
async def resolve(body: Resolve, request: Request, engine: InEngine, _: Operates) -> CaseView:
    """Record whether an effect in doubt happened; its case continues from there."""
    row = await engine.resolve(
        body.key, happened=body.happened, by=acting(request, body.by, why=body.why), why=body.why, outcome=body.outcome,
        expected_attempts=body.expected_attempts,
    )  # fmt: skip
    request.state.about["case"] = row.id
    return case_view(row)


@router.get("/processes")
async def processes(engine: InEngine, _: Reads) -> list[ProcessView]:
    """List the processes that the engine runs, each with the schema of its state."""
    waiting = [one for one in await engine.reader.count_places() if one.status is Status.WAITING]
    newest = {process.name: process for process in engine.processes}.values()
    return [process_view(process, [one.place for one in waiting if one.process == process.name]) for process in newest]


@router.get("/limits")
async def limits(engine: InEngine, _: Reads) -> list[LimitView]:
    """List the limits that have been used, with their permits and their breakers."""
    return [limit_view(name, state, engine.clock.now()) for name, state in sorted((await engine.reader.limits()).items())]


@router.get("/counts")
async def counts(engine: InEngine, _: Reads) -> dict[Status, int]:
    """Count the cases in each status."""
    return await engine.reader.counts()


@router.get("/events")
async def events(
    engine: Looks,
    after: Annotated[str, Query(max_length=NAME_MAX)] = "",
    case: Annotated[int | None, Query(ge=1, le=NUMBER_MAX)] = None,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 100,
) -> list[EventView]:
    """List events in the order of their commits, behind the cursor `after`."""
    return [event_view(event) for event in await engine.reader.events(after=after, case=case, limit=limit)]


@router.get("/events/stream", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def stream(
    request: Request,
    engine: Looks,
    after: Annotated[str, Query(max_length=NAME_MAX)] = "",
    last_event_id: Annotated[str | None, Header(max_length=NAME_MAX)] = None,
) -> StreamingResponse:
    """Stream events behind the cursor `after` as server-sent events, each with its cursor as the id, and new ones as they are committed.

    A client that reconnects sends the last id in the header Last-Event-ID (HTML Standard, 9.2), and misses nothing.
    """
    first = after if last_event_id is None else last_event_id
    await engine.reader.events(after=first, limit=1)  # so that a wrong cursor is an error of the request
    return EventStream(request, request.state.principal, event_stream(request, engine, first))
