"""Count the walk of one case through our code: `python -m benchmarks.walk`.

The case starts, calls a node under a limit, calls an effect and finishes, in the durable store, after cases like it have warmed the
engine up. What counts is each call of a function or method that a file of `pointsman` defines, in the thread of the event loop and in
the writer's thread. A coroutine counts once, when it begins. Not counted: when a coroutine or generator goes on after it waited,
comprehensions, generator expressions, lambdas and class bodies (their code names begin with `<`), methods that `dataclass` writes
(they have no file), and what the engine's threads do once the case has ended. A change of module is a call in another module than
that of the call before it, in the order in which the calls of both threads began.
"""

import asyncio
import itertools
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pointsman
from pointsman import Context, Engine, Idempotent, Limit, Process, State, finish, otherwise, when

OURS = str(Path(pointsman.__file__).parent)
WARM_UP = 20  # cases; after the first few, every cache and every statement has been filled


class Order(State):
    """A case of one step and one effect."""

    number: int
    price: int | None = None
    paid: str | None = None


def process() -> Process[Order]:
    """A limited node, an effect and a finish."""
    ordering = Process("walk", Order)

    @ordering.node(writes="price", limit=Limit("prices", concurrency=4))
    async def price(number: int) -> int:
        return number

    @ordering.effect(writes="paid", safety=Idempotent())
    async def pay(price: int, *, ctx: Context) -> str:
        return f"paid {price} once as {ctx.key}"

    ordering.rules(
        when("it has no price", lambda o: o.price is None, price),
        when("it is not paid", lambda o: o.paid is None, pay),
        otherwise(finish("done")),
    )
    return ordering


class Walk:
    """The calls of ours, in their order, while `recording`."""

    def __init__(self) -> None:
        self.recording = False
        self.calls: list[CodeType] = []
        self._begun: set[int] = set()  # the frames of coroutines and generators that have begun
        self._frames: list[FrameType] = []  # keeps those frames, so that no later one has the id of an earlier one

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call; `sys.setprofile` and `threading.setprofile` call this."""
        code = frame.f_code
        if event != "call" or not self.recording or not code.co_filename.startswith(OURS) or code.co_name.startswith("<"):
            return
        if id(frame) not in self._begun:
            self._begun.add(id(frame))
            self._frames.append(frame)
            self.calls.append(code)

    def __str__(self) -> str:
        """Say the figures in one line."""
        modules = [code.co_filename for code in self.calls]
        inside = {module for module in modules if f"{OURS}/runtime/" in module}
        changes = sum(one != other for one, other in itertools.pairwise(modules))
        return (
            f"{len(modules)} calls, {len(set(self.calls))} functions, "
            f"{len(set(modules))} modules ({len(inside)} in runtime), {changes} changes of module"
        )


async def walked(folder: Path) -> Walk:
    """Run one case after the others, and note its walk."""
    walk, ordering = Walk(), process()
    threading.setprofile(walk.profile)
    sys.setprofile(walk.profile)
    try:
        async with Engine.open(folder / "cases.db", [ordering]) as engine:
            for number in range(WARM_UP):
                await engine.wait_until_resting((await engine.start(ordering, Order(number=number))).case)
            await engine.idle()
            walk.recording = True
            await engine.wait_until_resting((await engine.start(ordering, Order(number=WARM_UP))).case)
            walk.recording = False
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return walk


def main() -> None:
    """Print the figures."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))
    try:
        print(asyncio.run(walked(folder)))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
