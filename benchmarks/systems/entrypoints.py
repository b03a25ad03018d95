"""Six tasks, one after the other, in an entrypoint: ours, or LangGraph's functional API on its SQLite saver. Both run in this environment.

Each task's result is stored before the next task begins: LangGraph's durability is "sync". Both flush each of their commits: AsyncSqliteSaver
sets journal_mode=WAL and leaves synchronous at FULL.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.systems.trial import Figures, repeated, run
from benchmarks.workload import STEPS, payload
from pointsman.functional import Checkpointer, entrypoint, task

Invoke = Callable[[int], Awaitable[object]]
"""Runs the entrypoint on a thread of its own."""


async def ingest(case: int) -> dict[str, Any]:
    return payload("ingest", case)


async def classify(case: int) -> dict[str, Any]:
    return payload("classify", case)


async def fetch_order(case: int) -> dict[str, Any]:
    return payload("fetch_order", case)


async def draft(case: int) -> dict[str, Any]:
    return payload("draft", case)


async def validate(case: int) -> dict[str, Any]:
    return payload("validate", case)


async def send(case: int) -> dict[str, Any]:
    return payload("send", case)


FUNCTIONS = (ingest, classify, fetch_order, draft, validate, send)


@asynccontextmanager
async def ours(file: Path, concurrency: int) -> AsyncIterator[Invoke]:
    """The entrypoint of this library."""
    tasks = [task(function) for function in FUNCTIONS]
    checkpointer = Checkpointer(file, concurrency=concurrency)

    @entrypoint(checkpointer=checkpointer, tasks=tuple(tasks))
    async def handle(case: int) -> dict[str, Any]:
        return [await one(case) for one in tasks][-1]

    with checkpointer:
        yield lambda case: handle.ainvoke(case, thread=str(case))


@asynccontextmanager
async def langgraph(file: Path, _: int) -> AsyncIterator[Invoke]:
    """The entrypoint of LangGraph, which bounds no concurrency."""
    from langgraph import func  # noqa: PLC0415 - where it is not installed, ours is measured alone
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: PLC0415

    tasks: list[Any] = [func.task(function) for function in FUNCTIONS]
    async with AsyncSqliteSaver.from_conn_string(str(file)) as saver:
        await saver.setup()

        @func.entrypoint(checkpointer=saver)  # type: ignore[misc, untyped-decorator, unused-ignore]
        async def handle(case: int) -> Any:
            return [await one(case) for one in tasks][-1]

        yield lambda case: handle.ainvoke(case, {"configurable": {"thread_id": str(case)}}, durability="sync")


FRONTS = {"pointsman": ours, "langgraph": langgraph}


def entrypoints(folder: Path, *, front: str, concurrency: int, seconds: float) -> Figures:
    """Six tasks, one after the other, `concurrency` threads at a time."""

    async def main() -> tuple[int, float]:
        async with FRONTS[front](folder / "cases.db", concurrency) as invoke:
            await invoke(0)
            return await repeated(invoke, concurrency=concurrency, seconds=seconds)

    cases, wall = asyncio.run(main())
    return {"steps": cases * len(STEPS), "seconds": wall}


if __name__ == "__main__":
    run({"functional-entrypoint": entrypoints})
