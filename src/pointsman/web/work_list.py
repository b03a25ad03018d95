"""The work list: what waits for a person."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pointsman.kernel.snapshot import Status
from pointsman.server.access import Scope, permit
from pointsman.server.redacted import shown_to
from pointsman.store.query import CaseQuery, Order
from pointsman.web.answered import answered_in
from pointsman.web.numbers import number_of
from pointsman.web.render import Shell, page
from pointsman.web.waiting import assignees_of, count_tasks, filters_of, summarised, waiting

PARKED_SHOWN = 5  # the last ones


async def work_list(request: Request) -> Response:
    """Show what waits for a person, and what waits for an operator."""
    who = await permit(request, Scope.READ)
    engine = await shown_to(who, request.app.state.engine)
    filters = filters_of(request)
    shell: Shell = request.state.shell
    own = shell.work_list
    tasks = await waiting(engine, who, filters, request.query_params.get("after", ""))
    counts = await count_tasks(engine)
    fits = [cases for (process, pause), cases in counts.items() if filters.process in {"", process} and filters.pause in {"", pause}]
    parked = (await engine.reader.counts()).get(Status.PARKED, 0)
    found = await engine.reader.find(CaseQuery(status=Status.PARKED, order=Order.CHANGED), limit=PARKED_SHOWN) if parked else None
    values: dict[str, Any] = {
        "rows": await summarised(engine, tasks.rows) if own is None else tasks.rows,
        "cursor": tasks.cursor,
        "filters": filters,
        "may_answer": Scope.ANSWER in who.scopes,
        "total": None if filters.assignee else sum(fits),
        "processes": sorted({process for process, _ in counts} | {process.name for process in engine.processes}),
        "pauses": sorted({pause for process, pause in counts if filters.process in {"", process}} | {filters.pause} - {""}),
        "assignees": sorted({*assignees_of(engine), *(task.assignee for task in tasks.rows if task.assignee)}),
        "answered": await answered_in(request, who),
        "assigned": number_of(request.query_params.get("assigned"), 0),
        "parked": parked,
        "parked_cases": [] if found is None else [row.case for row in found.rows],
        "doubts": await engine.reader.in_doubt(),
        **({} if own is None else await own.values(engine, tasks.rows)),
    }
    return page(request, "work_list.html" if own is None else own.template, who=who, **values)
