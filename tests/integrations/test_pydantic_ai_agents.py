"""An agent of Pydantic AI in a body: a crash buys no recorded answer again, and a tool with effects follows its safety."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from pointsman import AtMostOnce, DefinitionError, Idempotent, Status
from pointsman.functional import entrypoint
from pointsman.integrations.pydantic_ai import durable
from pointsman.testing import World

# The tools and the model are async functions: the threads of plain ones would outlive a simulated crash.
ASKED: list[str] = []
PAID: list[str] = []


async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """First two tools at once, then the refund, then the text."""
    returned = [part for message in messages for part in message.parts if isinstance(part, ToolReturnPart)]
    ASKED.append(f"request {len(returned)}")
    if not returned:
        return ModelResponse(parts=[ToolCallPart("look_up", {"order": "A1"}), ToolCallPart("policy", {"topic": "late"})])
    if len(returned) == 2:
        return ModelResponse(parts=[ToolCallPart("refund", {"cents": 5})])
    return ModelResponse(parts=[TextPart(" and ".join(str(part.content) for part in returned))])


agent = Agent(FunctionModel(answer), name="helper", deps_type=str, instructions="Help.")


@agent.tool
async def look_up(ctx: RunContext[str], order: str) -> str:
    return f"{order} of {ctx.deps}"


@agent.tool_plain
async def policy(topic: str) -> str:
    return f"{topic}: refund"


@agent.tool(requires_approval=True)
async def refund(ctx: RunContext[str], cents: int) -> str:
    assert ctx.metadata is not None
    PAID.append(ctx.metadata["key"])
    return f"paid {cents}"


helper = durable(agent, tools={"refund": Idempotent()})
careful = durable(agent, name="careful", safety=AtMostOnce(), tools={"refund": Idempotent()})


@entrypoint()
def handle(customer: str) -> str:
    return helper.run_sync("Where is my order?", deps=customer).output


@entrypoint()
async def handle_async(customer: str) -> str:
    return (await helper.run("Where is my order?", deps=customer)).output


@entrypoint()
def handle_carefully(customer: str) -> str:
    return careful.run_sync("Where is my order?", deps=customer).output


GIVEN = {"invocation": {"input": "Ada", "thread": "t", "id": "t"}}
YES = {"approve_tool": {"approved": True, "message": ""}}


@pytest.mark.parametrize("example", [handle, handle_async], ids=["sync", "async"])
def test_an_agent_runs_in_a_body(example: Any) -> None:
    ASKED.clear()
    world = World(example.process, people=YES)
    case = world.run(lambda: world.start(example.process, GIVEN))

    assert world.case(case).status is Status.DONE, world.case(case).reason
    assert world.state(case)["result"] == {"value": "A1 of Ada and late: refund and paid 5"}
    assert ASKED == ["request 0", "request 2", "request 3"]


def requests_when_killed(example: Any) -> Iterator[tuple[int, World]]:
    """For each point: how many requests a case made that was killed there, and its world."""
    quiet = World(example.process, people=YES)
    quiet.run(lambda: quiet.start(example.process, GIVEN))
    for point in range(1, quiet.steps + 1):
        ASKED.clear()
        PAID.clear()
        world = World(example.process, people=YES, crash_before=point)
        world.run(partial(world.start, example.process, GIVEN))
        yield len(ASKED), world


def test_a_recorded_answer_is_not_bought_again_wherever_it_is_killed() -> None:
    requests = []
    for made, world in requests_when_killed(handle):
        assert world.state(1)["result"] == {"value": "A1 of Ada and late: refund and paid 5"}
        assert len(set(PAID)) == 1  # the payment service sees one key
        requests.append(made)

    assert len(requests) > 40
    assert set(requests) == {3, 4}  # only a request that is under way when the process dies is made again


def test_no_request_is_made_twice_unless_a_person_says_that_it_was_not_made() -> None:
    for made, world in requests_when_killed(handle_carefully):
        denied = sum("it did not happen" in event.facts for event in world.events(1))
        assert made <= 3 + denied


def test_an_agent_belongs_in_a_body() -> None:
    with pytest.raises(RuntimeError, match="only in the body of an entrypoint"):
        helper.run_sync("hello", deps="Ada")
    with pytest.raises(DefinitionError, match="no tool 'pay'"):
        durable(agent, tools={"pay": Idempotent()})


def test_a_refused_tool_tells_the_model() -> None:
    PAID.clear()
    world = World(handle.process, people={"approve_tool": {"approved": False, "message": "not today"}})
    case = world.run(lambda: world.start(handle.process, GIVEN))

    assert world.state(case)["result"] == {"value": "A1 of Ada and late: refund and not today"}
    assert PAID == []
