"""A model of Pydantic AI is one request an attempt, and its failures are the engine's."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Literal

import pytest
from pydantic import BaseModel
from pydantic_ai.messages import ModelMessage, ModelRequest, TextPart, ToolCallPart
from pydantic_ai.messages import ModelResponse as ForeignResponse
from pydantic_ai.models import Model as ForeignModel
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.usage import RequestUsage

from later import LATER_SECONDS, run_until_late
from models.openai_server import Remote
from pointsman import DefinitionError, ModelResponse, NoModelResponse, NotSent, Rejected, Usage
from pointsman.models import Message, Price, PydanticAI, Task

KEY = "sk-secret-0123456789"
QUESTION = [
    Message("system", "Classify."),
    Message("user", "I want my money back."),
    Message("assistant", "{}"),
    Message("user", "The intent is missing."),
]


class Triage(BaseModel):
    intent: Literal["refund", "unclear"]
    note: str | None = None


def ask(
    model: ForeignModel | Callable[[], ForeignModel], late: Callable[[], object] | None = None, **settings: Any
) -> ModelResponse[Triage]:  # fmt: skip
    """Ask the model. When `late` holds, its time is over."""

    async def run() -> ModelResponse[Triage]:
        foreign = model if isinstance(model, ForeignModel) else model()
        return await PydanticAI(foreign, **settings).ask(Task("classify"), QUESTION, Triage)

    return asyncio.run(run()) if late is None else run_until_late(run(), late)


def openai(server: Remote) -> Callable[[], ForeignModel]:
    """A model of the provider's, whose client would try again by itself."""
    return lambda: OpenAIChatModel("desk", provider=OpenAIProvider(base_url=server.url, api_key=KEY))


def failure(server: Remote, *faults: Any, **settings: Any) -> Exception:
    """How an attempt fails; it made one request for each fault, and what it says holds no key."""
    server.will(*faults)
    with pytest.raises((NotSent, NoModelResponse, Rejected)) as raised:
        ask(openai(server), **settings)
    assert server.counted()["requests"] == len(faults)
    assert KEY not in str(raised.value)
    return raised.value


def test_an_answer_is_a_value_with_its_text_and_its_usage(server: Remote) -> None:
    attempt = ask(openai(server), price=Price(1, 2), name="small")

    counted = server.counted()
    assert (attempt.output, attempt.model, attempt.violations) == (Triage(intent="refund"), "small", ())
    assert Triage.model_validate_json(attempt.raw) == attempt.output
    assert attempt.usage == Price(1, 2).usage(counted["prompt_tokens"], counted["completion_tokens"])
    assert counted["requests"] == 1


def test_the_conversation_is_told_as_it_is(server: Remote) -> None:
    ask(openai(server))

    told = server.counted()["last"]["body"]["messages"]
    assert told == [message._asdict() for message in QUESTION]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"change": {"intent": "odd"}}, "`intent` is \"odd\"; it must be 'refund' or 'unclear'"),
        ({"without": ["intent"]}, '`intent` is missing; it must be one of "refund", "unclear"'),
        ({"content": '{"intent": "ref', "finish_reason": "length"}, "the answer was cut short at its limit of 2048 tokens (max_tokens); answer more briefly"),
        ({"content": ""}, "the answer is empty; answer with one JSON object"),
        ({"message": {"tool_calls": None, "content": None, "refusal": "no"}}, "the provider's content filter stopped the answer; answer in other words"),
    ],
)  # fmt: skip
def test_an_answer_that_does_not_fit_has_the_violations_of_any_model(server: Remote, fault: dict[str, Any], message: str) -> None:
    server.will(fault)

    attempt = ask(openai(server))

    assert attempt.output is None
    assert [(violation.check, violation.message) for violation in attempt.violations] == [("schema", message)]
    assert attempt.usage.output_tokens == server.counted()["completion_tokens"]
    assert server.counted()["requests"] == 1


@pytest.mark.parametrize(
    ("fault", "kind", "wait"),
    [
        ({"status": 429, "headers": {"Retry-After": "7"}}, NotSent, 7.0),
        ({"status": 503, "headers": {"Retry-After": "7"}}, NotSent, 7.0),
        ({"status": 503}, NoModelResponse, None),
        ({"status": 500}, NoModelResponse, None),
        ({"cut": -10}, NoModelResponse, None),
        ({"act": "reset"}, NoModelResponse, None),
        ({"body": "<html>"}, NoModelResponse, None),
        ({"body": "{}"}, NoModelResponse, None),
    ],
)
def test_a_failure_is_told_once_and_tried_again_by_nobody_here(server: Remote, fault: Any, kind: type, wait: float | None) -> None:
    error = failure(server, fault)

    assert type(error) is kind
    assert getattr(error, "retry_after", None) == wait


@pytest.mark.parametrize(
    ("fault", "mend"),
    [
        ({"status": 401, "body": {"error": {"message": f"no: {KEY}"}}}, "correct its key"),
        ({"status": 404, "body": {"error": {"message": "no such model"}}}, "(404: no such model); correct the model's name"),
        ({"status": 400}, "correct the model's name or its settings"),
        ({"status": 429, "body": {"error": {"code": "insufficient_quota", "type": "insufficient_quota"}}}, "credit or budget"),
    ],
)
def test_a_refusal_says_what_to_mend(server: Remote, fault: Any, mend: str) -> None:
    error = failure(server, fault)

    assert isinstance(error, Rejected)
    assert mend in str(error)


@pytest.mark.parametrize(("act", "counted"), [("silence", "held"), ("drip", "dripped")])
def test_an_answer_that_does_not_come_in_time_may_be_paid(server: Remote, act: str, counted: str) -> None:
    error = failure(server, {"act": act}, timeout_seconds=LATER_SECONDS, late=lambda: server.counted()[counted])

    assert isinstance(error, NoModelResponse)


def test_its_fallback_model_asks_the_next_one(server: Remote) -> None:
    server.will({"status": 500})

    attempt = ask(lambda: FallbackModel(openai(server)(), TestModel()))

    assert attempt.output == Triage(intent="refund")
    assert server.counted()["requests"] == 1


@pytest.mark.parametrize(
    ("faults", "kind"),
    [
        ([{"status": 400}, {"status": 429, "headers": {"Retry-After": "7"}}], NotSent),
        ([{"status": 500}, {"status": 400}], NoModelResponse),
        ([{"status": 400}, {"status": 401}], Rejected),
    ],
)
def test_when_all_of_a_fallback_fail_the_one_that_leaves_most_hope_counts(server: Remote, faults: list[Any], kind: type[Exception]) -> None:
    server.will(*faults)

    with pytest.raises(kind):
        ask(lambda: FallbackModel(openai(server)(), openai(server)()))


@pytest.mark.parametrize(("mode", "asked"), [("tool", (1, None)), ("native", (0, "Triage"))])
def test_the_form_is_asked_for_as_the_models_profile_prefers(mode: Any, asked: tuple[int, str | None]) -> None:
    seen: list[tuple[int, str | None]] = []

    def answer(_: list[ModelMessage], info: AgentInfo) -> ForeignResponse:
        form = info.model_request_parameters.output_object
        seen.append((len(info.output_tools), form.name if form else None))
        said = [ToolCallPart("Triage", {"intent": "refund"})] if info.output_tools else [TextPart('{"intent": "refund"}')]
        return ForeignResponse(parts=said, usage=RequestUsage(input_tokens=3, output_tokens=2))

    attempt = ask(FunctionModel(answer, profile=ModelProfile(default_structured_output_mode=mode, supports_json_schema_output=True)))

    assert attempt.output == Triage(intent="refund")
    assert attempt.usage == Usage(input_tokens=3, output_tokens=2)
    assert seen == [asked]


def test_a_model_that_asks_for_itself_is_asked_once() -> None:
    asked: list[ModelMessage] = []

    def answer(messages: list[ModelMessage], _: AgentInfo) -> ForeignResponse:
        asked.extend(messages)
        return ForeignResponse(parts=[ToolCallPart("Triage", {"intent": "odd"})])

    attempt = ask(FunctionModel(answer))

    assert attempt.output is None
    assert [type(message) for message in asked] == [ModelRequest, ForeignResponse, ModelRequest]


def test_a_count_that_no_answer_can_have_counts_nothing() -> None:
    def answer(_: list[ModelMessage], __: AgentInfo) -> ForeignResponse:
        return ForeignResponse(
            parts=[ToolCallPart("Triage", {"intent": "refund"})], usage=RequestUsage(input_tokens=-1, output_tokens=2**63)
        )

    attempt = ask(FunctionModel(answer))

    assert (attempt.output, attempt.usage) == (Triage(intent="refund"), Usage())


@pytest.mark.parametrize(
    ("name", "problem"),
    [("nonsense", "Unknown model"), ("openai:gpt-4.1-mini", "OPENAI_API_KEY"), ("anthropic:claude-haiku-4-5", "install|ANTHROPIC_API_KEY")],
)
def test_a_name_without_its_package_or_key_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, name: str, problem: str) -> None:
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(variable, raising=False)

    with pytest.raises(DefinitionError, match=problem):
        PydanticAI(name)


@pytest.mark.parametrize(("module", "make"), [("pydantic_ai", "PydanticAI('test')"), ("httpx", "OpenAICompatible('desk')")])
def test_an_extra_that_is_not_installed_is_named(module: str, make: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None\nfrom pointsman.models import *\n{make}"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "DefinitionError" in done.stderr
    assert "install it with pip install 'pointsman[" in done.stderr
