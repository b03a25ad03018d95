"""A fleet on PostgreSQL whose workers, network and server are broken all the time: nothing accepted is lost, nothing is done twice."""

import asyncio
from pathlib import Path

import pytest
from fleet_world import LEASE_SECONDS, SWEEP_SECONDS, Faults, Fleet, Told

from postgres_server import Server
from tiers import figure, seed

WORKERS = 3
HANGS_SECONDS = 300  # and 10 for each fault: far beyond what it takes


def test_a_fleet_that_is_broken_all_the_time_loses_and_repeats_nothing(
    tmp_path: Path, postgres: Server, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    faults = Faults(
        kills=figure("FLEET_KILLS", 1), stops=figure("FLEET_STOPS", 1), cuts=figure("FLEET_CUTS", 4), holes=figure("FLEET_HOLES", 1),
        delays=figure("FLEET_DELAYS", 1), restarts=figure("FLEET_RESTARTS", 1),
    )  # fmt: skip

    async def run() -> Told:
        fleet = Fleet(tmp_path, postgres, postgres_url, workers=figure("FLEET_WORKERS", WORKERS), seed=seed())
        async with asyncio.timeout(HANGS_SECONDS + 10 * sum(vars(faults).values())):
            return await fleet.run(faults)

    told = asyncio.run(run())

    with capsys.disabled():
        did = ", ".join(f"{count} {name}" for name, count in told.did.items())
        print(f"\n{did}; {told.effects} effects: {told.lost} lost, {told.duplicated} duplicated (seed {seed()})")
        left = told.unknown - told.found_committed - told.found_absent
        print(
            f"  {told.unknown} unknown commits: {told.found_committed} committed, {told.found_absent} not, {left} left by workers that gave up"
        )
        if taken := sorted(told.take_overs):
            longest = f"p99 {taken[99 * len(taken) // 100]:.1f} s (lease {LEASE_SECONDS} s + sweep {SWEEP_SECONDS:.1f} s)"
            print(f"  {len(taken)} take-overs: median {taken[len(taken) // 2]:.1f} s, {longest}")
        print(f"  {told.asked_again} questions asked again, {told.resolved} effects resolved by a person")
        print(f"  AtLeastOnce repeated {told.repeated_as_declared}")
        for end, count in told.ends.items():
            print(f"  {count} workers {end}")
    assert told.did == {name: count for name, count in vars(faults).items() if count}
    assert (told.lost, told.duplicated, told.wrong) == (0, 0, [])


def test_a_worker_that_was_stopped_beyond_its_lease_cannot_write(
    tmp_path: Path, postgres: Server, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run() -> Told:
        fleet = Fleet(tmp_path, postgres, postgres_url, workers=2, seed=seed())
        return await fleet.stop_an_owner(3)

    told = asyncio.run(run())

    with capsys.disabled():
        print(f"\na worker that was stopped: {told.stale} stale results of 3, {told.lost} lost, {told.duplicated} duplicated")
    assert (told.stale, told.lost, told.duplicated, told.wrong) == (0, 0, 0, [])
