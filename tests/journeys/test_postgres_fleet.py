"""A fleet on PostgreSQL whose workers, network and server are broken all the time: nothing accepted is lost, nothing is done twice."""

import asyncio
import os
from pathlib import Path

import pytest
from fleet_world import Faults, Fleet, Told

from postgres_server import Server
from tiers import figure, seed

pytestmark = pytest.mark.skipif("POINTSMAN_FLEET_KILLS" not in os.environ, reason="half a minute long: runs in make soak")

WORKERS = 3
HANGS_SECONDS = 120  # and 10 for each fault: far beyond what it takes


def test_a_fleet_that_is_broken_all_the_time_loses_and_repeats_nothing(
    tmp_path: Path, postgres: Server, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = Faults(
        kills=figure("FLEET_KILLS", 3), stops=figure("FLEET_STOPS", 1), cuts=figure("FLEET_CUTS", 8), holes=figure("FLEET_HOLES", 0),
        restarts=figure("FLEET_RESTARTS", 0),
    )  # fmt: skip

    async def run() -> Told:
        fleet = Fleet(tmp_path, postgres, postgres_url, workers=figure("FLEET_WORKERS", WORKERS), seed=seed())
        async with asyncio.timeout(HANGS_SECONDS + 10 * sum(vars(faults).values())):
            return await fleet.run(faults)

    told = asyncio.run(run())

    with capsys.disabled():
        did = ", ".join(f"{count} {name}" for name, count in told.did.items())
        print(f"\n{did}; {told.effects} effects: {told.lost} lost, {told.duplicated} duplicated (seed {seed()})")
        print(
            f"  {told.unknown} unknown commits, {told.found_committed} of them found committed; {told.asked_again} questions asked again,"
        )
        print(f"  {told.resolved} effects resolved by a person; AtLeastOnce repeated {told.repeated_as_declared}")
        for end, count in told.ends.items():
            print(f"  {count} workers {end}")
    assert told.did == {name: count for name, count in vars(faults).items() if count}
    assert (told.lost, told.duplicated, told.wrong) == (0, 0, [])


@pytest.mark.parametrize(("kind", "holds"), [("keeps the fence", True), ("forgets the fence", False)])
def test_a_worker_that_was_stopped_beyond_its_lease_cannot_write(
    tmp_path: Path, postgres: Server, postgres_url: str, capsys: pytest.CaptureFixture[str], kind: str, holds: bool
) -> None:
    async def run() -> Told:
        fleet = Fleet(tmp_path, postgres, postgres_url, workers=2, seed=seed(), kind=kind)
        fleet.first_seconds = 1.0  # the other worker is still at it when the first one goes on
        return await fleet.stop_an_owner(3)

    told = asyncio.run(run())

    with capsys.disabled():
        print(f"\na worker that {kind}: {told.stale} stale results of 3, {told.lost} lost, {told.duplicated} duplicated, {told.wrong}")
    assert ((told.stale, told.lost, told.duplicated, told.wrong) == (0, 0, 0, [])) == holds
