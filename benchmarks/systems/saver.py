"""LangGraph's own programs on a checkpointer: ours, or LangGraph's for SQLite. Both run in this environment, with the same LangGraph.

The durability is "async", LangGraph's default, and both flush each of their commits: AsyncSqliteSaver sets journal_mode=WAL and leaves
synchronous at FULL.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers import langgraph
from benchmarks.systems.trial import Figures, repeated, run
from benchmarks.workload import STEPS
from pointsman.integrations.langgraph import PointsmanSaver


@asynccontextmanager
async def _opened(saver: str, file: Path) -> AsyncIterator[Any]:
    async with PointsmanSaver.open(file) if saver == "pointsman" else langgraph.opened(str(file)) as opened:
        yield opened


def steps(folder: Path, *, saver: str, concurrency: int, seconds: float) -> Figures:
    """Six nodes, one after the other, `concurrency` threads at a time."""

    async def main() -> tuple[int, float]:
        async with _opened(saver, folder / "cases.db") as opened:
            graph = langgraph.six_steps(opened)
            await langgraph.invoke(graph, {"case": 0}, "warm")
            return await repeated(lambda case: langgraph.invoke(graph, {"case": case}, case), concurrency=concurrency, seconds=seconds)

    cases, wall = asyncio.run(main())
    return {"steps": cases * len(STEPS), "seconds": wall}


def growing_list(folder: Path, *, saver: str, items: int) -> Figures:
    """One thread with a list that grows by an item a step: steps a second, and the bytes on disk."""

    async def main(items: int, thread: str) -> tuple[int, float]:
        async with _opened(saver, folder / "cases.db") as opened:
            begun = time.perf_counter()
            state = await langgraph.invoke(langgraph.growing(opened), {"items": items, "entries": []}, thread)
            return len(json.dumps(state["entries"])), time.perf_counter() - begun

    asyncio.run(main(1, "first"))
    empty = langgraph.stored(str(folder / "cases.db"))
    weight, wall = asyncio.run(main(items, "second"))
    disk = langgraph.stored(str(folder / "cases.db")) - empty
    return {"steps": items, "seconds": wall, "disk_bytes": disk, "list_bytes": weight}


if __name__ == "__main__":
    run({"functional-saver": steps, "functional-saver-list": growing_list})
