"""Isolated nodes: what a subprocess receives and returns, what a crash means, and that no subprocess outlives its timeout."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alone
import pytest
from alone import Document, Page, documents
from places import Place, run

from pointsman import Context, DefinitionError, Engine, Failure, Process, Retry, State, Status, SubprocessCrashed, finish, otherwise, when
from pointsman.testing.clock import ManualClock

HANG_SECONDS = 600  # a Python starts slowly on a busy machine


class Job(State):
    what: str
    result: str | Failure | None = None


def working(function: Callable[..., Any], **settings: Any) -> Process[Job]:
    process = Process("work", Job)
    node = process.node(function, writes="result", isolated=True, **settings)
    process.rules(when("open", lambda c: c.result is None, node), otherwise(finish("done")))
    return process


def bounded(main: Any) -> Any:
    return run(main, seconds=HANG_SECONDS)


async def extracted(engine: Engine, what: str, **inputs: Any) -> tuple[Any, Any]:
    case = (await engine.start(documents, Document(what=what, **inputs))).case
    return await engine.wait_until_resting(case), await engine.state(case, Document)


def one(place: Place, what: str, **inputs: Any) -> tuple[Any, Any]:
    async def main() -> tuple[Any, Any]:
        async with place.open(documents, clock=ManualClock(1_000.0)) as engine:
            return await extracted(engine, what, **inputs)

    return bounded(main())


def test_arguments_result_and_context_cross_although_the_function_prints(on_disk: Place, capfd: pytest.CaptureFixture[str]) -> None:
    pages = (Page(number=1, text="Grüße "), Page(number=2, text='"to" \u2028 all'))

    row, state = one(on_disk, "plain", pages=pages)

    assert row.outcome == "read"
    assert state.text == 'Grüße "to" \u2028 all'
    assert (state.told["case"], state.told["step"], state.told["attempt"], state.told["now"]) == (1, "extract", 1, 1_000.0)
    assert state.told["pid"] != os.getpid()
    assert len(state.told["incarnation"]) > 8
    out, err = capfd.readouterr()
    assert (out, err) == ("", "printed by the function\n")


def test_an_error_in_the_subprocess_is_a_failed_attempt(on_disk: Place, capfd: pytest.CaptureFixture[str]) -> None:
    reasons = {
        "exit 0": "the subprocess of 'extract' ended with exit code 0 before the function did",
        "kill": "the subprocess of 'extract' ended with SIGKILL before the function did",
        "segfault": "the subprocess of 'extract' ended with SIGSEGV before the function did",
        "system-exit": "SystemExit: 3",
        "known down": "failed after 1 attempt: down",
        "odd": "OddError: one and two",
        "not-sent no": "failed after 1 attempt: no",
        "wrong-type": "its result: [0]: Input should be a valid string",
    }

    async def main() -> tuple[dict[str, Any], dict[str, Any], Any]:
        async with on_disk.open(documents) as engine:
            ended = await asyncio.gather(*(extracted(engine, what) for what in reasons))
            rows = {what: row for what, (row, _) in zip(reasons, ended, strict=True)}
            events = {what: await engine.reader.events(case=row.id) for what, row in rows.items()}
            after, _ = await extracted(engine, "plain")
            return rows, events, after

    rows, events, after = bounded(main())

    assert {what: row.status for what, row in rows.items()} == dict.fromkeys(reasons, Status.PARKED)
    assert not {what: rows[what].reason for what, told in reasons.items() if told not in rows[what].reason}
    kinds = {what: [event.kind for event in told if event.kind.startswith("node")] for what, told in events.items()}
    assert kinds == {what: ["node.failed"] for what in reasons}
    assert after.status is Status.DONE
    capfd.readouterr()


@pytest.mark.parametrize("what", ["big", "thread-left", "stdin"])
def test_the_result_arrives_whatever_else_the_function_does(on_disk: Place, what: str) -> None:
    row, state = one(on_disk, what)

    assert row.status is Status.DONE
    assert len(state.text) == (300_000 if what == "big" else 0)


def gone(pid: int) -> bool:
    """Whether the process has ended; one that its parent has not waited for counts as ended."""
    try:
        return "(zombie)" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


async def all_gone(pid: int) -> bool:
    while not gone(pid):  # noqa: ASYNC110 - its parent is another process, which has been killed
        await asyncio.sleep(0)
    return True


def children() -> set[str]:
    """The processes that this one has begun, whichever thread began them, and has not waited for."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended since
            found.update((thread / "children").read_text().split())
    return found


def test_a_subprocess_is_killed_at_its_timeout(place: Place) -> None:
    process = working(alone.hang, timeout_seconds=0.2, retry=Retry(attempts_max=1))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"what": "m"})).case)

    before = children()  # other tests keep an interpreter

    row = bounded(main())

    assert "no result within 0.2 seconds" in row.reason
    assert children() <= before


def test_a_running_subprocess_is_killed_when_the_engine_closes(on_disk: Place, tmp_path: Path) -> None:
    async def main() -> bool:
        async with on_disk.open(documents) as engine:
            pid = await alone.pid_of_hanging(engine, tmp_path / "pid")
        return await all_gone(pid)

    assert bounded(main())


def test_a_running_subprocess_ends_when_its_engine_is_killed(on_disk: Place, tmp_path: Path) -> None:
    code = f"import alone; alone.run_and_die({str(on_disk.path)!r}, {str(tmp_path / 'pid')!r})"
    died = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(alone.__file__).parent, check=False, timeout=HANG_SECONDS, stdout=subprocess.PIPE
    )

    assert died.returncode == 9
    assert bounded(all_gone(int(died.stdout)))


def test_a_function_that_another_module_declares_is_found_by_its_own_name(place: Place) -> None:
    process = working(alone.elsewhere, name="shout")

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"what": "m"})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Job)

    assert bounded(main()).result == "M"


def test_a_crash_is_tried_again_or_recorded_like_any_other_failure(place: Place) -> None:
    process = working(alone.may_die, on_failure="record", retry=Retry(attempts_max=2, first_seconds=0, on=(SubprocessCrashed,)))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = (await engine.start(process, {"what": "dies"})).case
            await engine.wait_until_resting(case)
            return await engine.state(case, Job)

    failure = bounded(main()).result

    assert (failure.error, failure.attempts) == ("SubprocessCrashed", 2)


async def asynchronous(what: str) -> str:
    return what


def with_resource(what: str, *, model: object, ctx: Context) -> str:
    return what


def local() -> Callable[[str], str]:
    def inner(what: str) -> str:
        return what

    return inner


def main_function(what: str) -> str:
    return what


main_function.__module__ = "__main__"


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (asynchronous, "write `def`"),
        (with_resource, "a subprocess does not have 'model'; create it in the function"),
        (local(), "define it at the top level of a module"),
        (main_function, "define it at the top level of a module"),
    ],
)
def test_a_function_that_a_subprocess_could_not_call_is_refused(function: Callable[..., Any], told: str) -> None:
    with pytest.raises(DefinitionError, match="isolated=True") as refused:
        working(function)

    assert told in str(refused.value)


def test_a_function_that_its_module_knows_by_another_name_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alone.may_die, "__qualname__", "renamed")
    process = working(alone.may_die, retry=Retry(attempts_max=1))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"what": "m"})).case)

    assert "has no function 'renamed' at its top" in bounded(main()).reason


def test_calling_an_isolated_node_in_a_test_calls_the_function() -> None:
    assert alone.extract.function.__name__ == "extract"
    assert working(alone.may_die).steps["may_die"]("m") == "m"
