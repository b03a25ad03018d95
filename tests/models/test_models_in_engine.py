"""A guarded node asks models over HTTP: repairs, the next model and waits are the engine's, and each answer is counted once."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from pydantic import BaseModel

from models.openai_server import Remote
from pointsman import CaseRow, Context, Guard, ModelResponse, Process, Retry, State, Status, finish, otherwise, when
from pointsman.kernel.rows import UsageRow
from pointsman.models import Message, Model, OpenAICompatible, Price, Task, with_repairs
from runtime.places import Place, run


class Triage(BaseModel):
    intent: Literal["refund", "order_status", "unclear"]


class Mail(State):
    text: str
    triage: Triage | None = None


class Ended(NamedTuple):
    """What became of a mail, and what its answers used, by model."""

    case: CaseRow
    usage: dict[str, UsageRow]


def desk() -> Process[Mail]:
    process = Process("desk", Mail)

    @process.node(writes="triage", guard=Guard(repairs_max=1, models=2), retry=Retry(attempts_max=3, first_seconds=0.0))
    async def classify(text: str, *, models: tuple[Model, ...], ctx: Context) -> ModelResponse[Triage]:
        messages = with_repairs([Message("user", text)], ctx)
        return await models[ctx.model].ask(Task("classify", {"text": text}), messages, Triage)

    process.rules(when("it is not classified", lambda m: m.triage is None, classify), otherwise(finish("classified")))
    return process


def worked_off(folder: Path, server: Remote, *faults: Any) -> Ended:
    """A mail that goes its way while these become of the answers; the first model has half the price of the second."""
    server.will(*faults)
    process = desk()
    models = tuple(OpenAICompatible("desk", base_url=server.url, name=name, price=Price(n, n)) for n, name in ((1, "first"), (2, "second")))

    async def main() -> Ended:
        async with Place(folder / "cases.db").open(process, resources={"models": models}) as engine:
            case = (await engine.start(process, Mail(text="I want my money back."))).case
            await engine.idle()
            return Ended(await engine.case(case), {row.model: row for row in await engine.reader.usage_of_case(case)})

    return run(main())


def test_an_answer_that_does_not_fit_is_repaired_with_its_faults_in_sight(server: Remote, tmp_path: Path) -> None:
    ended = worked_off(tmp_path, server, {"change": {"intent": "wire_money"}})

    told = server.counted()["last"]["body"]["messages"]
    assert ended.case.outcome == "classified"
    assert [message["role"] for message in told] == ["user", "assistant", "user"]
    assert "wire_money" in told[1]["content"]
    assert "must be 'refund', 'order_status' or 'unclear'" in told[2]["content"]
    assert ended.usage["first"].answers == 2


@pytest.mark.parametrize(
    ("faults", "answers"),
    [([{"status": 401}], {"second": 1}), ([{"content": "no"}, {"content": ""}], {"first": 2, "second": 1})],
    ids=["refused", "never fits"],
)
def test_the_next_model_is_asked_where_one_fails(server: Remote, tmp_path: Path, faults: list[Any], answers: dict[str, int]) -> None:
    ended = worked_off(tmp_path, server, *faults)

    assert ended.case.outcome == "classified"
    assert {name: row.answers for name, row in ended.usage.items()} == answers
    assert server.counted()["requests"] == len(faults) + 1


def test_a_busy_or_a_broken_server_is_asked_again_by_the_engine(server: Remote, tmp_path: Path) -> None:
    ended = worked_off(tmp_path, server, {"status": 429, "headers": {"Retry-After": "0"}}, {"cut": -10})

    assert (ended.case.outcome, ended.usage["first"].answers) == ("classified", 1)
    assert server.counted()["requests"] == 3


def test_a_model_that_nobody_can_ask_parks_the_case_with_the_setting_to_mend(server: Remote, tmp_path: Path) -> None:
    ended = worked_off(tmp_path, server, {"status": 404}, {"status": 404})

    assert ended.case.status is Status.PARKED
    assert "correct model or base_url" in str(ended.case.reason)


def test_the_recorded_usage_is_what_the_server_counted(server: Remote, tmp_path: Path) -> None:
    ended = worked_off(tmp_path, server, {"content": "no"}, {"change": {"intent": "odd"}}, {"without": ["intent"]})

    counted = server.counted()
    rows = ended.usage.values()
    tokens = {name: row.input_tokens + row.output_tokens for name, row in ended.usage.items()}
    assert sum(row.answers for row in rows) == counted["answers"] == 4
    assert sum(row.input_tokens for row in rows) == counted["prompt_tokens"]
    assert sum(row.output_tokens for row in rows) == counted["completion_tokens"]
    assert [row.cost for row in rows] == [tokens["first"] * 1_000, tokens["second"] * 2_000]
