"""What LangGraph's own tests of its functional API show, shown here with the same shapes of programs."""

import asyncio
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pointsman import DefinitionError, Retry
from pointsman.functional import (
    Checkpointer,
    Command,
    Paused,
    TaskFailed,
    ThreadParked,
    entrypoint,
    interrupt,
    task,
)

T1, T2 = ({"configurable": {"thread_id": name}} for name in ("1", "2"))

Declare = Callable[..., Any]


@pytest.fixture
def declared(tmp_path: Path) -> Iterator[Declare]:
    """Declare an entrypoint of a body, on a file of its own."""
    opened: list[Checkpointer] = []

    def declare(body: Callable[..., Any], **settings: Any) -> Any:
        checkpointer = Checkpointer(tmp_path / f"{len(opened)}.db")
        opened.append(checkpointer)
        return entrypoint(checkpointer=checkpointer, **settings)(body)

    yield declare
    for checkpointer in opened:
        checkpointer.close()


@task
def double(number: int) -> int:
    return 2 * number


@task
async def later(text: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return text


def test_a_task_returns_a_future_and_the_body_its_result(declared: Declare) -> None:
    def body(numbers: list[int]) -> list[int]:
        futures = [double(number) for number in numbers]
        return [future.result() for future in futures]

    assert declared(body).invoke([1, 2, 3], T1) == [2, 4, 6]


def test_an_async_body_awaits_its_tasks(declared: Declare) -> None:
    async def body(numbers: list[int]) -> list[int]:
        futures = [double(number) for number in numbers]
        return [await future for future in futures]

    it = declared(body)

    async def main() -> Any:
        return await it.ainvoke([1, 2], T1)

    assert asyncio.run(main()) == [2, 4]


def test_a_stream_tells_results_as_they_come_and_then_that_of_the_body(declared: Declare) -> None:
    def body(given: None) -> str:
        slow, fast = later("slow", 0.3), later("fast", 0.0)
        return slow.result() + fast.result()

    assert list(declared(body).stream(None, T1)) == [{"later": "fast"}, {"later": "slow"}, {"body": "slowfast"}]


def test_a_stream_tells_an_interrupt_and_goes_on_after_it(declared: Declare) -> None:
    def body(number: int) -> list[Any]:
        return [double(number).result(), interrupt("go on?")]

    it = declared(body)

    first, second = it.stream(2, T1)
    assert first == {"double": 4}
    assert second["__interrupt__"].value == "go on?"
    assert list(it.stream(Command(resume="yes"), T1)) == [{"body": [4, "yes"]}]


def test_an_async_stream_tells_the_same(declared: Declare) -> None:
    def body(number: int) -> int:
        return double(double(number).result()).result()

    it = declared(body)

    async def main() -> list[Any]:
        return [update async for update in it.astream(1, T1)]

    assert asyncio.run(main()) == [{"double": 2}, {"double": 4}, {"body": 4}]


def test_an_interrupt_while_a_task_is_open_keeps_its_result(declared: Declare) -> None:
    calls = []

    @task
    def foo(text: str) -> str:
        calls.append(text)
        return text + "foo"

    @task
    def bar(text: str, more: str) -> str:
        return text + more

    def body(text: str) -> str:
        future = foo(text)
        more = interrupt("what comes after it?")
        return bar(future.result(), more).result()

    it = declared(body)

    assert isinstance(it.invoke("", T1), Paused)
    assert it.invoke(Command(resume="bar"), T1) == "foobar"
    assert calls == [""]


def test_equal_interrupts_in_a_loop_get_their_answers_in_turn_and_repeat_no_task(declared: Declare) -> None:
    calls = []

    @task
    def counted(number: int) -> int:
        calls.append(number)
        return 2 * number

    def body(given: None) -> list[Any]:
        values: list[Any] = []
        for number in [1, 2, 3]:
            values += [counted(number).result(), interrupt({"a": "same"})]
        return values

    it = declared(body)
    it.invoke(None, T1)
    it.invoke(Command(resume="a"), T1)
    it.invoke(Command(resume="b"), T1)

    assert it.invoke(Command(resume="c"), T1) == [2, "a", 4, "b", 6, "c"]
    assert calls == [1, 2, 3]


def test_a_loop_that_asks_until_the_answer_is_valid(declared: Declare) -> None:
    def body(given: None) -> int:
        question = "How old are you?"
        while True:
            answer = interrupt(question)
            if answer.isdigit() and int(answer) >= 18:
                return int(answer)
            question = "That is no age."

    it = declared(body)

    assert it.invoke(None, T1).value == "How old are you?"
    assert it.invoke(Command(resume="13"), T1).value == "That is no age."
    assert it.invoke(Command(resume="x"), T1).value == "That is no age."
    assert it.invoke(Command(resume="19"), T1) == 19


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_falsy_results_and_answers_are_recorded(declared: Declare, value: Any) -> None:
    calls = []

    @task
    def falsy() -> Any:
        calls.append("falsy")
        return value

    def body(given: Any) -> list[Any]:
        return [falsy().result(), interrupt("?"), given]

    it = declared(body)
    it.invoke(value, T1)

    assert it.invoke(Command(resume=value), T1) == [value, value, value]
    assert calls == ["falsy"]


def test_a_body_that_returns_nothing(declared: Declare) -> None:
    def body(given: Any) -> None:
        double(1).result()

    it = declared(body)
    assert it.invoke({}, T1) is None
    assert list(it.stream({}, T1)) == [{"double": 2}, {"body": None}]


def test_previous_is_what_the_thread_returned_last(declared: Declare) -> None:
    def body(given: dict[str, Any], *, previous: Any = None) -> dict[str, Any]:
        return {"previous": previous, "current": given}

    it = declared(body)

    assert it.invoke({"a": "1"}, T1) == {"current": {"a": "1"}, "previous": None}
    assert it.invoke({"a": "2"}, T1) == {"current": {"a": "2"}, "previous": {"current": {"a": "1"}, "previous": None}}
    assert it.invoke({"a": "3"}, T2) == {"current": {"a": "3"}, "previous": None}


def test_previous_stays_while_an_invocation_waits(declared: Declare) -> None:
    def body(number: int, previous: int | None = None) -> int:
        answer = interrupt("how many?")
        return number + int(answer) + (previous or 0)

    it = declared(body)
    it.invoke(1, T1)
    assert it.invoke(Command(resume=10), T1) == 11
    it.invoke(2, T1)
    assert it.invoke(Command(resume=20), T1) == 33


def test_final_keeps_something_else_than_it_returns(declared: Declare) -> None:
    def body(number: int, *, previous: Any = None) -> entrypoint.final[int, int]:
        return entrypoint.final(value=previous or 0, save=2 * number)

    it = declared(body)

    assert [it.invoke(number, T1) for number in (3, 1, 5)] == [0, 6, 2]


def test_final_may_keep_what_is_falsy(declared: Declare) -> None:
    def body(number: int, previous: Any = "none") -> entrypoint.final[Any, Any]:
        return entrypoint.final(value=previous, save=0)

    it = declared(body)

    assert [it.invoke(1, T1), it.invoke(1, T1)] == [None, 0]


def test_tasks_have_names_that_are_given(declared: Declare) -> None:
    @task(name="my_task")
    def foo(text: str) -> str:
        return text + "foo"

    class Names:
        def __call__(self, text: str) -> str:
            return text + "bar"

        def method(self, text: str) -> str:
            return text + "baz"

    bar = task(name="my_callable")(Names())
    baz = task(Names().method)
    plus = task(name="my_partial")(functools.partial(lambda a, b: a + b, b="!"))

    def body(text: str) -> str:
        return plus(baz(bar(foo(text).result()).result()).result()).result()

    assert list(declared(body).stream("", T1)) == [
        {"my_task": "foo"}, {"my_callable": "foobar"}, {"method": "foobarbaz"}, {"my_partial": "foobarbaz!"}, {"body": "foobarbaz!"},
    ]  # fmt: skip


def test_entrypoints_in_entrypoints(declared: Declare) -> None:
    @entrypoint()
    def add(numbers: tuple[int, int]) -> int:
        return numbers[0] + numbers[1]

    @entrypoint()
    def multiply(numbers: tuple[int, int]) -> int:
        return double(numbers[0] * numbers[1]).result() // 2

    def body(numbers: tuple[int, int]) -> list[int]:
        return [add((add(numbers).result(), 10)).result(), multiply(numbers).result()]

    assert declared(body).invoke([2, 3], T1) == [15, 6]


def test_interrupts_in_entrypoints_that_a_body_calls_are_answered_on_its_thread(declared: Declare) -> None:
    @entrypoint()
    def inner(text: str) -> str:
        return text + str(interrupt("what comes after it?"))

    def body(text: str) -> str:
        return inner(inner(text).result()).result()

    it = declared(body)

    assert it.invoke("a", T1).value == "what comes after it?"
    assert isinstance(it.invoke(Command(resume="b"), T1), Paused)
    assert it.invoke(Command(resume="c"), T1) == "abc"


def test_a_task_that_calls_a_task_runs_it_as_a_part_of_itself(declared: Declare) -> None:
    @task
    def outer(number: int) -> int:
        return double(double(number).result()).result()

    def body(number: int) -> int:
        return outer(number).result()

    assert list(declared(body).stream(1, T1)) == [{"outer": 4}, {"body": 4}]


def test_a_task_is_retried(declared: Declare) -> None:
    calls = []

    @task(retry=Retry(attempts_max=3, first_seconds=0.01))
    def flaky() -> str:
        calls.append("flaky")
        if len(calls) < 3:
            raise ValueError("not yet")
        return "done"

    def body(given: None) -> str:
        return flaky().result()

    assert declared(body).invoke(None, T1) == "done"
    assert len(calls) == 3


def test_an_exception_of_a_task_reaches_the_body_and_then_the_caller(declared: Declare) -> None:
    @task(retry=Retry(attempts_max=1))
    def fails() -> None:
        raise ValueError("no")

    def body(catches: bool) -> str:
        try:
            fails().result()
        except TaskFailed as failed:
            if not catches:
                raise
            return failed.message
        return ""

    it = declared(body)

    assert it.invoke(True, T1) == "no"
    with pytest.raises(ThreadParked, match="ValueError: no"):
        it.invoke(False, T2)


def test_threads_are_independent(declared: Declare) -> None:
    def body(text: str) -> str:
        return f"{text}: {interrupt(text)}"

    it = declared(body)
    it.invoke("a", T1)
    it.invoke("b", T2)

    assert it.invoke(Command(resume="yes"), T2) == "b: yes"
    assert it.invoke(Command(resume="no"), T1) == "a: no"


def test_an_interrupt_in_a_task_is_refused_in_one_sentence(declared: Declare) -> None:
    @task(retry=Retry(attempts_max=1))
    def asks() -> Any:
        return interrupt("?")

    def body(given: None) -> Any:
        return asks().result()

    with pytest.raises(ThreadParked, match="outside the body of an entrypoint; call it there"):
        declared(body).invoke(None, T1)


def test_an_entrypoint_is_invoked_in_a_task_and_refused_in_a_body(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path / "cases.db")

    @entrypoint(checkpointer=checkpointer)
    def inner(number: int) -> int:
        return number + 1

    @task
    def invoking(number: int) -> Any:
        return inner.invoke(number, key=f"inner-{number}")

    @entrypoint(checkpointer=checkpointer)
    def outer(number: int) -> Any:
        return invoking(number).result()

    @entrypoint(checkpointer=checkpointer)
    def wrong(number: int) -> Any:
        return inner.invoke(number)

    with checkpointer:
        assert outer.invoke(1) == 2
        with pytest.raises(ThreadParked, match=r"'inner' was invoked in a body; call inner\(\.\.\.\)\.result\(\) there"):
            wrong.invoke(1)


def test_a_generator_is_no_body() -> None:
    def body(given: None) -> Iterator[int]:
        yield 1

    with pytest.raises(DefinitionError, match="its body is a generator"):
        entrypoint()(body)
