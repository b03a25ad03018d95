"""Several engines on one store: one takes over what another one left, and who was not heard of stops."""

import asyncio
from contextlib import AbstractAsyncContextManager
from random import Random

import pytest
from letters import POLICIES, World, letter
from places import run

from pointsman import Engine, Status
from pointsman.definition.process import AnyProcess
from pointsman.errors import LeaseLost
from pointsman.store.base import NewCase, Transition
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock

LEASE_SECONDS = 30.0


class Fleet:
    """A store that engines share, and one clock for all of them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore(lease_seconds=LEASE_SECONDS, now=self.clock.now)
        self.random = Random(7)

    def open(self, process: AnyProcess, world: World, **settings: object) -> AbstractAsyncContextManager[Engine]:
        given = {"clock": self.clock, "random": self.random, "resources": {"world": world}, "grace_seconds": 0.0, **settings}
        return Engine.open("", [process], store=self.store.beside(), **given)

    async def lets_pass(self, seconds: float) -> None:
        """Let time go on in steps that a healthy engine can follow."""
        for _ in range(int(seconds)):
            self.clock.advance(1.0)
            for _ in range(20):
                await asyncio.sleep(0)


def test_a_case_of_an_engine_that_died_is_taken_over() -> None:
    async def scenario() -> None:
        fleet, world, process = Fleet(), World("posted"), letter(POLICIES["idempotent"])
        dead = fleet.store.beside()
        new = NewCase(process.name, 1, None)
        case = await dead.commit(Transition(dead.reserve(), 0, 0, 0.0, Status.RUNNING, attempts=1, step="post", claims=True, new=new))

        async with fleet.open(process, world) as engine:
            await fleet.lets_pass(LEASE_SECONDS - 2)
            before = await engine.case(case)
            await fleet.lets_pass(4)
            after = await engine.case(case)

        assert (before.status, before.fence) == (Status.RUNNING, 1)
        assert (after.status, after.fence) == (Status.PARKED, 2), "it has no message to post, and says so"

    run(scenario())


def test_an_engine_that_was_not_heard_of_stops() -> None:
    async def scenario() -> None:
        fleet, world, process = Fleet(), World("posted"), letter(POLICIES["idempotent"])
        async with fleet.open(process, world) as engine:
            fleet.clock.advance(LEASE_SECONDS + 1)
            for _ in range(20):
                await asyncio.sleep(0)

            with pytest.raises(LeaseLost, match="open it again"):
                await engine.start(process, {"message": "m"})

        assert world.keys == []

    run(scenario())


def test_an_engine_that_has_not_renewed_begins_no_call() -> None:
    class Pausing(MemoryStore):
        """The machine stands still for longer than a lease, between the commit of an intent and its answer."""

        async def commit(self, transition: Transition) -> int:
            number = await super().commit(transition)
            if transition.intent is not None:
                clock.advance(LEASE_SECONDS)
            return number

    async def scenario() -> None:
        world, process = World("posted"), letter(POLICIES["at most once"], timeout_seconds=2 * LEASE_SECONDS)
        store = Pausing(lease_seconds=LEASE_SECONDS, now=clock.now)
        async with Engine.open("", [process], store=store.beside(), clock=clock, resources={"world": world}, grace_seconds=0.0) as engine:
            started = await engine.start(process, {"message": "m"})
            for _ in range(20):
                await asyncio.sleep(0)
            effect = (await engine.reader.effects(started.case))[0]

        assert world.keys == []
        assert effect.status == "not_sent"

    clock = ManualClock()
    run(scenario())


def test_what_another_engine_did_is_told() -> None:
    async def scenario() -> None:
        fleet, process = Fleet(), letter(POLICIES["idempotent"])
        other, new = fleet.store.beside(), NewCase(process.name, 1, None)
        case = await other.commit(Transition(other.reserve(), 0, 0, 0.0, Status.RUNNING, attempts=1, claims=True, new=new))
        async with fleet.open(process, World("posted")) as engine:
            waiter = asyncio.ensure_future(engine.settled(case))
            await fleet.lets_pass(1)
            asked_early = waiter.done()

            await other.commit(Transition(case, 1, 1, 1.0, Status.DONE, outcome="posted"))
            await fleet.lets_pass(LEASE_SECONDS / 2)

            assert not asked_early
            assert (await waiter).outcome == "posted"

    run(scenario())
