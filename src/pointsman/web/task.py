"""The page of a task: what is shown, what was read, and the form for the answer."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pointsman.client.schemas import TaskView
from pointsman.errors import AnswerInvalid, NotWaiting, PointsmanError, Stale
from pointsman.kernel.answering import Pending
from pointsman.kernel.events import Kind
from pointsman.kernel.snapshot import Status
from pointsman.operations.history import EVENTS_MAX
from pointsman.runtime.engine import Engine
from pointsman.server.access import Principal, Scope, permit
from pointsman.server.forms import CSRF, Form, FormOutdated, form_of
from pointsman.server.redacted import hide_shown, shown_to
from pointsman.server.views import task_view
from pointsman.web.answer_forms import ABSENT, ROOT, Problems, compact, read_json
from pointsman.web.answer_parts import part_of
from pointsman.web.answered import answered_in
from pointsman.web.differences import readable, word_difference
from pointsman.web.numbers import case_of, number_of
from pointsman.web.render import Shell, base_of, page
from pointsman.web.waiting import assignees_of, filters_of, neighbours

EDIT = "edit."  # begins the names of the fields for edits
PATIENCE_SECONDS = 1.0  # for a pause that is just being opened again; a model takes longer, and a person does not wait for a blank page
AGAIN = "The program was started again, or you signed in anew, since you opened this page. What you entered is kept; send it again."
NOT_ASSIGNED: Mapping[str, str] = {"how": "", "to": "", "note": "", "problem": ""}
LOOK = "look"  # the field of a form that asks for the page, and answers nothing


class Typed(NamedTuple):
    """What a person entered, and what is wrong with it."""

    form: Form
    problems: Mapping[str, str]
    seen: Mapping[str, Any] | None = None


async def show_task(request: Request) -> Response:
    """Show the task of a case."""
    who = await permit(request, Scope.READ)
    engine = await shown_to(who, request.app.state.engine)
    return await _page(request, who, await pending_soon(engine, case_of(request)))


async def pending_soon(engine: Engine, case: int) -> Pending:
    """Return the pause at which a case waits. Raises NotWaiting also if it is being computed again, and that takes long."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await engine.pending(case)
    except TimeoutError:
        raise NotWaiting(f"what case {case} shows is being computed again; look at it later.") from None


async def answer_task(request: Request) -> Response:
    """Take an answer, and go to the next task. An answer that is refused shows the page again, with what was entered."""
    who = await permit(request, Scope.ANSWER)
    form, current = await _entered(request, who)
    try:
        return await _answer(request, who, form) if current else await _show_again(request, who, form)
    except NotWaiting:
        engine: Engine = request.app.state.engine
        row, pause = await engine.case(case_of(request)), await engine.reader.pause(case_of(request))
        answered = pause is not None and pause.closed == "answered" and pause.digest == form.get("digest")
        if answered or row.status not in {Status.READY, Status.RUNNING}:
            raise
        entered = [(name, value) for name in form if name not in {CSRF, LOOK} for value in form.all_of(name)]
        return page(request, "task_again.html", 409, who=who, row=row, entered=entered)


async def _entered(request: Request, who: Principal) -> tuple[Form, bool]:
    """Return what a person entered, and whether it may be taken as an answer."""
    try:
        return compact(await form_of(request, who)), True
    except FormOutdated as error:
        return compact(error.form), False


async def _show_again(request: Request, who: Principal, form: Form) -> Response:
    engine: Engine = request.app.state.engine
    pending = await pending_soon(engine, case_of(request))
    if form.get("digest") != pending.digest:
        return await _stale(request, who, pending, form, 403)
    return await _page(request, who, pending, Typed(form, {ROOT: AGAIN}), 403)


async def _answer(request: Request, who: Principal, form: Form) -> Response:
    engine: Engine = request.app.state.engine
    case = case_of(request)
    pending = await pending_soon(engine, case)
    if form.get("digest") != pending.digest:
        return await _stale(request, who, pending, form)
    if "add" in form or LOOK in form:
        return await _page(request, who, pending, Typed(form, {}))
    problems = Problems()
    answer = answer_of(pending, form, problems)
    edits = edits_of(task_view(pending), form, problems)
    if problems:
        return await _page(request, who, pending, Typed(form, problems), 422)
    path = await next_path(request, who, case)
    try:
        await engine.resume(pending.token, answer, by=who.acting(None), edits=edits)
    except AnswerInvalid as error:
        return await _page(request, who, pending, Typed(form, _refused(error, edits)), 422)
    except Stale:
        return await _stale(request, who, await pending_soon(engine, case), form)
    return RedirectResponse(path, 303)


async def next_path(request: Request, who: Principal, case: int, how: str = "answered") -> str:
    """Return the address of the task to show when this case is "answered" or "assigned": the next one of the list, the one before, or the list."""
    engine = await shown_to(who, request.app.state.engine)
    filters = filters_of(request)
    before, behind = await neighbours(engine, who, filters, case)
    following = behind or before
    path = "/" if following is None else f"/cases/{following}/task"
    return f"{base_of(request)}{path}{filters.query(**{how: case})}"


def _refused(error: AnswerInvalid, edits: Mapping[str, Any]) -> dict[str, str]:
    """Return what the engine objects to, beside the edit that it is about."""
    for name in edits:
        _, found, what = str(error).partition(f"the answer was refused: {name}: ")
        if found:
            return {f"{EDIT}{name}": f"{what.rstrip('.')}."}
    return {ROOT: f"{error}"}


def answer_of(pending: Pending, form: Form, problems: Problems) -> object:
    """Return the answer in a form. Notes in `problems` what is wrong, beside the field that it is about."""
    adapter = TypeAdapter[Any](pending.answer)
    part = part_of(adapter.json_schema())
    value = part.read(ROOT, form, problems)
    if problems:
        return None
    try:
        return adapter.validate_json(json.dumps(None if value is ABSENT else value))
    except ValidationError as error:
        names = {field.name for field in part.draw(ROOT, form).walk()}
        for found in error.errors(include_url=False, include_context=False, include_input=False):
            problems.setdefault(_place(found["loc"], names), f"{found['msg']}.")
        return None


def _place(location: tuple[int | str, ...], names: set[str]) -> str:
    """Return the field of the form that an error of Pydantic is about: the innermost one that the form has."""
    for length in range(len(location), 0, -1):
        name = ROOT + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[:length])
        if name in names:
            return name
    return ROOT


def edits_of(task: TaskView, form: Form, problems: Problems) -> dict[str, Any]:
    """Return the shown fields that a person has rewritten."""
    edits: dict[str, Any] = {}
    for name in task.edits:
        text, shown = form.get(f"{EDIT}{name}"), task.shown[name]
        if text is None or text == _editable(shown):
            continue
        if isinstance(shown, str) or shown is None:
            edits[name] = text
            continue
        value = read_json(f"{EDIT}{name}", text, problems)
        if f"{EDIT}{name}" not in problems and value != shown:
            edits[name] = value
    return edits


def _editable(value: Any) -> str:
    return "" if value is None else readable(value).replace("\r\n", "\n")


async def _stale(request: Request, who: Principal, pending: Pending, form: Form, status: int = 409) -> Response:
    """Show the new content, what has changed in it, and what the person had entered."""
    engine = await shown_to(who, request.app.state.engine)
    seen = await shown_under(engine, pending, form.get("digest", ""))
    before = pending._replace(shown=seen)
    touched = {f"{EDIT}{name}" for name in edits_of(task_view(before), form, Problems())} if seen else set(form)
    kept = form.renamed({name: None for name in form if name.startswith(EDIT) and name not in touched})
    return await _page(request, who, pending, Typed(kept, {}, seen), status)


async def shown_under(engine: Engine, pending: Pending, digest: str) -> dict[str, Any]:
    """Return what an earlier pause of the case showed, or nothing if there was none with this digest."""
    for event in reversed(await engine.reader.events(case=pending.case, limit=EVENTS_MAX)):
        if event.kind == Kind.PAUSED and json.loads(event.facts)["digest"] == digest:
            fields = await engine.reader.fields(pending.case, revision=event.revision)
            values = {field.field: json.loads(field.text) for field in fields}
            return {name: values.get(name) for name in pending.shown}
    return {}


async def show_again(request: Request, who: Principal, pending: Pending, status: int, values: Mapping[str, Any]) -> Response:
    """Show the page of a task with these values in place of its own, such as what a person entered."""
    return await _page(request, who, pending, status=status, instead=values)


async def _page(
    request: Request, who: Principal, pending: Pending, typed: Typed | None = None, status: int = 200, instead: Mapping[str, Any] | None = None
) -> Response:  # fmt: skip
    engine = await shown_to(who, request.app.state.engine)
    shell: Shell = request.state.shell
    task = task_view(await hide_shown(engine, pending))
    form = None if typed is None else typed.form
    part = part_of(task.answer_schema)
    fresh = form is None or not any(name.startswith(ROOT) for name in form)
    fields = part.draw(ROOT, None if fresh else form)
    own = shell.task_pages.get(task.process)
    more = {} if own is None or own.values is None else await own.values(engine, task)
    filters = filters_of(request)
    before, behind = await neighbours(engine, who, filters, task.case)
    values: dict[str, Any] = {
        "task": task,
        "may_answer": Scope.ANSWER in who.scopes,
        "answer": fields if typed is None else fields.with_errors(typed.problems),
        "edits": {name: _edit(task, name, form) for name in task.edits},
        "problems": {} if typed is None else typed.problems,
        "changes": [] if typed is None or typed.seen is None else _changes(typed.seen, task),
        "stale": typed is not None and typed.seen is not None,
        "filters": filters,
        "before": before,
        "behind": behind,
        "answered": await answered_in(request, who),
        "assigned": number_of(request.query_params.get("assigned"), 0),
        "passes": {
            "case": task.case,
            "assignee": task.assignee or "",
            "lead": pending.escalates_to,
            "known": assignees_of(engine),
        },
        "assigning": NOT_ASSIGNED,
        **more,
        **(instead or {}),
    }
    return page(request, "task.html" if own is None else own.template, status, who=who, **values)


def _edit(task: TaskView, name: str, form: Form | None) -> str:
    shown = _editable(task.shown[name])
    return shown if form is None else form.get(f"{EDIT}{name}", shown)


def _changes(seen: Mapping[str, Any], task: TaskView) -> list[tuple[str, list[Any]]]:
    changed = [name for name in task.shown if name in seen and seen[name] != task.shown[name]]
    return [(name, list(word_difference(readable(seen[name]), readable(task.shown[name])))) for name in changed]


async def not_waiting(request: Request, who: Principal, error: PointsmanError) -> Response:
    """Say that nobody is asked any more, and who answered and when."""
    engine: Engine = request.app.state.engine
    case: int = case_of(request)
    row, pause = await engine.reader.case(case), await engine.reader.pause(case)
    return page(request, "task_over.html", 409, who=who, row=row, pause=pause, detail=str(error))
