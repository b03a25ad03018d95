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
    return TaskView(
        case=pending.case, process=pending.process, pause=pending.pause, digest=pending.digest, shown=_plain(pending.shown),
        beside=_plain(pending.beside), edits=list(pending.edits), answer_schema=TypeAdapter(pending.answer).json_schema(),
        assignee=pending.assignee, since=pending.since, expires_at=pending.expires_at,
    )  # fmt: skip


def _plain(fields: Any) -> dict[str, Any]:
    return {name: TypeAdapter(Any).dump_python(value, mode="json") for name, value in fields.items()}
