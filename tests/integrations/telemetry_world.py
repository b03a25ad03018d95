"""A process that does a bit of everything, with a text of a customer in it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pointsman import (
    AtMostOnce,
    ChildEnd,
    Context,
    Engine,
    Guard,
    ModelResponse,
    Process,
    Retry,
    State,
    Usage,
    Violation,
    finish,
    otherwise,
    parallel,
    when,
)
from pointsman.definition.process import AnyProcess

T = TypeVar("T")

SECRET = "Mrs Smith of Elm Street"
HANG_SECONDS = 60.0  # far beyond any test here


class Claim(State):
    text: str
    facts: str | None = None
    rating: str | None = None
    policy: str | None = None
    approval: str | None = None
    receipt: str | None = None
    letter: ChildEnd | None = None


class Letter(State):
    words: str
    sent: str | None = None


def world() -> list[AnyProcess]:
    """Claims with a retry, a guarded rating beside a look-up, an approval, a payment and a letter, which is a child."""
    claims, letters = Process("claims", Claim), Process("letters", Letter)

    @letters.node(writes="sent")
    async def post(words: str) -> str:
        return words

    letters.rules(when("not sent", lambda c: c.sent is None, post), otherwise(finish("posted")))

    @claims.node(writes="facts", retry=Retry(attempts_max=2, first_seconds=0.001))
    async def read(text: str, *, ctx: Context) -> str:
        if ctx.attempt == 1:
            raise ValueError(text)
        return text

    def short(rating: str) -> Violation | None:
        return Violation(check="short", message=f"{SECRET} again") if rating == SECRET else None

    @claims.node(writes="rating", guard=Guard(short, repairs_max=1))
    async def rate(text: str, *, ctx: Context) -> ModelResponse[str]:
        return ModelResponse("low" if ctx.violations else text, "acme:big", text, Usage(input_tokens=3, output_tokens=4))

    @claims.node(writes="policy")
    async def look(text: str) -> str:
        return text

    approve = claims.pause(writes="approval", answer=str, shows=("text",))

    @claims.effect(writes="receipt", safety=AtMostOnce())
    async def pay(text: str, approval: str, *, ctx: Context) -> str:
        return f"{text} {approval} {ctx.key}"

    def inputs(text: str) -> dict[str, str]:
        return {"words": text}

    letter = claims.child(letters, writes="letter", inputs=inputs, name="letter")
    claims.rules(
        when("unread", lambda c: c.facts is None, read),
        when("unknown", lambda c: c.rating is None or c.policy is None, parallel(rate, look)),
        when("unapproved", lambda c: c.approval is None, approve),
        when("unpaid", lambda c: c.receipt is None, pay),
        when("untold", lambda c: c.letter is None, letter),
        otherwise(finish("paid")),
    )
    return [claims, letters]


async def start_it(engine: Engine) -> int:
    """Start a claim, and wait until it asks for its approval."""
    case = (await engine.start("claims", {"text": SECRET})).case
    await engine.wait_until_resting(case)
    return case


async def answer_it(engine: Engine, case: int) -> None:
    """Approve a claim, and wait until everything has ended."""
    await engine.resume((await engine.pending(case)).token, SECRET, by=SECRET)
    await engine.idle()


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a scenario, and fail where it hangs."""

    async def bounded() -> T:
        async with asyncio.timeout(HANG_SECONDS):
            return await main

    return asyncio.run(bounded())
