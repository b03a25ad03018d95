"""Agents of Pydantic AI in the body of an entrypoint: each model request and each call of a tool is a recorded call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from pointsman.definition.effects import Safety
from pointsman.definition.limits import Limit
from pointsman.definition.nodes import Context, Retry
from pointsman.errors import DefinitionError
from pointsman.functional.asking import pause
from pointsman.functional.loop import AtOnce, ended, run_in_body
from pointsman.functional.tasks import INJECTED, Task, TaskGroup, task

try:
    from pydantic_ai import Agent, DeferredToolRequests, DeferredToolResults, ModelRetry, RunContext, ToolApproved, ToolDenied
    from pydantic_ai.messages import ModelMessage, ModelMessagesTypeAdapter, ModelResponse
    from pydantic_ai.models import Model, ModelRequestParameters, infer_model
    from pydantic_ai.models.wrapper import WrapperModel
    from pydantic_ai.run import AgentRunResult
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.toolsets import AbstractToolset, CombinedToolset, ToolsetTool, WrapperToolset
    from pydantic_ai.usage import RunUsage
except ImportError:
    raise DefinitionError("durable() needs Pydantic AI; install it with pip install 'pointsman[pydantic-ai,functional]'.") from None

D = TypeVar("D")
O = TypeVar("O")  # noqa: E741

RETRY = Retry()
_PARAMETERS = TypeAdapter(ModelRequestParameters)
_OF_ONE_RUN = frozenset({"timestamp", "run_id", "conversation_id"})
"""What differs each time that a body is run, and what no model sees."""


@dataclass(frozen=True)
class Approval:
    """The answer to the pause of a tool that needs approval. `message` tells the model why a call was refused."""

    approved: bool
    message: str = "The tool call was denied."


class DurableAgent(TaskGroup, Generic[D, O]):
    """An agent whose runs belong in the body of an entrypoint. `durable` makes it."""

    def __init__(
        self, agent: Agent[D, O], name: str, request: Task[..., Any], tools: Mapping[str, Task[..., Any]], tool: Task[..., Any]
    ) -> None:
        self._agent = agent
        self._model = _RecordedModel(_model_of(agent), request)
        self._deps: TypeAdapter[Any] = TypeAdapter(agent.deps_type)
        self._tools = tools
        self._tool = tool
        self.name = name
        self.tasks = (request, tool, *tools.values())

    def run_sync(
        self, prompt: str | None = None, *, deps: Any = None, message_history: Sequence[ModelMessage] | None = None
    ) -> AgentRunResult[O]:
        """Run the agent in a body, and return its result. A tool that needs approval pauses the case under the name "approve_tool".

        `deps` must come back equal from JSON. Raises TaskFailed if a model request or a tool failed for good, and what `Agent.run` raises.
        """
        return run_in_body(self._run(prompt, deps, message_history))

    async def run(
        self, prompt: str | None = None, *, deps: Any = None, message_history: Sequence[ModelMessage] | None = None
    ) -> AgentRunResult[O]:
        """As `run_sync`, for async bodies."""
        return self.run_sync(prompt, deps=deps, message_history=message_history)

    async def _run(self, prompt: str | None, deps: Any, history: Sequence[ModelMessage] | None) -> AgentRunResult[Any]:
        plain = self._deps.dump_python(deps, mode="json")
        toolsets = [toolset.visit_and_replace(lambda leaf: _RecordedToolset(leaf, self, plain)) for toolset in self._agent.toolsets]
        answers: DeferredToolResults | None = None
        outputs: Any = [self._agent.output_type, DeferredToolRequests]
        with self._agent.override(model=self._model, toolsets=toolsets, tools=[]), Agent.using_thread_executor(AtOnce()):
            while True:
                result: AgentRunResult[Any] = await self._agent.run(
                    prompt, deps=deps, message_history=history, deferred_tool_results=answers, output_type=outputs
                )
                if not isinstance(result.output, DeferredToolRequests):
                    return result
                answers = DeferredToolResults(approvals={call.tool_call_id: _approved(call) for call in result.output.approvals})
                prompt, history = None, result.all_messages()

    def recorded(self, name: str) -> Task[..., Any]:
        """The task that calls a tool."""
        return self._tools.get(name, self._tool)


def durable(
    agent: Agent[D, O], *, name: str | None = None, retry: Retry = RETRY, timeout_seconds: float | None = None, limit: Limit | None = None,
    safety: Safety | None = None, tools: Mapping[str, Safety] | None = None,
) -> DurableAgent[D, O]:  # fmt: skip
    """Make an agent whose runs survive a crash: an answer of a model that was recorded is never bought again.

    `retry`, `timeout_seconds` and `limit` are those of a model request. A request that is under way when the process dies is made again, because
    nobody knows its answer; with `safety=AtMostOnce()` a person decides instead. `tools` has the safety of each tool that changes the outside world; such
    a tool finds its idempotency key in `RunContext.metadata["key"]`. Other tools may run again after a crash. Raises DefinitionError.
    """
    name = name or agent.name
    if not name:
        raise DefinitionError("durable(): the agent has no name; give it one, or pass name=.")
    missing = [tool for tool in tools or () if not any(tool in getattr(each, "tools", ()) for each in agent.toolsets)]
    if missing:
        raise DefinitionError(f"durable(): agent {name!r} has no tool {missing[0]!r}.")
    model, deps_type = _model_of(agent), TypeAdapter[Any](agent.deps_type)

    async def request(messages: Any, settings: Any, parameters: Any) -> Any:
        said = ModelMessagesTypeAdapter.validate_python(messages)
        response = await model.request(said, settings, _PARAMETERS.validate_python(parameters))
        return ModelMessagesTypeAdapter.dump_python([response], mode="json")[0]

    def caller(key: bool) -> Any:
        async def call(tool: str, arguments: Any, deps: Any, at: Any, *, ctx: Context = INJECTED) -> Any:
            metadata = {"key": ctx.key} if key else None
            context = RunContext(
                deps=deps_type.validate_python(deps), model=model, usage=RunUsage(), tool_name=tool, metadata=metadata, **at
            )
            return await _called(CombinedToolset(agent.toolsets), tool, arguments, context)

        return call

    settings: dict[str, Any] = {"retry": retry, "timeout_seconds": timeout_seconds, "limit": limit, "safety": safety}
    effects = {tool: task(name=f"{name}.{tool}", safety=how)(caller(True)) for tool, how in (tools or {}).items()}
    return DurableAgent(agent, name, task(name=f"{name}.request", **settings)(request), effects, task(name=f"{name}.tool")(caller(False)))


class _RecordedModel(WrapperModel):
    """A model whose requests are calls of the body."""

    def __init__(self, model: Model, task: Task[..., Any]) -> None:
        super().__init__(model)
        self._task = task

    async def request(
        self, messages: list[ModelMessage], model_settings: ModelSettings | None, model_request_parameters: ModelRequestParameters
    ) -> ModelResponse:
        said = _stable(ModelMessagesTypeAdapter.dump_python(messages, mode="json"))
        response = await ended(
            self._task(said, to_jsonable_python(model_settings), _PARAMETERS.dump_python(model_request_parameters, mode="json"))
        )
        [message] = ModelMessagesTypeAdapter.validate_python([response])
        assert isinstance(message, ModelResponse)
        return message


@dataclass
class _RecordedToolset(WrapperToolset[Any]):
    """A toolset whose tools are calls of the body."""

    durable: DurableAgent[Any, Any] = field(repr=False)
    deps: Any

    async def call_tool(self, name: str, tool_args: dict[str, Any], ctx: RunContext[Any], tool: ToolsetTool[Any]) -> Any:  # noqa: ARG002 - the task looks it up
        at = {
            "tool_call_id": ctx.tool_call_id,
            "retry": ctx.retry,
            "max_retries": ctx.max_retries,
            "tool_call_approved": ctx.tool_call_approved,
        }
        told = await ended(self.durable.recorded(name)(name, to_jsonable_python(tool_args), self.deps, at))
        if "retry" in told:
            raise ModelRetry(told["retry"])
        return told["returned"]


async def _called(toolset: AbstractToolset[Any], name: str, arguments: Any, context: RunContext[Any]) -> Any:
    """Call a tool; what it says to the model is its result, too."""
    async with toolset:
        tool = (await toolset.get_tools(context))[name]
        try:
            return {
                "returned": to_jsonable_python(await toolset.call_tool(name, tool.args_validator.validate_python(arguments), context, tool))
            }
        except ModelRetry as again:
            return {"retry": again.message}


def _approved(call: Any) -> ToolApproved | ToolDenied:
    shown = {"tool": call.tool_name, "arguments": call.args_as_dict()}
    answer = pause(shown, answer=Approval, name="approve_tool")
    return ToolApproved() if answer.approved else ToolDenied(answer.message)


def _model_of(agent: Agent[Any, Any]) -> Model:
    if agent.model is None:
        raise DefinitionError(f"durable(): agent {agent.name!r} has no model; give it one.")
    return infer_model(agent.model)


def _stable(value: Any) -> Any:
    """Messages without what differs each time that a body is run."""
    if isinstance(value, dict):
        return {key: _stable(inner) for key, inner in value.items() if key not in _OF_ONE_RUN}
    return [_stable(inner) for inner in value] if isinstance(value, list) else value
