"""Put together the statement that finds the cases of a query.

A query is answered in the time that its page takes, however many cases there are. Each filter that can be rare has an index that gives
the cases it keeps. If one of them keeps few cases, those are read and sorted. Otherwise each filter keeps many, so a walk in the order of
the page soon has enough.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pointsman.kernel.snapshot import ENDED, Status
from pointsman.kernel.words import searched, words_of
from pointsman.store.query import CaseQuery, Order, read_cursor

FEW = 1_000  # cases that are read and sorted in a few milliseconds; a walk among 100,000 finds one of so many in each hundred

_FIND = {Order.NUMBER: "find_by_number", Order.NEWEST: "find_by_number", Order.CHANGED: "find_by_change", Order.WAITING: "find_by_waiting"}
_FILTERS = (
    "process", "tenant", "key", "correlation", "rule", "outcome", "pause", "assignee", "waiting_before", "waiting_after", "expires_before"
)  # fmt: skip
_LAST = (1 << 63) - 1  # beyond any case
_OF_A_PAUSE = ("pause", "assignee", "waiting_before", "waiting_after", "expires_before")
_SOURCES = ("key", "correlation", "rule", "outcome", "pause", "assignee")


# The place before the first case of an order, like the places that cursors name.
_BEFORE = {Order.NUMBER: (0.0, 0), Order.NEWEST: (0.0, _LAST), Order.CHANGED: (math.inf, _LAST), Order.WAITING: (-math.inf, 0)}


class Dialect(NamedTuple):
    """How a database writes a `parameter` (with {} for its name), how it gets a list, and how it joins if both sides are there."""

    parameter: str
    listed: Callable[[list[Status]], object]
    join: str


SQLITE = Dialect(":{}", json.dumps, "CROSS JOIN")
POSTGRES = Dialect("%({})s", list, "JOIN")


class Search(NamedTuple):
    """A query as parts of a statement.

    They are its filters, the place after which its page begins, the sources that may leave few cases, its parameters, and the join of
    the pauses.
    """

    filters: tuple[str, ...]
    after: str
    sources: tuple[str, ...]
    values: dict[str, Any]
    join: str


def search_for(dialect: Dialect, sql: Mapping[str, str], query: CaseQuery, after: str, limit: int) -> Search:
    """The parts of the statement that reads one page. Raises ValueRefused for a cursor that is not of this order."""
    given = {name: value for name in _FILTERS if (value := getattr(query, name)) is not None}
    paused = query.tasks_only or query.order is Order.WAITING or any(name in given for name in _OF_A_PAUSE)
    statuses = _statuses(query, paused=paused)
    values: dict[str, Any] = {
        "process": None, "waiting_after": None, "waiting_before": None, **given, "status": dialect.listed(statuses), "limit": limit,
    }  # fmt: skip
    if "assignee" in given:
        values["assignee"] = given["assignee"] or None
    filters = [sql[f"filter_{name}"] for name in given]
    filters += (
        [sql["filter_status"]] * (len(statuses) < len(Status))
        + [sql["filter_open_pause"]] * paused
        + [sql["filter_task"]] * query.tasks_only
    )
    sources = [sql[f"source_{name}"] for name in _SOURCES if name in given]
    sources += [sql["source_tenant"]] * bool(query.tenant) + [sql["source_expires"]] * ("expires_before" in given)
    sources += [sql["source_waiting"]] * ("waiting_before" in given or "waiting_after" in given)
    if query.process is not None or len(statuses) < len(Status):
        sources.append(sql["source_status"])
    wanted = [("search", name, searched(value)) for name, value in query.search.items()]
    wanted += [("words", "", word) for word in sorted(words_of(query.text) or query.text.split())]  # what is no word is found nowhere
    for number, (how, name, value) in enumerate(wanted):
        values |= {f"field{number}": name, f"value{number}": value}
        parts = {part: dialect.parameter.format(f"{part}{number}") for part in ("field", "value")}
        filters.append(sql[f"filter_{how}"].format(**parts))
        sources.append(sql[f"source_{how}"].format(**parts))
    values["at"], values["number"] = read_cursor(query.order, after) if after else _BEFORE[query.order]
    behind = sql[f"after_{query.order}"] if after else ""
    return Search(tuple(filters), behind, tuple(sources), values, dialect.join if paused else "LEFT JOIN")


def _statuses(query: CaseQuery, *, paused: bool) -> list[Status]:
    """The statuses of the cases that a query can find."""
    possible = set(query.statuses or Status)
    if query.outcome is not None:
        possible &= {Status.DONE}
    if paused:
        possible -= {*ENDED, Status.PARKED}
    if query.tasks_only:
        possible -= {Status.BLOCKED}
    return [status for status in Status if status in possible]


def measure(sql: Mapping[str, str], sources: Sequence[str]) -> str:
    """The statement that counts how many cases each source has, up to the parameter `bound`."""
    return "SELECT " + ", ".join(sql["measure"].format(source=source) for source in sources)


def statement(sql: Mapping[str, str], query: CaseQuery, search: Search, sizes: Sequence[int]) -> str:
    """The statement for a page. `sizes` says how many cases each source has."""
    parts = {
        "found": sql["found"], "filters": " ".join(search.filters), "after": search.after, "order": sql[f"order_{query.order}"], "join": search.join,
    }  # fmt: skip
    size, source = min(zip(sizes, search.sources, strict=True), default=(FEW, ""))
    if size < FEW:
        return sql["find_few"].format(**parts, source=source)
    return sql[_FIND[query.order]].format(**parts)
