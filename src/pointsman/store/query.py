"""What to look for among all cases, and what is found: queries, pages and counts."""

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, cast

from pointsman.errors import ValueRefused
from pointsman.kernel.rows import CaseRow, PauseRow
from pointsman.kernel.snapshot import Status

PAGE_MAX = 1_000  # cases in a page; more would keep a reader busy for longer than a person waits


class Order(StrEnum):
    """The order of the cases that a query finds.

    `number`: the lowest number first. `newest`: the highest number first. `changed`: the last change first. `waiting`: only cases with an
    open pause, the one that has waited longest first.
    """

    NUMBER = "number"
    NEWEST = "newest"
    CHANGED = "changed"
    WAITING = "waiting"


@dataclass(frozen=True, kw_only=True)
class CaseQuery:
    """Which cases to find, and in which order. A case must fit every filter that is given.

    `status` is one status or several. `key` and `correlation` are the start key and the correlation key. `rule` is the name of the rule that
    chose the case's step, `outcome` that of a case that is done.
    `pause`, `assignee` and the times find cases with an open pause: by its name; by its assignee ("" finds pauses that nobody is
    assigned to); by when it opened (`waiting_before`, `waiting_after`) and when it expires (`expires_before`), in Unix seconds.
    `tasks_only` leaves out sleeps and blocked cases, which nobody can answer.
    `search` maps fields that are declared as `Searchable` to a value that they must have; capitals do not count. `text` is words that must
    all occur in the searchable fields. Raises ValueRefused for a value of the wrong type.
    """

    process: str | None = None
    status: Status | Collection[Status] = ()
    tenant: str | None = None
    key: str | None = None
    correlation: str | None = None
    rule: str | None = None
    outcome: str | None = None
    pause: str | None = None
    assignee: str | None = None
    waiting_before: float | None = None
    waiting_after: float | None = None
    expires_before: float | None = None
    tasks_only: bool = False
    search: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    order: Order = Order.NUMBER

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", _known(Order, self.order, "order"))
        given = [self.status] if isinstance(cast("object", self.status), str) else self.status
        object.__setattr__(self, "status", tuple(_known(Status, one, "status") for one in cast("Collection[Status]", given)))
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in _TIMES and value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueRefused(f"{one.name}: {value!r} is not a time in Unix seconds.")
            if one.name in _TEXTS and value is not None and not isinstance(value, str):
                raise ValueRefused(f"{one.name}: {value!r} is not a text.")

    @property
    def statuses(self) -> tuple[Status, ...]:
        """The statuses to find; empty if any will do."""
        return cast("tuple[Status, ...]", self.status)


_TIMES = frozenset({"waiting_before", "waiting_after", "expires_before"})
_TEXTS = frozenset({"process", "tenant", "key", "correlation", "rule", "outcome", "pause", "assignee", "text"})


def _known(kind: Any, value: object, what: str) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise ValueRefused(f"{what}: {value!r} is none of {', '.join(kind)}.") from None


class FoundCase(NamedTuple):
    """A case that a query has found, and its open pause."""

    case: CaseRow
    pause: PauseRow | None


class CasePage(NamedTuple):
    """A page of the cases that a query finds. `cursor` is where the next page begins, or None after the last case."""

    rows: tuple[FoundCase, ...]
    cursor: str | None


class CaseCount(NamedTuple):
    """How many cases of a process are in a status.

    `place` is the step at which they wait, are parked or are blocked, and the outcome of cases that are done; otherwise it is empty.
    """

    process: str
    status: Status
    place: str
    cases: int


def cursor_of(order: Order, at: float, number: int) -> str:
    """The cursor behind a case, as text that only a store reads."""
    return base64.urlsafe_b64encode(json.dumps([order, at, number]).encode()).decode().rstrip("=")


def read_cursor(order: Order, cursor: str) -> tuple[float, int]:
    """The place that a cursor names. Raises ValueRefused for a cursor of another order, or of no page."""
    try:
        known, at, number = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if known == order and isinstance(at, int | float) and isinstance(number, int) and 0 <= number < 1 << 63:
            return float(at), number
    except (ValueError, TypeError, binascii.Error):
        pass
    raise ValueRefused(
        f"{cursor!r} is not the cursor of a page in the order {order.value!r}; pass the `cursor` of such a page, or omit it."
    )


def check_limit(limit: int) -> None:
    """Raise ValueRefused for a page of no cases, or of too many."""
    if not 1 <= limit <= PAGE_MAX:
        raise ValueRefused(f"limit: a page has 1 to {PAGE_MAX:,} cases, not {limit}.")


def page_of(order: Order, found: Sequence[FoundCase], limit: int) -> CasePage:
    """The page of these cases. They are one more than the limit if another page follows."""
    if len(found) <= limit:
        return CasePage(tuple(found), None)
    case, pause = found[limit - 1]
    at = case.updated_at if order is Order.CHANGED else pause.opened_at if order is Order.WAITING and pause is not None else 0.0
    return CasePage(tuple(found[:limit]), cursor_of(order, at, case.id))
