"""Several engines on one store: one takes over what another left, and an engine whose lease expired stops."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Any

import pytest
from letters import POLICIES, Letter, World, letter
from places import run

from pointsman import Context, Engine, NotSent, Process, Retry, Status, finish, otherwise, when
from pointsman.definition.process import AnyProcess
from pointsman.errors import LeaseLost, StoreError
from pointsman.kernel.rows import CaseRow, NewCase, Transition
from pointsman.runtime.lease import LISTEN_SECONDS, RENEWALS
from pointsman.store.base import Claimed
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock

LEASE_SECONDS = 30.0


def mailed_letter() -> Process[Letter]:
    """A letter that a message starts."""
    process = Process("mailed", Letter)

    @process.effect(writes="receipt", safety=POLICIES["idempotent"])
    async def post(message: str, *, ctx: Context, world: World) -> str:
        return await world.post(ctx.key)

    process.accept(str, writes="message", correlate=lambda text: text, key=lambda text: text)
    process.rules(when("unposted", lambda c: c.receipt is None, post), otherwise(finish("posted")))
    return process


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
        case = await dead.commit(
            Transition((await dead.reserve(1))[0], 0, 0, 0.0, Status.RUNNING, attempts=1, step="post", claims=True, new=new)
        )

        async with fleet.open(process, world) as engine:
            await fleet.lets_pass(LEASE_SECONDS - 2)
            before = await engine.case(case)
            await fleet.lets_pass(4)
            after = await engine.case(case)

        assert (before.status, before.fence) == (Status.RUNNING, 1)
        assert (after.status, after.fence) == (Status.PARKED, 2), "it has no message to post, and says so"

    run(scenario())


def test_an_engine_whose_lease_expired_stops() -> None:
    async def scenario() -> None:
        fleet, world, process = Fleet(), World("posted"), letter(POLICIES["idempotent"])
        async with fleet.open(process, world) as engine:
            await fleet.lets_pass(1)
            fleet.clock.advance(LEASE_SECONDS + 1)
            for _ in range(20):
                await asyncio.sleep(0)

            with pytest.raises(LeaseLost, match="open it again"):
                await engine.start(process, {"message": "m"})

        assert world.keys == []

    run(scenario())


def test_a_caller_whose_read_fails_with_the_engine_leaves_no_error_behind() -> None:
    class Hanging(MemoryStore):
        """Its answer about a case comes when the test says so, and is an error."""

        async def case(self, case: int) -> CaseRow | None:
            await answers.wait()
            raise StoreError("the database is away")

    async def scenario() -> None:
        left_behind: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: left_behind.append(context))
        fleet, process = Fleet(), letter(POLICIES["idempotent"])
        fleet.store = Hanging(lease_seconds=LEASE_SECONDS, now=fleet.clock.now)
        async with fleet.open(process, World("posted")) as engine:
            waiting = asyncio.ensure_future(engine.wait_until_resting(1))
            await fleet.lets_pass(1)
            fleet.clock.advance(LEASE_SECONDS + 1)
            for _ in range(20):
                await asyncio.sleep(0)
            answers.set()

            with pytest.raises(StoreError, match="the database is away"):
                await waiting

        del waiting, engine
        gc.collect()
        assert left_behind == []

    answers = asyncio.Event()
    run(scenario())


def test_a_look_at_the_others_that_takes_very_long_delays_no_renewal() -> None:
    class Hanging(MemoryStore):
        """It does not answer which cases are blocked."""

        hangs = False

        async def cases(self, **asked: Any) -> list[Any]:
            if Hanging.hangs:
                await asyncio.Event().wait()
            return await super().cases(**asked)

    async def scenario() -> None:
        fleet, world, process = Fleet(), World("posted"), letter(POLICIES["idempotent"])
        fleet.store = Hanging(lease_seconds=LEASE_SECONDS, now=fleet.clock.now)
        async with fleet.open(process, world) as engine:
            Hanging.hangs = True
            await fleet.lets_pass(3 * LEASE_SECONDS)

            started = await engine.start(process, {"message": "m"})
            row = await engine.wait_until_resting(started.case)

            assert row.status is Status.DONE

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


def test_an_engine_notices_what_another_engine_did() -> None:
    async def scenario() -> None:
        fleet, process = Fleet(), letter(POLICIES["idempotent"])
        other, new = fleet.store.beside(), NewCase(process.name, 1, None)
        case = await other.commit(Transition((await other.reserve(1))[0], 0, 0, 0.0, Status.RUNNING, attempts=1, claims=True, new=new))
        async with fleet.open(process, World("posted")) as engine:
            waiter = asyncio.ensure_future(engine.wait_until_resting(case))
            await fleet.lets_pass(1)
            asked_early = waiter.done()

            await other.commit(Transition(case, 1, 1, 1.0, Status.DONE, outcome="posted"))
            await fleet.lets_pass(LEASE_SECONDS / 2)

            assert not asked_early
            assert (await waiter).outcome == "posted"

    run(scenario())


def test_a_case_that_may_have_been_committed_as_running_is_taken_over() -> None:
    class Silent(MemoryStore):
        """Commits, and does not say so."""

        async def commit(self, transition: Transition) -> int:
            await super().commit(transition)
            raise StoreError("nobody can tell")

    async def scenario() -> None:
        clock, world, process = ManualClock(), World("posted"), letter(POLICIES["idempotent"])
        store = Silent(lease_seconds=LEASE_SECONDS, now=clock.now)
        async with Engine.open("", [process], store=store.beside(), clock=clock, resources={"world": world}, grace_seconds=0.0) as engine:
            with pytest.raises(StoreError):
                await engine.start(process, {"message": "m"}, key="k")
            with pytest.raises(StoreError):
                await engine.start(process, {"message": "m"}, key="other")
        Silent.commit = MemoryStore.commit  # type: ignore[method-assign]
        async with Engine.open("", [process], store=store.beside(), clock=clock, resources={"world": world}, grace_seconds=0.0) as engine:
            started = await engine.start(process, {"message": "m"}, key="k")
            row = await engine.wait_until_resting(started.case)

        assert started.duplicate
        assert row.status is Status.DONE
        assert len(world.keys) == 1

    run(scenario())


def test_a_store_whose_clock_was_set_back_is_not_asked_again_and_again() -> None:
    class Counting(MemoryStore):
        claims = 0

        async def claim(self, *arguments: object, **settings: object) -> list[Claimed]:
            Counting.claims += 1
            return await super().claim(*arguments, **settings)  # type: ignore[arg-type]

    async def scenario() -> None:
        clock, process, behind = ManualClock(), letter(POLICIES["idempotent"]), [0.0]
        store = Counting(lease_seconds=LEASE_SECONDS, now=lambda: clock.now() - behind[0])
        dead, new = store.beside(), NewCase(process.name, 1, None)
        await dead.commit(Transition((await dead.reserve(1))[0], 0, 0, 0.0, Status.RUNNING, attempts=1, claims=True, new=new))
        clock.advance(5.0)
        world = World("posted")
        async with Engine.open("", [process], store=store.beside(), clock=clock, resources={"world": world}, grace_seconds=0.0):
            for second in range(26):
                behind[0] = 20.0 * (second >= 24)
                clock.advance(1.0)
                for _ in range(20):
                    await asyncio.sleep(0)
            before = Counting.claims
            assert before > 1, "something seemed to be due"
            for _ in range(300):
                await asyncio.sleep(0)

        assert Counting.claims - before <= 2

    run(scenario())


def test_a_redrive_that_may_have_been_committed_is_worked_off() -> None:
    class Silent(MemoryStore):
        """Commits a redrive, and does not say so."""

        async def commit(self, transition: Transition) -> int:
            number = await super().commit(transition)
            if [event.kind for event in transition.events] == ["redriven"]:
                raise StoreError("nobody can tell")
            return number

    async def scenario() -> None:
        world, process = World(NotSent("no line"), "posted"), letter(POLICIES["idempotent"], retry=Retry(attempts_max=1))
        settings = {"clock": ManualClock(), "resources": {"world": world}, "grace_seconds": 0.0}
        async with Engine.open("", [process], store=Silent(), **settings) as engine:
            started = await engine.start(process, {"message": "m"})
            parked = await engine.wait_until_resting(started.case)
            with pytest.raises(StoreError):
                await engine.redrive(started.case, by="anna", why="the line is there")
            row = await engine.wait_until_resting(started.case)

        assert (parked.status, row.status) == (Status.PARKED, Status.DONE)

    run(scenario())


def test_a_message_that_may_have_started_a_case_as_running_is_taken_over() -> None:
    class Silent(MemoryStore):
        """Takes the first message in, and does not say so."""

        told = False

        async def post(self, *arguments: Any, **settings: Any) -> Any:
            posted = await super().post(*arguments, **settings)
            if not Silent.told:
                Silent.told = True
                raise StoreError("nobody can tell")
            return posted

    async def scenario() -> None:
        world, process = World("posted"), mailed_letter()
        clock = ManualClock()
        store = Silent(lease_seconds=LEASE_SECONDS, now=clock.now)
        settings = {"clock": clock, "resources": {"world": world}, "grace_seconds": 0.0}
        async with Engine.open("", [process], store=store.beside(), **settings) as engine:
            with pytest.raises(StoreError):
                await engine.send(process, "m")
            with pytest.raises(StoreError):
                await engine.send(process, "other")
        async with Engine.open("", [process], store=store.beside(), **settings) as engine:
            delivered = await engine.send(process, "m")
            row = await engine.wait_until_resting(delivered.case or 0)

        assert (delivered.how, row.status) == ("duplicate", Status.DONE)
        assert len(world.keys) == 1

    run(scenario())


def test_an_engine_sees_what_another_one_did_before_it_renews_its_lease() -> None:
    async def scenario() -> None:
        fleet, world, process = Fleet(), World(NotSent("no line"), "posted"), letter(POLICIES["idempotent"], retry=Retry(attempts_max=1))
        async with fleet.open(process, world) as first, fleet.open(process, world) as second:
            case = (await first.start(process, {"message": "m"})).case
            await first.wait_until_resting(case)
            await second.redrive(case, by="anna", why="the line is there")

            waiting, following = asyncio.ensure_future(first.wait_until_resting(case)), asyncio.ensure_future(finishes(first))
            begun = fleet.clock.now()
            while not (waiting.done() and following.done()):  # an engine looks at most so often what others did
                await fleet.lets_pass(1)

            assert waiting.result().status is Status.DONE
            assert fleet.clock.now() - begun < LEASE_SECONDS / RENEWALS

    run(scenario())


async def finishes(engine: Engine) -> None:
    async for event in engine.events():
        if event.kind == "finished":
            return


def test_an_engine_still_notices_others_after_notifications_have_failed() -> None:
    class Deaf(MemoryStore):
        """The first time, the connection breaks."""

        asked = 0

        async def notifications(self) -> AsyncGenerator[None, None]:
            Deaf.asked += 1
            if Deaf.asked == 1:
                raise StoreError("the connection broke")
            async for _ in super().notifications():
                yield

    async def scenario() -> None:
        fleet, world, process = Fleet(), World("posted"), letter(POLICIES["idempotent"])
        fleet.store = Deaf(lease_seconds=LEASE_SECONDS, now=fleet.clock.now)
        async with fleet.open(process, world) as engine:
            await fleet.lets_pass(LISTEN_SECONDS + 1)
            started = await engine.start(process, {"message": "m"})

            assert (await engine.wait_until_resting(started.case)).status is Status.DONE

        assert Deaf.asked == 2

    run(scenario())
