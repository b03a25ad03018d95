"""What waits for a person: a page of the work list, with one line of what each task shows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlencode

from starlette.requests import Request

from pointsman.definition.pauses import Pause, Reassign
from pointsman.definition.process import AnyProcess
from pointsman.errors import NotWaiting, UnknownCase, ValueRefused
from pointsman.kernel.people import asks_a_person
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine
from pointsman.runtime.tasks import Task, TaskPage
from pointsman.server.access import Principal
from pointsman.web.render import Shell

PAGE_ROWS = 50  # what a person works off in a morning
SUMMARY_MAX = 140  # characters: two lines of a table
NOBODY, ME = "-", "me"  # the filter for tasks without an assignee, and for one's own


class Row(NamedTuple):
    """A task, and one line of what it shows."""

    task: Task
    summary: str


class Filters(NamedTuple):
    """What the list is narrowed to; an empty text is any."""

    process: str = ""
    pause: str = ""
    assignee: str = ""

    def query(self, **more: object) -> str:
        """Return the query of an address with these filters and `more`: "?…", or nothing."""
        pairs = {**self._asdict(), **more}
        text = urlencode({name: value for name, value in pairs.items() if value not in {"", None}})
        return f"?{text}" if text else ""


def filters_of(request: Request) -> Filters:
    """Return the filters in the query of a request, with the pause of the application's work list if it names none."""
    shell: Shell = request.state.shell
    usual = {} if shell.work_list is None else {"pause": shell.work_list.pause}
    return Filters(*(request.query_params.get(name, usual.get(name, "")).strip() for name in Filters._fields))


async def waiting(engine: Engine, who: Principal, filters: Filters, after: str) -> TaskPage:
    """Return a page of the list. A cursor that is none begins with the first page."""
    try:
        return await _tasks(engine, who, filters, after)
    except ValueRefused:
        return await _tasks(engine, who, filters)


async def summarised(engine: Engine, tasks: Sequence[Task]) -> list[Row]:
    """Return tasks, each with one line of what it shows. The fields of all declared pauses come from one read."""
    pauses = {task.case: pause for task in tasks if (pause := _declared(engine, task)) is not None}
    fields = await engine.reader.fields_of(pauses, {name for pause in pauses.values() for name in pause.shows})
    summaries: dict[int, str] = {}
    for case, pause in pauses.items():
        texts = {field.field: field.text for field in fields.get(case, ())}
        summaries[case] = one_line(json.loads(texts[name]) for name in pause.shows if name in texts)
    return [Row(task, summaries[task.case] if task.case in summaries else await _shown_by_body(engine, task)) for task in tasks]


async def _tasks(engine: Engine, who: Principal, filters: Filters, after: str = "") -> TaskPage:
    assignee = {"": None, NOBODY: "", ME: who.name}.get(filters.assignee, filters.assignee)
    return await engine.tasks(process=filters.process or None, pause=filters.pause or None, assignee=assignee, after=after, limit=PAGE_ROWS)


async def neighbours(engine: Engine, who: Principal, filters: Filters, case: int) -> tuple[int | None, int | None]:
    """Return the tasks before and behind a case, where it is on the first page of the list; otherwise the first task and none."""
    cases = [task.case for task in (await _tasks(engine, who, filters)).rows]
    if case not in cases:
        return None, next(iter(cases), None)
    at = cases.index(case)
    return (cases[at - 1] if at else None), (cases[at + 1] if at + 1 < len(cases) else None)


async def count_tasks(engine: Engine) -> dict[tuple[str, str], int]:
    """Return how many cases wait at each pause, by process and pause. Counts are kept by the store, and nothing is counted here."""
    processes = {process.name: process for process in engine.processes}
    return {
        (one.process, one.place): one.cases
        for one in await engine.reader.count_places()
        if one.status is Status.WAITING and one.process in processes and asks_a_person(processes[one.process], one.place)
    }


def assignees_of(engine: Engine) -> list[str]:
    """Return to whom the processes assign their pauses."""
    pauses = [step for process in engine.processes for step in _pauses(process)]
    named = {pause.assignee for pause in pauses} | {rung.to for pause in pauses for rung in pause.ladder if isinstance(rung, Reassign)}
    return sorted(name for name in named if name is not None)


def _pauses(process: AnyProcess) -> Iterable[Pause]:
    return (step for step in process.steps.values() if isinstance(step, Pause))


def _process(engine: Engine, name: str) -> AnyProcess | None:
    return next((process for process in reversed(engine.processes) if process.name == name), None)


def _declared(engine: Engine, task: Task) -> Pause | None:
    process = _process(engine, task.process)
    step = None if process is None else process.steps.get(process.called(task.pause))
    return step if isinstance(step, Pause) else None


async def _shown_by_body(engine: Engine, task: Task) -> str:
    process = _process(engine, task.process)
    if process is not None and asks_a_person(process, task.pause):
        with suppress(NotWaiting, UnknownCase):  # it was answered meanwhile
            return one_line((await engine.pending(task.case)).shown.values())
    return ""


def one_line(values: Iterable[Any]) -> str:
    """Return values as one short line: their words, without line ends."""
    words = " · ".join(" ".join(_words(value).split()) for value in values if value not in (None, "", [], {}))
    return words if len(words) <= SUMMARY_MAX else words[: SUMMARY_MAX - 1] + "…"


def _words(value: Any) -> str:
    """The first words of a value. A long one is not read to its end."""
    if isinstance(value, str):
        return value[: 2 * SUMMARY_MAX]
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_words(inner)}" for name, inner in [*value.items()][:4])
    if isinstance(value, list):
        return ", ".join(_words(inner) for inner in value[:4])
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else json.dumps(value)
