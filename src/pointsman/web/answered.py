"""What became of the case that a person has just answered: the next page says so."""

from typing import NamedTuple

from starlette.requests import Request

from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine
from pointsman.server.access import Principal
from pointsman.web.numbers import number_of


class Answered(NamedTuple):
    """A case that was answered: who gave the last answer ("" while the case asks again), whether it was this person, and where it stands."""

    case: int
    by: str
    mine: bool
    row: CaseRow

    @property
    def asks(self) -> str:
        """The pause at which the case waits again, or ""."""
        return (self.row.step or "") if self.row.status is Status.WAITING else ""


async def answered_in(request: Request, who: Principal) -> Answered | None:
    """Return the case that the address says was answered, or None."""
    number = number_of(request.query_params.get("answered"), 0)
    engine: Engine = request.app.state.engine
    row, pause = (await engine.reader.case(number), await engine.reader.pause(number)) if number else (None, None)
    if row is None:
        return None
    by = pause.closed_by or "" if pause is not None else ""
    return Answered(number, by, by == who.name, row)
