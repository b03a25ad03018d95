"""The branches of a fan-out on PostgreSQL run on the engine that has the case; when it is killed, another one runs those that have not ended."""

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from fan_owner import fan_outs
from fanning import PriceList
from places import LEASE_SECONDS, run, seen

from pointsman import Engine
from pointsman.store.postgres.store import open_postgres

pytestmark = pytest.mark.usefixtures("patient")
HANGS_SECONDS = 300  # far beyond what it takes on a busy machine
LATER_SECONDS = LEASE_SECONDS + 100.0  # when the owner's lease is over
PROGRAM = Path(__file__).with_name("fan_owner.py")
ENDED = 3 + 2  # branches, before the engine is killed


async def taken_over(url: str, owner: "subprocess.Popen[bytes]") -> tuple[list[str], list[str], list[str | None], Counter[str]]:
    """Return what another engine called beside the owner, and the next one after it, how the cases ended, and their events by kind."""
    beside, after = PriceList(), PriceList()
    assert owner.stdout is not None
    assert await asyncio.to_thread(owner.stdout.readline) == b"begun\n"
    async with Engine.open(url, [process for process, _ in fan_outs(beside)], lease_seconds=LEASE_SECONDS) as engine:
        await seen(engine, "node.succeeded", count=ENDED)
    owner.kill()
    wanted = fan_outs(after)
    store = await open_postgres(url, lease_seconds=LEASE_SECONDS, skew=lambda: LATER_SECONDS)
    async with Engine.open(url, [process for process, _ in wanted], store=store) as engine:
        cases = [(await engine.start(process, inputs, key="k")).case for process, inputs in wanted]
        ends = [(await engine.wait_until_resting(case)).outcome for case in cases]
        return beside.calls, after.calls, ends, Counter(event.kind for event in await engine.reader.events_of(cases))


def test_an_engine_takes_over_the_branches_that_have_not_ended(postgres_url: str) -> None:
    with subprocess.Popen([sys.executable, PROGRAM, postgres_url], stdout=subprocess.PIPE) as owner:
        try:
            beside, after, ends, kinds = run(taken_over(postgres_url, owner), seconds=HANGS_SECONDS)
        finally:
            owner.kill()

    assert beside == []
    assert sorted(after) == ["anna's stuck", "stuck"]
    assert ends == ["priced", "asked"]
    assert (kinds["node.succeeded"], kinds["joined"], kinds["finished"]) == (ENDED + 2, 2, 2)
