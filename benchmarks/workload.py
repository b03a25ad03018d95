"""W1, the six-step workload: each step's result is about 300 bytes of JSON and durable before the next step runs."""

import random
from typing import Any

from pointsman import Process, State, finish, otherwise, when

STEPS = ("ingest", "classify", "fetch_order", "draft", "validate", "send")

_chance = random.Random(7)
_WORDS = ["".join(_chance.choices("etaoinshrdlucmf", k=_chance.randint(2, 9))) for _ in range(1_200)]
# Many different texts, so that nothing on the way can profit from having seen the same one before.
_TEXTS = [" ".join(_chance.choices(_WORDS, k=60))[:230] for _ in range(4_096)]


def payload(step: str, case: int) -> dict[str, Any]:
    """A result of about 300 bytes as JSON."""
    text = _TEXTS[(case * 7_919 + len(step) * 613) & 4_095]
    return {"step": step, "case": case, "ok": True, "score": 0.93, "text": text[: 230 - len(step)]}


class Mail(State):
    """A case of six results."""

    case: int
    ingest: dict[str, Any] | None = None
    classify: dict[str, Any] | None = None
    fetch_order: dict[str, Any] | None = None
    draft: dict[str, Any] | None = None
    validate_: dict[str, Any] | None = None
    send: dict[str, Any] | None = None


class Waiting(State):
    """A case that waits for a person."""

    number: int
    answer: str | None = None


def waiting() -> Process[Waiting]:
    """W4 as a process: every case pauses at once."""
    process = Process("waiting", Waiting)
    ask = process.pause(writes="answer", answer=str, shows=("number",))
    process.rules(when("nobody has answered", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


def six_steps() -> Process[Mail]:
    """The workload as a process: six nodes, chosen by seven rules."""
    process = Process("six-steps", Mail)

    @process.node(writes="ingest")
    async def ingest(case: int) -> dict[str, Any]:
        return payload("ingest", case)

    @process.node(writes="classify")
    async def classify(case: int) -> dict[str, Any]:
        return payload("classify", case)

    @process.node(writes="fetch_order")
    async def fetch_order(case: int) -> dict[str, Any]:
        return payload("fetch_order", case)

    @process.node(writes="draft")
    async def draft(case: int) -> dict[str, Any]:
        return payload("draft", case)

    @process.node(writes="validate_")
    async def validate(case: int) -> dict[str, Any]:
        return payload("validate", case)

    @process.node(writes="send")
    async def send(case: int) -> dict[str, Any]:
        return payload("send", case)

    process.rules(
        when("nothing was ingested", lambda c: c.ingest is None, ingest),
        when("it is not classified", lambda c: c.classify is None, classify),
        when("the order is missing", lambda c: c.fetch_order is None, fetch_order),
        when("there is no draft", lambda c: c.draft is None, draft),
        when("it is not validated", lambda c: c.validate_ is None, validate),
        when("it is not sent", lambda c: c.send is None, send),
        otherwise(finish("sent")),
    )
    return process
