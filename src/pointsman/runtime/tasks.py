"""The work list: the pauses that wait for a person, without what they show."""

from typing import NamedTuple

from pointsman.store.query import CasePage


class Task(NamedTuple):
    """A pause that waits for an answer, as the work list shows it; `Engine.pending(case)` returns it with what it shows.

    `since` and `expires_at` are when it opened and when it expires (Unix seconds). `digest` changes with what it shows.
    """

    case: int
    process: str
    pause: str
    assignee: str | None
    since: float
    expires_at: float | None
    digest: str
    tenant: str = ""
    priority: int = 0


class TaskPage(NamedTuple):
    """A page of the work list. `cursor` is where the next page begins, or None after the last task."""

    rows: tuple[Task, ...]
    cursor: str | None


def task_page(page: CasePage) -> TaskPage:
    """Return the tasks of a page of cases that have an open pause."""
    tasks = (
        (case.id, case.process, pause.name, pause.assignee, pause.opened_at, pause.expires_at, pause.digest, case.tenant, case.priority)
        for case, pause in page.rows
        if pause is not None
    )
    return TaskPage(tuple(map(Task._make, tasks)), page.cursor)
