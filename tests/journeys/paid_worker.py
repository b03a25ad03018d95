"""A worker that asks a model over HTTP: run as a program with the database, the server's URL, how many mails, and the kind of its node.

Each mail takes two answers, as the first one never passes the guard: the server says "legal" once the question names a lawyer,
which the violation does. It ends when all mails are worked off.
"""

import asyncio
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from pointsman import Context, Engine, Guard, ModelResponse, Process, Retry, State, finish, otherwise, when
from pointsman.models import Message, OpenAICompatible, Price, Task

ANSWERS_A_MAIL = 2
FAULT = "it is a matter for the lawyer"
KILLS_MAX = 1_000  # of one step: a crash counts as an attempt, and no crash here is the mail's fault


class Triage(BaseModel):
    intent: Literal["refund", "legal", "unclear"]


class Mail(State):
    text: str
    triage: Triage | None = None


def for_the_lawyer(triage: Triage) -> str | None:
    return None if triage.intent == "legal" else FAULT


def asking(kind: str) -> Process[Mail]:
    """A guarded node, or for comparison one that repairs within one call of its own."""
    process = Process("asking", Mail)
    retry = Retry(attempts_max=KILLS_MAX, first_seconds=0.0)

    async def classify(text: str, *, model: OpenAICompatible, ctx: Context) -> ModelResponse[Triage]:
        faults = " ".join(violation.message for violation in ctx.violations)
        return await model.ask(Task("classify"), [Message("user", f"{text} {faults}")], Triage)

    async def classify_twice(text: str, *, model: OpenAICompatible) -> ModelResponse[Triage]:
        await model.ask(Task("classify"), [Message("user", text)], Triage)
        return await model.ask(Task("classify"), [Message("user", f"{text} {FAULT}")], Triage)

    step = process.node(
        classify if kind == "guarded" else classify_twice, writes="triage", guard=Guard(for_the_lawyer, repairs_max=1), retry=retry
    )
    process.rules(when("it is not classified", lambda m: m.triage is None, step), otherwise(finish("classified")))
    return process


async def work(database: Path, url: str, mails: int, kind: str) -> None:
    process = asking(kind)
    model = OpenAICompatible("desk", base_url=url, price=Price(1, 2))
    async with Engine.open(database, [process], resources={"model": model}, concurrency=1) as engine:
        for number in range(mails):
            await engine.start(process, Mail(text=f"Mail {number:04}: I want my money back."), key=f"mail-{number}")
        await engine.idle()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]))
