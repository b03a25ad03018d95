"""Reconcile: look up whether a call in doubt happened, not too early, and act on the answer."""

from typing import Any

import pytest
from letters import SETTLE_SECONDS, TIMEOUT_SECONDS, World, letter, look_up
from places import Place, run, seen

from pointsman import ABSENT, UNKNOWN, Context, Found, Process, Reconcile, Retry, State, Status, finish, otherwise, when
from pointsman.kernel.ledger import EffectStatus
from pointsman.testing.clock import ManualClock

LOST = ConnectionResetError("reset")
UNTIL = TIMEOUT_SECONDS + SETTLE_SECONDS


async def doubted(engine: Any, clock: ManualClock) -> int:
    """A letter whose call ended in doubt, at a time when the world may be asked."""
    case = (await engine.start("letter", {"message": "m"})).case
    await seen(engine, "effect.in_doubt")
    clock.advance(UNTIL)
    return case


def test_an_effect_that_a_look_up_finds_is_adopted_without_another_call(place: Place) -> None:
    world, clock = World(LOST, after=(ConnectionResetError,)), ManualClock()
    process = letter(Reconcile(look_up, SETTLE_SECONDS))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            row = await engine.wait_until_resting(await doubted(engine, clock))
            return row, await engine.state(row.id, State), (await engine.reader.effects(row.id))[0]

    row, state, entry = run(main())

    assert (row.outcome, state.receipt, entry.status) == ("posted", "posted before", EffectStatus.DONE)
    assert (len(world.keys), world.look_ups) == (1, 1)


def test_an_effect_that_a_look_up_proves_absent_is_called_again_under_the_same_key(place: Place) -> None:
    world, clock = World(LOST, "receipt 2"), ManualClock()
    process = letter(Reconcile(look_up, SETTLE_SECONDS))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            row = await engine.wait_until_resting(await doubted(engine, clock))
            return row, await engine.state(row.id, State)

    row, state = run(main())

    assert (row.outcome, state.receipt, world.look_ups) == ("posted", "receipt 2", 1)
    assert len(world.keys) == 2
    assert len(set(world.keys)) == 1


def test_a_look_up_waits_for_the_deadline_and_the_propagation_time(place: Place) -> None:
    world, clock = World(LOST, "receipt 2"), ManualClock(1_000.0)
    process = letter(Reconcile(look_up, SETTLE_SECONDS))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "effect.in_doubt")
            clock.advance(UNTIL - 0.1)
            await engine.wait_until_resting((await engine.start(process, {"message": "another"})).case)
            row, early = await engine.case(case), world.look_ups
            clock.advance(0.1)
            await engine.wait_until_resting(case)
            return row, early

    row, early = run(main())

    assert (row.status, row.wake_at) == (Status.READY, 1_000.0 + UNTIL)
    assert (early, world.look_ups) == (0, 1)


def test_the_propagation_time_counts_from_the_end_of_a_call_that_outlived_its_deadline(place: Place) -> None:
    clock = ManualClock(1_000.0)

    class Slow(World):
        async def post(self, key: str) -> Any:
            await super().post(key)
            clock.advance(500.0)  # what a process that is stopped here sees
            raise LOST

    world = Slow()

    async def main() -> Any:
        async with place.open(letter(Reconcile(look_up, SETTLE_SECONDS)), resources={"world": world}, clock=clock) as engine:
            case = (await engine.start("letter", {"message": "m"})).case
            await seen(engine, "effect.in_doubt")
            return await engine.case(case)

    row = run(main())

    assert (row.status, row.wake_at, world.look_ups) == (Status.READY, 1_500.0 + SETTLE_SECONDS, 0)


@pytest.mark.parametrize("answer", [UNKNOWN, None, "posted"], ids=repr)
def test_a_look_up_that_cannot_tell_parks_the_case_in_doubt(place: Place, answer: Any) -> None:
    def ask(message: str) -> Any:
        return answer

    world, clock = World(LOST), ManualClock()
    process = letter(Reconcile(ask, SETTLE_SECONDS))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            row = await engine.wait_until_resting(await doubted(engine, clock))
            return row, (await engine.reader.effects(row.id))[0]

    row, entry = run(main())

    assert (row.status, entry.status, len(world.keys)) == (Status.PARKED, EffectStatus.IN_DOUBT, 1)
    assert "could not tell" in row.reason
    assert entry.key in row.reason


def test_a_look_up_that_raises_is_asked_again_and_then_parks_the_case(place: Place) -> None:
    asked: list[int] = []

    def ask(message: str) -> Any:
        asked.append(1)
        raise ConnectionError("no route to the archive")

    world, clock = World(LOST), ManualClock()
    process = letter(Reconcile(ask, SETTLE_SECONDS), retry=Retry(attempts_max=3, first_seconds=0))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            row = await engine.wait_until_resting(await doubted(engine, clock))
            return row, (await engine.reader.effects(row.id))[0]

    row, entry = run(main())

    assert (row.status, entry.status, len(world.keys)) == (Status.PARKED, EffectStatus.IN_DOUBT, 1)
    assert "no route to the archive" in row.reason
    assert len(asked) == 2


def test_a_look_up_is_given_the_key_and_the_arguments_of_the_call(place: Place) -> None:
    told: list[Any] = []

    async def ask(message: str, *, ctx: Context, world: World) -> Any:
        told.append((message, ctx.key, world))
        return ABSENT

    world, clock = World(LOST, "receipt 2"), ManualClock()
    process = letter(Reconcile(ask, SETTLE_SECONDS))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            return await engine.wait_until_resting(await doubted(engine, clock))

    run(main())

    assert told == [("m", world.keys[0], world)]


def test_a_look_up_names_the_parameters_of_its_effect_in_an_order_of_its_own(place: Place) -> None:
    asked: list[Any] = []

    class Transfer(State):
        payer: str
        payee: str
        receipt: str | None = None

    async def look_up(payee: str, payer: str) -> Any:
        asked.append({"payer": payer, "payee": payee})
        return Found("a receipt")

    process, clock = Process("transfer", Transfer), ManualClock()

    @process.effect(writes="receipt", safety=Reconcile(look_up, SETTLE_SECONDS), timeout_seconds=TIMEOUT_SECONDS)
    async def pay(payer: str, payee: str) -> str:
        raise LOST

    process.rules(when("unpaid", lambda c: c.receipt is None, pay), otherwise(finish("paid")))

    async def main() -> Any:
        async with place.open(process, clock=clock) as engine:
            case = (await engine.start(process, {"payer": "anna", "payee": "bob"})).case
            await seen(engine, "effect.in_doubt")
            clock.advance(UNTIL)
            return await engine.wait_until_resting(case)

    run(main())

    assert asked == [{"payer": "anna", "payee": "bob"}]


def test_a_found_outcome_that_cannot_be_stored_did_happen_all_the_same(place: Place) -> None:
    def ask(message: str) -> Any:
        return Found(5)

    world, clock = World(LOST), ManualClock()
    process = letter(Reconcile(ask, SETTLE_SECONDS))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            row = await engine.wait_until_resting(await doubted(engine, clock))
            return row, (await engine.reader.effects(row.id))[0]

    row, entry = run(main())

    assert (row.status, entry.status, entry.outcome) == (Status.PARKED, EffectStatus.DONE, None)
    assert "happened" in row.reason
    assert len(world.keys) == 1


def test_calls_that_never_arrive_are_bounded_by_the_retry_policy(place: Place) -> None:
    world, clock = World(LOST), ManualClock()
    process = letter(Reconcile(look_up, SETTLE_SECONDS), retry=Retry(attempts_max=2, first_seconds=0))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            for count in (1, 2):
                await seen(engine, "effect.in_doubt", count=count)
                clock.advance(UNTIL)
            return await engine.wait_until_resting(case)

    row = run(main())

    assert row.status is Status.PARKED
    assert len(world.keys) == 2


def test_a_restart_during_the_propagation_time_makes_no_look_up_earlier(place: Place) -> None:
    world, clock = World(LOST, "receipt 2"), ManualClock()
    process = letter(Reconcile(look_up, SETTLE_SECONDS))

    async def begin() -> int:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "effect.in_doubt")
            return case

    async def go_on(case: int) -> tuple[int, Any]:
        clock.advance(UNTIL - 1)
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            await engine.wait_until_resting((await engine.start(process, {"message": "another"})).case)
            early = world.look_ups
            clock.advance(1)
            return early, await engine.wait_until_resting(case)

    early, row = run(go_on(run(begin())))

    assert (early, world.look_ups) == (0, 1)
    assert row.outcome == "posted"
