"""A failed step names the innermost line of the author's code, and no values."""

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alone
import pytest
from letters import POLICIES, TIMEOUT_SECONDS, Letter, World
from places import Place, let_pass, run, seen
from pydantic import TypeAdapter

from pointsman import Context, NotSent, Process, Rejected, Retry, State, finish, otherwise, park, when
from pointsman.testing.clock import ManualClock

pytestmark = pytest.mark.usefixtures("no_threads_left")
SECRET = "the-customer's-words"
SECONDS = 1_000  # of a call that hangs, which pass at once; the others need far less on a machine that stands still, too


class Job(State):
    name: str
    result: float | None = None


def place_of(mark: str, file: str = __file__) -> str:
    """The place of the line that ends in `# here: mark`."""
    lines = Path(file).read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if line.endswith(f"# here: {mark}"))
    return f"{Path(file).name}:{number}"


def deep() -> float:
    raise ValueError("deep")  # here: in a function of its own


async def in_a_function_of_its_own(name: str) -> float:
    return deep()


def in_a_thread(name: str) -> float:
    return deep()


async def in_the_standard_library(name: str) -> float:
    return float(json.loads(name))  # here: in the standard library


def in_a_package(name: str) -> float:
    return TypeAdapter(float).validate_python(name)  # here: in a package


async def with_a_cause(name: str) -> float:
    try:
        return deep()
    except ValueError as error:
        raise RuntimeError("no result") from error  # here: with a cause


async def of_a_value_that_does_not_fit(name: str) -> float:
    return float("nan")


HANGS, GATE = threading.Event(), threading.Event()


async def that_waits_too_long(name: str) -> float:
    HANGS.set()
    await asyncio.Event().wait()  # here: that waits too long
    return 0.0


def that_hangs(name: str) -> float:
    return HANGS.set() or GATE.wait(60) or 0.0  # here: that hangs


PLACES = [
    (in_a_function_of_its_own, "ValueError", place_of("in a function of its own")),
    (in_a_thread, "ValueError", place_of("in a function of its own")),
    (in_the_standard_library, "JSONDecodeError", place_of("in the standard library")),
    (in_a_package, "ValidationError", place_of("in a package")),
    (with_a_cause, "RuntimeError", place_of("with a cause")),
    (of_a_value_that_does_not_fit, "ValueRefused", None),
    (that_waits_too_long, "TimeoutError", place_of("that waits too long")),
    (that_hangs, "TimeoutError", place_of("that hangs")),
]


def facts_of(
    place: Place, process: Process[Any], inputs: dict[str, Any], *, hangs: Callable[[], Any] | None = None, **settings: Any
) -> dict[str, dict[str, Any]]:
    """The facts of a case's events, by their kind; of each kind the last. A call that `hangs`, which waits until it does, runs out of time."""

    async def main() -> dict[str, dict[str, Any]]:
        async with place.open(process, **settings) as engine:
            case = (await engine.start(process, inputs)).case
            if hangs is not None:
                await asyncio.to_thread(hangs)
                await let_pass(SECONDS)
            await engine.wait_until_resting(case)
            return {event.kind: json.loads(event.facts) for event in await engine.reader.events(case=case)}

    return run(main(), seconds=60)  # a Python starts slowly on a busy machine


def failing(function: Callable[..., Any], **settings: Any) -> Process[Job]:
    process = Process("failing", Job)
    node = process.node(function, writes="result", **{"retry": Retry(attempts_max=1), "timeout_seconds": SECONDS} | settings)
    process.rules(when("open", lambda c: c.result is None, node), otherwise(finish("done")))
    return process


@pytest.mark.parametrize(("function", "error", "raised_at"), PLACES, ids=[function.__name__ for function, *_ in PLACES])
def test_a_failed_attempt_records_the_exception_and_its_line(place: Place, function: Any, error: str, raised_at: str | None) -> None:
    HANGS.clear()
    GATE.clear()
    facts = facts_of(place, failing(function), {"name": SECRET}, hangs=HANGS.wait if error == "TimeoutError" else None)
    GATE.set()

    assert (facts["node.failed"]["error"], facts["node.failed"]["raised_at"]) == (error, raised_at)
    assert {**facts["parked"], "reason": ""} == {"reason": "", "error": error, "raised_at": raised_at, "attempts": 1}


def test_the_place_in_another_python_is_brought_along(place: Place) -> None:
    process = Process("failing", alone.Document)
    node = process.node(alone.broken, writes=("text", "told"), retry=Retry(attempts_max=1), isolated=True)
    process.rules(when("open", lambda c: c.text is None, node), otherwise(finish("done")))

    facts = facts_of(place, process, {"what": "m"})

    assert facts["node.failed"]["raised_at"] == place_of("in another Python", alone.__file__)


def test_the_attempts_that_it_took_are_counted(place: Place) -> None:
    facts = facts_of(place, failing(in_a_thread, retry=Retry(attempts_max=3, first_seconds=0)), {"name": "m"})

    assert facts["parked"]["attempts"] == 3


def test_the_stored_evidence_of_an_error_holds_no_values(place: Place) -> None:
    facts = facts_of(place, failing(in_a_package), {"name": SECRET})

    assert SECRET in facts["node.failed"]["message"]
    assert SECRET not in json.dumps({**facts["node.failed"], "message": ""})
    assert SECRET not in json.dumps({**facts["parked"], "reason": ""})


def test_a_case_that_a_rule_parks_has_a_reason_and_no_error(place: Place) -> None:
    process = Process("ruled", Letter)

    @process.node(writes="receipt")
    async def post(message: str) -> str:
        return message

    process.rules(when("never", lambda c: c.message == "", post), otherwise(park("for the lead")))

    facts = facts_of(place, process, {"message": "m"})

    assert facts["parked"] == {"reason": "for the lead"}


@pytest.mark.parametrize(
    ("policy", "error", "kind", "attempts"),
    [
        ("idempotent", NotSent("not today"), "NotSent", 3),
        ("idempotent", Rejected("never"), "Rejected", 1),
        ("at most once", ConnectionResetError("gone"), "ConnectionResetError", 1),
    ],
)
def test_an_effect_that_parks_its_case_says_so_too(place: Place, policy: str, error: Exception, kind: str, attempts: int) -> None:
    process = Process("letter", Letter)

    @process.effect(writes="receipt", safety=POLICIES[policy], timeout_seconds=TIMEOUT_SECONDS, retry=Retry(first_seconds=0))
    async def post(message: str, *, ctx: Context) -> str:
        raise error  # here: in an effect

    process.rules(when("unposted", lambda c: c.receipt is None, post), otherwise(finish("posted")))

    facts = facts_of(place, process, {"message": "m"}, resources={"world": World()})

    assert {**facts["parked"], "reason": ""} == {"reason": "", "error": kind, "raised_at": place_of("in an effect"), "attempts": attempts}


def test_a_node_waits_at_least_as_long_as_the_other_side_asks(place: Place) -> None:
    process, clock = Process("limited", Job), ManualClock(1_000.0)

    @process.node(writes="result", retry=Retry(first_seconds=1))
    async def work(name: str) -> float:
        raise NotSent("too many requests", retry_after=30)

    process.rules(when("open", lambda c: c.result is None, work), otherwise(finish("done")))

    async def main() -> Any:
        async with place.open(process, clock=clock) as engine:
            await engine.start(process, {"name": "m"})
            return json.loads((await seen(engine, "node.retried")).facts)

    assert run(main()) == {"at": 1_030.0}
