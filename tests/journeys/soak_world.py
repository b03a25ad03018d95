"""The driver of the soak: it has orders worked off by an engine in another process, and kills that process all the time.

What the driver was answered is what counts: it is compared with what the provider did, and with what the database says.
"""

import asyncio
import itertools
import json
import signal
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from soak_provider import SETTLE_SECONDS, TIMEOUT_SECONDS
from soak_worker import EFFECTS, LINES, Client

from pointsman import Status, open_reader
from pointsman.kernel.events import Kind
from pointsman.kernel.rows import EventRow
from pointsman.store.base import Reader

HERE = Path(__file__).parent
LIFE_SECONDS = 0.4  # a worker lives up to this long after it is ready; an order takes about as long
STOPPED_SECONDS = 2 * TIMEOUT_SECONDS  # beyond the deadline of every call that was under way
LONG_GRACE, SHORT_GRACE = 120.0, 0.05  # seconds: beyond any call on any machine, and within most calls
LINE_BYTES = 150  # of the provider's log, about
AHEAD = 4  # orders given to the first worker; each later one gets its share of the rest
ENDED = {"Died", "EngineStopped"}


@dataclass
class Told:
    """What the driver was answered and has done, and what it found in the end."""

    cases: dict[int, int] = field(default_factory=dict)
    answers: dict[int, str] = field(default_factory=dict)
    kills: int = 0
    terms: int = 0
    stops: int = 0
    asked_again: int = 0
    resolved: int = 0
    redriven: int = 0
    effects: int = 0
    lost: int = 0
    duplicated: int = 0
    repeated_as_declared: int = 0
    wrong: list[str] = field(default_factory=list)


class Worker:
    """A worker's process, told things through a pipe."""

    def __init__(self, process: asyncio.subprocess.Process, grace_seconds: float) -> None:
        self.process = process
        self.grace_seconds = grace_seconds
        self.hired_at = time.time()
        self.waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.numbers = itertools.count()
        self.ready = asyncio.Event()
        self.last = ""
        self.listening = asyncio.create_task(self.listen())

    async def listen(self) -> None:
        assert self.process.stdout is not None
        while (line := await self.process.stdout.readline()).endswith(b"\n"):  # it may die while it speaks
            if line.startswith(b"{"):  # an answer, which may come after its last word
                told = json.loads(line)
                self.waiting.pop(told["id"]).set_result(told)
                continue
            self.last = line.decode().strip()
            if self.last == "ready":
                self.ready.set()
        self.ready.set()
        for answer in self.waiting.values():
            answer.set_result({"error": "Died"})
        self.waiting.clear()

    async def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """Tell it something and get its answer; if it dies, nobody knows what it did."""
        if self.listening.done():
            return {"error": "Died"}
        assert self.process.stdin is not None
        number = next(self.numbers)
        answer = self.waiting[number] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps({"id": number, **what}).encode() + b"\n")
        return await answer

    async def end(self, how: signal.Signals) -> int:
        """Send it a signal that ends it, and answer its exit code."""
        with suppress(ProcessLookupError):
            self.process.send_signal(how)
        await self.listening
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.process.wait()


class Soak:
    """One soak: `orders` orders are worked off while the engine's process is killed `kills` times."""

    def __init__(self, folder: Path, *, orders: int, kills: int, seed: int, kind: str = "keeps intents") -> None:
        self.database = folder / "cases.db"
        self.log = folder / "provider.log"
        self.orders, self.kills, self.seed, self.kind = orders, kills, seed, kind
        self.random = Random(seed)
        self.told = Told()
        self.places = asyncio.Semaphore(0)
        self.worker: Worker | None = None
        self.hired = asyncio.Event()

    async def run(self) -> Told:
        """Kill as often as asked for while orders are worked off, let the rest be worked off, and look at everything."""
        async with self._provider() as port, self._no_process_left():
            async with asyncio.TaskGroup() as group:
                for number in range(self.orders):
                    group.create_task(self._customer(number, Client(port)))
                last = await self._kill_workers(port)
            self.expect(await last.end(signal.SIGTERM) == 0 and last.last == "closed", f"the last worker's last word was {last.last}")
        await Findings(self).look()
        return self.told

    def expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.told.wrong.append(otherwise)

    def done(self) -> list[dict[str, Any]]:
        """What the provider did, in its own words."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    # The processes.

    @asynccontextmanager
    async def _provider(self) -> AsyncIterator[int]:
        moods = "moods" if self.kind == "keeps intents" else "holds"
        arguments = (HERE / "soak_provider.py", self.log, str(self.seed), moods)
        provider = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
        try:
            assert provider.stdout is not None
            yield int(await provider.stdout.readline())
        finally:
            provider.kill()
            await provider.communicate()

    @asynccontextmanager
    async def _no_process_left(self) -> AsyncIterator[None]:
        try:
            yield
        finally:
            if self.worker is not None and self.worker.process.returncode is None:
                await self.worker.end(signal.SIGKILL)

    async def _hire(self, port: int) -> Worker:
        grace = self.random.choice([LONG_GRACE, SHORT_GRACE])
        arguments = (HERE / "soak_worker.py", self.database, str(port), self.kind, str(self.seed), str(grace))
        pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
        self.worker = Worker(await asyncio.create_subprocess_exec(sys.executable, *arguments, **pipes), grace)
        await self.worker.ready.wait()
        assert self.worker.last == "ready", "the worker could not open its database"
        self.hired.set()
        return self.worker

    async def _kill_workers(self, port: int) -> Worker:
        """Hire one worker after the other and end each at a moment that chance gives; the last one stays."""
        given = 0
        while True:
            worker = await self._hire(port)
            due = min(self.orders, AHEAD + self.orders * self.told.kills // max(1, self.kills))
            for _ in range(due - given):
                self.places.release()
            given = max(given, due)
            if self.told.kills == self.kills:
                return worker
            await self._moment()
            self.hired.clear()
            await self._end(worker)

    async def _moment(self) -> None:
        """Some lives end any time, the others when the provider has just done something and has not answered yet; of one that holds, all."""
        if self.kind != "keeps intents":
            while len({line["key"] for line in self.done()}) <= self.told.kills:  # noqa: ASYNC110 - nobody tells when a file grows
                await asyncio.sleep(0.01)
            return
        seconds = self.random.uniform(0.0, LIFE_SECONDS)
        if self.random.random() < 0.4:
            await asyncio.sleep(seconds)
            return
        aim = self._size() + LINE_BYTES * self.random.randint(0, 3)
        until = time.monotonic() + 2 * LIFE_SECONDS
        while self._size() <= aim and time.monotonic() < until:  # noqa: ASYNC110 - nobody tells when a file grows
            await asyncio.sleep(0.001)
        await asyncio.sleep(seconds / 20)

    def _size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    async def _end(self, worker: Worker) -> None:
        chance = self.random.random()
        if self.kind == "keeps intents" and chance < 0.15:
            code = await worker.end(signal.SIGTERM)
            self.expect(code == 0 and worker.last == "closed", f"told to end, a worker ended with {code}: {worker.last}")
            with closing(sqlite3.connect(self.database)) as connection:
                held = connection.execute("SELECT id, step FROM cases WHERE status = 'running'").fetchall()
                since = worker.hired_at + TIMEOUT_SECONDS  # what an earlier one had begun may not have been taken up yet
                begun = connection.execute("SELECT effect FROM effects WHERE status = 'intended' AND deadline > ?", (since,)).fetchall()
            self.expect(not held, f"an orderly end left {held} running")
            self.expect(worker.grace_seconds == SHORT_GRACE or not begun, f"an orderly end with time for it left {begun} begun")
            self.told.terms += 1
            return
        if self.kind == "keeps intents" and chance < 0.35:
            worker.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(self.random.uniform(0.2, 1.0) * STOPPED_SECONDS)
            worker.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(self.random.uniform(0.0, LIFE_SECONDS))
            self.told.stops += 1
        code = await worker.end(signal.SIGKILL)
        self.expect(code == -signal.SIGKILL, f"a worker ended by itself with {code}: {worker.last}")
        self.told.kills += 1

    # The customers.

    async def _ask(self, **what: Any) -> dict[str, Any]:
        """Ask whoever is at work, and ask again where a worker ended before it had answered."""
        while (told := await self._ask_once(**what)).get("error") in ENDED:
            self.told.asked_again += 1
        return told

    async def _ask_once(self, **what: Any) -> dict[str, Any]:
        await self.hired.wait()
        assert self.worker is not None
        return await self.worker.ask(what)

    async def _customer(self, number: int, client: Client) -> None:
        """Start an order, under the same key until it is accepted, and see it through; the remark on it may come first."""
        await self.places.acquire()
        early = number % 3 == 0
        if early:
            await self._ask(do="remark", number=number, text=f"on {number}")
        started = await self._ask(do="start", number=number)
        case = self.told.cases[number] = started["case"]
        if number % 7 == 0:
            again = await self._ask(do="start", number=number)
            self.expect((again["case"], again["duplicate"]) == (case, True), f"order {number} was started twice: {case}, {again}")
        if not early:
            await self._ask(do="remark", number=number, text=f"on {number}")
        while True:
            row = await self._ask(do="settled", case=case)
            match row["status"]:
                case "waiting":
                    await self._approve(number, case)
                case "parked":
                    await self._mend(case, client)
                case status:
                    self.expect(status == "done", f"order {number} is {status}")
                    return

    async def _approve(self, number: int, case: int) -> None:
        pending = await self._ask(do="pending", case=case)
        if "error" in pending:
            return
        by = f"{number} by {pending['token']}"
        told = await self._ask(do="resume", token=pending["token"], by=by)
        if told.get("error", "AlreadyAnswered") == "AlreadyAnswered":
            self.told.answers[number] = by

    async def _mend(self, case: int, client: Client) -> None:
        """Do what an operator does: look up a call in doubt and resolve it, or just redrive the case.

        Neither is said again where the worker ended before it answered: by then there may be another call in doubt.
        """
        told = await self._ask(do="effects", case=case)
        for entry in told["effects"]:
            if entry["status"] in {"intended", "in_doubt"}:
                await asyncio.sleep(max(0.0, entry["deadline"] + SETTLE_SECONDS - time.time()))
                found = await client.look_up(entry["key"])
                answer = await self._ask_once(do="resolve", key=entry["key"], receipt=found["receipt"])
                self.told.resolved += "error" not in answer
                return
        answer = await self._ask_once(do="redrive", case=case)
        self.told.redriven += "error" not in answer


class Findings:
    """What is found when all is over: the provider's log and the database against what the driver was told."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.told = soak.told
        self.done: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
        for line in soak.done():
            self.done[line["effect"], line["number"]].append(line)

    async def look(self) -> None:
        self._count()
        with closing(sqlite3.connect(self.soak.database)) as connection:
            found = connection.execute("PRAGMA integrity_check").fetchall()
        self.soak.expect(found == [("ok",)], f"the database is damaged: {found}")
        with open_reader(self.soak.database) as reader:
            await self._look_at_cases(reader)
            await self._look_at_calls(reader)

    def _count(self) -> None:
        """Effects by the provider's log: each order's, and no others."""
        wanted = {(effect, number) for effect in EFFECTS for number in range(self.soak.orders)}
        self.soak.expect(set(self.done) <= wanted, f"the provider did what nobody wanted: {set(self.done) - wanted}")
        self.told.effects = len(wanted)
        self.told.lost = len(wanted - set(self.done))
        for (effect, number), lines in self.done.items():
            if effect == "note":
                self.told.repeated_as_declared += len(lines) - 1
            else:
                self.told.duplicated += len(lines) - 1
            self.soak.expect(len({line["key"] for line in lines}) == 1, f"{effect} {number} was called under several keys")

    async def _look_at_cases(self, reader: Reader) -> None:
        """Everything accepted is there, is at rest, and says what the driver and the provider say."""
        rows = await reader.cases(limit=10 * self.soak.orders)
        kept = {int(row.key or -1): row.id for row in rows}
        self.soak.expect(kept == self.told.cases and len(rows) == len(kept), "the cases are not those that were accepted")
        self.soak.expect(all(row.status is Status.DONE for row in rows), "not every case is at rest")
        self.soak.expect(not await reader.in_doubt(), "an effect is still in doubt")
        self.soak.expect(not await reader.unmatched(), "a remark has reached no order")
        places = self._places()
        for number, case in self.told.cases.items():
            state = {cell.field: json.loads(cell.text) for cell in await reader.fields(case)}
            self.soak.expect(
                state["approval"] == {"by": self.told.answers.get(number)}, f"order {number}: {state['approval']} is not the answer"
            )
            self.soak.expect(
                state["remarks"] == [{"order": number, "text": f"on {number}"}], f"order {number} has the remarks {state['remarks']}"
            )
            self.soak.expect(state["weights"] == [f"{line} of {number}" for line in LINES], f"order {number} has {state['weights']}")
            self.soak.expect(
                places.get(number) == [state["place"]], f"order {number}: {state['place']} is not its only row {places.get(number)}"
            )
            for effect in EFFECTS:
                receipts = [line["receipt"] for line in self.done[effect, number]]
                self.soak.expect(state[effect] in receipts, f"order {number}: {effect} is {state[effect]}, the provider has {receipts}")

    def _places(self) -> dict[int, list[int]]:
        """The rows that the orders' transactions have written."""
        places: dict[int, list[int]] = defaultdict(list)
        with closing(sqlite3.connect(self.soak.database)) as connection:
            for place, number in connection.execute("SELECT place, number FROM places"):
                places[number].append(place)
        return places

    async def _look_at_calls(self, reader: Reader) -> None:
        """No call without an intent that was committed before it, and none after its deadline.

        A SIGSTOP can fall between the engine's last look at the clock and the call, and no program can prevent that: it is so rare that one
        such call for each 15 kills is allowed.
        """
        intents: dict[str, list[tuple[float, float]]] = defaultdict(list)
        async for event in _all_events(reader):
            if event.kind == Kind.EFFECT_INTENDED:
                facts = json.loads(event.facts)
                intents[facts["key"]].append((event.at, facts["deadline"]))
        late: list[str] = []
        for line in (line for lines in self.done.values() for line in lines):
            sent, written = line["sent_at"], intents[line["key"]]
            said = f"{line['effect']} {line['number']} was called at {sent}, outside of {written}"
            self.soak.expect(any(at <= sent for at, _ in written), said)
            if not any(at <= sent <= deadline for at, deadline in written):
                late.append(said)
        self.soak.expect(len(late) <= max(1, self.told.kills // 15), f"calls after their deadlines: {late}")


async def _all_events(reader: Reader) -> AsyncIterator[EventRow]:
    after = ""
    while rows := await reader.events(after=after):
        for row in rows:
            yield row
        after = rows[-1].cursor
