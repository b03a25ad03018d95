"""What the API and the pages show, made from what the engine has."""

from typing import Any

from pydantic import TypeAdapter

from pointsman.client.schemas import CaseView, TaskView
from pointsman.kernel.rows import CaseRow
from pointsman.runtime.decisions import Pending


def case_view(row: CaseRow) -> CaseView:
    """Return a case as the API shows it."""
    return CaseView.model_validate({"case": row.id, **row._asdict()})


def task_view(pending: Pending) -> TaskView:
    """Return a pause as the API shows it, without its token."""
    shown, beside = _plain(pending.shown), _plain(pending.beside)
    schema = TypeAdapter(pending.answer).json_schema()
    return TaskView.model_validate({**pending._asdict(), "shown": shown, "beside": beside, "answer_schema": schema})


def _plain(fields: Any) -> dict[str, Any]:
    return {name: TypeAdapter(Any).dump_python(value, mode="json") for name, value in fields.items()}
