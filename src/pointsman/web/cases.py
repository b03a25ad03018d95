"""The page of all cases: search, filter, and a page at a time."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pointsman.definition.pauses import Pause
from pointsman.errors import ValueRefused
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit
from pointsman.store.query import CaseCount, CasePage
from pointsman.web.case_filters import AGES, ORDERS, CaseFilters, case_filters_of, searchable_fields
from pointsman.web.render import page

PAGE_ROWS = 50  # two screens


async def list_cases(request: Request) -> Response:
    """Show the cases that fit the filters."""
    who = await permit(request, Scope.READ)
    engine: Engine = request.app.state.engine
    filters = case_filters_of(request)
    found = await _found(engine, filters, request.query_params.get("after", ""))
    places = await engine.reader.count_places()
    values: dict[str, Any] = {
        "rows": found.rows,
        "cursor": found.cursor,
        "filters": filters,
        "total": total_of(places, filters),
        "statuses": list(Status),
        "ages": list(AGES),
        "orders": list(ORDERS),
        "fields": searchable_fields(engine.processes),
        **choices(engine, places, filters),
    }
    return page(request, "cases.html", who=who, **values)


def choices(engine: Engine, places: list[CaseCount], filters: CaseFilters) -> dict[str, list[str]]:
    """Return what a person can choose from: the processes, and the pauses, rules and outcomes of the one that is chosen, or of all."""
    chosen = [process for process in engine.processes if filters.process in {"", process.name}]
    pauses = {step.name for process in chosen for step in process.steps.values() if isinstance(step, Pause)}
    outcomes = {one.place for one in places if one.status is Status.DONE and filters.process in {"", one.process}}
    return {
        "processes": sorted({one.process for one in places} | {process.name for process in engine.processes}),
        "pauses": sorted(pauses | {filters.pause} - {""}),
        "rules": sorted({rule.name for process in chosen for rule in process.ordered_rules} | {filters.rule} - {""}),
        "outcomes": sorted(outcomes | {filters.outcome} - {""}),
    }


def total_of(places: list[CaseCount], filters: CaseFilters) -> int | None:
    """Return how many cases fit, where the kept counts tell it, or None."""
    if any(filters._replace(process="", status="", outcome="", order="")) or (filters.outcome and filters.status not in {"", "done"}):
        return None
    fits = (one for one in places if filters.process in {"", one.process} and filters.status in {"", one.status})
    return sum(one.cases for one in fits if not filters.outcome or (one.status is Status.DONE and one.place == filters.outcome))


async def _found(engine: Engine, filters: CaseFilters, after: str) -> CasePage:
    asked = filters.asked(engine.clock.now())
    try:
        return await engine.reader.find(asked, after=after, limit=PAGE_ROWS)
    except ValueRefused:  # the cursor of another order, or none: begin with the first page
        return await engine.reader.find(asked, limit=PAGE_ROWS)
