"""What waits for a person, in the order in which it came."""

import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request

from pointsman.kernel.rows import CaseRow, PauseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine

PAGE_ROWS = 50  # of the list on one page: what a person works off in a morning
SUMMARY_MAX = 140  # characters of one line


class Task(NamedTuple):
    """A pause that waits for a person, with one line of what it shows. Times are Unix seconds."""

    case: int
    process: str
    pause: str
    summary: str
    assignee: str | None
    since: float
    expires_at: float | None


class Filters(NamedTuple):
    """What the list is narrowed to; an empty text is any."""

    process: str = ""
    pause: str = ""
    assignee: str = ""

    def query(self, **more: object) -> str:
        """Return the query of an address with these filters: "?…", or nothing."""
        pairs = {**self._asdict(), **more}
        text = urlencode({name: value for name, value in pairs.items() if value not in {"", None}})
        return f"?{text}" if text else ""

    def fits(self, task: Task) -> bool:
        """Whether a task is on the list."""
        wanted = ((self.process, task.process), (self.pause, task.pause), (self.assignee, task.assignee))
        return all(not want or want == has for want, has in wanted)


def filters_of(request: Request) -> Filters:
    """Return the filters in the query of a request."""
    return Filters(*(request.query_params.get(name, "").strip() for name in Filters._fields))


async def waiting(engine: Engine, filters: Filters, *, after: int = 0, limit: int = PAGE_ROWS) -> tuple[list[Task], int | None]:
    """Return up to `limit` tasks behind the case `after`, and the case behind which the next page begins, or None."""
    found: list[Task] = []
    while True:
        rows = await engine.reader.cases(process=filters.process or None, status=Status.WAITING, after=after, limit=limit)
        for row in rows:
            task = await _task(engine, row)
            if task is not None and filters.fits(task):
                if len(found) == limit:
                    return found, found[-1].case
                found.append(task)
            after = row.id
        if len(rows) < limit:
            return found, None


async def _task(engine: Engine, row: CaseRow) -> Task | None:
    pause = await engine.reader.pause(row.id)
    if pause is None or pause.closed is not None:
        return None
    return Task(row.id, row.process, pause.name, await _summary(engine, row, pause), pause.assignee, pause.opened_at, pause.expires_at)


async def _summary(engine: Engine, row: CaseRow, pause: PauseRow) -> str:
    process = next((process for process in reversed(engine.processes) if process.name == row.process), None)
    step = None if process is None else process.steps.get(process.called(pause.name))
    shows: tuple[str, ...] = getattr(step, "shows", ())
    values = {field.field: json.loads(field.text) for field in await engine.reader.fields(row.id)}
    return one_line(values.get(name) for name in shows)


def one_line(values: Any) -> str:
    """Return values as one short line: their words, without line ends."""
    words = " · ".join(" ".join(_words(value).split()) for value in values if value not in (None, "", [], {}))
    return words if len(words) <= SUMMARY_MAX else words[: SUMMARY_MAX - 1] + "…"


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value[: 2 * SUMMARY_MAX]
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_words(inner)}" for name, inner in [*value.items()][:4])
    if isinstance(value, list):
        return ", ".join(_words(inner) for inner in value[:4])
    return json.dumps(value)


async def neighbours(engine: Engine, filters: Filters, case: int) -> tuple[int | None, int | None]:
    """Return the tasks before and behind a case in the list."""
    tasks, _ = await waiting(engine, filters)
    numbers = [task.case for task in tasks]
    before = [number for number in numbers if number < case]
    behind = [number for number in numbers if number > case]
    return (before[-1] if before else None), (behind[0] if behind else None)
