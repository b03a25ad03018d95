"""What goes wrong with other functional fronts when a thread waits, crashes, is deployed over or is answered twice, and goes right here.

Each test runs on a real file. A deploy closes the checkpointer, and opens the file again with other code.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pointsman import (
    AlreadyAnswered,
    AtMostOnce,
    Clock,
    Context,
    Guard,
    Idempotent,
    Limit,
    NotWaiting,
    Rejected,
    Retry,
    Status,
    ValueRefused,
)
from pointsman.functional import (
    INJECTED,
    Checkpointer,
    Command,
    Paused,
    TaskFailed,
    TaskTimeout,
    ThreadBusy,
    ThreadCancelled,
    ThreadParked,
    entrypoint,
    interrupt,
    pause,
    task,
)
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import in_child

Body = Callable[[Any], Any]
DONE: list[str] = []
"""What the tasks of a test have done to the world outside."""


@pytest.fixture(autouse=True)
def _new_world() -> None:
    DONE.clear()


@contextmanager
def deployed(folder: Path, body: Body, *, clock: Clock | None = None, **settings: Any) -> Iterator[Any]:
    """An entrypoint named `it` with this body, on the file of the test."""
    checkpointer = Checkpointer(folder / "cases.db", clock=clock)
    declared = entrypoint(checkpointer=checkpointer, name="it", **settings)(body)
    with checkpointer:
        yield declared


def case_of(it: Any, number: int) -> Any:
    return it.checkpointer.engine.case(number)


def told(it: Any, case: int) -> str:
    """The journal of a case, as text."""
    return "\n".join(repr(event) for event in it.checkpointer.engine.reader.events(case=case))


@task(safety=Idempotent())
def charge(amount: int, *, ctx: Context = INJECTED) -> str:
    DONE.append(f"charge {amount}")
    return f"charged {amount}"


@task
def look_up(name: str) -> str:
    DONE.append(f"look_up {name}")
    return name.upper()


# The eight failures.


def test_a_task_inserted_by_a_deploy_repeats_no_charge(tmp_path: Path) -> None:
    def before(order: str) -> list[Any]:
        return [charge(30).result(), interrupt("send it?")]

    def after(order: str) -> list[Any]:
        return [look_up(order).result(), charge(30).result(), interrupt("send it?")]

    with deployed(tmp_path, before) as it:
        assert isinstance(it.invoke("a1", thread="t"), Paused)
    with deployed(tmp_path, after) as it:
        assert it.invoke(Command(resume="yes"), thread="t") == ["A1", "charged 30", "yes"]

    assert DONE == ["charge 30", "look_up a1"]


def test_pauses_that_a_deploy_reorders_keep_their_answers(tmp_path: Path) -> None:
    def ask(*names: str) -> Body:
        def body(given: None) -> dict[str, Any]:
            return {name: pause(f"{name}?", name=name) for name in names}

        return body

    with deployed(tmp_path, ask("account", "amount")) as it:
        assert it.invoke(None, thread="t").shown == "account?"
        assert it.invoke(Command(resume="DE99"), thread="t").shown == "amount?"
    with deployed(tmp_path, ask("amount", "account")) as it:
        assert it.invoke(Command(resume="100 EUR"), thread="t") == {"amount": "100 EUR", "account": "DE99"}


def test_pauses_without_a_name_that_a_deploy_reorders_keep_their_answers(tmp_path: Path) -> None:
    def ask(*names: str) -> Body:
        def body(given: None) -> dict[str, Any]:
            return {name: interrupt(f"{name}?") for name in names}

        return body

    with deployed(tmp_path, ask("account", "amount")) as it:
        assert it.invoke(None, thread="t").shown == "account?"
        assert it.invoke(Command(resume="DE99"), thread="t").shown == "amount?"
    with deployed(tmp_path, ask("amount", "account")) as it:
        assert it.invoke(Command(resume="100 EUR"), thread="t") == {"amount": "100 EUR", "account": "DE99"}


def test_a_timeout_that_was_seen_stays_one_after_a_restart(tmp_path: Path) -> None:
    slow_now, clock = True, ManualClock()

    @task
    async def slow() -> str:
        DONE.append("slow")
        if slow_now:
            clock.advance(5)
            await asyncio.Event().wait()
        return "in time"

    def body(given: None) -> list[str]:
        try:
            seen = slow().result(timeout=5)
        except TaskTimeout:
            seen = "timed out"
        return [seen, interrupt("escalate?")]

    with deployed(tmp_path, body, clock=clock) as it:
        assert isinstance(it.invoke(None, thread="t"), Paused)
    slow_now = False
    with deployed(tmp_path, body, clock=clock) as it:
        assert it.invoke(Command(resume="yes"), thread="t") == ["timed out", "yes"]

    assert DONE == ["slow"]


def test_a_body_that_is_run_again_repeats_no_side_effect_of_its_tasks(tmp_path: Path) -> None:
    begun = []

    def body(given: None) -> list[str]:
        begun.append("body")
        charge(1).result()
        look_up("x").result()
        return [interrupt(number) for number in range(3)]

    with deployed(tmp_path, body) as it:
        it.invoke(None, thread="t")
        it.invoke(Command(resume="a"), thread="t")
        assert len(begun) == 1  # a pause keeps the body
    with deployed(tmp_path, body) as it:
        it.invoke(Command(resume="b"), thread="t")
        assert it.invoke(Command(resume="c"), thread="t") == ["a", "b", "c"]

    assert DONE == ["charge 1", "look_up x"]
    assert len(begun) == 2


def test_a_result_of_the_wrong_type_bricks_no_thread(tmp_path: Path) -> None:
    found: list[Any] = ["many", 3]

    @task(retry=Retry(attempts_max=1))
    def count() -> int:
        return found.pop(0)  # type: ignore[no-any-return]

    def body(given: None) -> int:
        return count().result()

    with deployed(tmp_path, body) as it:
        with pytest.raises(ThreadParked, match=r"count.*int") as parked:
            it.invoke(None, thread="t")
        it.checkpointer.engine.redrive(parked.value.case, by="anna", why="mended")
        assert it.checkpointer.engine.wait_until_resting(parked.value.case).status is Status.DONE
        assert it.checkpointer.engine.state(parked.value.case).result.value == 3


def deaths(folder: Path, task: Any, *, at_most: int) -> tuple[int, str]:
    """Invoke a body that calls this task until no engine dies of it; how often it was called, and what came of it."""
    calls, died = folder / "calls", 0

    def body(given: None) -> str:
        try:
            return str(task(str(calls)).result())
        except TaskFailed as failed:
            return f"{failed.error} after {failed.attempts}"

    def invoke() -> None:
        with deployed(folder, body) as it, contextlib.suppress(ThreadParked):
            it.invoke(None, thread="t", key="k")

    while in_child(invoke) != 0:
        died += 1
        assert died <= at_most
    with deployed(folder, body) as it:
        row = it.checkpointer.engine.case(1)
        state = it.checkpointer.engine.state(1)
    return len(calls.read_text()), row.reason or state.result.value


def called(calls: str) -> int:
    with Path(calls).open("a") as file:
        file.write("x")
    return Path(calls).stat().st_size


@task
def dies(calls: str) -> None:
    called(calls)
    os._exit(9)


@task(retry=Retry(attempts_max=3, first_seconds=0.01))
def dies_each_second_time(calls: str) -> None:
    if called(calls) % 2 == 0:
        os._exit(9)
    raise OSError("no")


def test_the_attempts_of_a_task_count_over_the_deaths_of_the_engine(tmp_path: Path) -> None:
    assert deaths(tmp_path, dies_each_second_time, at_most=2) == (5, "OSError after 3")


def test_a_task_that_kills_its_engine_again_and_again_is_parked_and_named(tmp_path: Path) -> None:
    calls, reason = deaths(tmp_path, dies, at_most=8)

    assert calls == 8
    assert "the engine died 8 times while step 'dies[" in reason


def test_a_second_message_of_a_thread_is_held_and_loses_nothing(tmp_path: Path) -> None:
    def body(mail: str, previous: list[str] | None = None) -> list[str]:
        answer = interrupt(f"{mail}?")
        return [*(previous or []), f"{mail}: {answer}"]

    with deployed(tmp_path, body) as it:
        first = it.invoke("first", thread="t")
        with pytest.raises(ThreadBusy, match="held") as busy:
            it.invoke("second", thread="t", key="m2")
        assert busy.value.case == first.case
        assert it.invoke(Command(resume="yes", digest=first.digest), thread="t") == ["first: yes"]
        second = it.invoke("second", thread="t", key="m2")  # the same message: nothing is begun twice
        assert (second.shown, second.case != first.case) == ("second?", True)
        assert it.invoke(Command(resume="no"), thread="t") == ["first: yes", "second: no"]
        assert it.invoke("second", thread="t", key="m2") == ["first: yes", "second: no"]


def test_of_two_answers_at_once_one_wins_and_the_other_is_told(tmp_path: Path) -> None:
    def body(given: None) -> str:
        answer: str = interrupt("who?")
        return charge(len(answer)).result() + answer

    with deployed(tmp_path, body) as it:
        paused = it.invoke(None, thread="t")
        gate = threading.Barrier(8)

        def answer(name: str) -> str:
            gate.wait()
            try:
                it.invoke(Command(resume=name, digest=paused.digest), thread="t")
            except (AlreadyAnswered, NotWaiting):
                return "told"
            return name

        with ThreadPoolExecutor(8) as pool:
            said = list(pool.map(answer, "abcdefgh"))

        winner = next(name for name in said if name != "told")
        assert sorted(said) == sorted([winner] + ["told"] * 7)
        assert it.checkpointer.engine.state(paused.case).result.value == f"charged 1{winner}"
    assert DONE == ["charge 1"]


# What a changed body asks for.


def test_a_task_whose_arguments_changed_runs_anew_and_the_journal_says_so(tmp_path: Path) -> None:
    def body(name: str) -> Body:
        def body(given: None) -> list[str]:
            return [look_up(name).result(), interrupt("?")]

        return body

    with deployed(tmp_path, body("old")) as it:
        case = it.invoke(None, thread="t").case
    with deployed(tmp_path, body("new")) as it:
        assert it.invoke(Command(resume="yes"), thread="t") == ["NEW", "yes"]
        assert "had other arguments before" in told(it, case)
    assert DONE == ["look_up old", "look_up new"]


def paying(*amounts: int) -> Body:
    def body(given: None) -> list[str]:
        return [*(charge(amount).result() for amount in amounts), interrupt("?")]

    return body


def test_a_changed_effect_parks_and_goes_on_where_its_author_says_that_it_may(tmp_path: Path) -> None:
    with deployed(tmp_path, paying(10)) as it:
        case = it.invoke(None, thread="t").case
    with deployed(tmp_path, paying(12)) as it:
        with pytest.raises(ThreadParked, match=r"charge\[\w+\].* is recorded.*could repeat it.*leaves="):
            it.invoke(Command(resume="yes"), thread="t")
        assert DONE == ["charge 10"]
    with deployed(tmp_path, paying(12), leaves=("charge",)) as it:
        it.checkpointer.engine.redrive(case, by="anna", why="it may")
        assert it.invoke(Command(resume="yes"), thread="t") == ["charged 12", "yes"]
    assert DONE == ["charge 10", "charge 12"]


@task(safety=AtMostOnce())
def pay(cents: int) -> str:
    DONE.append(f"pay {cents}")
    if cents == 1_999:
        raise ConnectionResetError("nobody knows")
    return f"paid {cents}"


@pytest.mark.parametrize("before_it", [False, True], ids=["first", "behind a new task"])
@pytest.mark.parametrize("looked_at_before", [False, True])
def test_an_effect_that_a_person_says_has_happened_is_not_made_again_with_other_arguments(
    tmp_path: Path, looked_at_before: bool, before_it: bool
) -> None:
    def changed(cents: int) -> Body:
        def body(given: None) -> str:
            if before_it:
                look_up("new").result()
            return pay(cents).result()

        return body

    with deployed(tmp_path, lambda given: pay(1_999).result(), tasks=(pay,)) as it:
        with pytest.raises(ThreadParked, match="in doubt"):
            it.invoke(None, thread="t")
        [effect] = it.checkpointer.engine.reader.effects(1)
    with deployed(tmp_path, changed(2_000)) as it:
        engine = it.checkpointer.engine
        if looked_at_before:  # the changed body parks again, and what it asked for must not take the outcome
            engine.redrive(1, by="ada", why="try")
            assert "may or may not have happened" in str(engine.wait_until_resting(1).reason)
        engine.resolve(effect.key, happened=True, outcome="paid 1999", by="ada", why="looked")
        row = engine.wait_until_resting(1)
        assert row.status is Status.PARKED
        assert "is recorded, and the body asks for pay" in str(row.reason)
    with deployed(tmp_path, changed(1_999)) as it:
        engine = it.checkpointer.engine
        engine.redrive(1, by="ada", why="the old arguments")
        assert engine.wait_until_resting(1).status is Status.DONE
        assert engine.state(1).result.value == "paid 1999"

    inserted = ["look_up new"] if before_it else []
    assert ["pay 1999", *inserted] == DONE


def test_an_invocation_with_the_same_key_finds_the_pause_behind_what_a_deploy_inserted(tmp_path: Path) -> None:
    def before(order: str) -> Any:
        return interrupt("send it?")

    def after(order: str) -> Any:
        return [look_up(order).result(), interrupt("send it?")]

    with deployed(tmp_path, before) as it:
        assert isinstance(it.invoke("a1", thread="t", key="k"), Paused)
    with deployed(tmp_path, after) as it:
        assert isinstance(it.invoke("a1", thread="t", key="k"), Paused)

    assert DONE == ["look_up a1"]


@pytest.mark.parametrize("what", ["effect", "task"])
def test_a_body_that_leaves_a_recorded_call_out_parks_or_goes_on_where_it_may(tmp_path: Path, what: str) -> None:
    def before(given: None) -> list[str]:
        (charge(10) if what == "effect" else look_up("x")).result()
        return [interrupt("?")]

    def after(given: None) -> list[str]:
        return [interrupt("?")]

    name = "charge" if what == "effect" else "look_up"
    with deployed(tmp_path, before) as it:
        case = it.invoke(None, thread="t").case
    with deployed(tmp_path, after) as it, pytest.raises(ThreadParked, match=rf"without asking for {name}\[.*leaves="):
        it.invoke(Command(resume="yes"), thread="t")
    with deployed(tmp_path, after, leaves=(name,)) as it:
        it.checkpointer.engine.redrive(case, by="anna", why="it may")
        assert it.checkpointer.engine.wait_until_resting(case).status is Status.DONE
        assert it.checkpointer.engine.state(case).result.value == ["yes"]


def test_a_redrive_after_a_failure_that_nothing_caught_calls_again(tmp_path: Path) -> None:
    works = False

    @task(retry=Retry(attempts_max=2, first_seconds=0.01))
    def fetch() -> str:
        DONE.append("fetch")
        if not works:
            raise OSError("the shop is closed")
        return "found"

    def body(given: None) -> str:
        charge(1).result()
        return fetch().result()

    with deployed(tmp_path, body) as it:
        with pytest.raises(ThreadParked, match=r"fetch.*failed after 2 attempts: OSError: the shop is closed") as parked:
            it.invoke(None, thread="t")
        works = True
        it.checkpointer.engine.redrive(parked.value.case, by="anna", why="it is open")
        assert it.checkpointer.engine.wait_until_resting(parked.value.case).status is Status.DONE
    assert DONE == ["charge 1", "fetch", "fetch", "fetch"]


@pytest.mark.parametrize("redriven_before", [False, True])
def test_an_effect_that_was_rejected_is_not_repeated_and_a_mended_body_goes_on(tmp_path: Path, redriven_before: bool) -> None:
    @task(safety=Idempotent())
    def pay(amount: int) -> str:
        DONE.append(f"pay {amount}")
        if amount > 4:
            raise Rejected("no funds")
        return "paid"

    def paying(amount: int) -> Body:
        def body(given: None) -> str:
            return pay(amount).result()

        return body

    with deployed(tmp_path, paying(5)) as it:
        with pytest.raises(ThreadParked, match="no funds") as parked:
            it.invoke(None, thread="t")
        case = parked.value.case
        if redriven_before:
            it.checkpointer.engine.redrive(case, by="anna", why="try again")
            assert "was rejected: no funds" in it.checkpointer.engine.wait_until_resting(case).reason
    with deployed(tmp_path, paying(3)) as it:
        it.checkpointer.engine.redrive(case, by="anna", why="less")
        assert it.checkpointer.engine.wait_until_resting(case).status is Status.DONE
    assert DONE == ["pay 5", "pay 3"]


def test_a_cancel_while_tasks_run_begins_no_other(tmp_path: Path) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    @task
    def work(number: int) -> None:
        DONE.append(f"work {number}")
        begun.set()
        goes_on.wait(60)

    def body(given: None) -> None:
        for future in [work(1), work(2), work(3)]:
            future.result()

    with deployed(tmp_path, body, concurrency=1) as it, ThreadPoolExecutor(1) as pool:
        invoked = pool.submit(it.invoke, None, thread="t")
        begun.wait(60)
        case = it.checkpointer.engine.reader.cases(process="it")[0].id
        cancelled = it.checkpointer.engine.begin(lambda engine: engine.cancel(case, by="anna", why="enough"))
        it.checkpointer.engine.case(case)  # the cancel, which was asked for before, has come
        goes_on.set()
        assert cancelled.result(60).status is Status.CANCELLED
        with pytest.raises(ThreadCancelled, match="enough"):
            invoked.result(60)
    assert DONE == ["work 1"]


def test_a_rejected_effect_can_be_caught(tmp_path: Path) -> None:
    @task(safety=AtMostOnce())
    def pay() -> str:
        DONE.append("pay")
        raise Rejected("no funds")

    def body(given: None) -> str:
        try:
            return pay().result()
        except TaskFailed as failed:
            return failed.message

    with deployed(tmp_path, body) as it:
        assert it.invoke(None, thread="t") == "no funds"
    assert DONE == ["pay"]


class Verdict(BaseModel):
    score: int


def test_a_guard_of_a_task_repairs_and_then_fails(tmp_path: Path) -> None:
    given = iter([7, 8, 1, 9, 9, 9])

    def low(verdict: Verdict) -> str | None:
        return "too high" if verdict.score > 5 else None

    @task(guard=Guard(low, repairs_max=2), retry=Retry(attempts_max=1))
    def judge(number: int) -> Verdict:
        DONE.append("judge")
        return Verdict(score=next(given))

    def body(given: None) -> list[Any]:
        first = judge(1).result().score
        try:
            judge(2).result()
        except TaskFailed as failed:
            return [first, failed.message]
        return []

    with deployed(tmp_path, body) as it:
        score, message = it.invoke(None, thread="t")
    assert (score, "too high" in message, len(DONE)) == (1, True, 6)


@pytest.mark.parametrize(("permits", "at_once"), [(2, True), (1, False)], ids=["at once", "one by one"])
def test_two_entrypoints_share_a_limit(tmp_path: Path, permits: int, *, at_once: bool) -> None:
    running, most = 0, 0

    @task(limit=Limit("shop", concurrency=permits))
    async def fetch(number: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        while most < permits:  # noqa: ASYNC110 - until as many run at once as may
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        running -= 1
        return number

    def body(given: int) -> int:
        calls = (fetch(given + number) for number in range(5))
        return sum(future.result() for future in ([*calls] if at_once else calls))

    checkpointer = Checkpointer(tmp_path / "cases.db")
    both = [entrypoint(checkpointer=checkpointer, name=name)(body) for name in ("a", "b")]
    with checkpointer, ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda it: it.invoke(10), both)) == [60, 60]
    assert most == permits


# Bodies that do what they must not.


@task
def undeclared() -> str:
    return "here"


TASKS = {"undeclared": undeclared}


def leaves_the_process(given: None) -> None:
    charge(1).result()
    raise SystemExit(3)


async def awaits_the_loop(given: None) -> None:
    await charge(1)
    await asyncio.sleep(0)


def returns_an_object(given: None) -> Any:
    charge(1).result()
    return object()


def calls_what_is_not_declared(given: None) -> Any:
    charge(1).result()
    return TASKS["undeclared"]().result()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (leaves_the_process, "raised SystemExit: 3"),
        (awaits_the_loop, "a body awaits only its own calls and gather(); put everything else into a task"),
        (returns_an_object, "the result of entrypoint 'it'"),
        (calls_what_is_not_declared, "task 'undeclared' is not known to the entrypoint that calls it; name it in tasks="),
    ],
)
def test_a_body_that_does_what_it_must_not_parks_in_one_clear_sentence_and_loses_nothing(tmp_path: Path, body: Body, why: str) -> None:
    def mended(given: None) -> str:
        return charge(1).result()

    with deployed(tmp_path, body) as it:
        with pytest.raises(ThreadParked) as parked:
            it.invoke(None, thread="t")
        assert why in parked.value.reason
        assert "\n" not in parked.value.reason
        assert "Traceback" not in parked.value.reason
    with deployed(tmp_path, mended) as it:
        it.checkpointer.engine.redrive(parked.value.case, by="anna", why="mended")
        assert it.checkpointer.engine.wait_until_resting(parked.value.case).status is Status.DONE
    assert DONE == ["charge 1"]


def test_an_argument_that_json_cannot_hold_parks_in_one_clear_sentence(tmp_path: Path) -> None:
    @task
    def look_at(thing: Any) -> str:
        return str(thing)

    def body(given: None) -> str:
        return look_at(object()).result()

    with (
        deployed(tmp_path, body) as it,
        pytest.raises(ThreadParked, match="argument 'thing' of task 'look_at' cannot be held as JSON: it is of type object"),
    ):
        it.invoke(None, thread="t")


def test_an_input_of_the_wrong_type_is_refused_and_starts_nothing(tmp_path: Path) -> None:
    def body(given: int) -> int:
        return given

    with deployed(tmp_path, body) as it:
        with pytest.raises(ValueRefused, match="int"):
            it.invoke("many", thread="t")
        assert it.checkpointer.engine.reader.cases(process="it") == []
