"""What an author gets wrong at first is told in one sentence, where it happens: the task, the argument and the fix."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from pointsman import Status
from pointsman.functional import entrypoint, task
from pointsman.functional.loop import run_in_body
from pointsman.testing import World


@task
def fetch_order(order_id: str) -> dict[str, Any]:
    return {"id": order_id}


@task
async def measure(text: str) -> str:
    return await asyncio.to_thread(lambda: f"{len(text)} in {threading.current_thread().name}")


def ended(body: Callable[..., Any], given: Any = None) -> Any:
    """The result of a body, or why its case is parked."""
    declared = entrypoint(name="mails")(body)
    world = World(declared.process)
    case = world.run(lambda: world.start(declared.process, {"invocation": {"input": given, "thread": "t"}}))
    row = world.case(case)
    return row.reason if row.status is Status.PARKED else world.state(case)["result"]["value"]


def test_a_task_may_use_a_thread_in_a_world() -> None:
    def body(given: None) -> str:
        return measure("four").result()

    assert ended(body) == f"4 in {threading.current_thread().name}"


def test_a_body_that_uses_a_thread_is_told_to_use_a_task() -> None:
    def body(given: None) -> Any:
        return run_in_body(asyncio.to_thread(sorted, [2, 1]))

    assert "a body has no threads; put what asyncio.to_thread or run_in_executor calls into a task" in ended(body)
