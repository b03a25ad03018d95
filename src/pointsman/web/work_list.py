"""The work list: what waits for a person."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pointsman.definition.pauses import Pause
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit
from pointsman.web.numbers import number_of
from pointsman.web.render import page
from pointsman.web.waiting import filters_of, waiting

PARKED_SHOWN = 5  # the newest ones; a link leads to all


async def work_list(request: Request) -> Response:
    """Show what waits for a person, and what waits for an operator."""
    who = await permit(request, Scope.READ)
    engine: Engine = request.app.state.engine
    filters = filters_of(request)
    tasks, next_after = await waiting(engine, filters, after=number_of(request.query_params.get("after"), 0))
    counts = await engine.reader.counts()
    values: dict[str, Any] = {
        "tasks": tasks,
        "filters": filters,
        "next_after": next_after,
        "processes": sorted({process.name for process in engine.processes}),
        "pauses": sorted({step.name for process in engine.processes for step in process.steps.values() if isinstance(step, Pause)}),
        "answered": number_of(request.query_params.get("answered"), 0),
        "parked": counts.get(Status.PARKED, 0),
        "parked_cases": await engine.reader.cases(status=Status.PARKED, limit=PARKED_SHOWN),
        "doubts": await engine.reader.in_doubt(),
    }
    return page(request, "work_list.html", who=who, **values)
