"""Put together the statement that finds the cases of a query.

A query is answered in the time that its page takes, however many cases there are. Each filter that can be rare has an index that gives
the cases it keeps. If one of them keeps few cases, those are read and sorted. Otherwise each filter keeps many, so a walk in the order of
the page soon has enough.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pointsman.kernel.snapshot import ENDED, Status
from pointsman.kernel.words import searched, words_of
from pointsman.store.query import CaseQuery, Order, read_cursor

FEW = 1_000  # cases that are read and sorted in a few milliseconds; a walk among 100,000 finds one of so many in each hundred

_FIND = {Order.NUMBER: "find_by_number", Order.NEWEST: "find_by_number", Order.CHANGED: "find_by_change", Order.WAITING: "find_by_waiting"}
_FILTERS = (
    "process", "tenant", "key", "correlation", "rule", "outcome", "pause", "assignee", "waiting_before", "waiting_after", "expires_before"
)  # fmt: skip
_OF_A_PAUSE = ("pause", "assignee", "waiting_before", "waiting_after", "expires_before")
_SOURCES = ("key", "correlation", "rule", "outcome", "pause", "assignee")


class Search(NamedTuple):
    """A query as parts of a statement: its filters, the sources that may leave few cases, its parameters, and the join of the pauses."""

    filters: tuple[str, ...]
    sources: tuple[str, ...]
    values: dict[str, Any]
    join: str


def search_for(sql: Mapping[str, str], query: CaseQuery, after: str, limit: int) -> Search:
    """The parts of the statement that reads one page. Raises ValueRefused for a cursor that is not of this order."""
    given = {name: value for name in _FILTERS if (value := getattr(query, name)) is not None}
    paused = query.tasks_only or query.order is Order.WAITING or any(name in given for name in _OF_A_PAUSE)
    statuses = _statuses(query, paused=paused)
    values: dict[str, Any] = {
        "process": None, "waiting_after": None, "waiting_before": None, **given, "status": json.dumps(statuses), "limit": limit,
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
    wanted += [("words", "", word) for word in sorted(words_of(query.text))]
    for number, (how, name, value) in enumerate(wanted):
        values |= {f"field{number}": name, f"value{number}": value}
        parts = {"field": f":field{number}", "value": f":value{number}"}
        filters.append(sql[f"filter_{how}"].format(**parts))
        sources.append(sql[f"source_{how}"].format(**parts))
    if after:
        values["at"], values["number"] = read_cursor(query.order, after)
        filters.append(sql[f"after_{query.order}"])
    return Search(tuple(filters), tuple(sources), values, "CROSS JOIN" if paused else "LEFT JOIN")


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
    """The statement that counts how many cases each source has, up to `:bound`."""
    return "SELECT " + ", ".join(sql["measure"].format(source=source) for source in sources)


def statement(sql: Mapping[str, str], query: CaseQuery, search: Search, sizes: Sequence[int]) -> str:
    """The statement for a page. `sizes` says how many cases each source has."""
    parts = {"found": sql["found"], "filters": " ".join(search.filters), "order": sql[f"order_{query.order}"], "join": search.join}
    size, source = min(zip(sizes, search.sources, strict=True), default=(FEW, ""))
    if size < FEW:
        return sql["find_few"].format(**parts, source=source)
    return sql[_FIND[query.order]].format(**parts)
