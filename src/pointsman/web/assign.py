"""Pass a task on: to oneself, to somebody else, or to whom its ladder names."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pointsman.client.schemas import NAME_MAX, TEXT_MAX
from pointsman.errors import Refused, ValueRefused
from pointsman.kernel.answering import Pending
from pointsman.runtime.engine import Engine
from pointsman.server.access import Principal, Scope, permit, tell_audit
from pointsman.server.forms import Form, form_of
from pointsman.web.numbers import case_of
from pointsman.web.render import base_of
from pointsman.web.task import next_path, pending_soon, show_again
from pointsman.web.waiting import filters_of


async def assign_task(request: Request) -> Response:
    """Assign a task. Whoever keeps it stays at its page; whoever passes it on goes to the next task."""
    who = await permit(request, Scope.ANSWER)
    engine: Engine = request.app.state.engine
    case, form = case_of(request), await form_of(request, who)
    pending = await pending_soon(engine, case)
    to, note = _assignee(who, pending, form), form.get("note", "").strip()
    tell_audit(request, {"to": to or "nobody", "why": note})
    problem = _problem(pending, form, to, note)
    if problem:
        return await _again(request, who, pending, form, 422, problem)
    path = await next_path(request, who, case, "assigned")
    try:
        await engine.assign(case, to, by=who.acting(None), note=note)
    except (Refused, ValueRefused) as error:
        return await _again(request, who, await pending_soon(engine, case), form, 409, f"{error}")
    if to in {who.name, ""}:
        path = f"{base_of(request)}/cases/{case}/task{filters_of(request).query()}"
    return RedirectResponse(path, 303)


def _assignee(who: Principal, pending: Pending, form: Form) -> str:
    match form.get("assign"):
        case "me":
            return who.name
        case "nobody":
            return ""
        case "escalate":
            return pending.escalates_to
        case _:
            return form.get("to", "").strip()


def _problem(pending: Pending, form: Form, to: str, note: str) -> str:
    """Say what is wrong with a form, or nothing."""
    if form.get("asked", "") != (pending.assignee or ""):
        return f"It was assigned to {pending.assignee or 'nobody'} meanwhile, and nothing was changed by you."
    if form.get("assign") == "escalate":
        return "" if to and note else "Say why you escalate it; the case keeps it."
    if not to and form.get("assign") != "nobody":
        return "Write the name of the person who is to answer."
    if len(to) > NAME_MAX or len(note) > TEXT_MAX:
        return f"A name has at most {NAME_MAX} characters, and a reason at most {TEXT_MAX:,}."
    return ""


async def _again(request: Request, who: Principal, pending: Pending, form: Form, status: int, problem: str) -> Response:
    typed: Mapping[str, Any] = {"how": form.get("assign", ""), "to": form.get("to", ""), "note": form.get("note", ""), "problem": problem}
    return await show_again(request, who, pending, status, {"assigning": typed})
