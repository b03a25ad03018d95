"""Many waiting cases cost rows, not threads, tasks or time; and they outlive the code that they were started with."""

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pointsman import Context, Engine, Idempotent, Process, State, Status, finish, otherwise, when
from pointsman.store.sqlite import open_sqlite
from tiers import figure


class Answer(BaseModel):
    yes: bool


class Ticket(State):
    number: int
    draft: str | None = None
    answer: Answer | None = None
    checked: str | None = None
    receipt: str | None = None


def tickets(calls: Counter[str], *, with_check: bool) -> Process[Ticket]:
    """Write, ask, send; in its newer form, what is asked for is checked before it is sent."""
    process = Process("tickets", Ticket)

    @process.node(writes="draft")
    async def write(number: int) -> str:
        calls[f"write {number}"] += 1
        return f"draft {number}"

    ask = process.pause(writes="answer", answer=Answer, shows=("draft",))

    @process.effect(writes="receipt", safety=Idempotent())
    async def send(number: int, draft: str, *, ctx: Context) -> str:
        calls[f"send {number}"] += 1
        return f"sent {draft}"

    rules: list[Any] = [
        when("there is no draft", lambda c: c.draft is None, write),
        when("nobody has answered", lambda c: c.answer is None, ask),
    ]
    if with_check:

        @process.node(writes="checked")
        async def check(draft: str) -> str:
            calls[f"check {draft}"] += 1
            return "fine"

        rules.append(when("it is not checked", lambda c: c.checked is None, check))
    else:
        process.node(lambda_check, writes="checked")
        rules.append(when("never in this version", lambda c: c.number < 0, process.steps["lambda_check"]))
    process.rules(*rules, when("it is not sent", lambda c: c.receipt is None, send), otherwise(finish("sent")))
    return process


async def lambda_check(draft: str) -> str:
    return draft


async def start_many(engine: Engine, process: Process[Ticket], count: int) -> None:
    for first in range(0, count, 500):
        numbers = range(first, min(first + 500, count))
        await asyncio.gather(*(engine.start(process, Ticket(number=number), key=str(number)) for number in numbers))
    await engine.idle()


def test_many_paused_cases_cost_no_thread_and_no_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process, many = tickets(Counter(), with_check=False), figure("WAITING", 2_000)
    sizes: dict[int, tuple[int, int]] = {}

    async def life(count: int) -> int:
        async with Engine.open(tmp_path / "cases.db", [process], concurrency=256) as engine:
            await start_many(engine, process, count)
            return (await engine.reader.counts())[Status.WAITING]

    async def reopened() -> tuple[int, int]:
        async with Engine.open(tmp_path / "cases.db", [process]) as engine:
            await engine.idle()
            return threading.active_count(), len(asyncio.all_tasks())

    for count in (10, many):
        waiting = asyncio.run(life(count))
        sizes[waiting] = asyncio.run(reopened())

    with capsys.disabled():
        print("\n" + "; ".join(f"{waiting} waiting cases: {threads} threads, {tasks} tasks" for waiting, (threads, tasks) in sizes.items()))
    assert list(sizes) == [10, many]
    assert sizes[10] == sizes[many]


@pytest.mark.parametrize("statement", ["select_needs", "select_due", "next_lane", "select_lane", "next_wake", "recover_cases"])
def test_opening_reads_no_waiting_case(tmp_path: Path, statement: str) -> None:
    async def plan() -> str:
        store = await open_sqlite(tmp_path / "cases.db", now=1.0)
        sql = store._sql[statement]
        rows = store.core.connection.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?")).fetchall()
        await store.close()
        return "\n".join(row[3] for row in rows)

    found = asyncio.run(plan())

    looks = [line for line in found.splitlines() if " cases" in line and "PRIMARY KEY" not in line]
    assert looks
    assert all(
        "SEARCH" in line and "USING" in line and ("cases_due" in line or "cases_line" in line or "cases_running" in line) for line in looks
    ), found


def test_many_due_cases_of_one_tenant_delay_no_other_by_more_than_a_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    due = figure("WAITING", 10_000)
    columns = "process, version, status, revision, fence, wake_at, attempts, steps, created_at, updated_at, tenant, needs"
    herd = [("ticket", 1, "ready", 1, 0, number / 1e6, 0, 1, 0.0, 0.0, "herd", "llm" if number % 2 else None) for number in range(due)]
    quiet = ("ticket", 1, "ready", 1, 0, 5.0, 0, 1, 0.0, 0.0, "quiet", None)

    async def main() -> tuple[list[str], list[str], float]:
        store = await open_sqlite(tmp_path / "cases.db", now=1.0)
        store.core.connection.executemany(f"INSERT INTO cases ({columns}) VALUES ({', '.join('?' * len(quiet))})", [*herd, quiet])
        begun = time.perf_counter()
        claimed = await store.claim(["ticket"], now=9.0, limit=2, room={"llm": 0})
        milliseconds = (time.perf_counter() - begun) * 1_000
        again = await store.claim(["ticket"], now=9.0, limit=2, room={"llm": 1})
        await store.close()
        return [one.case.tenant for one in claimed], [one.case.needs or "" for one in again], milliseconds

    tenants, needs, milliseconds = asyncio.run(main())

    with capsys.disabled():
        print(f"\na claim beside {due:,} due cases of another tenant: {milliseconds:.1f} ms")
    assert sorted(tenants) == ["herd", "quiet"]
    assert len(needs) == 2
    assert needs.count("llm") <= 1


def test_a_step_added_before_a_thousand_waiting_cases_is_taken_by_each_and_nothing_is_repeated(tmp_path: Path) -> None:
    calls: Counter[str] = Counter()
    older, newer = tickets(calls, with_check=False), tickets(calls, with_check=True)

    async def before_the_change() -> None:
        async with Engine.open(tmp_path / "cases.db", [older], concurrency=256) as engine:
            await start_many(engine, older, 1_000)

    async def after_the_change() -> Counter[str]:
        async with Engine.open(tmp_path / "cases.db", [newer], concurrency=256) as engine:
            await asyncio.gather(*(answer(engine, case) for case in range(1, 1_001)))
            await engine.idle()
            rows = await engine.reader.cases(limit=2_000)
            states = [await engine.state(row.id) for row in rows]
            return Counter(f"{row.status} {row.outcome} {state.checked}" for row, state in zip(rows, states, strict=True))

    async def answer(engine: Engine, case: int) -> None:
        pending = await engine.pending(case)
        await engine.resume(pending.token, Answer(yes=True), by="anna")

    asyncio.run(before_the_change())
    ends = asyncio.run(after_the_change())

    assert ends == {"done sent fine": 1_000}
    assert set(calls.values()) == {1}
    assert len(calls) == 3_000
