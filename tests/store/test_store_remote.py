"""The contract is enough for a store on a server: nothing but its members is used, and everything that asks the server takes a while."""

import asyncio
import inspect
from collections.abc import AsyncGenerator, Callable
from typing import Any, get_type_hints

import pytest
from test_store_memory import SharedMemory

from pointsman import Engine, Item, Process, State, Status, each, finish, otherwise, when
from pointsman.store.base import Store
from pointsman.testing.conformance import LeaseConformance, OpenHandles, OpenStore, StoreConformance

FACTS = frozenset(name for part in Store.__mro__ for name in get_type_hints(part) if not name.startswith("_")) | {
    "checkpoints",  # whose calls answer with futures anyway
    "clock_high_water",
}
MEMBERS = FACTS | {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}


class Remote:
    """A store behind a connection: what is no member of the contract is not there, and each answer comes in a later turn of the loop."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._facts = {name: getattr(store, name) for name in FACTS}

    @property
    def reader(self) -> "Remote":
        return self

    def __getattr__(self, name: str) -> Any:
        if name in self._facts:
            return self._facts[name]
        if name not in MEMBERS:
            raise AttributeError(f"{name} is not in the contract of stores")
        method = getattr(self._store, name)
        return method if name == "closing" else self._listening if name == "notifications" else self._asking(method)

    def _asking(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def asked(*arguments: Any, **settings: Any) -> Any:
            await asyncio.sleep(0)
            answer = await method(*arguments, **settings)
            await asyncio.sleep(0)
            return answer

        return asked

    async def _listening(self) -> AsyncGenerator[None, None]:
        async for _ in self._store.notifications():
            await asyncio.sleep(0)
            yield


class SharedRemote(SharedMemory):
    async def another(self) -> Any:
        return Remote(await super().another())


class TestRemoteStore(StoreConformance, LeaseConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        async def open_store() -> Store:
            store: Store = await SharedRemote().another()
            return store

        return open_store

    @pytest.fixture
    def open_handles(self) -> OpenHandles:
        async def open_handles() -> SharedRemote:
            return SharedRemote()

        return open_handles


class Errand(State):
    places: list[str]
    found: list[str] | None = None


def test_an_engine_uses_nothing_but_the_contract() -> None:
    process = Process("errand", Errand)

    @process.node(writes="found")
    async def look(place: Item[str]) -> str:
        return f"{place} seen"

    process.rules(when("unseen", lambda c: c.found is None, each(look, over="places")), otherwise(finish("done")))

    async def main() -> tuple[Status, Any]:
        shared = SharedRemote()
        async with Engine.open("", [process], store=await shared.another(), clock=shared.clock) as engine:
            case = (await engine.start(process, {"places": ["here", "there"]}, key="k")).case
            row = await engine.wait_until_resting(case)
            return row.status, (await engine.state(case)).found

    assert asyncio.run(main()) == (Status.DONE, ["here seen", "there seen"])
    assert {"commit", "post", "change_limit", "notifications", "reserve", "renew"} <= MEMBERS
