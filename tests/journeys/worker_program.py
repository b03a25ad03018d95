"""A process that workers of the tests run: each order says when it begins and ends, in a file that all processes append to."""

import asyncio
import os
from pathlib import Path

from pointsman import Process, State, finish, otherwise, when


class Order(State):
    number: int
    seconds: float = 0.0
    waits: bool = False
    packed: int | None = None
    sent: int | None = None


class Told:
    """The file that the steps write to, a line each: what, which order and which process."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def may_go(self) -> bool:
        """Whether the test lets the steps that wait go on."""
        return self._file.with_suffix(".go").exists()

    def __call__(self, what: str, number: int) -> None:
        with self._file.open("a") as file:
            file.write(f"{what} {number} {os.getpid()}\n")


orders = Process("orders", Order)


@orders.node(writes="packed")
async def pack(number: int, seconds: float, waits: bool, *, told: Told) -> int:
    told("begin", number)
    await asyncio.sleep(seconds)
    while waits and not told.may_go:  # noqa: ASYNC110 - the test lets it go from another process
        await asyncio.sleep(0.01)
    told("end", number)
    return os.getpid()


@orders.node(writes="sent")
async def send(number: int, packed: int, *, told: Told) -> int:
    told("send", number)
    return packed


orders.rules(
    when("not packed", lambda order: order.packed is None, pack),
    when("not sent", lambda order: order.sent is None, send),
    otherwise(finish("delivered")),
)


def resources() -> dict[str, Told]:
    """What the process uses: the file that POINTSMAN_TEST_TOLD names."""
    return {"told": Told(Path(os.environ["POINTSMAN_TEST_TOLD"]))}
