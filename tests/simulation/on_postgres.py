"""The store of a schedule on a real PostgreSQL: each simulated engine has a `PostgresStore` of its own on one schema.

A store lives in an event loop of real time, in a thread. The simulation waits for each of its answers, so virtual time stands still
meanwhile. The schedule's clock takes the place of the database's clock: of the function `store_time` of the schema.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from typing import Any
from unittest import mock

from psycopg import AsyncConnection, OperationalError
from schedule import Result, run
from world import DELAYS, LEASE_SECONDS, NEVER_ARRIVED, Wire, World, at_once

from pointsman import StoreError
from pointsman.kernel.rows import Transition
from pointsman.store.postgres import schema
from pointsman.store.postgres.connections import Connections, place_of
from pointsman.store.postgres.reader import PostgresReader
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.testing.loop import Host
from postgres_server import Server

ENGINES = 3
ANSWER_SECONDS = 60.0  # real ones; a store that takes longer hangs
CUT_CHANCE, COMMIT_CUT_CHANCE = 0.02, 0.15  # of a call of an engine, and of one that commits transitions
CUT_AT = (1, 1, 1, 2, 3, 5, 8)  # the round trip of a call that a cut comes with, if it has so many
BESIDE = ("pointsman-notifier", "pool-")  # tasks whose round trips come at moments of real time

# The schedule's time comes as `skew`.
CLOCK = """CREATE OR REPLACE FUNCTION {schema}.store_time(skew double precision) RETURNS double precision LANGUAGE sql STABLE AS
$$ SELECT greatest(skew, (SELECT max(heard_at) FROM {schema}.engines)) $$"""

POOL_LOG = logging.getLogger("psycopg.pool")

CUTS: dict[asyncio.AbstractEventLoop, "Cut"] = {}


class Cut:
    """The connection of a call ends at one of its round trips: before the server gets it, or before its answer arrives."""

    def __init__(self) -> None:
        self.left = 0  # round trips until the cut; 0 is never
        self.answered = False
        self.made = 0

    def comes(self) -> bool:
        task = asyncio.current_task()
        if not self.left or task is None or task.get_name().startswith(BESIDE):
            return False
        self.left -= 1
        self.made += not self.left
        return not self.left


class Thread:
    """An event loop of real time, for the caller who waits for what it runs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.cut = CUTS[self.loop] = Cut()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(ANSWER_SECONDS)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        del CUTS[self.loop]


class Noted(asyncio.Event):
    """Set after each commit of a store, by the store; it tells the simulation, too."""

    def __init__(self, told: Callable[[], None]) -> None:
        super().__init__()
        self._told = told

    def set(self) -> None:
        super().set()
        self._told()


class Blocking:
    """What has asynchronous methods in a thread's loop, for the simulation: they wait for nothing there."""

    def __init__(self, thread: Thread, target: Any) -> None:
        self.thread, self.target = thread, target

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.target, name)

        async def called(*args: Any, **settings: Any) -> Any:
            async def call() -> Any:
                return await method(*args, **settings)

            return self.thread.run(call())

        self.__dict__[name] = called
        return called


class Handle(Blocking):
    """The store of one engine."""

    target: PostgresStore

    def __init__(self, thread: Thread, target: PostgresStore) -> None:
        super().__init__(thread, target)
        self.incarnation, self.lease_seconds, self.clock_high_water = target.incarnation, target.lease_seconds, target.clock_high_water
        self.closing = target.closing
        self.news = asyncio.Event()
        self.has_committed = False

    async def commit_all(self, transitions: Sequence[Transition]) -> list[Any]:
        """Hand in transitions together; the case of each, or the exception that refused it."""

        async def commit(t: Transition) -> int:
            return await self.target.commit(t)

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*map(commit, transitions), return_exceptions=True)

        return self.thread.run(all_of_them())

    async def notifications(self) -> AsyncGenerator[None, None]:
        """Yield after commits of others, in virtual time."""
        while True:
            await self.news.wait()
            self.news.clear()
            yield

    def drop(self) -> None:
        """End its connections, as the death of its process does: its lease goes on."""
        if not self.target.connections.closed:
            self.thread.run(_dropped(self.target))


async def _dropped(store: PostgresStore) -> None:
    tasks = [store._telling, store._writer._task]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for line in store._writer.lines:
        await line.close()
    await store.connections.close()


class OnPostgres(Blocking):
    """The store of a schedule. The tests read it; an engine gets a wire to a handle of its own. `url` names an empty schema."""

    def __init__(self, world: World, url: str, figures: Counter[str]) -> None:
        name = place_of(url).schema
        self._url = f"{url}&options=-csearch_path%3D{name}_desk%2C{name}"  # first the author's tables, then ours
        self._world, self._figures = world, figures
        self._random = Random(world.seed + 3)
        self._handles: dict[str, Handle] = {}
        self._commits = 0
        super().__init__(Thread(), None)
        self.target = self.thread.run(self._prepared(name))

    async def _prepared(self, name: str) -> PostgresReader:
        connections = Connections(place_of(self._url))
        await connections.open()
        await schema.prepare(connections)
        incarnation = f"seed-{self._world.seed}"
        named = f"UPDATE {name}.meta SET value = '{incarnation}' WHERE name = 'incarnation'"
        for statement in (CLOCK.format(schema=name), f"CREATE SCHEMA {name}_desk", named):
            await connections.rows(statement)
        return PostgresReader(connections, incarnation)

    def engines(self, _: Random) -> int:
        """How many engines share the store."""
        return ENGINES

    def connect(self, host: Host) -> "PostgresWire":
        """Open the store for an engine that begins. The one that it comes after has crashed, or is closed."""
        if (earlier := self._handles.pop(host.name, None)) is not None:
            self._drop(earlier)

        async def opened() -> Handle:
            store = await open_postgres(self._url, lease_seconds=LEASE_SECONDS, skew=self._world.store_time)
            handle = Handle(self.thread, store)
            store._writer.committed = Noted(lambda: self._note(handle))
            return handle

        with self.may_be_cut():
            self._handles[host.name] = handle = self.thread.run(opened())
        return PostgresWire(self._world, host, handle)

    def written(self) -> int:
        """A number that is another one whenever something was written."""
        return self._commits

    def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What a statement of a test reads."""
        rows: list[tuple[Any, ...]] = self.thread.run(self.target.connections.rows(statement.replace("?", "%s"), parameters))
        return rows

    @contextmanager
    def may_be_cut(self, chance: float = CUT_CHANCE) -> Iterator[None]:
        """A call of an engine, whose connection may end meanwhile."""
        cut, random = self.thread.cut, self._random
        if self._world.faults and random.random() < chance:
            cut.left, cut.answered = random.choice(CUT_AT), random.random() < 0.5
        try:
            yield
        finally:
            cut.left = 0

    def notify(self, by: Handle) -> None:
        """Notify the other engines of a commit."""
        if by.has_committed:
            by.has_committed = False
            for other in self._handles.values():
                if other is not by:
                    self._world.loop.call_on(None, self._world.pick(DELAYS), other.news.set)

    def _note(self, handle: Handle) -> None:
        handle.has_committed = True
        self._commits += 1

    def _drop(self, handle: Handle) -> None:
        handle.drop()
        fates = handle.target._writer.fates
        self._figures.update(unknown=fates.unknown, committed=fates.found_committed, absent=fates.found_absent)

    def shut(self) -> None:
        """End it, with all connections."""
        for handle in self._handles.values():
            self._drop(handle)
        self.thread.run(self.target.connections.close())
        self.thread.stop()
        self._figures["cuts"] += self.thread.cut.made


class PostgresWire(Wire):
    """The wire of an engine to PostgreSQL. What the engine commits at one moment arrives together."""

    def __init__(self, world: World, host: Host, store: Handle) -> None:
        super().__init__(world, host, store)
        self._commits: list[tuple[Any, Transition]] = []

    def _arrive(self, answer: Any, name: str, method: Callable[..., Any], args: Any, settings: Any) -> None:
        if name != "commit":
            super()._arrive(answer, name, method, args, settings)
            return
        if not self._commits:
            self._world.loop.call_on(None, 0.0, self._commit)
        self._commits.append((answer, args[0]))

    def _carry_out(self, name: str, method: Callable[..., Any], args: Any, settings: Any) -> Any:
        with self._world.store.may_be_cut():
            result = super()._carry_out(name, method, args, settings)
        self._world.store.notify(self._store)
        return result

    def _commit(self) -> None:
        arrived, self._commits = self._commits, []
        fates = [self._fate("commit") for _ in arrived]
        together = [t for (_, t), fate in zip(arrived, fates, strict=True) if fate != NEVER_ARRIVED]
        with self._world.store.may_be_cut(COMMIT_CUT_CHANCE):
            results = iter(at_once(self._store.commit_all(together)))
        self._world.store.notify(self._store)
        for (answer, t), fate in zip(arrived, fates, strict=True):
            result = None if fate == NEVER_ARRIVED else next(results)
            if result == t.case:
                self._committed(t)
            self._answer(answer, StoreError(fate) if fate else result)


@contextmanager
def cutting() -> Iterator[None]:
    """Let the connections of the stores be cut."""
    original = AsyncConnection.wait

    async def wait(self: Any, trip: Any, *more: Any, **settings: Any) -> Any:
        cut = CUTS.get(asyncio.get_running_loop())
        comes = cut is not None and cut.comes()
        answer = None if comes and not cut.answered else await original(self, trip, *more, **settings)
        if comes:
            self.pgconn.finish()
            raise OperationalError("simulated: the connection was cut")
        return answer

    with mock.patch.object(AsyncConnection, "wait", wait), mock.patch.object(POOL_LOG, "disabled", new=True):
        yield


def run_on(server: Server, seed: int, figures: Counter[str], *, entrypoints: bool = False) -> Result:
    """Run one schedule in a schema of its own, and add to the figures."""
    with server.schema() as url, cutting():
        return run(seed, entrypoints=entrypoints, make_store=lambda world: OnPostgres(world, url, figures))
