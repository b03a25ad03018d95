"""The desk with a language model behind HTTP, a server process of its own: repairs, a failing server, and a budget."""

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from models.openai_server import Remote
from pointsman import Status
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Case, proposed
from pointsman_desk.config import SAMPLE, DeskConfig, ModelConfig
from pointsman_desk.mail.message import UNKNOWN_SENDER
from pointsman_desk.wiring import Desk, open_desk

OFFLINE = "rule-based, no AI"


def config_of(tmp_path: Path, server: Remote, **more: Any) -> DeskConfig:
    model = ModelConfig.model_validate({"model": "desk-1", "base_url": server.url, "price": {"input": "0.4", "output": "1.6"}})
    return DeskConfig(home=tmp_path / "desk", mailbox=SAMPLE / "mails", models=(model,), **more)


async def worked_off(desk: Desk) -> tuple[list[Case], Counter[str]]:
    await at_desk.work_off(desk, lambda name: None, asyncio.Event())
    rows = await desk.engine.reader.cases(limit=1_000)
    kinds = Counter(event.kind for event in await desk.engine.reader.events(limit=1_000_000))
    return [await desk.engine.state(row.id, Case) for row in rows], kinds


def authors_of(states: list[Case]) -> Counter[str]:
    return Counter(reply.author for state in states if (reply := proposed(state.reply)) is not None)


def test_a_model_behind_http_drives_the_desk_end_to_end(tmp_path: Path, server: Remote) -> None:
    server.will(
        {"for": "ClassifyAnswer", "change": {"intent": "flatter the customer"}},
        {"for": "ClassifyAnswer", "content": '{"intent": "order_st', "finish_reason": "length"},
        {"for": "DraftAnswer", "change": {"body": "Dear customer, you get 500 EUR back, guaranteed: https://win.test\n\n{{signature}}"}},
        {"for": "DraftAnswer", "content": "I would rather not answer in JSON."},
    )

    async def main() -> Any:
        async with open_desk(config_of(tmp_path, server)) as desk:
            states, kinds = await worked_off(desk)
            waiting = await desk.engine.reader.cases(status=Status.WAITING)
            for row in waiting:
                state = await desk.engine.state(row.id, Case)
                if state.verdict is not None and not state.verdict.violations and state.customer_id != UNKNOWN_SENDER:
                    await at_desk.approve(desk, row.id, by="anna", seen=None)
            done = await desk.engine.reader.cases(status=Status.DONE, limit=1_000)
            return (
                states,
                kinds,
                Counter(row.outcome for row in done),
                await desk.engine.reader.usage_of_days(desk.process.name, 0, 1 << 30),
            )

    states, kinds, outcomes, usage = asyncio.run(main())

    assert kinds["guard.violated"] == 4
    assert set(authors_of(states)) == {"desk-1"}
    assert outcomes["sent"] == sum(state.reply is not None and state.customer_id != UNKNOWN_SENDER for state in states)
    sent = list((tmp_path / "desk" / "outbox" / "new").glob("*"))
    assert len(sent) == outcomes["sent"] > 30
    assert not any(b"win.test" in file.read_bytes() or b"{{" in file.read_bytes() for file in sent)
    counted = server.counted()
    [used] = [row for row in usage if row.model == "desk-1"]
    assert used.answers == counted["answers"]
    assert (used.input_tokens, used.output_tokens) == (counted["prompt_tokens"], counted["completion_tokens"])


def test_when_the_server_fails_the_rules_and_templates_do_its_work(tmp_path: Path, server: Remote) -> None:
    server.will(*[{"status": 401, "body": "{}"}] * 200)

    async def main() -> Any:
        async with open_desk(config_of(tmp_path, server)) as desk:
            return await worked_off(desk)

    states, kinds = asyncio.run(main())

    assert set(authors_of(states)) == {OFFLINE}
    assert kinds["parked"] == 0


def test_a_spent_budget_leaves_the_rules_and_templates(tmp_path: Path, server: Remote) -> None:
    async def main() -> Any:
        config = config_of(tmp_path, server, budget={"day_cost": Decimal("0.002")}, concurrency=1)
        async with open_desk(config, clock=ManualClock()) as desk:  # no midnight comes, which begins the next day's budget
            states, kinds = await worked_off(desk)
            return states, kinds, await desk.engine.reader.usage_of_days(desk.process.name, 0, 1 << 30)

    states, kinds, usage = asyncio.run(main())

    spent = sum(row.cost for row in usage)
    assert authors_of(states)[OFFLINE] > 0
    assert kinds["parked"] == 0
    assert 2_000_000 <= spent < 4_000_000  # a bound is passed by the call that was under way, not by more
