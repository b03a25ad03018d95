"""Kill a LangGraph program at every labelled point, run it again, and look at what the world got.

Run as a script: it forks a child for each life of the program, so it must have no threads itself. The world is a file outside the program
that takes a line for each call of an effect; it is what calls are counted by.
"""

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, TypedDict

sys.path.insert(1, str(Path(__file__).parents[1]))

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, StateGraph

from pointsman import ABSENT, AtMostOnce, Found, Reconcile
from pointsman.integrations.langgraph import EffectInDoubt, PointsmanSaver, effect_once
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers
from tiers import kills, points

NOON = 1_795_000_000.0  # any moment will do
LATER = NOON + 10_000.0  # beyond the deadline of each call of the first life
EXPECTED = {"order": "17", "read": "order 17", "receipt": "charged order 17", "told": "told of charged order 17"}
THREAD: Any = {"configurable": {"thread_id": "1"}}


class Order(TypedDict, total=False):
    order: str
    read: str
    receipt: str
    told: str


class World:
    """What the effects did: each call is a line in a file, on the disk before it is answered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.point: Callable[[str], None] = lambda label: None

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def take(self, call: str) -> str:
        self.point("world.reached")
        with (self.folder / "calls").open("a") as file:
            file.write(call + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.point("world.took")
        return call


class Ours:
    """The program on our saver, with its two effects through the ledger."""

    def __init__(self, world: World, durability: str) -> None:
        self.world = world
        self.durability: Any = durability

        def look_up(text: str) -> object:
            return Found(f"told of {text}") if f"told of {text}" in world.calls else ABSENT

        @effect_once(AtMostOnce())
        def charge(text: str) -> str:
            return world.take(f"charged {text}")

        @effect_once(Reconcile(look_up, propagation_seconds=60.0))
        def tell(text: str) -> str:
            return world.take(f"told of {text}")

        self.charge: Any = charge
        self.tell: Any = tell

    @contextmanager
    def saver(self, point: Callable[[str], None], now: float) -> Iterator[PointsmanSaver]:
        opening = PointsmanSaver.open(
            self.world.folder / "cases.db", effects=[self.charge, self.tell], failpoints=point, clock=ManualClock(now)
        )
        with opening as saver:
            yield saver

    def settle(self, saver: Any, doubt: EffectInDoubt) -> None:
        """Say what the world says about a call in doubt, as a person would."""
        happened = EXPECTED["receipt"] in self.world.calls
        outcome = EXPECTED["receipt"] if happened else None
        saver.wait_for_engine(
            lambda engine: engine.resolve(doubt.key, happened=happened, by="eve", why="the bank says so", outcome=outcome)
        )


class Theirs:
    """The control: the same program on LangGraph's saver, with plain functions."""

    def __init__(self, world: World, durability: str) -> None:
        self.world = world
        self.durability: Any = durability

    def charge(self, text: str) -> str:
        return self.world.take(f"charged {text}")

    def tell(self, text: str) -> str:
        return self.world.take(f"told of {text}")

    @contextmanager
    def saver(self, point: Callable[[str], None], now: float) -> Iterator[SqliteSaver]:
        with closing(sqlite3.connect(self.world.folder / "checkpoints.db", check_same_thread=False)) as connection:
            yield SqliteSaver(connection)

    def settle(self, saver: Any, doubt: EffectInDoubt) -> None:
        raise AssertionError(doubt)


def live(program: Ours | Theirs, point: Callable[[str], None], now: float) -> dict[str, Any]:
    """Run the thread to its end, from its input or from where an earlier life left it."""
    world = program.world
    world.point = point

    def step(field: str, work: Callable[[Order], str]) -> Callable[[Order], Order]:
        def node(state: Order) -> Order:
            point("node.begins")
            result = work(state)
            point("node.ends")
            return {field: result}  # type: ignore[misc]

        return node

    with program.saver(point, now) as saver:
        graph = StateGraph(Order)
        graph.add_node("reading", step("read", lambda state: f"order {state['order']}"))
        graph.add_node("charging", step("receipt", lambda state: program.charge(state["read"])))
        inner = StateGraph(Order)
        inner.add_node("telling", step("told", lambda state: program.tell(state["receipt"])))
        inner.add_edge(START, "telling")
        graph.add_node("telling", inner.compile())
        for before, after in ((START, "reading"), ("reading", "charging"), ("charging", "telling"), ("telling", END)):
            graph.add_edge(before, after)
        compiled = graph.compile(checkpointer=saver)
        while True:
            begun = saver.get_tuple(THREAD) is not None
            try:
                return dict(compiled.invoke(None if begun else {"order": "17"}, THREAD, durability=program.durability))
            except EffectInDoubt as doubt:
                program.settle(saver, doubt)


@contextmanager
def programs(kind: type[Ours] | type[Theirs], durability: str) -> Iterator[Ours | Theirs]:
    folder = Path(tempfile.mkdtemp(prefix="langgraph-"))
    try:
        yield kind(World(folder), durability)
    finally:
        shutil.rmtree(folder)


def report(kind: type[Ours] | type[Theirs], durability: str) -> dict[str, Any]:
    quiet = CrashAt(0)
    with programs(kind, durability) as program:
        assert recovers(lambda: live(program, quiet, NOON)), "the undisturbed run failed"
        assert Counter(program.world.calls) == Counter([EXPECTED["receipt"], EXPECTED["told"]])
    told: dict[str, Any] = {"points": len(quiet.labels), "labels": sorted(set(quiet.labels))}
    told |= {"lost": 0, "duplicated": 0, "other_ends": 0, "at": []}

    def killed(number: int) -> bool:
        with programs(kind, durability) as program:
            dead = in_child(lambda: live(program, CrashAt(number), NOON)) < 0
            ends: list[dict[str, Any]] = []
            recovers(lambda: ends.append(live(program, lambda label: None, LATER)))
            calls = Counter(program.world.calls)
            lost = sum(call not in calls for call in (EXPECTED["receipt"], EXPECTED["told"]))
            duplicated = sum(times - 1 for times in calls.values())
            told["lost"] += lost
            told["duplicated"] += duplicated
            told["other_ends"] += ends != [EXPECTED]
            if lost or duplicated or ends != [EXPECTED]:
                told["at"].append(number)
            return dead

    # The points of the control are its own, and come one after the other.
    told["killed"] = kills(killed, count(1), tries=1) if kind is Theirs else kills(killed, points(durability))
    return told


if __name__ == "__main__":
    print(json.dumps(report(Theirs if "--control" in sys.argv else Ours, sys.argv[1])))
