"""What a step costs, counted and not timed: no figure may rise above its budget in `tests/budgets.json`.

When a figure falls, lower its budget there, so that the gain stays.
"""

import asyncio
import gc
import json
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlite_work import PROCESS

from pointsman import Engine, Process, State, finish, otherwise, when
from pointsman.functional import entrypoint, task
from pointsman.functional.entrypoints import begin, outcome
from pointsman.functional.process import EntrypointProcess
from pointsman.kernel.rows import EventWrite, FieldWrite, NewCase, Transition
from pointsman.kernel.snapshot import Status
from pointsman.kernel.words import SearchWrite
from pointsman.store.sqlite import SqliteStore, open_sqlite
from pointsman.testing.clock import ManualClock

BUDGETS = json.loads((Path(__file__).parents[1] / "budgets.json").read_text(encoding="utf-8"))
SLACK = 0.15  # a budget that is higher than its figure by more than this share has to be lowered
STEPS = ("ingest", "classify", "fetch", "draft", "check", "send")
RESULT = "x" * 280
CASES = 40
WARM = 5  # cases until all that is computed or stored once has been
NUMBERS = count(1_000)  # a number for each case whose calls are counted: what is remembered of the arguments of another test saves calls
TOGETHER = 64
WORDS = 20
FRAME_BYTES = 24  # before each page in the WAL (https://www.sqlite.org/fileformat2.html#walformat)


class Counted:
    """Counts what a store does, from `watch` on."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self._last = ""

    def __call__(self, label: str) -> None:
        self.counts["commits"] += label == "store.committed"

    def watch(self, store: SqliteStore) -> None:
        self.before = sizes(store)
        self.counts.clear()
        store.core.connection.set_trace_callback(self._traced)

    def _traced(self, statement: str) -> None:
        self.counts["statements"] += statement != self._last  # for each statement of a trigger, sqlite3 tells the one that fired it again
        self._last = statement

    def per_step(self, store: SqliteStore, steps: int) -> dict[str, float]:
        """The counts of each step, and how much larger the file has become than what was written to it."""
        store.core.connection.set_trace_callback(None)
        grown = {name: size - self.before[name] for name, size in sizes(store).items()}
        weight, size = grown.pop("weight"), grown.pop("size")
        per_step = {name: round(count / steps, 2) for name, count in {**self.counts, **grown}.items()}
        return {**per_step, "file_bytes_per_byte": round(size / weight, 2)}


def sizes(store: SqliteStore) -> dict[str, int]:
    """The rows changed, the pages in the WAL, the bytes of the file, and those of all field values and events by themselves."""
    connection = store.core.connection
    page, pages = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count"))
    fields = connection.execute("SELECT total(length(field) + length(writer) + length(value)) FROM fields").fetchone()[0]
    events = connection.execute("SELECT total(length(kind) + coalesce(length(step), 0) + length(facts)) FROM events").fetchone()[0]
    wal = store.path.with_name(store.path.name + "-wal").stat().st_size // (page + FRAME_BYTES)
    return {"rows": connection.total_changes, "wal_pages": wal, "size": page * pages, "weight": int(fields + events)}


class Mail(State):
    case: int
    ingest: str | None = None
    classify: str | None = None
    fetch: str | None = None
    draft: str | None = None
    check: str | None = None
    send: str | None = None


def six_steps() -> Process[Mail]:
    process = Process("six-steps", Mail)

    async def write(case: int) -> str:
        return RESULT

    nodes = {step: process.node(write, name=step, writes=step) for step in STEPS}
    rules = [when(f"{step} is missing", lambda c, step=step: getattr(c, step) is None, node) for step, node in nodes.items()]
    process.rules(*rules, otherwise(finish("sent")))
    return process


@task
async def work(step: str, case: int) -> str:
    return RESULT


@entrypoint()
def handle(case: int) -> str:
    return [work(step, case).result() for step in STEPS][-1]


def check(workload: str, figures: dict[str, float]) -> None:
    budget = BUDGETS[workload]
    assert figures.keys() == budget.keys()
    risen = {name: (figure, budget[name]) for name, figure in figures.items() if figure > budget[name]}
    fallen = {name: (figure, budget[name]) for name, figure in figures.items() if figure < budget[name] * (1 - SLACK)}
    assert not risen, f"{workload} costs more than its budget: {risen}"
    assert not fallen, f"{workload} costs less than its budget: {fallen}; lower it in tests/budgets.json"


def test_the_tasks_of_a_body_cost_no_more_commits_and_rows_than_steps(tmp_path: Path) -> None:
    path, counted = tmp_path / "cases.db", Counted()

    async def main() -> dict[str, float]:
        clock = ManualClock(1e9)
        store = await open_sqlite(path, now=1e9, failpoints=counted)
        async with Engine.open(path, [handle.process], store=store, clock=clock) as engine:
            for number in range(WARM + CASES):
                if number == WARM:
                    counted.watch(store)
                clock.advance(1.0)
                await invoke_body(engine, handle.process, number)
            return counted.per_step(store, CASES * len(STEPS))

    check("tasks of a body", asyncio.run(main()))


def test_the_steps_of_one_case_at_a_time_keep_to_their_budget(tmp_path: Path) -> None:
    path, counted = tmp_path / "cases.db", Counted()

    async def main() -> dict[str, float]:
        process, clock = six_steps(), ManualClock(1e9)
        store = await open_sqlite(path, now=1e9, failpoints=counted)
        async with Engine.open(path, [process], store=store, clock=clock) as engine:
            for number in range(WARM + CASES):
                if number == WARM:
                    counted.watch(store)
                clock.advance(1.0)
                started = await engine.start(process, Mail(case=number))
                await engine.wait_until_resting(started.case)
            return counted.per_step(store, CASES * len(STEPS))

    check("one case at a time", asyncio.run(main()))


def is_turn(frame: Any) -> bool:
    """Whether the event loop calls this to turn once more. A slow machine makes it turn more often for the same callbacks."""
    name, caller = frame.f_code.co_name, frame.f_back and frame.f_back.f_code.co_name
    return name != "_run" and "_run_once" in {name, caller}


async def start_rules(engine: Engine, process: Process[Any], number: int) -> None:
    started = await engine.start(process, Mail(case=number))
    await engine.wait_until_resting(started.case)


async def invoke_body(engine: Engine, process: Process[Any], number: int) -> None:
    assert isinstance(process, EntrypointProcess)
    case = await begin(engine, process, number, str(number), None)
    assert await outcome(engine, process, case) == RESULT


@pytest.mark.parametrize(
    ("workload", "process", "once"),
    [("functions called", six_steps(), start_rules), ("functions called by a body", handle.process, invoke_body)],
    ids=["rules", "body"],
)
@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other releases of Python call other functions for the same")
def test_the_functions_that_a_step_calls_keep_to_their_budget(
    tmp_path: Path, workload: str, process: Process[Any], once: Callable[[Engine, Process[Any], int], Awaitable[None]]
) -> None:
    path, calls = tmp_path / "cases.db", Counter[str]()

    def called(frame: Any, event: str, argument: Any) -> None:
        name = threading.current_thread().name
        if event == "call" and not name.startswith("pointsman-reader") and not is_turn(frame):
            calls["writer" if name == "pointsman-writer" else "loop"] += 1

    async def main() -> None:
        async with Engine.open(path, [process], clock=ManualClock(1e9)) as engine:
            for case in range(WARM + CASES):
                if case == WARM:
                    calls.clear()
                    sys.setprofile(called)
                await once(engine, process, next(NUMBERS))
            sys.setprofile(None)

    gc.disable()  # it would call the finalizers of what other tests have left, and Hypothesis
    threading.setprofile(called)
    try:
        asyncio.run(main())
    finally:
        gc.enable()
        threading.setprofile(None)  # type: ignore[arg-type]
        sys.setprofile(None)
    check(workload, {thread: round(count / (CASES * len(STEPS)), 1) for thread, count in calls.items()})


def start(case: int) -> Transition:
    return Transition(
        case, 0, 0, 1e9, Status.RUNNING, attempts=1, steps=1, step="draft", rule="it is missing", claims=True, inbox=0,
        new=NewCase(PROCESS, 1, None), events=[EventWrite("accepted", None, 0, "{}")],
    )  # fmt: skip


def step(case: int, number: int, search: Sequence[SearchWrite] = ()) -> Transition:
    return Transition(
        case, number, 1, 1e9 + number, Status.RUNNING, attempts=1, steps=number, step="draft", rule="it is missing", inbox=0, search=search,
        fields=[FieldWrite(f"draft_{number}", json.dumps(RESULT), "draft")],
        events=[EventWrite("node.succeeded", "draft", 1, '{"fields":["draft"]}'), EventWrite("decided", None, 0, '{"rule":"it is missing"}')],
    )  # fmt: skip


def searched_step(case: int, number: int) -> Transition:
    return step(
        case,
        number,
        [SearchWrite(f"draft_{number}", (f"order {case}",), tuple(f"word {case} {place}" for place in range(WORDS)), adds=True)],
    )


@pytest.mark.parametrize(("workload", "step"), [("64 steps in a commit", step), ("64 searched steps in a commit", searched_step)])
def test_many_steps_in_a_commit_keep_to_their_budget(tmp_path: Path, workload: str, step: Callable[[int, int], Transition]) -> None:
    path, counted = tmp_path / "cases.db", Counted()

    async def main() -> dict[str, float]:
        store = await open_sqlite(path, now=1e9, failpoints=counted)
        try:
            await asyncio.gather(*(store.commit(start(case)) for case in range(1, TOGETHER + 1)))
            for number in range(1, len(STEPS) + 1):
                if number == 2:
                    counted.watch(store)
                await asyncio.gather(*(store.commit(step(case, number)) for case in range(1, TOGETHER + 1)))
            return counted.per_step(store, TOGETHER * (len(STEPS) - 1))
        finally:
            await store.close()

    check(workload, asyncio.run(main()))
