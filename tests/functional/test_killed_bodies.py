"""A thread of an entrypoint in a real process, on a real file, killed at every point; and how often a body is run."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman.functional import Checkpointer, Command, Paused, entrypoint, interrupt, task
from pointsman.testing import World
from tiers import kills_of

WORLD = Path(__file__).with_name("killing_bodies.py")
STEPS = 2_500


def test_a_kill_at_any_point_of_a_thread_loses_and_duplicates_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, str(WORLD)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    with capsys.disabled():
        figures = f"{len(told['lost'])} lost, {len(told['duplicated'])} duplicated, {told['again']} calls made again as declared"
        print(f"\n{told['kills']} kills at about {told['points']} points: {figures}")
    assert (told["lost"], told["duplicated"]) == ([], [])
    assert told["kills"] >= kills_of(60)


def test_a_body_of_5000_tasks_is_begun_once_in_a_process_and_a_step_costs_the_same_at_its_end(tmp_path: Path) -> None:
    begun: list[str] = []
    costs: list[int] = []
    calls = 0

    @task(inline=True)
    def add(number: int) -> int:
        costs.append(calls)
        return number + 1

    def body(given: None) -> int:
        begun.append("body")
        number = 0
        for _ in range(STEPS):
            number = add(number).result()
        interrupt("go on?")
        for _ in range(STEPS):
            number = add(number).result()
        return number

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    def deployed() -> Any:
        return entrypoint(checkpointer=Checkpointer(tmp_path / "cases.db"), name="it")(body)

    it = deployed()
    with it.checkpointer:
        first = _profiled(it, counted, lambda: it.invoke(None, thread="t"))
        assert isinstance(first, Paused)
        assert len(begun) == 1
    it = deployed()
    with it.checkpointer:
        assert _profiled(it, counted, lambda: it.invoke(Command(resume="yes"), thread="t")) == 2 * STEPS
        assert len(begun) == 2

    early, late = costs[300] - costs[100], costs[2 * STEPS - 100] - costs[2 * STEPS - 300]
    assert late < 1.5 * early, f"200 steps take {early} calls of Python at the beginning, and {late} at the end"


def _profiled(it: Any, counted: Callable[..., None], work: Callable[[], Any]) -> Any:
    """Count the calls of Python in the engine's thread meanwhile."""

    async def set_to(_: Any, profile: Any) -> None:
        sys.setprofile(profile)

    engine = it.checkpointer.engine
    engine.run(lambda inner: set_to(inner, counted))
    try:
        return work()
    finally:
        engine.run(lambda inner: set_to(inner, None))


def test_a_call_of_a_large_fan_out_costs_what_one_of_a_small_costs() -> None:
    calls = 0

    @task
    async def square(number: int) -> int:
        await asyncio.sleep(0)
        return number * number

    @entrypoint()
    def body(given: int) -> int:
        return sum(future.result() for future in [square(number) for number in range(given)])

    def counted(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    def cost(size: int) -> int:
        nonlocal calls
        world, calls = World(body.process), 0
        sys.setprofile(counted)
        try:
            world.run(lambda: world.start(body.process, {"invocation": {"input": size, "thread": "t", "id": "t"}}))
        finally:
            sys.setprofile(None)
        return calls

    small, large = cost(250), cost(1_000)

    assert large < 5 * small, f"{small} calls of Python for 250, and {large} for 1,000"
