"""The workloads as processes of this library."""

from collections.abc import Callable
from typing import Any

from pydantic import Field

from benchmarks.workload import payload
from pointsman import Item, Log, Peek, Process, State, each, finish, otherwise, when


class Mail(State):
    """W1: a case of six results. W2: the same, with an approval before the last."""

    case: int
    ingest: dict[str, Any] | None = None
    classify: dict[str, Any] | None = None
    fetch_order: dict[str, Any] | None = None
    draft: dict[str, Any] | None = None
    validate_: dict[str, Any] | None = None
    approval: str | None = None
    send: dict[str, Any] | None = None
    told: bool | None = None  # where a step more tells of the end


def six_steps(
    *, approved: bool = False, result: Callable[[str, int], dict[str, Any]] = payload, tell: Callable[[int], None] | None = None
) -> Process[Mail]:
    """Six nodes, chosen by rules; with a person's approval before the last one if `approved`. `result` makes what a step of a case writes.

    With `tell`, a seventh node calls it, which tells that the sixth is durable.
    """
    process = Process("approved-steps" if approved else "six-steps", Mail)

    @process.node(writes="ingest")
    async def ingest(case: int) -> dict[str, Any]:
        return result("ingest", case)

    @process.node(writes="classify")
    async def classify(case: int) -> dict[str, Any]:
        return result("classify", case)

    @process.node(writes="fetch_order")
    async def fetch_order(case: int) -> dict[str, Any]:
        return result("fetch_order", case)

    @process.node(writes="draft")
    async def draft(case: int) -> dict[str, Any]:
        return result("draft", case)

    @process.node(writes="validate_")
    async def validate(case: int) -> dict[str, Any]:
        return result("validate", case)

    @process.node(writes="send")
    async def send(case: int) -> dict[str, Any]:
        return result("send", case)

    @process.node(writes="told")
    async def told(case: int) -> bool:
        assert tell is not None
        tell(case)
        return True

    approve = process.pause(name="approve", writes="approval", answer=str, shows=("draft",))
    process.rules(
        when("nothing was ingested", lambda c: c.ingest is None, ingest),
        when("it is not classified", lambda c: c.classify is None, classify),
        when("the order is missing", lambda c: c.fetch_order is None, fetch_order),
        when("there is no draft", lambda c: c.draft is None, draft),
        when("it is not validated", lambda c: c.validate_ is None, validate),
        when("nobody has approved it", lambda c: approved and c.approval is None, approve),
        when("it is not sent", lambda c: c.send is None, send),
        when("nobody was told", lambda c: tell is not None and c.told is None, told),
        otherwise(finish("sent")),
    )
    return process


class Parts(State):
    """W3: a case with many branches."""

    case: int
    numbers: list[int]
    parts: list[dict[str, Any]] | None = None
    total: int | None = None


def fan_out() -> Process[Parts]:
    """One node for each number, and one that joins the results."""
    process = Process("fan-out", Parts)

    @process.node(writes="parts")
    async def part(case: int, number: Item[int]) -> dict[str, Any]:
        return payload("part", case, number)

    @process.node(writes="total")
    async def join(parts: list[dict[str, Any]]) -> int:
        return len(parts)

    process.rules(
        when("there are no parts", lambda c: c.parts is None, each(part, over="numbers", concurrency=256)),
        when("they are not joined", lambda c: c.total is None, join),
        otherwise(finish("joined")),
    )
    return process


class Waiting(State):
    """W4: a case that waits for a person."""

    number: int
    answer: str | None = None


def waiting() -> Process[Waiting]:
    """Every case pauses at once."""
    process = Process("waiting", Waiting)
    ask = process.pause(writes="answer", answer=str, shows=("number",))
    process.rules(when("nobody has answered", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    return process


class Loop(State):
    """W5: a case of many steps."""

    steps: int
    taken: int | None = None
    last: dict[str, Any] | None = None


def loop(times: list[float], now: Callable[[], float]) -> Process[Loop]:
    """One node that runs `steps` times, and notes when."""
    process = Process("loop", Loop, steps_max=1_000_000)

    @process.node(writes=("taken", "last"))
    async def step(taken: Peek[int | None]) -> tuple[int, dict[str, Any]]:
        times.append(now())
        return (taken or 0) + 1, payload("loop", 1, taken or 0)

    process.rules(when("steps are left", lambda c: (c.taken or 0) < c.steps, step), otherwise(finish("all taken")))
    return process


class Growing(State):
    """W5: a case with a list that grows."""

    items: int
    entries: Log[dict[str, Any]] = Field(default_factory=list)


def growing() -> Process[Growing]:
    """One node that adds an item to the list, until it has as many as it should."""
    process = Process("growing", Growing, steps_max=1_000_000)

    @process.node(writes="entries")
    async def add(items: int) -> dict[str, Any]:
        return payload("grow", items)

    process.rules(when("items are missing", lambda c: len(c.entries) < c.items, add), otherwise(finish("grown")))
    return process
