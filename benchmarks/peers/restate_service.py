"""The service of `benchmarks.peers.restate`, for an ASGI server: each `run` is a step that the server's log holds before the next one starts."""

import os
import socket
from typing import Any

import restate
from restate import Context, ObjectContext, Service, VirtualObject, Workflow, WorkflowContext, WorkflowSharedContext

from benchmarks.systems.trial import set_collector
from benchmarks.workload import BEFORE_PAUSE, STEPS, payload

PAUSED_PORT = "BENCH_PAUSED_PORT"  # where a datagram with the number of a case says that it waits, or that it has ended

ROW, EVENT = "." * 400, "." * 230  # as many bytes as Pointsman stores beside the results: with a case, and for each step

_telling = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
cases = Service("cases")
approved = Workflow("approved")
stored = VirtualObject("stored")


@cases.handler()
async def six_steps(context: Context, case: int) -> None:
    for name in STEPS:
        await context.run_typed(name, payload, step=name, case=case)


@cases.handler()
async def fan_out(context: Context, case: dict[str, int]) -> int:
    parts = [context.run_typed("part", payload, step="part", case=case["case"], item=number) for number in range(case["branches"])]
    await restate.gather(*parts)
    done = [await part for part in parts]
    total: int = await context.run_typed("join", lambda: len(done))
    return total


@cases.handler()
async def growing(context: Context, items: int) -> int:
    """A list in a variable of the handler: the log holds an item a step."""
    return len([await context.run_typed("add", payload, step="grow", case=number) for number in range(items)])


@approved.main()
async def run(context: WorkflowContext, case: int) -> None:
    for name in BEFORE_PAUSE:
        await context.run_typed(name, payload, step=name, case=case)
    answer: Any = context.promise("answer", type_hint=str).value()
    tell(case)
    assert await answer == "yes"
    await context.run_typed(STEPS[-1], payload, step=STEPS[-1], case=case)


@approved.handler()
async def approve(context: WorkflowSharedContext, answer: str) -> None:
    await context.promise("answer", type_hint=str).resolve(answer)


@stored.handler()
async def start(context: ObjectContext, pauses: bool) -> None:
    """Begin a case, which is an object."""
    context.set("record", {"row": ROW})
    context.object_send(step, context.key(), arg={"number": 0, "pauses": pauses})


@stored.handler()
async def step(context: ObjectContext, at: dict[str, Any]) -> None:
    """Take one step of a case: what it stores and the call of the next step become durable together."""
    case, number, pauses = int(context.key()), at["number"], at["pauses"]
    record: dict[str, Any] = await context.get("record") or {}
    record[STEPS[number]] = payload(STEPS[number], case)
    context.set("record", record)
    context.set(f"event {number}", EVENT)
    if pauses and number + 1 == len(BEFORE_PAUSE):
        tell(case)
    elif number + 1 < len(STEPS):
        context.object_send(step, context.key(), arg={"number": number + 1, "pauses": pauses})
    else:
        context.object_send(ended, context.key(), arg=case)


@stored.handler()
async def ended(_: ObjectContext, case: int) -> None:
    """Tell that the last step is durable."""
    tell(case)


def tell(case: int) -> None:
    _telling.sendto(str(case).encode(), ("127.0.0.1", int(os.environ[PAUSED_PORT])))


app = restate.app(services=[cases, approved, stored])
set_collector()
