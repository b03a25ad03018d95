"""The driver of the fleet: it has orders worked off by engines in several processes on one PostgreSQL, and breaks everything between.

What the driver was answered is what counts: it is compared with what the provider did, and with what the database says.
"""

import asyncio
import json
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import psycopg
from fleet_worker import orders
from soak_provider import SETTLE_SECONDS, THINKING_SECONDS
from soak_worker import EFFECTS, Client, obey
from soak_world import HERE, Worker

from pointsman import Engine, Status
from pointsman.runtime.lease import RENEWALS
from pointsman.store.base import Reader
from pointsman.store.postgres.connections import place_of
from postgres_proxy import Proxy
from postgres_server import Server

LEASE_SECONDS = 2.5  # short, so that take-overs are soon; a renewal that a busy machine is late with must not end a worker
LONG_LEASE_SECONDS = 8.0  # where the lease of a worker must not end before it is stopped
SWEEP_SECONDS = LEASE_SECONDS / RENEWALS  # workers look for expired leases at least when they renew their own
STOPPED_SECONDS = 2 * LEASE_SECONDS
HOLE_SECONDS = 1.5 * LEASE_SECONDS
DELAY_SECONDS = 0.1  # for each request and each answer
LOOK_SECONDS = 0.05  # between two looks at whether cases were taken over
UNDERWAY = 10  # orders at once
MENDING_SECONDS = 180  # far beyond what it takes to work off the rest: a case that nobody drives fails the test instead

Ask = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


@dataclass
class Faults:
    """How often each thing is broken."""

    kills: int = 0
    stops: int = 0
    cuts: int = 0
    holes: int = 0
    delays: int = 0
    restarts: int = 0

    def scenes(self, random: Random) -> list[str]:
        """All of them, in a random order."""
        scenes = [name for name, count in vars(self).items() for _ in range(count)]
        random.shuffle(scenes)
        return scenes


@dataclass
class Told:
    """What the driver has done and was answered, and what it found in the end."""

    cases: dict[int, int] = field(default_factory=dict)
    did: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0
    unknown: int = 0
    found_committed: int = 0
    found_absent: int = 0
    take_overs: list[float] = field(default_factory=list)  # seconds from the end of a worker until another one has its case
    resolved: int = 0
    effects: int = 0
    lost: int = 0
    duplicated: int = 0
    stale: int = 0
    repeated_as_declared: int = 0
    wrong: list[str] = field(default_factory=list)


class Place:
    """A place of the fleet: a worker at a time, which reaches the database through a proxy of its own."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.worker: Worker | None = None
        self.engine: int | None = None  # the worker's number in the database
        self.hired = asyncio.Event()


class Fleet:
    """`workers` processes work off orders until all faults have happened; then an engine without faults works off the rest."""

    def __init__(self, folder: Path, server: Server, url: str, *, workers: int, seed: int) -> None:
        self.folder, self.log = folder, folder / "provider.log"
        self.server, self.url, self.seed = server, url, seed
        self.workers = workers
        self.lease_seconds = LEASE_SECONDS
        self.lasting: list[Path] = []  # the files until which the first steps at each place last
        self.random = Random(seed)
        self.told = Told()
        self.places: list[Place] = []
        self.watching: list[asyncio.Task[None]] = []
        self.operating: list[asyncio.Task[None]] = []
        self.over = False
        self.continued_at = 0.0  # when a worker that was stopped went on (Unix seconds)
        self.closing = False  # then nobody hires workers any more
        self.numbers = 0
        self.port = 0

    async def run(self, faults: Faults, *, orders_min: int = 0) -> Told:
        """Break the fleet so often while it works, let the rest be worked off, and look at everything."""
        async with self._open():
            async with asyncio.TaskGroup() as group:
                customers = [group.create_task(self._customer(orders_min)) for _ in range(UNDERWAY)]
                for scene in faults.scenes(self.random):
                    await asyncio.sleep(self.random.uniform(0.05, 0.3))
                    await getattr(self, f"_{scene}")(self.random.choice(self.places))
                    self.told.did[scene] += 1
                self.over = True
                await asyncio.wait(customers)  # with workers: a customer whose worker has ended asks another one
            await asyncio.gather(*self.operating)
            await asyncio.gather(*self.watching)
            self.closing = True
            await self._end_workers()
            await self._look()
        return self.told

    async def stop_an_owner(self, number_of_orders: int) -> Told:
        """Stop one of two workers in the middle of a step until another one does the same step, and let it go on."""
        ends = self.folder / "ends"
        self.lasting = [ends, self.folder / "never"]  # the other worker is still at it when the first one goes on
        self.lease_seconds = LONG_LEASE_SECONDS
        async with self._open():
            owner, other = self.places
            assert owner.worker is not None
            assert other.worker is not None
            stopped = owner.worker.process
            other.worker.process.send_signal(signal.SIGSTOP)  # so that the owner gets all orders
            for number in range(number_of_orders):
                told = await owner.worker.ask({"do": "start", "number": number})
                self.told.cases[number] = told["case"]
            self.numbers = number_of_orders
            await self._until(lambda: len(self._asked()) == number_of_orders)
            await asyncio.sleep(2 * THINKING_SECONDS)  # it has the answers, and its steps go on
            stopped.send_signal(signal.SIGSTOP)
            other.worker.process.send_signal(signal.SIGCONT)
            await self._until(lambda: all(len(askers) > 1 for askers in self._asked().values()))
            self.closing = True
            ends.touch()
            stopped.send_signal(signal.SIGCONT)
            self.told.did["stops"] += 1
            await owner.worker.listening  # it has found out that it has lost its lease
            await self._end_workers()
            states = await self._look()
            self.told.stale = sum(states[number].get("asked") == stopped.pid for number in states)
        return self.told

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.told.wrong.append(otherwise)

    def _expect_own_changes(self, case: int, reason: str | None) -> None:
        self.expect("nobody else has changed" not in str(reason), f"case {case}: {reason}")

    # The processes.

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        self.server.execute("CREATE TABLE IF NOT EXISTS public.fleet_places (place serial PRIMARY KEY, number integer)")
        provider = await asyncio.create_subprocess_exec(
            sys.executable, HERE / "soak_provider.py", self.log, str(self.seed), "moods", stdout=asyncio.subprocess.PIPE
        )
        assert provider.stdout is not None
        self.port = int(await provider.stdout.readline())
        keepers: list[asyncio.Task[None]] = []
        with ExitStack() as stack:
            self.places = [Place(stack.enter_context(Proxy(self.url))) for _ in range(self.workers)]
            try:
                keepers = [asyncio.create_task(self._keep(place)) for place in self.places]
                for place in self.places:
                    await place.hired.wait()
                yield
            finally:
                for keeper in keepers:
                    keeper.cancel()
                await asyncio.gather(*keepers, return_exceptions=True)
                for place in self.places:
                    if place.worker is not None and place.worker.process.returncode is None:
                        await place.worker.end(signal.SIGKILL)
                provider.kill()
                await provider.communicate()
                self.server.execute("DROP TABLE public.fleet_places")

    async def _keep(self, place: Place) -> None:
        """Keep a worker at this place: hire another one when it ends, as a supervisor does."""
        while not self.closing:
            lasting = map(str, self.lasting[self.places.index(place) :][:1])
            arguments = (place.proxy.url, str(self.port), str(self.lease_seconds), *lasting)
            pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
            process = await asyncio.create_subprocess_exec(sys.executable, HERE / "fleet_worker.py", *arguments, **pipes)
            place.worker = worker = Worker(process, 1.0)
            await worker.ready.wait()
            if worker.last == "ready":
                place.engine = (await worker.ask({"do": "who"})).get("engine")
                place.hired.set()
            await asyncio.wait([worker.listening])
            place.hired.clear()
            code = await process.wait()
            if worker.last.startswith("["):
                last, unknown, committed, absent = json.loads(worker.last)
                self.told.unknown += unknown
                self.told.found_committed += committed
                self.told.found_absent += absent
                self.told.ends[last] += 1
            elif code == -signal.SIGKILL or (self.closing and code == -signal.SIGTERM):  # the latter while it starts
                self.told.ends["killed"] += 1
            else:
                self.told.wrong.append(f"a worker ended with {code}: {worker.last}")

    async def _end_workers(self) -> None:
        for place in self.places:
            place.proxy.let_through()
            if place.worker is not None:
                await place.worker.end(signal.SIGTERM)

    # The faults.

    async def _kills(self, place: Place) -> None:
        await self._at_work(place)
        assert place.worker is not None
        engine = place.engine
        await place.worker.end(signal.SIGKILL)
        await self._watch(engine)

    async def _stops(self, place: Place) -> None:
        await self._at_work(place)
        assert place.worker is not None
        self.continued_at = inf
        place.worker.process.send_signal(signal.SIGSTOP)
        await self._watch(place.engine)
        await asyncio.sleep(STOPPED_SECONDS)
        if place.worker.process.returncode is None:
            place.worker.process.send_signal(signal.SIGCONT)
        self.continued_at = time.time()

    async def _cuts(self, place: Place) -> None:
        await place.hired.wait()
        place.proxy.cut_at_commit(self.random.choice(("before", "after")))

    async def _holes(self, place: Place) -> None:
        await place.hired.wait()
        place.proxy.swallow()
        await asyncio.sleep(HOLE_SECONDS)
        place.proxy.let_through()

    async def _delays(self, place: Place) -> None:
        await place.hired.wait()
        place.proxy.delay(DELAY_SECONDS)
        await asyncio.sleep(LEASE_SECONDS)
        place.proxy.delay(0.0)

    async def _restarts(self, _: Place) -> None:
        await asyncio.to_thread(self.server.restart_immediately)

    async def _at_work(self, place: Place) -> None:
        """Wait until a worker at this place runs a case, and workers at all places could take it over."""
        while True:
            for each in self.places:
                await each.hired.wait()
            if await asyncio.to_thread(self._running_by, place.engine):
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _watch(self, engine: int | None) -> None:
        """Measure, in the background, how long the cases of a worker wait that has just ended or stopped."""
        since = time.monotonic()
        left = set(await asyncio.to_thread(self._running_by, engine))

        async def watch() -> None:
            while left:
                await asyncio.sleep(LOOK_SECONDS)
                taken = left - set(await asyncio.to_thread(self._running_by, engine))
                self.told.take_overs += len(taken) * [time.monotonic() - since]
                left.difference_update(taken)

        self.watching.append(asyncio.create_task(watch()))

    def _running_by(self, engine: int | None) -> list[tuple[int, int]]:
        """The cases that an engine runs, each with its fence. A server that has just restarted may end the connection."""
        cases = f"{place_of(self.url).schema}.cases"
        while True:
            with suppress(psycopg.OperationalError):
                return self.server.execute(f"SELECT id, fence FROM {cases} WHERE status = 'running' AND engine = {engine or 0}")
            time.sleep(LOOK_SECONDS)

    async def _until(self, holds: Any) -> None:
        async with asyncio.timeout(MENDING_SECONDS):
            while not holds():  # noqa: ASYNC110 - nobody tells when a file grows
                await asyncio.sleep(0.01)

    # The customers.

    async def _customer(self, orders_min: int) -> None:
        """Start one order after the other, each under its key until it is accepted, and wait until it rests, whichever worker runs it."""
        while not self.over or self.numbers < orders_min:
            number, self.numbers = self.numbers, self.numbers + 1
            started = await self._ask(do="start", number=number)
            case = self.told.cases[number] = started["case"]
            if (await self._ask(do="settled", case=case))["status"] == Status.PARKED:
                self.operating.append(asyncio.create_task(self._operate(case)))

    async def _operate(self, case: int) -> None:
        """Do what an operator does with a parked case, beside the next orders: otherwise a long run would leave thousands for its end."""
        client = Client(self.port)
        while not self.over and (row := await self._ask(do="settled", case=case))["status"] == Status.PARKED:
            self._expect_own_changes(case, row["reason"])
            await self._mend(case, client, self._ask_once)

    async def _ask(self, **what: Any) -> dict[str, Any]:
        """Ask a worker, and ask another one where it ended or its store failed before it had answered."""
        while "error" in (told := await self._ask_once(what)):
            self.told.asked_again += 1
            await asyncio.sleep(0.02)
        return told

    async def _ask_once(self, what: dict[str, Any]) -> dict[str, Any]:
        while not (place := self.random.choice(self.places)).hired.is_set() or place.worker is None:  # noqa: ASYNC110 - one of several events
            await asyncio.sleep(0.02)
        return await place.worker.ask(what)

    async def _mend(self, case: int, client: Client, ask: Ask) -> None:
        """Say of each call in doubt whether it happened, or redrive the case if there is none.

        Nothing is said again where the worker ended before it answered: by then there may be another call in doubt. A worker that is stopped just
        before a call makes it when it goes on.
        """
        told = await ask({"do": "effects", "case": case})
        if "error" in told:
            return
        doubtful = [entry for entry in told["effects"] if entry["status"] in {"intended", "in_doubt"}]
        if not doubtful:
            await ask({"do": "redrive", "case": case})
        for entry in doubtful:
            while time.time() < max(entry["deadline"], self.continued_at) + SETTLE_SECONDS:  # noqa: ASYNC110 - a time that moves
                await asyncio.sleep(LOOK_SECONDS)
            found = await client.look_up(entry["key"])
            answer = await ask({"do": "resolve", "key": entry["key"], "receipt": found["receipt"]})
            self.told.resolved += "error" not in answer

    # What is found when all is over.

    def _lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def _asked(self) -> dict[int, list[int]]:
        """For each order, the processes that have begun its first step, in this order."""
        asked: dict[int, list[int]] = defaultdict(list)
        for line in self._lines():
            if line["effect"] == "ask":
                asked[line["number"]].append(int(line["key"].split()[-1]))
        return asked

    async def _look(self) -> dict[int, dict[str, Any]]:
        """Work off the rest with an engine that nothing happens to, and compare."""
        client = Client(self.port)
        async with Engine.open(self.url, [orders()], resources={"client": client}) as engine:
            try:
                async with asyncio.timeout(MENDING_SECONDS):
                    while left := await self._mend_all(engine, client):  # noqa: ASYNC110 - the last of many cases
                        await asyncio.sleep(0.05)
            except TimeoutError:
                self.told.wrong.append(f"never at rest: {left}")
            self._count()
            return await self._look_at_cases(engine.reader)

    async def _mend_all(self, engine: Engine, client: Client) -> list[str]:
        """Mend what is parked. Return the cases that are not done."""
        left = []
        for row in await engine.reader.cases(limit=10 * self.numbers + 10):
            if row.status is Status.DONE:
                continue
            left.append(f"case {row.id} is {row.status} at {row.step}: {row.reason}")
            if row.status is Status.PARKED:
                self._expect_own_changes(row.id, row.reason)
                await self._mend(row.id, client, partial(obey, engine))
        return left

    def _count(self) -> None:
        """Effects by the provider's log: each order's, and no others."""
        done: dict[tuple[str, int], list[str]] = defaultdict(list)
        for line in self._lines():
            if line["effect"] != "ask":
                done[line["effect"], line["number"]].append(line["key"])
        wanted = {(effect, number) for effect in EFFECTS for number in self.told.cases}
        self.expect(set(done) <= wanted, f"the provider did what nobody wanted: {set(done) - wanted}")
        self.told.effects = len(wanted)
        self.told.lost = len(wanted - set(done))
        for (effect, number), keys in done.items():
            self.expect(len(set(keys)) == 1, f"{effect} {number} was called under several keys")
            if effect == "note":
                self.told.repeated_as_declared += len(keys) - 1
            else:
                self.told.duplicated += len(keys) - 1

    async def _look_at_cases(self, reader: Reader) -> dict[int, dict[str, Any]]:
        """Everything accepted is there once, with one row of its own. Return the fields of each order."""
        rows = await reader.cases(limit=10 * self.numbers + 10)
        kept = {int(row.key or -1): row.id for row in rows}
        self.expect(kept == self.told.cases and len(rows) == len(kept), "the cases are not those that were accepted")
        places: dict[int, list[int]] = defaultdict(list)
        for place, number in self.server.execute("SELECT place, number FROM public.fleet_places"):
            places[number].append(place)
        states: dict[int, dict[str, Any]] = {}
        for number, case in self.told.cases.items():
            states[number] = state = {cell.field: json.loads(cell.text) for cell in await reader.fields(case)}
            self.expect(places[number] == [state.get("place")], f"order {number} has the rows {places[number]}, not {state.get('place')}")
        return states
