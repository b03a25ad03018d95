"""An engine on PostgreSQL stands still between the results of its steps and their writes, and goes on after another one has its cases.

While it stands still, the other engine begins the step of the letter "overtaken", and ends the letter "finished".
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from places import LEASE_SECONDS, run
from stopping import LETTERS, Letter, letters

from pointsman import Engine
from pointsman.store.postgres.store import open_postgres

pytestmark = pytest.mark.usefixtures("patient")
HANGS_SECONDS = 300  # far beyond what it takes on a busy machine
LATER_SECONDS = LEASE_SECONDS + 100.0  # when the lease of the engine that stands still is over
PROGRAM = Path(__file__).with_name("stopping.py")
REFUSED = "was changed by another engine or an operator"


async def ends(url: str, stopped: "subprocess.Popen[str]") -> tuple[dict[str, str | None], int]:
    """Return who has signed each letter in the end, and how many late results were refused."""
    begun, gate = asyncio.Event(), asyncio.Event()

    async def signs(name: str) -> None:
        if name == "overtaken":
            begun.set()
            await gate.wait()

    _, status = await asyncio.to_thread(os.waitpid, stopped.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    store = await open_postgres(url, lease_seconds=LEASE_SECONDS, skew=lambda: LATER_SECONDS)
    async with Engine.open(url, [letters("in time", signs)], store=store) as engine:
        cases = {name: (await engine.start("letters", {"name": name}, key=name)).case for name in LETTERS}
        await engine.wait_until_resting(cases["finished"])
        await begun.wait()
        stopped.send_signal(signal.SIGCONT)
        told, _ = await asyncio.to_thread(stopped.communicate)
        gate.set()
        for case in cases.values():
            await engine.wait_until_resting(case)
        states = {name: await engine.state(case, Letter) for name, case in cases.items()}
        return {name: state.signed_by for name, state in states.items()}, told.count(REFUSED)


@pytest.mark.parametrize(
    ("forgotten", "late"),
    [([], []), (["fence"], ["overtaken"]), (["fence", "revision"], ["overtaken", "finished"])],
    ids=["all guards", "without the fence", "without the fence and the revision"],
)
def test_an_engine_that_stood_still_changes_nothing_that_is_guarded(
    postgres_url: str, forgotten: Sequence[str], late: Sequence[str]
) -> None:
    with subprocess.Popen([sys.executable, PROGRAM, postgres_url, *forgotten], stdout=subprocess.PIPE, text=True) as stopped:
        try:
            signed_by, refused = run(ends(postgres_url, stopped), seconds=HANGS_SECONDS)
        finally:
            stopped.kill()

    assert signed_by == {name: "late" if name in late else "in time" for name in LETTERS}
    assert refused == len(LETTERS) - len(late)
