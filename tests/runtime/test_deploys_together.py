"""Engines with old and new code on one store: each leaves the other's cases alone, and what no engine accepts is blocked."""

import pytest
from letters import World
from places import run
from test_leases import LEASE_SECONDS, Fleet
from test_versions import ask_1, ask_2

from pointsman import Status
from pointsman.errors import VersionNotAccepted


def test_a_case_of_the_other_version_is_neither_claimed_nor_blocked_while_its_engine_lives() -> None:
    async def scenario() -> None:
        fleet, old, new = Fleet(), ask_1(), ask_2(accepts={})
        async with fleet.open(old, World()) as older, fleet.open(new, World()) as newer:
            case = (await newer.start(new, {"message": {"text": "hello", "language": "en"}})).case
            await newer.wait_until_resting(case)
            token = (await newer.pending(case)).token
            await fleet.lets_pass(LEASE_SECONDS)

            with pytest.raises(VersionNotAccepted, match=r"cannot go on here: .* or ask an engine that has it"):
                await older.resume(token, "yes", by="anna")
            left = await older.case(case)
            await newer.resume(token, "yes", by="anna")
            done = await newer.wait_until_resting(case)

            assert left.status is Status.WAITING
            assert (done.outcome, done.version) == ("posted", 2)
            assert "blocked" not in [event.kind for event in await newer.reader.events(case=case)]

    run(scenario())


def test_a_case_is_blocked_when_the_last_engine_that_accepts_it_has_left_until_another_one_comes() -> None:
    async def scenario() -> None:
        fleet, old, new = Fleet(), ask_1(), ask_2(accepts={})
        async with fleet.open(old, World()) as older:
            async with fleet.open(new, World()) as newer:
                case = (await newer.start(new, {"message": {"text": "hello", "language": "en"}})).case
                await newer.wait_until_resting(case)
            await fleet.lets_pass(LEASE_SECONDS)
            blocked = await older.case(case)
            async with fleet.open(new, World()) as newer:
                await newer.idle()
                back = await newer.case(case)

            assert (blocked.status, back.status) == (Status.BLOCKED, Status.WAITING)
            assert blocked.reason is not None
            assert "no registered code accepts version 2 of 'ask'" in blocked.reason

    run(scenario())


def test_a_case_does_not_wait_for_an_engine_that_runs_no_cases() -> None:
    async def scenario() -> None:
        fleet, old, new = Fleet(), ask_1(), ask_2(accepts={})
        async with fleet.open(old, World(), concurrency=0) as serves, fleet.open(new, World()):
            case = (await serves.start(old, {"message": "hello"})).case
            await fleet.lets_pass(LEASE_SECONDS)

            blocked = await serves.case(case)
            async with fleet.open(old, World()) as older:
                await fleet.lets_pass(LEASE_SECONDS)
                back = await older.case(case)

            assert (blocked.status, back.status) == (Status.BLOCKED, Status.WAITING)
            assert [event.kind for event in await serves.reader.events(case=case)].count("blocked") == 1

    run(scenario())
