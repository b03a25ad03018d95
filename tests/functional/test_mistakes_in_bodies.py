"""What an author gets wrong at first is told in one sentence, where it happens: the task, the argument and the fix."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from pointsman import Status
from pointsman.functional import INJECTED, FutureUsed, entrypoint, gather, pause, task
from pointsman.functional.loop import run_in_body
from pointsman.testing import World


class Line(BaseModel):
    price: Any


@task
def fetch_order(order_id: str) -> Any:
    return {"id": order_id}


@task
def draft(order: Any, lines: Any = (), limit: int = 3, *, mailer: Any = INJECTED) -> Any:
    return order


@task
def total(lines: list[Line]) -> int:
    return len(lines)


@task
def quote(order_id: str) -> Any:
    return {"lines": [{"price": 1}, {"price": (1, 2)}]}


@task
async def measure(text: str) -> str:
    return await asyncio.to_thread(lambda: f"{len(text)} in {threading.current_thread().name}")


def ended(body: Callable[..., Any], given: Any = None, tasks: tuple[Any, ...] = ()) -> Any:
    """The result of a body, or why its case is parked."""
    declared = entrypoint(name="mails", tasks=tasks)(body)
    world = World(declared.process, resources={"mailer": None})
    case = world.run(lambda: world.start(declared.process, {"invocation": {"input": given, "thread": "t"}}))
    row = world.case(case)
    return row.reason if row.status is Status.PARKED else world.state(case)["result"]["value"]


def future() -> Any:
    return fetch_order("A1")


FUTURES: dict[str, tuple[Callable[[], Any], str]] = {
    "item": (lambda: future()["id"], "the future of task 'fetch_order' was used as its result (an item of it was read)"),
    "attribute": (lambda: future().id, "the future of task 'fetch_order' was used as its result (.id was read)"),
    "mapping": (lambda: {**future()}, "(.keys was read)"),
    "loop": (lambda: list(future()), "(it was iterated over)"),
    "condition": (lambda: 1 if future() else 2, "(it was tested for truth)"),
    "comparison": (lambda: future() == {}, "(it was compared); call .result() first, or await it"),
    "text": (lambda: f"order {future()}", "(it was put into a text)"),
    "sum": (lambda: 1 + future(), "(it was computed with)"),
    "gathered": (lambda: gather(future())[0], "the future of gather() was used as its result"),  # type: ignore[index]
    "argument": (
        lambda: draft({"a": [1, future()]}, []),
        "argument 'order' of task 'draft' has the future of task 'fetch_order' at a[1]; give its .result(), or await it",
    ),
    "typed argument": (
        lambda: fetch_order(future()),
        "argument 'order_id' of task 'fetch_order' is the future of task 'fetch_order'",
    ),
    "shown": (lambda: pause(future(), name="look"), "what pause 'look' shows is the future of task 'fetch_order'"),
    "returned": (
        lambda: {"order": future()},
        "the result of entrypoint 'mails' has the future of task 'fetch_order' at order; give its .result(), or await it; correct the body",
    ),
    "saved": (lambda: entrypoint.final(value=1, save=future()), "what entrypoint 'mails' saves is the future of task 'fetch_order'"),
}
ARGUMENTS: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown": (
        lambda: fetch_order(order="A1"),  # type: ignore[call-arg]
        "the call of task 'fetch_order' does not fit it: it has no argument 'order'; it takes (order_id: str)",
    ),
    "missing": (draft, "task 'draft' does not fit it: missing a required argument: 'order'; it takes (order: "),
    "too many": (lambda: fetch_order("A1", "A2"), "too many positional arguments"),  # type: ignore[call-arg]
    "resource": (lambda: draft("A1", mailer=1), "gives 'mailer', which is a resource that the engine fills in; leave it out"),
    "results": (
        lambda: gather(future().result()).result(),
        "gather() takes futures, and one of its arguments is a dict; give it what",
    ),
    "list": (lambda: gather([future()]).result(), "one of its arguments is a list; write gather(*calls)"),  # type: ignore[arg-type]
}
VALUES: dict[str, tuple[Callable[[], Any], str]] = {
    "wrong type": (lambda: total([Line(price=1), {}]), "argument 'lines' of task 'total': [1].price: Field required"),  # type: ignore[list-item]
    "object": (
        lambda: draft({"lines": [1, {"price": object()}]}),
        "argument 'order' of task 'draft' cannot be held as JSON: lines[1].price is of type object",
    ),
    "typed object": (
        lambda: total([Line(price=object())]),
        "argument 'lines' of task 'total' cannot be held as JSON: [0].price is of type object",
    ),
    "tuple": (
        lambda: draft({"lines": [1, {"price": (1, 2)}]}),
        "argument 'order' of task 'draft' does not come back equal from JSON: lines[1].price is of type tuple and comes back as list",
    ),
    "result": (
        lambda: quote("A1").result(),
        "the result of task 'quote' does not come back equal from JSON: lines[1].price is of type tuple",
    ),
}


@pytest.mark.parametrize(("call", "told"), [*FUTURES.values(), *ARGUMENTS.values(), *VALUES.values()], ids=[*FUTURES, *ARGUMENTS, *VALUES])
def test_a_wrong_call_is_told_in_one_sentence(call: Callable[[], Any], told: str) -> None:
    def body(given: None) -> Any:
        return call()

    reason = ended(body, tasks=(fetch_order, draft, total, quote))

    assert told in reason
    assert "\n" not in reason


def test_a_future_outside_a_body_is_not_its_result_either() -> None:
    with pytest.raises(FutureUsed, match="the future of task 'fetch_order' was used as its result"):
        fetch_order("A1")["id"]  # type: ignore[index]
    assert not hasattr(fetch_order("A1"), "_anything")


def test_a_task_may_use_a_thread_in_a_world() -> None:
    def body(given: None) -> str:
        return measure("four").result()

    assert ended(body) == f"4 in {threading.current_thread().name}"


def test_a_body_that_uses_a_thread_is_told_to_use_a_task() -> None:
    def body(given: None) -> Any:
        return run_in_body(asyncio.to_thread(sorted, [2, 1]))

    assert "a body has no threads; put what asyncio.to_thread or run_in_executor calls into a task" in ended(body)
