"""What an operator does to a case on its page: cancel, redrive with corrected fields, resolve an effect in doubt, erase."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pointsman.errors import Refused, ValueRefused
from pointsman.kernel.rows import CaseRow
from pointsman.operations.explain import explain_case
from pointsman.runtime.engine import Engine
from pointsman.server.access import Scope, permit, tell_audit
from pointsman.server.forms import Form, form_of
from pointsman.web.answer_forms import Problems, read_json
from pointsman.web.case import Operated, case_page, correctable
from pointsman.web.numbers import case_of, number_of
from pointsman.web.render import base_of

FIELD = "field."  # begins the names of the fields of a state
HAPPENED: Mapping[str, bool] = {"yes": True, "no": False}

Operation = Callable[[Engine, int, Form, str, Problems], Awaitable[CaseRow]]
"""Does it as this person, or notes in the problems what is wrong with the form and raises Refused."""


def operation(name: str, needs: Scope, perform: Operation) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of the form of an operation. One that is refused shows the page again, with what was entered."""

    async def operate(request: Request) -> Response:
        who = await permit(request, needs)
        engine: Engine = request.app.state.engine
        case, form = case_of(request), await form_of(request, who)
        tell_audit(request, {"why": form.get("why", "")})
        problems = Problems()
        if not form.get("why", "").strip():
            problems["why"] = "Say why; the case keeps it."
        try:
            await perform(engine, case, form, who.acting(None), problems)
        except (Refused, ValueRefused) as error:
            if not problems:
                problems[_place(form, str(error))] = _sentence(str(error))
            return await case_page(request, who, 422 if isinstance(error, _FormRefused) else 409, Operated(name, form, problems))
        return RedirectResponse(f"{base_of(request)}/cases/{case}", 303)

    return operate


class _FormRefused(Refused):
    """The form has problems."""


def _checked(problems: Problems) -> None:
    if problems:
        raise _FormRefused("the form has problems")


def _place(form: Form, error: str) -> str:
    """Return the field of the form that an error of the engine names, or "" for the operation as a whole."""
    found = (name for name in form if name.startswith(FIELD) and f"refused: {name.removeprefix(FIELD)}: " in error)
    return next(found, "outcome" if "outcome" in error and "outcome" in form else "")


def _sentence(error: str) -> str:
    return f"{error[:1].upper()}{error[1:]}"


async def cancel(engine: Engine, case: int, form: Form, by: str, problems: Problems) -> CaseRow:
    """Cancel the case."""
    _checked(problems)
    return await engine.cancel(case, by=by, why=form["why"].strip())


async def erase(engine: Engine, case: int, form: Form, by: str, problems: Problems) -> CaseRow:
    """Erase the content of the case. The person has typed its number, because nothing brings it back."""
    if form.get("number", "").strip() != str(case):
        problems["number"] = f"Type {case}, the number of the case."
    _checked(problems)
    return await engine.erase(case, by=by, why=form["why"].strip())


async def redrive(engine: Engine, case: int, form: Form, by: str, problems: Problems) -> CaseRow:
    """Return the case to the backlog, with the fields that were corrected. Refused if the case has moved since the form was shown."""
    explained = await explain_case(engine.reader, engine.processes, case)
    fields = corrections(form, correctable(engine, explained), problems)
    _checked(problems)
    if number_of(form.get("revision"), explained.case.revision) != explained.case.revision:
        raise Refused(f"case {case} has moved since this page was shown; look at it again.")
    return await engine.redrive(case, by=by, why=form["why"].strip(), fields=fields)


def corrections(form: Form, shown: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """Return the fields whose JSON a person has changed. An emptied one is null. Notes in `problems` what is no JSON."""
    fields: dict[str, Any] = {}
    for name, before in shown.items():
        text = form.get(f"{FIELD}{name}", before).strip()
        if text == before:
            continue
        fields[name] = read_json(f"{FIELD}{name}", text, problems) if text else None
    return fields


async def resolve(engine: Engine, case: int, form: Form, by: str, problems: Problems) -> CaseRow:
    """Record whether an effect in doubt happened. Refused if it was called again since the form was shown."""
    happened = HAPPENED.get(form.get("happened", ""))
    outcome: object = None
    if happened is None:
        problems["happened"] = "Say whether it happened."
    text = form.get("outcome", "").strip()
    if happened and text:
        outcome = read_json("outcome", text, problems)
    _checked(problems)
    entry = await engine.reader.effect(form.get("key", ""))
    if entry is None or entry.case != case:
        raise Refused(f"case {case} has no effect with this key.")
    calls = number_of(form.get("attempts"), entry.attempts)
    return await engine.resolve(
        entry.key, happened=bool(happened), by=by, why=form["why"].strip(), outcome=outcome, expected_attempts=calls
    )  # fmt: skip


OPERATIONS = (
    ("/cases/{case:int}/cancel", operation("cancel", Scope.OPERATE, cancel)),
    ("/cases/{case:int}/redrive", operation("redrive", Scope.OPERATE, redrive)),
    ("/cases/{case:int}/resolve", operation("resolve", Scope.OPERATE, resolve)),
    ("/cases/{case:int}/erase", operation("erase", Scope.ADMIN, erase)),
)
