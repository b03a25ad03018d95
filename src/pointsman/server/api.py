"""The HTTP API, version 1: start, look, answer and operate. Every path is below /api/v1."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from pointsman.client.schemas import NUMBER_MAX, Answer, Cancel, CaseView, Redrive, Start, StartedView, TaskView
from pointsman.errors import Stale
from pointsman.kernel.snapshot import Status
from pointsman.operations.history import history_of
from pointsman.runtime.engine import Engine
from pointsman.server.access import Principal, Scope, permit
from pointsman.server.views import case_view, task_view

router = APIRouter(prefix="/api/v1")

LIST_MAX = 1_000  # cases in one page of a list


def requires(scope: Scope) -> Any:
    """Return the dependency of a route that needs `scope`; its value is the caller."""

    async def caller(request: Request) -> Principal:
        return await permit(request, scope)

    return Depends(caller)


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


InEngine = Annotated[Engine, Depends(_engine)]
Reads = Annotated[Principal, requires(Scope.READ)]
Starts = Annotated[Principal, requires(Scope.START)]
Answers = Annotated[Principal, requires(Scope.ANSWER)]
Operates = Annotated[Principal, requires(Scope.OPERATE)]
CaseNumber = Annotated[int, Path(ge=1, le=NUMBER_MAX)]


@router.post("/cases", status_code=201)
async def start(body: Start, engine: InEngine, _: Starts, response: Response) -> StartedView:
    """Start a case. The answer is 201 after the commit that stores it, and 200 for a known key."""
    started = await engine.start(
        body.process, body.state, key=body.key, correlation=body.correlation, tenant=body.tenant, priority=body.priority
    )
    if started.duplicate:
        response.status_code = 200
    return StartedView(case=started.case, duplicate=started.duplicate)


@router.get("/cases")
async def cases(
    engine: InEngine,
    _: Reads,
    process: str | None = None,
    status: Status | None = None,
    after: Annotated[int, Query(ge=0, le=NUMBER_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 100,
) -> list[CaseView]:
    """List cases by number."""
    return [case_view(row) for row in await engine.reader.cases(process=process, status=status, after=after, limit=limit)]


@router.get("/cases/{case}")
async def case(case: CaseNumber, engine: InEngine, _: Reads) -> dict[str, Any]:
    """Return a case with its state, events, effects and pause."""
    return (await history_of(engine.reader, case)).as_json()


@router.get("/cases/{case}/task")
async def task(case: CaseNumber, engine: InEngine, _: Reads) -> TaskView:
    """Return the pause at which a case waits."""
    return task_view(await engine.pending(case))


@router.post("/cases/{case}/answer")
async def answer(case: CaseNumber, body: Answer, engine: InEngine, who: Answers) -> CaseView:
    """Answer the pause of a case. 409 says that somebody was first, or that what was shown has changed."""
    pending = await engine.pending(case)
    if pending.digest != body.digest:
        raise Stale(f"what case {case} showed has changed since; look at it again.", current=pending)
    return case_view(await engine.resume(pending.token, body.answer, by=who.acting(body.by), edits=body.edits))


@router.post("/cases/{case}/cancel")
async def cancel(case: CaseNumber, body: Cancel, engine: InEngine, who: Operates) -> CaseView:
    """Cancel a case."""
    return case_view(await engine.cancel(case, by=who.acting(body.by), why=body.why))


@router.post("/cases/{case}/redrive")
async def redrive(case: CaseNumber, body: Redrive, engine: InEngine, who: Operates) -> CaseView:
    """Return a parked case to the backlog, with corrected fields."""
    return case_view(await engine.redrive(case, by=who.acting(body.by), why=body.why, fields=body.fields))
