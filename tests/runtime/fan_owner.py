"""Run as a program, this engine works on two fan-outs, of which one branch each never ends, and says when both run. Its argument is the URL."""

import asyncio
import sys
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))

from fanning import PriceList, order, pricing
from places import LEASE_SECONDS

from patience import patient
from pointsman import Engine, Process, State, finish, otherwise, parallel, when
from pointsman.definition.process import AnyProcess

ARTICLES = ("bolt", "stuck", "nut", "washer")


class Facts(State):
    customer: str = "anna"
    bolt: int | None = None
    stuck: int | None = None
    nut: int | None = None


def gathering(prices: PriceList) -> Process[Facts]:
    """The prices of three articles, which are asked for in `parallel`."""
    process = Process("facts", Facts)

    def asks(article: str) -> Any:
        async def ask(customer: str) -> int:
            return await prices.ask(f"{customer}'s {article}")

        return process.node(ask, writes=article, name=f"ask_{article}")

    step = parallel(*map(asks, ("bolt", "stuck", "nut")))
    process.rules(when("not asked", lambda c: c.bolt is None, step), otherwise(finish("asked")))
    return process


def fan_outs(prices: PriceList) -> list[tuple[AnyProcess, dict[str, Any]]]:
    """A fan-out by `each` and one by `parallel`, with their inputs."""
    return [(pricing(prices), order(*ARTICLES)), (gathering(prices), {})]


async def main(url: str) -> None:
    prices = PriceList()
    prices.close("stuck", "anna's stuck")
    wanted = fan_outs(prices)
    async with Engine.open(url, [process for process, _ in wanted], lease_seconds=LEASE_SECONDS) as engine:
        cases = [(await engine.start(process, inputs, key="k")).case for process, inputs in wanted]
        await prices.until(lambda: set(prices.closed) <= set(prices.calls))
        print("begun", flush=True)
        await asyncio.gather(*map(engine.wait_until_resting, cases))


if __name__ == "__main__":
    with patient():
        asyncio.run(main(sys.argv[1]))
