"""A transition that names few columns leaves the same rows as one that names all of them, wherever the case stood before."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from pointsman.errors import Conflict
from pointsman.kernel.rows import EventWrite, FieldWrite, NewCase, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store import sqlite_core
from pointsman.store.memory import MemoryStore

BEGUN = Transition(
    1, 0, 0, 1.0, Status.RUNNING, claims=True, new=NewCase("p", 1, "k", "red", 3, "c"), events=[EventWrite("accepted", None, 0, "{}")]
)
BEFORE = [
    {"status": status, "wake_at": wake_at, "reason": reason, "needs": needs, "outcome": outcome, "interruptions": interruptions}
    for status in Status
    for (wake_at, reason, needs), (outcome, interruptions) in itertools.product(
        [(None, None, None), (5.0, "it failed", None), (None, None, "llm"), (6.0, None, "llm")], [(None, 0), ("sent", 2)]
    )
]
GOES_ON = Transition(
    1, 2, 1, 3.0, Status.RUNNING, attempts=1, steps=2, step="draft", rule="there is none", inbox=0,
    fields=[FieldWrite("draft", '"x"', "draft"), FieldWrite("note", None, "draft")], events=[EventWrite("decided", None, 0, "{}")],
)  # fmt: skip


async def left(*transitions: Transition) -> tuple[list[Any], list[Any]]:
    """The rows of the case and of its journal after these transitions."""
    store = MemoryStore(incarnation="i")
    for transition in transitions:
        await store.commit(transition)
    execute = store.core.connection.execute
    return execute("SELECT * FROM cases").fetchall(), execute("SELECT * FROM journal").fetchall()


@pytest.mark.parametrize("before", BEFORE, ids=lambda before: "-".join(map(str, before.values())))
def test_few_columns_and_all_of_them_leave_the_same_rows(monkeypatch: pytest.MonkeyPatch, before: dict[str, Any]) -> None:
    stood = Transition(1, 1, 1, 2.0, **before, events=[EventWrite("decided", None, 0, "{}")])

    few = asyncio.run(left(BEGUN, stood, GOES_ON))
    monkeypatch.setattr(sqlite_core, "_goes_on", lambda t: False)
    every = asyncio.run(left(BEGUN, stood, GOES_ON))

    assert few == every
    assert few[0][0][4] == "running"


@pytest.mark.parametrize("stale", [{"revision": 1}, {"revision": 3}, {"fence": 0}, {"fence": 2}, {"inbox": 1}], ids=str)
@pytest.mark.parametrize("more", [{}, {"status": Status.PARKED, "reason": "it failed"}], ids=["goes on", "moves"])
def test_a_stale_transition_leaves_nothing(stale: dict[str, Any], more: dict[str, Any]) -> None:
    stood = Transition(1, 1, 1, 2.0, Status.RUNNING, events=[EventWrite("decided", None, 0, "{}")])

    async def refused() -> tuple[list[Any], list[Any]]:
        store = MemoryStore(incarnation="i")
        await store.commit(BEGUN)
        await store.commit(stood)
        with pytest.raises(Conflict):
            await store.commit(replace(GOES_ON, **more, **stale))
        execute = store.core.connection.execute
        return execute("SELECT * FROM cases").fetchall(), execute("SELECT * FROM journal").fetchall()

    assert asyncio.run(refused()) == asyncio.run(left(BEGUN, stood))
