"""A scripted model says what it was told to, and is held against the schema as every other one is."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal

import pytest
from pydantic import BaseModel

from pointsman import Context, DefinitionError, ModelResponse, NotSent, Usage, Violation
from pointsman.models import Message, Model, Price, Scripted, Task, with_repairs


class Triage(BaseModel):
    risk: Literal["low", "high"]


TASK = Task("classify", {"text": "Where is my order?"})
MESSAGES = [Message("user", "Where is my order?")]


def ask(model: Model) -> ModelResponse[Triage]:
    return asyncio.run(model.ask(TASK, MESSAGES, Triage))


@pytest.mark.parametrize(
    "answer",
    [Triage(risk="high"), {"risk": "high"}, '{"risk": "high"}', '```json\n{"risk": "high"}\n```'],
    ids=["model", "dict", "text", "fenced"],
)
def test_a_value_and_a_text_are_answers(answer: Any) -> None:
    got = ask(Scripted([answer], name="stub", usage=Usage(output_tokens=3)))

    assert (got.output, got.model, got.violations) == (Triage(risk="high"), "stub", ())
    assert '"risk"' in got.raw
    assert got.usage == Usage(output_tokens=3)


@pytest.mark.parametrize("answer", [{"risk": "catastrophic"}, '{"risk": "catastrophic"}', Triage.model_construct(risk="catastrophic")])
def test_an_answer_that_does_not_fit_has_the_violations_of_any_model(answer: Any) -> None:
    got = ask(Scripted([answer]))

    assert got.output is None
    assert [(one.check, one.message) for one in got.violations] == [("schema", "`risk` is \"catastrophic\"; it must be 'low' or 'high'")]


def test_an_attempt_is_returned_as_it_is() -> None:
    attempt: ModelResponse[Triage] = ModelResponse(None, "another", "...")

    assert ask(Scripted([attempt])) is attempt


@pytest.mark.parametrize("error", [NotSent("busy", retry_after=3), NotSent("down"), KeyError])
def test_an_exception_is_raised(error: Any) -> None:
    with pytest.raises(error if isinstance(error, type) else type(error)):
        ask(Scripted([error]))


def test_what_no_store_holds_is_cleaned_from_the_text() -> None:
    assert ask(Scripted(["\ud800\0"])).raw == "??"


def test_answers_come_in_order_and_questions_are_kept() -> None:
    model = Scripted([{"risk": "low"}, {"risk": "high"}])

    outputs = [ask(model).output, ask(model).output]

    assert outputs == [Triage(risk="low"), Triage(risk="high")]
    assert model.calls == 2
    assert model.asked[0] == (TASK, tuple(MESSAGES), Triage)


def test_a_function_answers_by_what_it_is_asked() -> None:
    def answer(task: Task, messages: Sequence[Message]) -> Any:
        return {"risk": "high" if task.name == "classify" and "order" in messages[-1].content else "low"}

    assert ask(Scripted(answer)).output == Triage(risk="high")


def test_a_script_that_has_run_out_says_so() -> None:
    model = Scripted([{"risk": "low"}], name="stub")
    ask(model)

    with pytest.raises(DefinitionError, match="'stub' was asked 2 times, now 'classify', and has 1 answers; give it one more"):
        ask(model)


def test_a_repair_shows_the_model_its_answer_and_what_is_wrong_with_it() -> None:
    wrong = (Violation(check="schema", message="`risk` is missing"), Violation(check="polite", message="it is not"))
    ctx = Context(case=1, step="classify", attempt=1, now=0.0, violations=wrong, rejected="{}")

    repair = with_repairs(MESSAGES, ctx)

    assert repair[:2] == [*MESSAGES, Message("assistant", "{}")]
    assert repair[2].role == "user"
    assert "- schema: `risk` is missing\n- polite: it is not\n" in repair[2].content


def test_a_repair_of_an_empty_answer_shows_none() -> None:
    ctx = Context(case=1, step="classify", attempt=1, now=0.0, violations=(Violation(check="schema", message="empty"),))

    assert [message.role for message in with_repairs(MESSAGES, ctx)] == ["user", "user"]


def test_a_first_question_is_asked_as_it_is() -> None:
    assert with_repairs(MESSAGES, Context(case=1, step="classify", attempt=1, now=0.0)) == MESSAGES


def test_a_price_counts_exactly() -> None:
    usage = Price(0.4, "1.6").usage(1_000, 500)

    assert usage == Usage(input_tokens=1_000, output_tokens=500, cost=Decimal("0.0012"))


@pytest.mark.parametrize("amount", [-1, "much", float("nan"), float("inf")])
def test_a_price_is_an_amount(amount: Any) -> None:
    with pytest.raises(DefinitionError, match="output_per_million"):
        Price(1, amount)


def test_importing_the_models_loads_no_client() -> None:
    code = "import sys, pointsman.models as m; m.Scripted; sys.exit(any(n in sys.modules for n in ('httpx', 'pydantic_ai', 'openai')))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
