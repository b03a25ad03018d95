"""What the API and the pages show, made from what the engine has."""

import json
from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from pointsman.client.schemas import (
    CaseDetail,
    CaseView,
    EffectView,
    EventView,
    IntakeView,
    LimitView,
    PersonErasedView,
    ProcessView,
    RefusedView,
    TaskView,
)
from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.kernel.answering import Pending
from pointsman.kernel.limits import LimitState
from pointsman.kernel.people import asks_a_person
from pointsman.kernel.rows import CaseRow, EffectRow, EventRow
from pointsman.operations.export import outcome_fields
from pointsman.operations.history import History
from pointsman.runtime.persons import PersonErased
from pointsman.store.base import IntakePaused


def case_view(row: CaseRow) -> CaseView:
    """Return a case as the API shows it."""
    return CaseView.model_validate({"case": row.id, **row._asdict()})


def task_view(pending: Pending) -> TaskView:
    """Return a pause as the API shows it, without its token."""
    shown, beside = _plain(pending.shown), _plain(pending.beside)
    schema = TypeAdapter(pending.answer).json_schema()
    return TaskView.model_validate({**pending._asdict(), "shown": shown, "beside": beside, "answer_schema": schema})


def case_detail(history: History) -> CaseDetail:
    """Return a case with its state, events and effects as the API shows it."""
    return CaseDetail.model_validate({
        "case": history.case.id, **history.case._asdict(), "state": history.state,
        "writers": {row.field: row.writer for row in history.fields},
        "events": [event_view(event) for event in history.events], "effects": [effect_view(effect) for effect in history.effects],
    })  # fmt: skip


def event_view(event: EventRow) -> EventView:
    """Return an event as the API shows it."""
    return EventView.model_validate({**event._asdict(), "facts": json.loads(event.facts)})


def effect_view(effect: EffectRow) -> EffectView:
    """Return an entry of the ledger as the API shows it."""
    return EffectView.model_validate({**effect._asdict(), "outcome": outcome_fields(effect.outcome)})


def limit_view(name: str, state: LimitState, now: float) -> LimitView:
    """Return a limit as the API shows it."""
    permits = sum(expires_at > now for expires_at in state.permits.values())
    held, opened = (until if until > now else None for until in (state.held_until, state.open_until))
    return LimitView(limit=name, permits=permits, failures=state.failures, held_until=held, open_until=opened)


def process_view(process: AnyProcess, waits_at: Iterable[str]) -> ProcessView:
    """Return a process as the API shows it. `waits_at` are the steps at which its cases wait, among them the pauses of a body."""
    declared = [name for name, step in process.steps.items() if isinstance(step, Pause)]
    pauses = [*dict.fromkeys([*declared, *(step for step in waits_at if asks_a_person(process, step))])]
    return ProcessView(
        process=process.name, version=process.version, state_schema=process.state.model_json_schema(), pauses=pauses,
        messages=list(process.accepts_messages),
    )  # fmt: skip


def _plain(fields: Any) -> dict[str, Any]:
    return {name: TypeAdapter(Any).dump_python(value, mode="json") for name, value in fields.items()}


def person_erased_view(erased: PersonErased, *, dry_run: bool) -> PersonErasedView:
    """Return what became of the cases of a person as the API shows it."""
    refused = [RefusedView(case=case, why=why) for case, why in erased.refused]
    return PersonErasedView.model_validate({**erased._asdict(), "refused": refused, "dry_run": dry_run})


def intake_view(paused: IntakePaused | None) -> IntakeView:
    """Return the intake as the API shows it."""
    return IntakeView(paused=False) if paused is None else IntakeView(paused=True, by=paused.by, why=paused.why, since=paused.at)
