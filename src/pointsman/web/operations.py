"""The page for operators: what is parked and in doubt, an operation on many cases after a dry run, the intake, and the limits."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pointsman.errors import Refused
from pointsman.kernel.operators import correction
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.parked import Reason, reasons_of
from pointsman.runtime.engine import Engine
from pointsman.server.access import Principal, Scope, permit, tell_audit
from pointsman.server.forms import Form, form_of
from pointsman.web.answer_forms import Problems, read_json
from pointsman.web.case_filters import case_filters_of, filters_in
from pointsman.web.numbers import number_of
from pointsman.web.overview import limit_lines
from pointsman.web.parked import parked_rows
from pointsman.web.render import base_of, page
from pointsman.web.selection import FITS, SELECTED_MAX, Selection, digest_of

PARKED_READ = 500  # the last ones, grouped by their reason
DOUBTS_SHOWN = 50
FIRST_SHOWN = 10  # of a selection
AT_ONCE = 25  # cases of a selection, so that their commits share a flush


async def show_operations(request: Request) -> Response:
    """Show what an operator looks after."""
    return await _operations(request, await permit(request, Scope.READ))


async def _operations(request: Request, who: Principal, status: int = 200, problem: str = "") -> Response:
    engine: Engine = request.app.state.engine
    doubts = await engine.reader.in_doubt()
    rows = await parked_rows(engine, PARKED_READ)
    values: dict[str, Any] = {
        "reasons": [(one, {do: bulk_query(do, one) for do in FITS}) for one in reasons_of(rows)],
        "grouped": len(rows),
        "parked": (await engine.reader.counts()).get(Status.PARKED, 0),
        "doubts": doubts[:DOUBTS_SHOWN],
        "doubtful": len(doubts),
        "intake": await engine.reader.intake_paused(),
        "limits": limit_lines(engine, await engine.reader.limits(), engine.clock.now()),
        "problem": problem,
        "did": request.query_params.get("did", "") if request.query_params.get("did") in FITS else "",
        "changed": number_of(request.query_params.get("cases"), 0),
        "refused": number_of(request.query_params.get("refused"), 0),
    }
    return page(request, "operations.html", status, who=who, **values)


def bulk_query(operation: str, reason: Reason) -> str:
    """Return the query of the page for an operation on the cases that are parked for a reason."""
    return urlencode({"do": operation, "status": "parked", "process": reason.process, "step": reason.step, "reason": reason.reason})


async def change_intake(request: Request) -> Response:
    """Pause the intake, or resume it."""
    who = await permit(request, Scope.OPERATE)
    engine: Engine = request.app.state.engine
    form = await form_of(request, who)
    resumes, why = form.get("do") == "resume", form.get("why", "").strip()
    tell_audit(request, {"operation": "resume intake" if resumes else "pause intake", "why": why})
    if not why:
        return await _operations(request, who, 422, "Say why: who starts a case reads it.")
    if resumes:
        await engine.resume_intake()
    else:
        await engine.pause_intake(by=who.acting(None), why=why)
    return RedirectResponse(f"{base_of(request)}/operations#intake", 303)


async def show_bulk(request: Request) -> Response:
    """Show a selection of cases, and the form for an operation on them."""
    who = await permit(request, Scope.OPERATE)
    operation = request.query_params.get("do", "")
    selection = Selection(
        operation if operation in FITS else "redrive", case_filters_of(request),
        request.query_params.get("step", ""), request.query_params.get("reason", ""),
    )  # fmt: skip
    return await _bulk(request, who, selection, Form([]), {})


async def operate_in_bulk(request: Request) -> Response:
    """Show what the operation would do; with the digest of the selection that was shown, do it. Refused if the selection has changed."""
    who = await permit(request, Scope.OPERATE)
    engine: Engine = request.app.state.engine
    form = await form_of(request, who)
    operation = form.get("do", "")
    selection = Selection(operation if operation in FITS else "redrive", filters_in(form), form.get("step", ""), form.get("reason", ""))
    tell_audit(request, {"operation": f"dry run: {selection.operation}", "why": form.get("why", "")})
    problems = Problems()
    rows = await selection.cases(engine)
    fields = _corrections(form, problems)
    _check(engine, rows, fields, problems)
    if not form.get("why", "").strip():
        problems["why"] = "Say why; each case keeps it."
    if problems:
        return await _bulk(request, who, selection, form, problems, status=422)
    digest = digest_of(selection, rows, fields)
    if "digest" not in form:
        return await _bulk(request, who, selection, form, {}, digest=digest)
    if form["digest"] != digest:
        problems[""] = "The selection has changed since it was shown. Look at it again; nothing was done."
        return await _bulk(request, who, selection, form, problems, status=409, digest=digest)
    rows = rows[:SELECTED_MAX]
    refused = await _perform(engine, selection.operation, rows, fields, who.acting(None), form["why"].strip())
    cases = [row.id for row in rows]
    tell_audit(
        request,
        {
            "operation": selection.operation,
            "why": form["why"],
            "cases": cases,
            "fields": sorted(fields),
            "refused": refused,
        },
    )
    done = urlencode({"did": selection.operation, "cases": len(rows) - len(refused), "refused": len(refused)})
    return RedirectResponse(f"{base_of(request)}/operations?{done}", 303)


async def _perform(
    engine: Engine, operation: str, rows: list[CaseRow], fields: Mapping[str, Any], by: str, why: str
) -> dict[str, str]:  # fmt: skip
    """Do it, and return why it was refused, by the number of the case."""
    refused: dict[str, str] = {}

    async def one(row: CaseRow) -> None:
        try:
            if operation == "redrive":
                await engine.redrive(row.id, by=by, why=why, fields=fields)
            else:
                await engine.cancel(row.id, by=by, why=why)
        except Refused as error:
            refused[str(row.id)] = str(error)

    for start in range(0, len(rows), AT_ONCE):
        await asyncio.gather(*(one(row) for row in rows[start : start + AT_ONCE]))
    return refused


def _corrections(form: Form, problems: Problems) -> dict[str, Any]:
    text = form.get("fields", "").strip()
    if not text:
        return {}
    fields = read_json("fields", text, problems)
    if "fields" in problems:
        return {}
    if not isinstance(fields, dict):
        problems["fields"] = 'Write a JSON object, such as {"amount": 20}.'
        return {}
    return fields


def _check(engine: Engine, rows: list[CaseRow], fields: Mapping[str, Any], problems: Problems) -> None:
    """Note in the problems a correction that some process of the selection would refuse."""
    newest = {process.name: process for process in engine.processes}
    for process in sorted({row.process for row in rows} & newest.keys()):
        for name, value in fields.items():
            try:
                correction(newest[process], name, value)
            except Refused as error:
                problems["fields"] = str(error)


async def _bulk(
    request: Request, who: Principal, selection: Selection, form: Form, problems: Mapping[str, str], *, status: int = 200, digest: str = ""
) -> Response:  # fmt: skip
    engine: Engine = request.app.state.engine
    rows = await selection.cases(engine)
    values: dict[str, Any] = {
        "selection": selection,
        "number": min(len(rows), SELECTED_MAX),
        "more": len(rows) > SELECTED_MAX,
        "rows": [(row, None) for row in rows[:FIRST_SHOWN]],
        "processes": sorted({process.name for process in engine.processes}),
        "typed": form,
        "problems": problems,
        "digest": digest,
    }
    return page(request, "bulk.html", status, who=who, **values)


OPERATIONS_PAGES = (
    ("GET", "/operations", show_operations),
    ("POST", "/operations/intake", change_intake),
    ("GET", "/operations/bulk", show_bulk),
    ("POST", "/operations/bulk", operate_in_bulk),
)
