"""`pointsman usage`, as an operator calls it."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from pydantic import BaseModel

import interpreter
from pointsman import Engine, ModelResponse, Process, State, Usage, finish, otherwise, when
from pointsman.models import Model, Scripted, Task
from pointsman.testing.clock import ManualClock


class Reply(BaseModel):
    text: str


class Mail(State):
    text: str
    reply: Reply | None = None


mails = Process("mails", Mail)


@mails.node(writes="reply")
async def draft(text: str, *, model: Model) -> ModelResponse[Reply]:
    return await model.ask(Task("draft"), [], Reply)


mails.rules(when("there is no reply", lambda m: m.reply is None, draft), otherwise(finish("drafted")))


def usage(db: Path, *options: str) -> str:
    return interpreter.run("-m", "pointsman.cli.main", "usage", "--db", db, *options, check=True).stdout


def test_usage_is_listed_per_day_tenant_and_model(tmp_path: Path) -> None:
    db = tmp_path / "cases.db"

    now = datetime.now(UTC)  # the cases have the same day, also if this one ends meanwhile

    async def main() -> None:
        used = Usage(input_tokens=40, output_tokens=5, cost=Decimal("0.0125"))
        model = Scripted(lambda task, messages: {"text": "hello"}, name="m-1", usage=used)
        async with Engine.open(db, [mails], resources={"model": model}, clock=ManualClock(now.timestamp())) as engine:
            for tenant in ("acme", "acme", ""):
                await engine.wait_until_resting((await engine.start(mails, {"text": "hi"}, tenant=tenant)).case)

    asyncio.run(main())

    rows = json.loads(usage(db, "--json"))
    assert [(row["tenant"], row["model"], row["answers"], row["input_tokens"], row["cost"]) for row in rows] == [
        ("", "m-1", 1, 40, "0.0125"),
        ("acme", "m-1", 2, 80, "0.025"),
    ]
    assert {datetime.fromisoformat(row["day"]).date() for row in rows} == {now.date()}
    assert "m-1" in usage(db)


def test_without_answers_it_says_so(tmp_path: Path) -> None:
    db = tmp_path / "cases.db"

    async def main() -> None:
        async with Engine.open(db, [mails], resources={"model": Scripted([])}):
            pass

    asyncio.run(main())

    assert usage(db, "--days", "3") == "No model has answered in the last 3 days.\n"
