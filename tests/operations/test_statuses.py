"""The page of statuses: it shows the machine's table, and what the store does to a status by itself."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from pointsman import Process, State, finish, otherwise
from pointsman.kernel.case import new_case
from pointsman.kernel.happenings import StartAsked
from pointsman.kernel.machine import Plan, advance
from pointsman.kernel.program import program_of
from pointsman.kernel.rows import Address, NewCase, Post
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.operations.statuses import IN_THE_STORE, statuses_page
from pointsman.store.memory import MemoryStore

PAGE = Path(__file__).parents[2] / "docs" / "statuses.md"
TIMED = {Status.READY, Status.WAITING}
"""The statuses that have a time at which they are due; the walks of `tests/kernel` see no other with one."""


class Nothing(State):
    what: str = "a"


async def case_in(store: MemoryStore, status: Status) -> int:
    """A case that stands so, and is due at once if it can be."""
    process = Process("way", Nothing)
    process.rules(otherwise(finish("done")))
    new = NewCase("way", 1, None)
    [number] = await store.reserve(1)
    plan = advance(program_of(process), new_case(number, new, 1.0, store.incarnation), StartAsked(new, {}), 1.0, random.Random(1))
    assert isinstance(plan, Plan)
    assert plan.transition is not None
    number = await store.commit(plan.transition)
    first = Status.READY if status is Status.RUNNING else status
    store.core.connection.execute("UPDATE cases SET status = ?, wake_at = ? WHERE id = ?", (first, 1.0 if first in TIMED else None, number))
    if status is Status.RUNNING:
        await claim(store, number)
    return number


async def claim(store: MemoryStore, case: int) -> None:
    await store.claim(["way"], now=2.0, limit=10)


async def delivery(store: MemoryStore, case: int) -> None:
    await store.post(Post(Address("way", case=case), "word", None, "{}", 2.0))


async def release(store: MemoryStore, case: int) -> None:
    await store.release([case], now=2.0)


async def recovery(store: MemoryStore, case: int) -> None:
    store.recover(now=2.0)


@pytest.mark.parametrize(("move", "table"), [(claim, "claim"), (delivery, "delivery"), (release, "release"), (recovery, "release")])
def test_the_store_moves_cases_as_the_page_says(move: Callable[[MemoryStore, int], Awaitable[None]], table: str) -> None:
    async def moved() -> Mapping[Status, Status]:
        moves = {}
        for status in Status:
            store = MemoryStore()
            case = await case_in(store, status)
            await move(store, case)
            row = await store.case(case)
            assert row is not None
            moves[status] = row.status
        return moves

    moves = asyncio.run(moved())

    assert {status: after for status, after in moves.items() if after is not status} == IN_THE_STORE[table]
    assert {moves[status] for status in ENDED} == ENDED


def test_the_page_shows_the_table() -> None:
    assert PAGE.read_text() == statuses_page()


def test_the_drawing_has_each_status_and_names_each_happening() -> None:
    page = statuses_page()
    drawing = page.split("```mermaid")[1].split("```")[0]

    assert all(f"{status} --> " in drawing and f"--> {status}" in drawing for status in Status)
    assert "..." not in drawing
