"""Orders whose lines are priced one by one, and the price list that answers as a test wants."""

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from pointsman import Failure, Item, Process, Retry, State, each, finish, otherwise, when

ONCE = Retry(attempts_max=1)


class Line(BaseModel):
    model_config = ConfigDict(frozen=True)

    article: str
    count: int = 1


class Price(BaseModel):
    model_config = ConfigDict(frozen=True)

    cents: int


class Order(State):
    customer: str = "anna"
    lines: list[Line]
    prices: list[Price | Failure] | None = None


class PriceList:
    """The answers by article: a number, an error, or a list of these for one call after the other. Gates are open unless closed."""

    def __init__(self, **endings: Any) -> None:
        self.endings = endings
        self.calls: list[str] = []
        self.closed: dict[str, asyncio.Event] = {}
        self.swallowing: set[str] = set()
        self.at_once = 0
        self.most_at_once = 0
        self.swallowed: list[str] = []
        self._moved = asyncio.Event()

    def close(self, *articles: str) -> None:
        self.closed |= {article: asyncio.Event() for article in articles}

    async def ask(self, article: str) -> int:
        self.calls.append(article)
        self._moved.set()
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            if article in self.closed:
                await self._wait(article)
        finally:
            self.at_once -= 1
        ending = self.endings.get(article, 100)
        ending = ending.pop(0) if isinstance(ending, list) else ending
        if isinstance(ending, BaseException):
            raise ending
        return int(ending)

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait for a call, or a cancellation, after which the condition holds."""
        while not holds():
            self._moved.clear()
            await self._moved.wait()

    async def _wait(self, article: str) -> None:
        while True:
            try:
                await self.closed[article].wait()
            except asyncio.CancelledError:
                if article not in self.swallowing or article in self.swallowed:
                    raise  # once is enough: the end of a test cancels what it has left
                self.swallowed.append(article)
                self._moved.set()
            else:
                return


def pricing(prices: PriceList, retry: Retry = ONCE, *, failures: Any = None, at_once: int = 16, **settings: Any) -> Process[Order]:
    process = Process("order", Order)

    @process.node(writes="prices", retry=retry, **settings)
    async def price(line: Item[Line], customer: str) -> Price:
        return Price(cents=line.count * await prices.ask(line.article))

    process.rules(
        when("not priced", lambda c: c.prices is None, each(price, over="lines", failures=failures, concurrency=at_once)),
        otherwise(finish("priced")),
    )
    return process


def order(*articles: str) -> dict[str, Any]:
    return {"lines": [{"article": article} for article in articles]}
