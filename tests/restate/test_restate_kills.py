"""The program and the server are killed again and again while cases run on a real Restate server. What happened is counted outside."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from parcels import CONTROL, EFFECTS, Deaths

from pointsman import PointsmanError, StoreAway
from pointsman.restate import RestateClient
from restate_server import Server, Supervised, free_ports
from tiers import figure, seed

HERE = Path(__file__).parent
CASES = figure("RESTATE_LOOP_CASES", 12)
PROGRAM_KILLS = figure("RESTATE_LOOP_KILLS", 3)
SERVER_KILLS = figure("RESTATE_LOOP_SERVER_KILLS", 1)
WAVE = 60  # cases that are started before the first ones have begun
LOOK_SECONDS = 0.05
PATIENCE_SECONDS = 400.0  # a busy machine has ended every case by then


class Killer:
    """Kills the program and the server at deliveries that chance has chosen: two thirds of them within a window, where nobody has recorded the delivery."""

    def __init__(self, outside: Deaths, service: Supervised, server: Server) -> None:
        self._outside, self._service, self._server = outside, service, server
        chance = Random(seed())
        who = ["program"] * (PROGRAM_KILLS - PROGRAM_KILLS // 3) + ["server"] * (SERVER_KILLS - SERVER_KILLS // 3)
        places = [(name, number) for name in EFFECTS for number in range(2, CASES // 2)]
        windows = [(CONTROL, 1), ("reconciled_async", 1), *chance.sample(places, len(who) - 2)]
        self.windows = {f"{name} {number}": one for (name, number), one in zip(windows, who, strict=True)}
        (outside.folder / "plan").write_text(json.dumps(self.windows), encoding="ascii")
        meanwhile = ["program"] * (PROGRAM_KILLS // 3) + ["server"] * (SERVER_KILLS // 3)
        chance.shuffle(meanwhile)
        self._next = sorted(zip(chance.sample(range(1, 4 * CASES), len(meanwhile)), meanwhile, strict=True))
        self.server_kills = 0

    async def run(self) -> None:
        """Kill until everything has been killed as planned."""
        windows = {window for window, who in self.windows.items() if who == "server"}
        while self._next or windows:
            for window in [one for one in windows if (self._outside.folder / f"first window {one}").exists()]:
                await asyncio.to_thread(self._kill_server)
                (self._outside.folder / f"shut {window}").touch()
                windows.remove(window)
            if self._next and self._next[0][0] <= sum(len(self._outside.keys(name)) for name in (CONTROL, *EFFECTS)):
                await asyncio.to_thread(self._kill_server if self._next.pop(0)[1] == "server" else self._kill_program)
            await asyncio.sleep(LOOK_SECONDS)

    def _kill_server(self) -> None:
        self._server.kill()
        self.server_kills += 1

    def _kill_program(self) -> None:
        """Kill the program that runs now, and not one that dies by itself."""
        while True:
            with self._outside.alone(), suppress(ProcessLookupError, FileNotFoundError):
                program = self._service._pid()
                if self._outside.dies(program):
                    os.kill(program, signal.SIGKILL)
                    return
            time.sleep(LOOK_SECONDS)


class Story:
    """Starts the cases, and does what a person has to do."""

    def __init__(self, outside: Deaths, cases: RestateClient) -> None:
        self._outside, self._cases = outside, cases
        self._ends_at = time.monotonic() + PATIENCE_SECONDS
        self.shown: list[dict[str, Any]] = []
        self.resolved = self.redriven = 0

    async def _ask(self, ask: Any) -> Any:
        """The answer to a question that may be asked again, because the server may be away."""
        while True:
            assert time.monotonic() < self._ends_at
            with suppress(StoreAway):
                return await ask()
            await asyncio.sleep(LOOK_SECONDS)

    async def run(self) -> None:
        """Start all cases, wave after wave, and see to it that each of them ends."""
        numbers = []
        for number in range(CASES):
            while number - len(set(self._outside.keys(CONTROL))) >= WAVE:
                assert time.monotonic() < self._ends_at
                await asyncio.sleep(LOOK_SECONDS)
            started = await self._ask(lambda number=number: self._cases.start("parcels", {"number": number}, key=str(number)))
            numbers.append(started.case)
        for case in numbers:
            self.shown.append(await self._ended(case))

    async def _ended(self, case: int) -> dict[str, Any]:
        while True:
            shown: dict[str, Any] = await self._ask(lambda: self._cases.show("parcels", case))
            if shown["status"] == "done":
                return shown
            if shown["status"] == "parked":
                with suppress(PointsmanError):  # somebody whose answer was lost asks again, and is refused
                    await self._ask(lambda shown=shown: self._see_to(case, shown))
            await asyncio.sleep(LOOK_SECONDS)

    async def _see_to(self, case: int, shown: dict[str, Any]) -> None:
        """Find out what became of the effect in doubt once its call is over, or let the case try again."""
        [entry, *_] = [one for one in shown["effects"] if one["status"] != "done"] or [None]
        if entry is None:
            await self._cases.redrive("parcels", case, by="otto", why="the program died during a step")
            self.redriven += 1
        elif entry["deadline"] < time.time():
            name, key = entry["effect"], entry["key"]
            happened = self._outside.has(name, key)
            outcome = f"{name} done" if happened else None
            await self._cases.resolve("parcels", case, key, happened=happened, by="otto", why="I looked outside", outcome=outcome)
            self.resolved += 1


@pytest.fixture
def outside(tmp_path: Path) -> Deaths:
    return Deaths(tmp_path)


@pytest.fixture
def killer(restate: Server, outside: Deaths) -> Iterator[Killer]:
    """The command that serves the process, which starts again when it is killed."""
    [port] = free_ports(1)
    named = ["--app", "parcels_service:parcels", "--resources", "parcels_service:resources", "--port", str(port), "--admin", restate.admin]
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent))), "OUTSIDE": str(outside.folder)}
    service = Supervised([sys.executable, "-m", "pointsman.cli.main", "restate", "serve", *named], paths)
    killer = Killer(outside, service, restate)  # the plan is there before the program reads it
    with service:
        service.until(lambda: "READY" in service.said())
        yield killer


def test_no_effect_is_lost_or_repeated_while_the_program_and_the_server_are_killed(
    restate: Server, killer: Killer, outside: Deaths, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> Story:
        async with RestateClient(restate.ingress) as cases:
            story = Story(outside, cases)
            await asyncio.gather(story.run(), killer.run())
            return story

    begun = time.monotonic()

    story = asyncio.run(run())

    keys = {name: [entry["key"] for one in story.shown for entry in one["effects"] if entry["effect"] == name] for name in EFFECTS}
    happened = {name: Counter(outside.keys(name)) for name in (*EFFECTS, CONTROL)}
    again = {name: happened[name].total() - len(happened[name]) for name in happened}
    lost = sum(len(set(keys[name]) - set(happened[name])) for name in EFFECTS)
    # The receiver of an idempotent effect knows the key of a call that comes again, and AtLeastOnce says that it may be repeated.
    once = [name for name in EFFECTS if name.startswith(("reconciled", "at_most_once"))]
    repeated = sum(again[name] for name in once) + sum(len(set(happened[name]) - set(keys[name])) for name in EFFECTS)
    program_kills = sum(1 for _ in outside.folder.glob("first died *"))
    with capsys.disabled():
        print(f"\n{CASES} cases ended within {time.monotonic() - begun:.0f} s, {sum(map(len, keys.values()))} effects, "
              f"{program_kills} kills of the program, {killer.server_kills} of the server, {len(killer.windows)} of these in a window: "
              f"{lost} lost, {repeated} repeated (seed {seed()})")  # fmt: skip
        print(f"  {story.resolved} effects resolved by a person, {story.redriven} cases redriven")
        print(f"  Idempotent asked again {again['idempotent_plain']} + {again['idempotent_async']} times, "
              f"AtLeastOnce repeated {again['at_least_once_plain']} + {again['at_least_once_async']}, "
              f"and without the ledger {again[CONTROL]} were repeated")  # fmt: skip
    assert [one["outcome"] for one in story.shown] == ["delivered"] * CASES
    assert {len(set(keys[name])) for name in EFFECTS} == {CASES // 2}
    assert (lost, repeated) == (0, 0)
    assert (program_kills, killer.server_kills) == (PROGRAM_KILLS, SERVER_KILLS)
    assert again[CONTROL] > 0, "nothing was repeated without the ledger: the kills prove nothing"
