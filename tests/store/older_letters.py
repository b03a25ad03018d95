"""A process whose cases come to every status, and how a file full of them is made for the releases to come.

    PYTHONPATH=src python tests/store/older_letters.py tests/store/older/0006.sql

writes what an engine of the present code has in its file in the middle of its work, as SQL. It is made once for each number
of the tables that a release has, and then never again.
"""

import asyncio
import sqlite3
import sys
import tempfile
from pathlib import Path

from pointsman import AtMostOnce, Context, Engine, Process, Retry, State, finish, otherwise, parallel, when
from pointsman.testing.clock import ManualClock

NAMES = ("done", "cancelled", "parked", "waiting", "later", "halved", "unknown", "hanging")
FAILING = {"later": ConnectionError("the model does not answer"), "parked": ValueError("the model makes no sense")}
BEGAN = 1_000_000.0  # Unix seconds


class Letter(State):
    message: str
    sender: str | None = None
    customer: str | None = None
    reply: str | None = None
    approval: bool | None = None
    receipt: str | None = None


class World:
    """The world outside: in the middle of the work it does not answer those whose message says so."""

    def __init__(self, *, at_work: bool) -> None:
        self.at_work = at_work
        self.calls: list[str] = []
        self.hanging: set[str] = set()

    async def ask(self, message: str, silent: str) -> None:
        self.calls.append(message)
        if self.at_work and message == silent:
            self.hanging.add(message)
            await asyncio.Event().wait()


letters = Process("letter", Letter)


@letters.node(writes="sender")
async def find_sender(message: str) -> str:
    return f"sender of {message}"


@letters.node(writes="customer")
async def find_customer(message: str, *, world: World) -> str:
    await world.ask(message, "halved")
    return f"customer of {message}"


@letters.node(writes="reply", retry=Retry(attempts_max=2, first_seconds=60.0, jitter=0.0, on=(ConnectionError,)))
async def draft(message: str, *, world: World) -> str:
    await world.ask(message, "hanging")
    if world.at_work and message in FAILING:
        raise FAILING[message]
    return f"dear {message}"


@letters.effect(writes="receipt", safety=AtMostOnce(), timeout_seconds=30)
async def send(message: str, reply: str, *, ctx: Context, world: World) -> str:
    await world.ask(message, "unknown")
    return f"posted {reply}"


approve = letters.pause(writes="approval", answer=bool, shows=("reply",))

letters.rules(
    when("facts are missing", lambda c: c.sender is None or c.customer is None, parallel(find_sender, find_customer)),
    when("no reply", lambda c: c.reply is None, draft),
    when("open", lambda c: c.approval is None, approve),
    when("not sent", lambda c: c.receipt is None, send),
    otherwise(finish("sent")),
)


async def lived(path: Path) -> str:
    """The SQL of a file in which a case stands at each place where one can stand."""
    world, clock = World(at_work=True), ManualClock(BEGAN)
    async with Engine.open(path, [letters], resources={"world": world}, clock=clock, grace_seconds=0.0) as engine:
        cases = {name: (await engine.start(letters, {"message": name}, key=name)).case for name in NAMES}
        await engine.store_blob(b"a scan")
        for name in ("done", "cancelled", "parked", "waiting", "unknown"):
            await engine.wait_until_resting(cases[name])
        await engine.cancel(cases["cancelled"], by="anna", why="no longer wanted")
        for name in ("done", "unknown"):
            await engine.resume((await engine.pending(cases[name])).token, True, by="anna")
        await engine.wait_until_resting(cases["done"])
        while len(world.hanging) < 3 or (await engine.case(cases["later"])).wake_at is None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)
        dumped = sqlite3.connect(path)
        number = dumped.execute("PRAGMA user_version").fetchone()[0]
        text = "\n".join([f"PRAGMA application_id = {0x504D414E};", f"PRAGMA user_version = {number};", *dumped.iterdump()])
        dumped.close()
        return text + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        Path(sys.argv[1]).write_text(asyncio.run(lived(Path(folder) / "cases.db")), encoding="utf-8")
