"""The options that say which cases a command is about."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import Signature, signature
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from pointsman.cli.terminal import exit_with
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.operations.history import step_text
from pointsman.store.base import Reader
from pointsman.store.query import PAGE_MAX, CaseQuery, Order, cursor_of

P = ParamSpec("P")


@dataclass(frozen=True)
class Filters:
    """Which cases: those of a query that are at a step, whose reason contains a text, and that nothing has changed since a time."""

    query: CaseQuery
    step: str | None = None
    reason: str | None = None
    unchanged_since: float | None = None

    @property
    def looks_at_each(self) -> bool:
        """Whether the cases of the query must be looked at one by one."""
        return (self.step, self.reason, self.unchanged_since) != (None, None, None)

    @property
    def any_will_do(self) -> bool:
        """Whether each case fits."""
        return self == Filters(CaseQuery())

    def fits(self, row: CaseRow) -> bool:
        """Whether a case of the query fits the rest."""
        return (
            self.step in {None, row.step, step_text(row.step, row.rule)}
            and (self.reason or "").casefold() in (row.reason or "").casefold()
            and (self.unchanged_since is None or row.updated_at < self.unchanged_since)
        )


async def found(reader: Reader, filters: Filters, after: int, limit: int) -> tuple[list[CaseRow], bool]:
    """Return the first cases that fit, the lowest number first, and whether there may be more behind them."""
    rows: list[CaseRow] = []
    cursor: str | None = cursor_of(Order.NUMBER, 0.0, after)
    while cursor is not None and len(rows) < limit:
        page = await reader.find(filters.query, after=cursor, limit=PAGE_MAX if filters.looks_at_each else min(PAGE_MAX, limit - len(rows)))
        rows += [one.case for one in page.rows if filters.fits(one.case)]
        cursor = page.cursor
    return rows[:limit], cursor is not None or len(rows) > limit


def _only(what: str) -> Any:
    return typer.Option(help=f"Only cases {what}.", show_default=False)


def _options(
    status: Annotated[list[Status] | None, _only("in this status; can be repeated")] = None,
    process: Annotated[str | None, _only("of this process")] = None,
    step: Annotated[str | None, _only("at this step")] = None,
    reason: Annotated[str | None, _only("that are parked or blocked for a reason with this text; capitals do not count")] = None,
    unchanged_since: Annotated[str | None, _only("that nothing has changed since this time, written as for --waiting-since")] = None,
    pause: Annotated[str | None, _only("that wait at this pause")] = None,
    assignee: Annotated[str | None, _only('that wait for this person; "" finds those that wait for nobody in particular')] = None,
    waiting_since: Annotated[
        str | None, _only("that have waited at least since this time (ISO 8601; UTC unless it says otherwise)")
    ] = None,
    rule: Annotated[str | None, _only("whose step this rule chose")] = None,
    outcome: Annotated[str | None, _only("that ended with this outcome")] = None,
    tenant: Annotated[str | None, _only("of this tenant")] = None,
    key: Annotated[str | None, _only("that were started with this key")] = None,
    correlation: Annotated[str | None, _only("with this correlation key")] = None,
    search: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Only cases with this value in a searchable field.")
    ] = None,
    words: Annotated[str | None, _only("with these words in their searchable fields")] = None,
) -> None:
    """The filters."""


def filtered(body: Callable[Concatenate[Filters, P], None]) -> Callable[..., None]:
    """Return a command with the parameters of `body` and one option for each filter; `body` gets the filters as one value.

    A parameter of `body` takes the place of the filter of its name.
    """
    own = [*signature(body).parameters.values()][1:]
    filters_of_all = signature(_options).parameters
    shared = [filters_of_all[name] for name in filters_of_all if name not in {parameter.name for parameter in own}]

    def command(*args: Any, **given: Any) -> None:
        unused = {name: option.default for name, option in filters_of_all.items()}
        filters = _filters(**unused | {option.name: given.pop(option.name) for option in shared if option.name in given})
        body(filters, *args, **given)

    command.__name__, command.__doc__ = body.__name__, body.__doc__
    command.__signature__ = Signature([*own, *shared])  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *shared)}
    return command


def _filters(**given: Any) -> Filters:
    step, reason, unchanged = given.pop("step"), given.pop("reason"), _time("--unchanged-since", given.pop("unchanged_since"))
    given["status"] = given["status"] or ()
    given["search"] = dict(map(_field, given["search"] or ()))
    given["waiting_before"] = _time("--waiting-since", given.pop("waiting_since"))
    words = given.pop("words")
    for option, text in (("--reason", reason), ("--words", words)):
        if text is not None and not text.strip():
            exit_with(f"{option} is empty, and would find each case; give it a text, or leave it out.")
    given["text"] = words or ""
    return Filters(CaseQuery(**given), step, reason, unchanged)


def _field(text: str) -> tuple[str, str]:
    field, equals, value = text.partition("=")
    if not (field and equals):
        exit_with(f"--search {text!r} is not a field and its value; write it as field=value.")
    return field, value


def _time(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        exit_with(f"{option} {text!r} is not a time; write it as 2026-01-31 or 2026-01-31T09:30.")
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
