"""A process whose payments are lines of a file, served to Restate. The folder FOLDER has the file, and a gate that holds payments until it is open."""

import asyncio
import os
from pathlib import Path

from pointsman import ABSENT, AtLeastOnce, Context, Found, Process, Reconcile, State, finish, otherwise, when
from pointsman.restate import restate_app

FOLDER = Path(os.environ["FOLDER"])
PAY_SECONDS = float(os.environ["PAY_SECONDS"])
LOOK_SECONDS = 0.01


class Claim(State):
    number: int
    checked: bool | None = None
    paid: str | None = None


def happens(kind: str, key: str) -> str:
    """Write a line, whole even if this process is killed."""
    line = os.open(FOLDER / kind, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(line, f"{key}\n".encode())
    os.close(line)
    return kind


async def gate() -> None:
    """Return when the gate is open."""
    while not (FOLDER / "open").exists():  # noqa: ASYNC110  # another process opens it
        await asyncio.sleep(LOOK_SECONDS)


claims = Process("claims", Claim)


@claims.node(writes="checked")
async def check(number: int) -> bool:
    return number > 0


def look_for_payment(number: int, *, ctx: Context) -> object:
    return Found("paid") if ctx.key in (FOLDER / "paid").read_text().split("\n") else ABSENT


@claims.effect(writes="paid", safety=Reconcile(look_for_payment, 0.1), timeout_seconds=PAY_SECONDS)
async def pay(number: int, *, ctx: Context) -> str:
    happened = happens("paid", ctx.key)
    await gate()
    return happened


@claims.effect(writes="paid", safety=AtLeastOnce("the test counts how often it repeats"), timeout_seconds=PAY_SECONDS)
async def pay_carelessly(number: int, *, ctx: Context) -> str:
    happened = happens("paid_carelessly", ctx.key)
    await gate()
    return happened


claims.rules(
    when("not checked", lambda c: c.checked is None, check),
    when("paid by care", lambda c: c.paid is None and c.number % 2 == 0, pay),
    when("paid by luck", lambda c: c.paid is None, pay_carelessly),
    otherwise(finish("paid")),
)
app = restate_app([claims])
