"""Stories of the cases of a random process, told on an engine and on Restate."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

from objects_in_memory import Objects, client_of
from plots import Outside, Plot, Said, asked
from pydantic_core import to_json
from restate import TerminalError
from tickets import Letter

from pointsman import PointsmanError
from pointsman.restate.work import Work
from pointsman.testing.clock import ManualClock
from pointsman.testing.world import World

NOT_COMPARED = ("permit.", "child.", "node.", "decided", "result.dropped")  # they depend on who is faster, or on who else has a place


class End(NamedTuple):
    """How a case ended."""

    process: str
    status: str
    outcome: str | None
    reason: str
    fields: str
    effects: str
    events: tuple[str, ...]


class Story(NamedTuple):
    """How the cases ended, what was done outside and how often, and what people were told."""

    ends: list[End]
    done: Counter[str]
    told: list[str]


def letter(number: int) -> Letter:
    return Letter(id=str(number), thread="a", text=f"text {number}")


def end(row: Mapping[str, Any], fields: Mapping[str, Any], effects: list[Any], events: list[str]) -> End:
    """The end of a case, without what differs: keys, numbers, times, and how often the case decides anew what has not changed."""
    reason = re.sub(r"[0-9a-f]{20,}|[0-9]+", "N", row["reason"] or "")
    plain = {**json.loads(to_json(fields)), **({"nap": 0} if "nap" in fields else {})}
    ledger = sorted((entry["effect"], str(entry["status"]), entry["attempts"]) for entry in effects)
    kinds = tuple(sorted({str(kind) for kind in events if not kind.startswith(NOT_COMPARED)}))
    return End(row["process"], row["status"], row["outcome"], reason, json.dumps(plain, sort_keys=True), json.dumps(ledger), kinds)


def _in_order(row: Mapping[str, Any]) -> tuple[float, bool]:
    return row["created_at"], row["process"] != "story"


class OnRestate:
    """A story on Restate. Its program or server dies as with `Objects`."""

    def __init__(self, plot: Plot, *, dies_at: int = 0, dies: str = "program") -> None:
        self.cluster, self.outside, self._plot = Objects(ManualClock(), dies_at=dies_at, dies=dies), Outside(plot.number), plot
        self.cluster.serve(Work(plot.processes, {"outside": self.outside}, clock=self.cluster.clock, random=Random(7)))
        self._told: list[str] = []

    def tell(self) -> Story:
        ends = asyncio.run(self._tell())
        return Story(ends, Counter(text for text, _ in self.outside.done), self._told)

    async def _tell(self) -> list[End]:
        await self._send(0)
        for number, said in enumerate(self._plot.said, 1):
            await self.cluster.work(until=self.cluster.clock.now() + said.seconds)
            match said.what:
                case "letter":
                    await self._send(number)
                case "start":
                    await self._start(said)
                case _:
                    await self._ask(said)
        await self.cluster.work()
        ends = []
        for key, shown in await self.cases():
            events = [event["kind"] for event in await self.cluster.call("events", key)]
            ends.append(end(shown, shown["fields"], shown["effects"], events))
        return ends

    async def cases(self) -> list[tuple[str, dict[str, Any]]]:
        """The keys of the cases, and what is shown of them, in the order of their starts."""
        keys = [key for key in self.cluster.states if key.startswith(("story:", "small:"))]
        return sorted([(key, await self.cluster.call("show", key)) for key in keys], key=lambda one: _in_order(one[1]))

    async def _send(self, number: int) -> None:
        told = await self.cluster.call("send", "", {"process": "story", "message": letter(number).model_dump()})
        await self._tells(told["how"], told["case"])

    async def _start(self, said: Said) -> None:
        start = self._plot.start(said)
        async with client_of(self.cluster) as client:
            started = await client.start("story", start.pop("state"), **start)
        await self._tells("start", started.case)

    async def _tells(self, what: str, case: int | None) -> None:
        """Note what somebody is told, and the place of a case among all."""
        self._told.append(f"{what} {[shown['id'] for _, shown in await self.cases()].index(case) if case else ''}")

    async def _ask(self, said: Said) -> None:
        cases = await self.cases()
        if not cases:
            return
        key, shown = cases[said.case % len(cases)]
        wanted = asked(said, {**shown, "token": (shown["pause"] or {}).get("token")})
        if wanted is None:
            return
        try:
            await self.cluster.call(wanted[0], key, wanted[1])
        except TerminalError as refused:
            self._told.append(f"{wanted[0]}: {refused.message.partition(':')[0]}")
        else:
            self._told.append(wanted[0])


class OnEngine:
    """A story on an engine."""

    def __init__(self, plot: Plot) -> None:
        self._outside, self._plot, self._told = Outside(plot.number), plot, list[str]()
        self._world = World(*plot.processes, resources={"outside": self._outside})

        async def nobody(_: object) -> bool:
            return False

        self._world._find_out = nobody  # type: ignore[method-assign] # what is in doubt is resolved by the story only

    def tell(self) -> Story:
        world = self._world
        world.run(self._tell)
        ends = []
        for row in self._cases():
            effects, events = [entry._asdict() for entry in world.effects(row.id)], [event.kind for event in world.events(row.id)]
            ends.append(end(row._asdict(), world.state(row.id), effects, events))
        return Story(ends, Counter(text for text, _ in self._outside.done), self._told)

    async def _tell(self) -> None:
        await self._send(0)
        for number, said in enumerate(self._plot.said, 1):
            await self._world.sleep(said.seconds)
            match said.what:
                case "letter":
                    await self._send(number)
                case "start":
                    await self._start(said)
                case _:
                    await self._ask(said)

    def _cases(self) -> list[Any]:
        return sorted(self._world.cases(), key=lambda row: _in_order(row._asdict()))

    async def _send(self, number: int) -> None:
        case, how = await self._world.send(self._plot.processes[0], letter(number), key=str(number))
        self._tells(how, case)

    async def _start(self, said: Said) -> None:
        start = self._plot.start(said)
        self._tells("start", await self._world.start(self._plot.processes[0], start.pop("state"), **start))

    def _tells(self, what: str, case: int | None) -> None:
        self._told.append(f"{what} {[row.id for row in self._cases()].index(case) if case else ''}")

    async def _ask(self, said: Said) -> None:
        world, cases = self._world, self._cases()
        if not cases:
            return
        case, token = cases[said.case % len(cases)].id, None
        try:
            token = (await world._insist(lambda engine: engine.pending(case))).token
        except PointsmanError:
            token = None
        effects = [entry._asdict() for entry in world.effects(case)]
        wanted = asked(said, {**world.case(case)._asdict(), "token": token, "fields": world.state(case), "effects": effects})
        if wanted is None:
            return
        what, how = wanted
        do: dict[str, Callable[[Any], Any]] = {
            "answer": lambda engine: engine.resume(how["token"], how["answer"], by=how["by"], edits=how["edits"]),
            "assign": lambda engine: engine.assign(case, how["to"], by=how["by"]),
            "cancel": lambda engine: engine.cancel(case, **how),
            "redrive": lambda engine: engine.redrive(case, **how),
            "resolve": lambda engine: engine.resolve(**how),
        }
        try:
            await world._insist(do[what])
        except PointsmanError as refused:
            self._told.append(f"{what}: {type(refused).__name__}")
        else:
            self._told.append(what)
