"""The worker of the soak: a process of its own with an engine on a file, which does what it is told on its standard input.

Run as a program with the database, the provider's port, what kind of store it has, its seed, and how much grace it gives;
it says "ready" and then answers each JSON line with one of the same `id`, in any order. It ends in order at SIGTERM, and when
nobody tells it anything more.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from soak_provider import HELD_SECONDS, SETTLE_SECONDS, TIMEOUT_SECONDS

from pointsman import (
    ABSENT,
    UNKNOWN,
    AtLeastOnce,
    AtMostOnce,
    Context,
    Database,
    Engine,
    Found,
    Idempotent,
    Item,
    Log,
    NotSent,
    PointsmanError,
    Process,
    Reconcile,
    Retry,
    Safety,
    State,
    each,
    finish,
    otherwise,
    parallel,
    when,
)
from pointsman.store.sqlite import open_sqlite

LINES = ["bolt", "nut", "washer"]
EFFECTS = ("charge", "ship", "tell", "note")  # under Idempotent, Reconcile, AtMostOnce, AtLeastOnce


class Approval(BaseModel):
    by: str


class Remark(BaseModel):
    model_config = ConfigDict(frozen=True)

    order: int
    text: str


class Order(State):
    number: int
    lines: list[str] = Field(default_factory=LINES.copy)
    remarks: Log[Remark] = Field(default_factory=list)
    weights: list[str] | None = None
    place: int | None = None
    stock: str | None = None
    price: str | None = None
    total: str | None = None
    charge: str | None = None
    approval: Approval | None = None
    ship: str | None = None
    tell: str | None = None
    note: str | None = None


class Client:
    """Calls the provider, one connection a question."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def do(self, effect: str, number: int, ctx: Context) -> str:
        """Have an effect done. What did not reach the provider, or was turned away by it, was surely not done."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError as error:
            raise NotSent(str(error)) from None
        asked = {"do": "effect", "effect": effect, "number": number, "key": ctx.key, "sent_at": time.time()}
        answer = await self._ask(reader, writer, asked)
        if "retry_after" in answer:
            raise NotSent("the provider is busy", retry_after=answer["retry_after"])
        return str(answer["receipt"])

    async def look_up(self, key: str) -> dict[str, Any]:
        """Whether an effect was done, or may still be."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return await self._ask(reader, writer, {"do": "look up", "key": key})

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[str, Any]) -> dict[str, Any]:
        try:
            writer.write(json.dumps(asked).encode() + b"\n")
            line = await reader.readline()
            if not line:
                raise ConnectionError("the provider gave no answer")
            answer: dict[str, Any] = json.loads(line)
            return answer
        finally:
            writer.close()


async def look_up(number: int, total: str, *, ctx: Context, client: Client) -> Any:
    found = await client.look_up(ctx.key)
    if found["receipt"] is not None:
        return Found(found["receipt"])
    return UNKNOWN if found["underway"] else ABSENT


def effects_of_each_policy(process: Process[Any], timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[Any, Any, Any, Any]:
    """The effects `charge`, `ship`, `tell` and `note` of an order: `charge` and `note` may be called again, `ship` after a look, `tell`
    only by a person's word."""
    quick = Retry(attempts_max=4, first_seconds=0.02)

    def effect(name: str, safety: Safety) -> Any:
        async def act(number: int, total: str, *, ctx: Context, client: Client) -> str:
            return await client.do(name, number, ctx)

        return process.effect(act, writes=name, name=name, safety=safety, timeout_seconds=timeout_seconds, retry=quick)

    return (
        effect("charge", Idempotent()),
        effect("ship", Reconcile(look_up, SETTLE_SECONDS)),
        effect("tell", AtMostOnce()),
        effect("note", AtLeastOnce(because="the soak counts repetitions")),
    )


def orders(seed: str, timeout_seconds: float) -> Process[Order]:
    """An order: facts from several steps of which some fail at times, rows of its own, a person's word, and four effects."""
    process = Process("orders", Order)
    quick = Retry(attempts_max=4, first_seconds=0.02)

    @process.node(writes="stock", retry=quick)
    async def look_at_stock(number: int) -> str:
        await asyncio.sleep(0.005)
        return f"{number} in stock"

    @process.node(writes="price", retry=Retry(attempts_max=2, first_seconds=0.02))
    async def ask_price(number: int, *, ctx: Context) -> str:
        if Random(f"{seed} {number} {ctx.attempt} {ctx.now}").random() < 0.3:
            raise RuntimeError("no price this time")
        return f"price {number}"

    @process.node(writes="weights", retry=quick)
    async def weigh(number: int, line: Item[str], *, ctx: Context) -> str:
        if Random(f"{seed} {number} {line} {ctx.now}").random() < 0.05:
            raise RuntimeError("the scales are stuck")
        return f"{line} of {number}"

    @process.transaction(writes="place", retry=quick)
    def reserve(number: int, *, db: Database) -> int:
        db.execute("CREATE TABLE IF NOT EXISTS places (place INTEGER PRIMARY KEY, number INTEGER)")
        db.execute("INSERT INTO places (number) VALUES (?)", (number,))
        return int(db.execute("SELECT last_insert_rowid()")[0][0])

    @process.node(writes="total", retry=quick)
    def add_up(stock: str, price: str) -> str:
        return f"{stock}, {price}"

    charge, ship, tell, note = effects_of_each_policy(process, timeout_seconds)
    approve = process.pause(writes="approval", answer=Approval, shows=("number", "total"))
    process.accept(Remark, writes="remarks", correlate=lambda r: str(r.order), while_open="append", key=lambda r: r.text, starts=False)
    process.rules(
        when("facts are missing", lambda c: c.stock is None or c.price is None, parallel(look_at_stock, ask_price)),
        when("not weighed", lambda c: c.weights is None, each(weigh, over="lines")),
        when("not reserved", lambda c: c.place is None, reserve),
        when("not added up", lambda c: c.total is None, add_up),
        when("not charged", lambda c: c.charge is None, charge),
        when("not approved", lambda c: c.approval is None, approve),
        when("not shipped", lambda c: c.ship is None, ship),
        when("not told", lambda c: c.tell is None, tell),
        when("not noted", lambda c: c.note is None, note),
        otherwise(finish("delivered")),
    )
    return process


class WithoutIntents:
    """The control: a store that forgets to write intents."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, transition: Any) -> int:
        return await self._store.commit(replace(transition, intent=None))


async def obey(engine: Engine, asked: dict[str, Any]) -> dict[str, Any]:
    """Do one thing for the driver."""
    match asked:
        case {"do": "start", "number": number}:
            return (await engine.start("orders", {"number": number}, key=str(number), correlation=str(number)))._asdict()
        case {"do": "remark", "number": number, "text": text}:
            return (await engine.send("orders", Remark(order=number, text=text)))._asdict()
        case {"do": "settled", "case": case}:
            return (await engine.wait_until_resting(case))._asdict()
        case {"do": "pending", "case": case}:
            return {"token": (await engine.pending(case)).token}
        case {"do": "resume", "token": token, "by": by}:
            return (await engine.resume(token, Approval(by=by), by=by))._asdict()
        case {"do": "effects", "case": case}:
            return {"effects": [entry._asdict() for entry in await engine.reader.effects(case)]}
        case {"do": "redrive", "case": case}:
            return (await engine.redrive(case, by="driver", why="it was interrupted"))._asdict()
        case {"do": "resolve", "key": key, "receipt": receipt}:
            happened = receipt is not None
            return (await engine.resolve(key, happened=happened, by="driver", why="the provider's log", outcome=receipt))._asdict()
    raise AssertionError(asked)


async def listen(engine: Engine, obey: Callable[[Engine, dict[str, Any]], Awaitable[dict[str, Any]]] = obey) -> None:
    """Answer every line, each in its own time."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    answering: set[asyncio.Task[None]] = set()

    async def answer(asked: dict[str, Any]) -> None:
        try:
            told = await obey(engine, asked)
        except PointsmanError as error:
            told = {"error": type(error).__name__, "message": str(error)}
        print(json.dumps({**told, "id": asked["id"]}), flush=True)

    while line := await reader.readline():
        task = asyncio.create_task(answer(json.loads(line)))
        answering.add(task)
        task.add_done_callback(answering.discard)
    os.kill(os.getpid(), signal.SIGTERM)


async def main(database: Path, port: int, kind: str, seed: str, grace_seconds: float) -> None:
    forgets = kind == "forgets intents"
    store = WithoutIntents(await open_sqlite(database, now=time.time())) if forgets else None
    process = orders(seed, HELD_SECONDS if forgets else TIMEOUT_SECONDS)
    settings: dict[str, Any] = {"store": store, "grace_seconds": grace_seconds}
    async with Engine.open(database, [process], resources={"client": Client(port)}, **settings) as engine:
        listening, serving = asyncio.create_task(listen(engine)), asyncio.create_task(engine.serve())
        await asyncio.sleep(0)  # a signal now ends it in order
        print("ready", flush=True)
        await serving
        listening.cancel()
    print("closed", flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], float(sys.argv[5])))
