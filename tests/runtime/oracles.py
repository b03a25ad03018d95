"""A model that says what it was told to, and a process of one guarded node that asks it."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

from pointsman import (
    Budget,
    Context,
    Engine,
    Failure,
    Guard,
    ModelResponse,
    Process,
    Retry,
    State,
    Unsafe,
    Usage,
    Violation,
    finish,
    otherwise,
    when,
)


class Reply(BaseModel):
    text: str


class Mail(State):
    message: str
    sender: str = "ann"
    reply: Reply | Unsafe[Reply] | Failure | None = None


Answer = str | Exception | tuple[Violation, ...]


class Oracle:
    """A model that says what it was told to, in order; what it was asked with is kept."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[Context] = []

    def attempt(self, ctx: Context) -> ModelResponse[Reply]:
        self.asked.append(ctx)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        usage = Usage(input_tokens=10, output_tokens=5, cost=Decimal("0.002"))
        name = f"m{ctx.model}"
        if isinstance(answer, tuple):
            return ModelResponse(None, name, "{", usage, answer)
        return ModelResponse(Reply(text=answer), name, json.dumps(answer), usage)


def polite(reply: Reply) -> str | None:
    return None if "sorry" in reply.text else "it does not say sorry"


def to_the_sender(reply: Reply, sender: str) -> Iterator[str]:
    if sender not in reply.text:
        yield f"it does not name {sender}"


async def draft(message: str, *, oracle: Oracle, ctx: Context) -> ModelResponse[Reply]:
    return oracle.attempt(ctx)


ONCE = Retry(attempts_max=1)


def desk(guard: Guard | None, *, retry: Retry = ONCE, budget: Budget | None = None, **settings: Any) -> Process[Mail]:
    process = Process("desk", Mail, budget=budget)
    node = process.node(draft, writes="reply", guard=guard, retry=retry, **settings)
    process.rules(when("no reply", lambda c: c.reply is None, node), otherwise(finish("drafted")))
    return process


async def drafted(engine: Engine, process: Process[Mail], **inputs: Any) -> Mail:
    case = (await engine.start(process, Mail(message="where is it?", **inputs))).case
    await engine.idle()
    return await engine.state(case, Mail)


def facts(events: list[Any], kind: str) -> list[dict[str, Any]]:
    return [json.loads(event.facts) for event in events if event.kind == kind]
