"""A file that has something of everything that a store keeps, made by an engine; and how an engine there or here goes on with it."""

import asyncio
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from pointsman import (
    AtMostOnce,
    Context,
    Engine,
    Guard,
    Item,
    Limit,
    Log,
    ModelResponse,
    Private,
    Process,
    Retry,
    Searchable,
    State,
    Status,
    Usage,
    each,
    every,
    finish,
    otherwise,
    remind,
    when,
)
from pointsman.definition.children import ChildEnd
from pointsman.definition.process import AnyProcess
from pointsman.integrations.langgraph import PointsmanSaver

LEASE_SECONDS = 3_600.0  # far longer than a machine stands still
HANG_SECONDS = 600.0  # far beyond any run here
ONE_DAY = Retry(attempts_max=3, first_seconds=86_400)


class World:
    """What effects did outside: the letters, and the keys that they were sent with."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.price_of_pears = False


class Mail(BaseModel, frozen=True):
    thread: str
    text: str


class Parcel(State):
    address: Private[str]
    label: str | None = None


class Order(State):
    mail: Mail
    customer: Searchable[str]
    notes: Log[str] = Field(default_factory=list)
    draft: str | None = None
    label: str | ChildEnd | None = None
    approval: str | None = None
    receipt: str | None = None


class Cart(State):
    lines: list[str]
    prices: list[int] | None = None


class Day(State):
    begun: str


def processes() -> list[AnyProcess]:
    """Orders with a guarded draft, a child, a pause and an effect; carts with branches that try again tomorrow; and a schedule."""
    parcels = Process("parcels", Parcel)
    print_label = parcels.pause(writes="label", answer=str, shows=("address",), name="print")
    parcels.rules(when("no label", lambda p: p.label is None, print_label), otherwise(finish("shipped")))

    orders = Process("orders", Order)

    @orders.node(writes="draft", limit=Limit("llm", concurrency=2), guard=Guard(polite))
    async def write(mail: Mail) -> ModelResponse[str]:
        return ModelResponse(f"sorry {mail.text}", "m", mail.text, Usage(input_tokens=7, output_tokens=3, cost=Decimal("0.002")))

    def address(customer: str) -> dict[str, str]:
        return {"address": customer}

    ship = orders.child(parcels, address, writes="label", result="label", name="ship")
    approve = orders.pause(writes="approval", answer=str, shows=("mail", "draft"), ladder=[remind("400d")])

    @orders.effect(writes="receipt", safety=AtMostOnce())
    async def send(draft: str, approval: str, *, ctx: Context, world: World) -> str:
        world.sent.append((draft, ctx.key))
        if "doubt" in draft and ctx.attempt == 1:
            raise OSError("the line went dead\0")
        return "sent"

    def thread(mail: Mail) -> str:
        return mail.thread

    orders.accept(Mail, writes="mail", correlate=thread, while_open="hold", starts=False)
    orders.accept(str, writes="notes", correlate=lambda note: note.partition(":")[0], while_open="append", starts=False, name="note")
    orders.rules(
        when("no draft", lambda c: c.draft is None, write),
        when("to be shipped", lambda c: c.mail.text.startswith("ship") and c.label is None, ship),
        when("not approved", lambda c: c.approval is None, approve),
        when("not sent", lambda c: c.receipt is None, send),
        otherwise(finish("sent")),
    )

    carts = Process("carts", Cart)

    @carts.node(writes="prices", retry=ONE_DAY)
    async def price(line: Item[str], *, world: World) -> int:
        if line == "pears" and not world.price_of_pears:
            raise OSError("ask again tomorrow")
        return len(line)

    carts.rules(when("not priced", lambda c: c.prices is None, each(price, over="lines")), otherwise(finish("priced")))

    days = Process("days", Day)
    days.schedule("daily", every("1d"), inputs=lambda tick: {"begun": tick.isoformat()})
    days.rules(otherwise(finish("over")))
    return [orders, parcels, carts, days]


def polite(draft: str) -> str | None:
    return None if "sorry" in draft else "it is rude"


def opened(place: Path | str, world: World, **more: Any) -> Any:
    """An engine on the file or the database."""
    return Engine.open(place, processes(), resources={"world": world}, grace_seconds=0.0, lease_seconds=LEASE_SECONDS, **more)


async def settle(engine: Engine) -> None:
    """Wait until nothing is in hand or due."""
    async with asyncio.timeout(HANG_SECONDS):
        await engine.idle(horizon_seconds=0)


async def answer_all(engine: Engine, process: str) -> None:
    """Answer the open pauses of a process."""
    for row in await engine.reader.cases(process=process, status=Status.WAITING):
        if (pause := await engine.reader.pause(row.id)) is not None and pause.closed is None:
            await engine.resume((await engine.pending(row.id)).token, f"yes {row.id}", by="anna")


async def live(place: Path | str, world: World) -> None:
    """The first half of the story: cases in every status, and something in every table."""
    async with opened(place, world) as engine:

        async def order(thread: str, text: str, tenant: str = "") -> int:
            inputs = {"mail": Mail(thread=thread, text=text), "customer": f"Ann of {text}"}
            return (await engine.start("orders", inputs, key=f"key {thread}", correlation=thread, tenant=tenant)).case

        ended = [await order("t1", "done"), await order("t2", "in doubt"), await order("t3", "to be erased")]
        await settle(engine)
        await answer_all(engine, "orders")
        await settle(engine)
        await engine.erase(ended[2], by="anna", why="she asked")
        waiting = [await order(f"t{number}", f"wait {number}", tenant=f"tenant {number % 2}") for number in range(4, 8)]
        await order("t9", "ship it")
        cancelled = await order("t8", "cancel me")
        await settle(engine)
        await engine.cancel(cancelled, by="anna", why="a slip")
        await engine.send("orders", "t9:ring twice", key="n1", name="note")
        await engine.send("orders", Mail(thread="t9", text="held"), key="m1")
        await engine.send("orders", Mail(thread="nobody", text="unmatched"), key="m2")
        await engine.start("carts", {"lines": ["apples", "pears"]}, key="cart")
        await engine.store_blob(b"\0\1 a large value")
        await settle(engine)
        assert len(waiting) == 4
        await engine.pause_intake(by="anna", why="we move")


async def go_on(place: Path | str, world: World) -> dict[str, Any]:
    """The second half: finish everything, and say how it ended."""
    world.price_of_pears = True
    async with opened(place, world) as engine:
        assert (await engine.start("orders", {"mail": Mail(thread="t1", text="x"), "customer": "y"}, key="key t1")).duplicate
        assert (await engine.start("orders", {"mail": Mail(thread="t3", text="x"), "customer": "y"}, key="key t3")).duplicate
        assert (await engine.send("orders", Mail(thread="t9", text="held"), key="m1")).how == "duplicate"
        await engine.resume_intake()
        await settle(engine)
        for _ in range(3):  # an order waits for its parcel first, and one that was held follows another
            await answer_all(engine, "parcels")
            await settle(engine)
            await answer_all(engine, "orders")
            await settle(engine)
        for entry in await engine.reader.in_doubt():
            await engine.resolve(entry.key, happened=True, by="anna", why="asked them", outcome="sent")
        [cart] = await engine.reader.cases(process="carts")
        if cart.status is not Status.DONE:
            await engine.cancel(cart.id, by="anna", why="tomorrow is too late")
        await engine.start("orders", {"mail": Mail(thread="new", text="new"), "customer": "Bo"}, key="new")
        await settle(engine)
        return await told(engine, world)


async def told(engine: Engine, world: World) -> dict[str, Any]:
    """How everything stands: cases with their states, the ledger, and what was sent."""
    cases = await engine.reader.cases()
    return {
        "cases": [(row[:5], row.outcome, row.key, row.reason, row.tenant, row.parent) for row in cases],
        "states": [[field[:2] for field in await engine.reader.fields(row.id)] for row in cases],
        "effects": [
            (entry.key, entry.status, entry.outcome, entry.attempts) for row in cases for entry in await engine.reader.effects(row.id)
        ],
        "held": [row.body for row in await engine.reader.held()],
        "unmatched": [row.body for row in await engine.reader.unmatched()],
        "sent": Counter(world.sent),
    }


def make_file(path: Path) -> World:
    """Make the file, with the thread of a LangGraph program beside the cases."""
    world = World()
    asyncio.run(live(path, world))
    with PointsmanSaver.open(path) as saver:
        write_thread(saver)
    return world


def write_thread(saver: PointsmanSaver) -> None:
    """Two checkpoints of a thread: a large value that is cut, a version that is a number, and what a task wrote."""
    config: Any = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}
    for number, versions in enumerate(({"a": 1, "b": "1.0"}, {"a": 2})):
        checkpoint: Any = {
            "v": 1, "id": f"id-{number}", "ts": "2026-01-01T00:00:00+00:00", "channel_values": {"a": ["x" * 1_000] * 400, "b": number},
            "channel_versions": {"a": number + 1, "b": "1.0"}, "versions_seen": {}, "updated_channels": None,
        }  # fmt: skip
        config = saver.put(config, checkpoint, {"source": "loop", "step": number, "parents": {}}, versions)
        saver.put_writes(config, [("a", "written")], "task", "")
