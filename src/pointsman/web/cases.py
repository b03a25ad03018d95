"""The page of all cases: search, filter, and a page at a time."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pointsman.client.schemas import NUMBER_MAX
from pointsman.definition.pauses import Pause
from pointsman.errors import ValueRefused
from pointsman.kernel.people import asks_a_person
from pointsman.kernel.snapshot import Status
from pointsman.operations.map import label_of, went
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit
from pointsman.server.redacted import shown_to
from pointsman.store.query import CaseCount, CasePage, FoundCase
from pointsman.web.case_filters import AGES, ORDERS, CaseFilters, case_filters_of, searchable_fields
from pointsman.web.numbers import number_of
from pointsman.web.render import page
from pointsman.web.sample import Sample

PAGE_ROWS = 50  # two screens


class CasesPage:
    """The page. The cases that took a way of the process map are those of its sample."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    async def show(self, request: Request) -> Response:
        """Show the cases that fit the filters."""
        who = await permit(request, Scope.READ)
        engine: Engine = request.app.state.engine
        filters = case_filters_of(request)
        after = request.query_params.get("after", "")
        places = await engine.reader.count_places()
        total = total_of(places, filters)
        if filters.went and filters.process:
            found, total = await self._on_the_map(engine, filters, after)
        else:
            found = await _found(await shown_to(who, engine), filters, after)
        values: dict[str, Any] = {
            "rows": found.rows,
            "cursor": found.cursor,
            "filters": filters,
            "total": total,
            "way": [label_of(place) for place in (filters.came, filters.went) if place] if filters.process else [],
            "statuses": list(Status),
            "ages": list(AGES),
            "orders": list(ORDERS),
            "fields": searchable_fields(engine.processes),
            **choices(engine, places, filters),
        }
        return page(request, "cases.html", who=who, **values)

    async def _on_the_map(self, engine: Engine, filters: CaseFilters, after: str) -> tuple[CasePage, int]:
        ways = await self._sample.ways(engine, filters.process)
        cases = [case for case, way in ways.items() if went(way, filters.came, filters.went)]
        behind = [case for case in cases if case < number_of(after or None, NUMBER_MAX)]
        rows = [row for case in behind[:PAGE_ROWS] if (row := await engine.reader.case(case)) is not None]
        return CasePage(tuple(FoundCase(row, None) for row in rows), str(behind[PAGE_ROWS - 1]) if behind[PAGE_ROWS:] else None), len(cases)


def choices(engine: Engine, places: list[CaseCount], filters: CaseFilters) -> dict[str, list[str]]:
    """Return what a person can choose from: the processes, and the pauses, rules and outcomes of the one that is chosen, or of all."""
    chosen = [process for process in engine.processes if filters.process in {"", process.name}]
    pauses = {step.name for process in chosen for step in process.steps.values() if isinstance(step, Pause)}
    by_name = {process.name: process for process in chosen}
    pauses |= {
        one.place for one in places
        if one.status is Status.WAITING and one.process in by_name and asks_a_person(by_name[one.process], one.place)
    }  # fmt: skip
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
