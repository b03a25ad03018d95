"""What a list of cases is narrowed to, as the query of an address and as a `CaseQuery`."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request

from pointsman.definition.process import AnyProcess
from pointsman.definition.state import searchable_of
from pointsman.kernel.snapshot import Status
from pointsman.store.query import CaseQuery, Order

AGES: Mapping[str, float] = {"15min": 900.0, "1h": 3_600.0, "4h": 14_400.0, "1d": 86_400.0, "3d": 259_200.0, "7d": 604_800.0}
"""For how long a case has waited, or within how long its pause expires, to choose from; in seconds."""
NOBODY = "-"  # the filter for pauses without an assignee
ORDERS: Mapping[str, Order] = {"": Order.NEWEST, "changed": Order.CHANGED, "oldest": Order.NUMBER, "waiting": Order.WAITING}


class CaseFilters(NamedTuple):
    """What a list of cases is narrowed to; an empty text is any. `field` and `value` name a searchable field and its value.

    `waiting` and `due` are keys of AGES. `went` is a place of the process map, and `came` the place before it.
    """

    process: str = ""
    status: str = ""
    pause: str = ""
    assignee: str = ""
    waiting: str = ""
    due: str = ""
    rule: str = ""
    outcome: str = ""
    tenant: str = ""
    key: str = ""
    correlation: str = ""
    field: str = ""
    value: str = ""
    text: str = ""
    came: str = ""
    went: str = ""
    order: str = ""

    def query(self, **more: object) -> str:
        """Return the query of an address with these filters and `more`: "?…", or nothing."""
        pairs = {**self._asdict(), **more}
        text = urlencode({name: value for name, value in pairs.items() if value not in {"", None}})
        return f"?{text}" if text else ""

    @property
    def narrows(self) -> bool:
        """Whether there is any filter; the order is none."""
        return any(self._replace(order=""))

    def asked(self, now: float) -> CaseQuery:
        """Return the query for these filters at `now` (Unix seconds). What no case can have, such as an unknown status, is left out."""
        waiting, due = AGES.get(self.waiting), AGES.get(self.due)
        known = self.status in {*Status}
        return CaseQuery(
            process=self.process or None, status=Status(self.status) if known else (), pause=self.pause or None,
            assignee={"": None, NOBODY: ""}.get(self.assignee, self.assignee), rule=self.rule or None, outcome=self.outcome or None,
            waiting_before=None if waiting is None else now - waiting, expires_before=None if due is None else now + due,
            tenant=self.tenant or None, key=self.key or None, correlation=self.correlation or None,
            search={self.field: self.value} if self.field and self.value else {}, text=self.text,
            order=ORDERS.get(self.order, Order.NEWEST),
        )  # fmt: skip


def filters_in(given: Mapping[str, str]) -> CaseFilters:
    """Return the filters in a form or in the query of an address."""
    return CaseFilters(*(given.get(name, "").strip() for name in CaseFilters._fields))


def case_filters_of(request: Request) -> CaseFilters:
    """Return the filters in the query of a request."""
    return filters_in(request.query_params)


def searchable_fields(processes: Iterable[AnyProcess]) -> list[str]:
    """Return the fields of these processes by which a case can be found."""
    return sorted({name for process in processes for name in searchable_of(process.state)})
