"""A rolling deploy on PostgreSQL: workers with old and new code run side by side, and each claims only what its code accepts."""

import asyncio
import json
import signal
from collections import Counter
from typing import NamedTuple

import pytest
from deploy_fleet import NEW, OLD, Letter, is_even, letters
from forks import forks

from pointsman import Engine, Process, Status
from pointsman.store.postgres import migrate_url, schema
from pointsman.store.postgres.store import PostgresStore, open_postgres
from pointsman.store.statements import migrations
from tiers import figure

HANGS_SECONDS = 300  # far beyond what it takes
LOOK_SECONDS = 0.02
ACCEPTED = "claims what it accepts"


class Found(NamedTuple):
    """The cases by their version and the code of their two steps, how many are done, and how often one was blocked."""

    ran: Counter[tuple[int, int, int]]
    done: int
    blocked: int


async def fields(store: PostgresStore, case: int) -> dict[str, int]:
    return {cell.field: json.loads(cell.text) for cell in await store.fields(case)}


async def half_done(url: str, cases: int) -> None:
    """Wait until a letter is drafted whose second step lasts until its worker leaves."""
    store = await open_postgres(url)
    try:
        async with asyncio.timeout(HANGS_SECONDS):
            while not any(  # noqa: ASYNC110 - it does not tell
                "drafted" in cells and not is_even(cells["number"])
                for cells in [await fields(store, row.id) for row in await store.cases(limit=cases)]
            ):
                await asyncio.sleep(LOOK_SECONDS)
    finally:
        await store.close()


async def look(url: str, cases: int) -> Found:
    """Wait until so many cases are done or blocked, and look at them."""
    store = await open_postgres(url)
    try:
        async with asyncio.timeout(HANGS_SECONDS):
            while (counts := await store.counts()).get(Status.DONE, 0) + counts.get(Status.BLOCKED, 0) < cases:  # noqa: ASYNC110 - it does not tell
                await asyncio.sleep(LOOK_SECONDS)
        ran: Counter[tuple[int, int, int]] = Counter()
        for row in await store.cases(limit=cases):
            cells = await fields(store, row.id)
            if row.status is Status.DONE:
                ran[row.version, cells["drafted"], cells["sent"]] += 1
        events = await store.events_of([row.id for row in await store.cases(limit=cases)])
        return Found(ran, ran.total(), sum(event.kind == "blocked" for event in events))
    finally:
        await store.close()


def deployed(url: str, count: int, *, older: list[int], leaves: bool = False) -> Found:
    """An old and a new worker get so many cases each. The old one `leaves` in order while it has work."""

    async def run() -> Found:
        async with forks("deploy_fleet") as fleet:
            old = await fleet.hire(url, OLD, [], 0, count, "does not end" if leaves else ACCEPTED)
            if leaves:
                await half_done(url, count)
            await fleet.hire(url, NEW, older, count, count, ACCEPTED)
            if leaves:
                await look(url, 1)
                fleet.kill(old, signal.SIGTERM)
            return await look(url, 2 * count)

    return asyncio.run(run())


async def start(url: str, process: Process[Letter], count: int) -> None:
    """Start so many cases, and leave them to workers."""
    async with Engine.open(url, [process], concurrency=0) as engine:
        await asyncio.gather(*(engine.start(process, Letter(number=number)) for number in range(count)))


def test_old_and_new_code_side_by_side_each_claim_only_what_they_accept(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = figure("DEPLOY_CASES", 40)

    found = deployed(postgres_url, count, older=[])

    with capsys.disabled():
        print(f"\n{count} cases of each version: {found.done} done, all by their own version, {found.blocked} blocked")
    assert found == Found(Counter({(OLD, OLD, OLD): count, (NEW, NEW, NEW): count}), 2 * count, 0)


def test_a_worker_that_claims_any_version_blocks_cases_of_the_other_one(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> Found:
        async with forks("deploy_fleet") as fleet:
            await start(postgres_url, letters(NEW, accepts={}), 40)
            await fleet.hire(postgres_url, OLD, [], 0, 0, "claims any version")
            return await look(postgres_url, 40)

    found = asyncio.run(run())

    with capsys.disabled():
        print(f"\na worker that claims any version: {found.blocked} blocked")
    assert found == Found(Counter(), 0, 40)


def test_old_cases_may_go_over_to_the_new_code_and_never_go_back(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    count = figure("DEPLOY_CASES", 40)

    found = deployed(postgres_url, count, older=[OLD], leaves=True)

    over = sum(cases for (version, drafted, _), cases in found.ran.items() if version == NEW) - count
    with capsys.disabled():
        print(
            f"\n{count} old and {count} new cases, where the old worker leaves: {over} went over to the new code, {found.blocked} blocked"
        )
    assert (found.done, found.blocked) == (2 * count, 0)
    assert over > 0
    assert found.ran[NEW, OLD, NEW] > 0
    assert set(found.ran) <= {(OLD, OLD, OLD), (NEW, OLD, OLD), (NEW, OLD, NEW), (NEW, NEW, NEW)}


def test_an_old_worker_goes_on_through_a_migration(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    count = figure("DEPLOY_CASES", 40)
    known = migrations("postgres")
    number = known[-1][0] + 1
    addition = "ALTER TABLE pointsman.cases ADD COLUMN color text; CREATE INDEX cases_color ON pointsman.cases (color);"

    async def run() -> tuple[list[list[int]], Found]:
        process = letters(OLD, accepts={})
        async with forks("deploy_fleet") as fleet:
            await fleet.hire(postgres_url, OLD, [], 0, count, ACCEPTED)
            await look(postgres_url, 1)
            monkeypatch.setattr(schema, "migrations", lambda _: [*known, (number, addition)])
            missing = [await migrate_url(postgres_url, dry_run=dry_run) for dry_run in (True, True, False, True)]
            await start(postgres_url, process, count)
            return missing, await look(postgres_url, 2 * count)

    missing, found = asyncio.run(run())

    assert missing == [[number], [number], [number], []]
    assert found == Found(Counter({(OLD, OLD, OLD): 2 * count}), 2 * count, 0)
