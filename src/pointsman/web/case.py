"""The page of a case: where it stands and why, what happened, and its state at any revision."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from pointsman.kernel.case import UNKNOWN
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.people import asked_at
from pointsman.kernel.rows import CaseRow, EffectRow, EventRow
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.operations.explain import Explanation, explain_case
from pointsman.operations.history import event_text, with_task_names
from pointsman.runtime.engine import Engine
from pointsman.server.access import Principal, Scope, permit
from pointsman.server.redacted import shown_to
from pointsman.web.differences import Change, state_difference
from pointsman.web.numbers import case_of, number_of
from pointsman.web.render import Shell, page

T = TypeVar("T")

ERASABLE = ENDED | {Status.PARKED, Status.BLOCKED}  # a parked or blocked case is cancelled first
TIMELINE_MAX = 200  # events, and calls of a body, on the page; the first and the last ones are shown of more


class Moment(NamedTuple):
    """An event of the timeline: its text, who did it, and its revision."""

    at: float
    kind: str
    text: str
    by: str | None
    revision: int


class StateAt(NamedTuple):
    """The state of a case at a revision, with what became of each field since the revision before."""

    revision: int
    before: int | None
    behind: int | None
    changes: Sequence[Change]
    writers: Mapping[str, str]


class Operated(NamedTuple):
    """What an operator entered, for which operation, and what is wrong with it: a sentence for each field, and one for the operation."""

    operation: str
    form: Mapping[str, str]
    problems: Mapping[str, str]


_CORRECTABLE = frozenset({Status.PARKED, Status.WAITING})

NOT_OPERATED = Operated("", {}, {})


async def show_case(request: Request) -> Response:
    """Show a case."""
    return await case_page(request, await permit(request, Scope.READ))


async def case_page(request: Request, who: Principal, status: int = 200, operated: Operated = NOT_OPERATED) -> Response:
    """Return the page of a case, with what an operator entered if that was refused."""
    engine = await shown_to(who, request.app.state.engine)
    shell: Shell = request.state.shell
    case = case_of(request)
    explained = await explain_case(engine.reader, engine.processes, case)
    history, row = explained.history, explained.case
    own = shell.case_pages.get(row.process)
    more = {} if own is None or own.values is None else await own.values(engine, row)
    events = [_moment(event) for event in with_task_names(history.events)]
    values: dict[str, Any] = {
        "row": row,
        "explained": explained,
        "first": explained.paragraph(engine.clock.now()),
        "events": _ends(events),
        "left_out": max(0, len(events) - TIMELINE_MAX),
        "calls": _ends(explained.calls),
        "calls_left_out": max(0, len(explained.calls) - TIMELINE_MAX),
        "state": await _state_at(engine, row, number_of(request.query_params.get("revision"), row.revision)),
        "effects": [(entry, effect_note(entry)) for entry in history.effects],
        "usage": await engine.reader.usage_of_case(case),
        "children": explained.around.children,
        "messages": explained.around.messages,
        "waits_for_person": history.pause is not None and history.pause.closed is None and row.status is Status.WAITING,
        "ended": row.status in ENDED,
        "may_erase": Scope.ADMIN in who.scopes and row.status in ERASABLE and history.erased is None,
        "operated": operated,
        "correctable": correctable(engine, explained),
        "resolvable": [
            entry for entry in history.effects if entry.status in UNKNOWN and row.status not in {Status.RUNNING, Status.WAITING}
        ],
        **more,
    }
    return page(request, "case.html" if own is None else own.template, status, who=who, **values)


def effect_note(entry: EffectRow) -> str:
    """Say how an effect stands: "done", or what is known of it."""
    known = {
        EffectStatus.DONE: "done",
        EffectStatus.FAILED: "rejected",
        EffectStatus.NOT_SENT: "not sent",
        EffectStatus.INTENDED: "called, no outcome yet",
    }
    return known.get(entry.status, "in doubt")


def correctable(engine: Engine, explained: Explanation) -> dict[str, str]:
    """Return what an operator may correct, each as JSON; a field without a value is empty.

    These are the fields, except for the answers of people; of a body, its input and the answers, which can be emptied, so that they are taken back.
    """
    row, state = explained.case, explained.history.state
    if explained.fields_of_calls:
        values = {field.field: state[field.field] for field in explained.history.fields if not field.writer}
        values |= {call.call: call.value for call in explained.calls if call.how == "answered"}
        return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()} if row.status in _CORRECTABLE else {}
    if row.status is not Status.PARKED:
        return {}
    process = next((process for process in reversed(engine.processes) if process.name == row.process), None)
    names = state if process is None else [name for name in process.state.model_fields if asked_at(process, name) is None]
    return {name: json.dumps(state[name], ensure_ascii=False) if state.get(name) is not None else "" for name in names}


def _ends(of: Sequence[T]) -> Sequence[T]:
    """The first and the last ones of more than fit on the page."""
    return of if len(of) <= TIMELINE_MAX else [*of[: TIMELINE_MAX // 2], *of[-TIMELINE_MAX // 2 :]]


def _moment(event: EventRow) -> Moment:
    facts: Mapping[str, Any] = json.loads(event.facts)
    return Moment(event.at, event.kind, event_text(event), facts.get("by"), event.revision)


async def _state_at(engine: Engine, row: CaseRow, wanted: int) -> StateAt:
    revision = min(max(wanted, 1), row.revision) if row.revision else 0
    fields = await engine.reader.fields(row.id, revision=revision)
    earlier = await engine.reader.fields(row.id, revision=revision - 1) if revision > 1 else ()
    after = {field.field: json.loads(field.text) for field in fields}
    before = {field.field: json.loads(field.text) for field in earlier}
    return StateAt(
        revision,
        revision - 1 if revision > 1 else None,
        revision + 1 if revision < row.revision else None,
        state_difference(before, after),
        {field.field: field.writer for field in fields},
    )
