"""What the page of a case shows of a mail, and what an operator can do with a case that stands still."""

from collections.abc import Mapping
from typing import Any

from pointsman import CaseRow, Status
from pointsman_desk.sorting import ENDED
from pointsman_desk.standing import SEND, dispatches, may_go_on, parked_by_rule, reasons, standing_of
from pointsman_desk.web.work_list import lines_of
from pointsman_desk.wiring import Desk


async def case_values(desk: Desk, row: CaseRow) -> Mapping[str, Any]:
    """Return what the page of a case shows: its mail, its replies, and the actions that its standing allows."""
    reader = desk.engine.reader
    entries = await reader.effects(row.id)
    standing = standing_of(row, entries)
    parked = row.status is Status.PARKED
    rests = row.status not in {Status.READY, Status.RUNNING, Status.WAITING}
    return {
        "line": (await lines_of(reader, [row.id])).get(row.id),
        "replies": await dispatches(reader, row),
        "stopped_because": reasons(row, entries) if parked else "",
        "by_rule": parked_by_rule(row),
        "may_arrive": rests and (standing == "in doubt" or (parked and row.step == SEND and standing == "sent")),
        "may_send_again": rests and standing in {"in doubt", "refused"},
        "may_redrive": may_go_on(row, entries),
        "may_reopen": row.status in ENDED,
        "acted": "",
    }
