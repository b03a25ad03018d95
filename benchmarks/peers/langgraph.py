"""LangGraph: a state graph with a checkpointer for asyncio, on SQLite, or on PostgreSQL where the run has a server.

The durability is "async", its default and its fastest that stores each step: a step is written while the next one runs, so it is on the
disk one step later than with "sync" (https://reference.langchain.com/python/langgraph/types/Durability). AsyncSqliteSaver sets
journal_mode=WAL and leaves synchronous at FULL; AsyncPostgresSaver gets a pool of connections
(https://docs.langchain.com/oss/python/langgraph/persistence).
"""

import asyncio
import json
import operator
import os
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from benchmarks.peers import postgres
from benchmarks.peers.crowd import Ready, in_another, together
from benchmarks.systems.trial import Figures, repeated, rss_bytes, run
from benchmarks.workload import STEPS, payload

CONNECTIONS = 16
WATCHED_SECONDS = 2.0  # of an idle engine
RESUMED = 100  # waiting cases that are answered after the restart


class Case(TypedDict, total=False):
    case: int
    ingest: dict[str, Any]
    classify: dict[str, Any]
    fetch_order: dict[str, Any]
    draft: dict[str, Any]
    validate: dict[str, Any]
    approval: str
    send: dict[str, Any]


class Parts(TypedDict, total=False):
    case: int
    branches: int
    number: int
    parts: Annotated[list[dict[str, Any]], operator.add]
    total: int


class Growing(TypedDict, total=False):
    items: int
    entries: Annotated[list[dict[str, Any]], operator.add]


def six_steps(saver: Any, *, approved: bool = False) -> Any:
    """Six nodes, one after the other; with an approval before the last if `approved`."""
    graph = StateGraph(Case)
    before = START

    def node(name: str) -> Callable[[Case], Any]:
        async def step(state: Case) -> dict[str, Any]:
            return {name: payload(name, state["case"])}

        return step

    async def approve(state: Case) -> dict[str, Any]:
        return {"approval": interrupt(state["draft"]["step"])}

    for name in STEPS:
        if approved and name == STEPS[-1]:
            graph.add_node("approve", approve)
            graph.add_edge(before, "approve")
            before = "approve"
        graph.add_node(f"do_{name}", node(name))  # type: ignore[arg-type]
        graph.add_edge(before, f"do_{name}")
        before = f"do_{name}"
    graph.add_edge(before, END)
    return graph.compile(checkpointer=saver)


def fan_out(saver: Any) -> Any:
    """A node for each number, and one that joins the results."""
    graph = StateGraph(Parts)

    async def part(state: Parts) -> dict[str, Any]:
        return {"parts": [payload("part", state["case"], state["number"])]}

    async def join(state: Parts) -> dict[str, Any]:
        return {"total": len(state["parts"])}

    def branches(state: Parts) -> list[Any]:
        return [Send("part", {"case": state["case"], "number": number}) for number in range(state["branches"])]

    graph.add_node("part", part)
    graph.add_node("join", join)
    graph.add_conditional_edges(START, branches, ["part"])
    graph.add_edge("part", "join")
    graph.add_edge("join", END)
    return graph.compile(checkpointer=saver)


def growing(saver: Any) -> Any:
    """A node that adds an item to a list, until there are enough."""
    graph = StateGraph(Growing)

    async def add(state: Growing) -> dict[str, Any]:
        return {"entries": [payload("grow", len(state["entries"]))]}

    graph.add_node("add", add)
    graph.add_edge(START, "add")
    graph.add_conditional_edges("add", lambda state: "add" if len(state["entries"]) < state["items"] else END, ["add", END])
    return graph.compile(checkpointer=saver)


@asynccontextmanager
async def opened(place: str) -> AsyncIterator[Any]:
    """Open the checkpointer of a database's URL or of a SQLite file."""
    if place.startswith("postgresql:"):
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
        from psycopg.rows import dict_row
        from psycopg_pool import AsyncConnectionPool

        settings = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}  # as AsyncPostgresSaver asks for
        async with AsyncConnectionPool(place, min_size=1, max_size=CONNECTIONS, kwargs=settings, open=False) as pool:
            saver: Any = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
            await saver.setup()
            yield saver
    else:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(place) as saver:
            await saver.setup()
            yield saver


def placed(work: Callable[[str], Figures], folder: Path) -> Figures:
    """Call `work` with the place of an empty store: a database's URL, or a file."""
    if postgres.VARIABLE in os.environ:
        with postgres.database() as url:
            return work(url)
    return work(str(folder / "cases.db"))


async def invoke(graph: Any, value: Any, case: object) -> Any:
    """Run a case until it ends or pauses."""
    return await graph.ainvoke(value, {"configurable": {"thread_id": str(case)}, "recursion_limit": 1_000_000}, durability="async")


async def _set_up(place: str) -> None:
    async with opened(place):
        pass


def w1(folder: Path, *, concurrency: int, seconds: float, processes: int = 1) -> Figures:
    each = concurrency // processes

    def measure(place: str) -> Figures:
        def work(number: int, ready: Ready) -> tuple[int, float]:
            async def main() -> tuple[int, float]:
                async with opened(place) as saver:
                    graph = six_steps(saver)
                    await invoke(graph, {"case": 0}, f"warm-{number}")
                    ready()
                    return await repeated(lambda case: invoke(graph, {"case": case}, f"{number}-{case}"), concurrency=each, seconds=seconds)

            return asyncio.run(main())

        asyncio.run(_set_up(place))
        cases, wall = together(work, processes)
        return {"steps": cases * len(STEPS), "seconds": wall}

    return placed(measure, folder)


def w2(folder: Path, *, cases: int) -> Figures:
    async def main(place: str) -> Figures:
        paused, answered = [], []
        async with opened(place) as saver:
            graph = six_steps(saver, approved=True)
            for number in range(-1, cases):  # the first one warms up
                begun = time.perf_counter()
                state = await invoke(graph, {"case": number}, number)
                paused.append(time.perf_counter() - begun)
                assert "__interrupt__" in state, state
                begun = time.perf_counter()
                state = await invoke(graph, Command(resume="yes"), number)
                answered.append(time.perf_counter() - begun)
                assert "send" in state, state
        return {"paused_ms": 1e3 * statistics.median(paused[1:]), "answered_ms": 1e3 * statistics.median(answered[1:])}

    return placed(lambda place: asyncio.run(main(place)), folder)


def w3(folder: Path, *, branches: int, seconds: float) -> Figures:
    async def main(place: str) -> Figures:
        async with opened(place) as saver:
            graph = fan_out(saver)

            async def once(number: int) -> None:
                state = await invoke(graph, {"case": number, "branches": branches}, number)
                assert state["total"] == branches, state["total"]

            cases, wall = await repeated(once, concurrency=1, seconds=seconds)
        return {"steps": cases * (branches + 1), "seconds": wall}

    return placed(lambda place: asyncio.run(main(place)), folder)


def w4(folder: Path, *, cases: int) -> Figures:
    async def fill(place: str) -> None:
        async with opened(place) as saver:
            graph = six_steps(saver, approved=True)
            for first in range(0, cases, CONNECTIONS):
                numbers = range(first, min(first + CONNECTIONS, cases))
                await asyncio.gather(*(invoke(graph, {"case": number}, number) for number in numbers))

    async def reopened(place: str) -> Figures:
        before = rss_bytes()
        begun = time.perf_counter()
        resumed = []
        async with opened(place) as saver:
            graph = six_steps(saver, approved=True)
            open_ms = 1e3 * (time.perf_counter() - begun)
            used = time.process_time()
            await asyncio.sleep(WATCHED_SECONDS)
            idle = (time.process_time() - used) / WATCHED_SECONDS
            for case in range(min(RESUMED, cases)):
                begun = time.perf_counter()
                await invoke(graph, Command(resume="yes"), case)
                resumed.append(1e3 * (time.perf_counter() - begun))
        return {
            "open_ms": open_ms, "usable_ms": open_ms + resumed[0], "resumed_ms": statistics.median(resumed),
            "memory_bytes": rss_bytes() - before, "idle_load": idle,
        }  # fmt: skip

    def measure(place: str) -> Figures:
        asyncio.run(_set_up(place))
        empty = stored(place)
        in_another(lambda: asyncio.run(fill(place)))
        return {"bytes_each": (stored(place) - empty) / cases, **asyncio.run(reopened(place))}

    return placed(measure, folder)


def w5_list(folder: Path, *, items: int) -> Figures:
    def measure(place: str) -> Figures:
        async def main() -> int:
            async with opened(place) as saver:
                state = await invoke(growing(saver), {"items": items, "entries": []}, 0)
                return len(json.dumps(state["entries"]))

        asyncio.run(_set_up(place))
        empty = stored(place)
        weight = asyncio.run(main())
        return {"disk_bytes": stored(place) - empty, "list_bytes": weight, "disk_to_list": (stored(place) - empty) / weight}

    return placed(measure, folder)


def stored(place: str) -> int:
    """Return the bytes of a closed store."""
    return postgres.size(place) if place.startswith("postgresql:") else sum(f.stat().st_size for f in Path(place).parent.glob("cases.db*"))


if __name__ == "__main__":
    run({"W1": w1, "W2": w2, "W3": w3, "W4": w4, "W5-list": w5_list})
