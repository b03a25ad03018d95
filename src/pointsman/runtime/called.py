"""Which call of which case is running here: for log records, which then say so."""

import logging
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

from pointsman.kernel.rows import CaseRow

CALLED: ContextVar[tuple[CaseRow, str, int] | None] = ContextVar("pointsman_called", default=None)
"""The case, the name of the step's function, and the attempt. A plain tuple: each call of each case makes one."""

NOWHERE: Mapping[str, object] = MappingProxyType({"case": None, "process_name": None, "step": None, "attempt": None, "where": ""})


class CaseFilter(logging.Filter):
    """Adds `case`, `process_name`, `step` and `attempt` to the records that steps log, also those of plain functions, which run in threads.

    Add it to a handler. For other records the four are None. `where` is a text such as `case 7 step pay attempt 1: `, or empty.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes, and keep the record."""
        called = CALLED.get()
        record.__dict__.update(NOWHERE if called is None else _where(*called))
        return True


def _where(row: CaseRow, step: str, attempt: int) -> dict[str, object]:
    where = f"case {row.id} step {step} attempt {attempt}: "
    return {"case": row.id, "process_name": row.process, "step": step, "attempt": attempt, "where": where}
