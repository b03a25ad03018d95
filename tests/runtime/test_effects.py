"""Effects: for each safety policy and each end of a call, the ledger, the number of calls and the status of the case."""

import asyncio
from typing import Any

import pytest
from letters import POLICIES, TIMEOUT_SECONDS, Letter, World, drafting, letter
from places import Place, run, seen

from pointsman import (
    AtMostOnce,
    Context,
    Failure,
    Idempotent,
    NotSent,
    Process,
    Rejected,
    Retry,
    State,
    Status,
    finish,
    otherwise,
    when,
)
from pointsman.kernel.ledger import EffectStatus
from pointsman.runtime.threads import Threads
from pointsman.testing.clock import ManualClock

AT_ONCE = Retry(attempts_max=3, first_seconds=0)
EACH_POLICY = pytest.mark.parametrize("policy", POLICIES)


async def posted(engine: Any, message: str = "m") -> tuple[Any, Any]:
    """Start a letter and wait: the case's row, and the ledger's last entry."""
    row = await engine.wait_until_resting((await engine.start("letter", {"message": message})).case)
    return row, (await engine.reader.effects(row.id))[-1]


@EACH_POLICY
def test_a_call_that_succeeds_is_settled_with_its_outcome(place: Place, policy: str) -> None:
    world, process = World("receipt 1"), letter(POLICIES[policy])

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            row, entry = await posted(engine)
            return row, entry, await engine.state(row.id, State)

    row, entry, state = run(main())

    assert (row.outcome, state.receipt) == ("posted", "receipt 1")
    assert (entry.status, entry.attempts, entry.key) == (EffectStatus.DONE, 1, world.keys[0])
    assert len(world.keys) == 1


@EACH_POLICY
def test_a_letter_that_was_not_sent_is_tried_again_under_any_policy(place: Place, policy: str) -> None:
    world, process = World(NotSent("no route"), "receipt 1"), letter(POLICIES[policy], retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            return await posted(engine)

    row, entry = run(main())

    assert (row.outcome, entry.status, entry.attempts) == ("posted", EffectStatus.DONE, 2)
    assert world.keys == [entry.key] * 2


@EACH_POLICY
def test_the_other_sides_wish_to_wait_is_respected(place: Place, policy: str) -> None:
    world, clock = World(NotSent("too many", retry_after=500), "receipt 1"), ManualClock()
    process = letter(POLICIES[policy], retry=Retry(first_seconds=1, jitter=0))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "effect.not_sent")
            waiting, entry = await engine.case(case), (await engine.reader.effects(case))[0]
            clock.advance(500)
            return waiting, entry, await engine.wait_until_resting(case)

    waiting, entry, row = run(main())

    assert (waiting.status, waiting.wake_at) == (Status.READY, 1_000_500.0)
    assert entry.status is EffectStatus.NOT_SENT
    assert (row.outcome, len(world.keys)) == ("posted", 2)


@EACH_POLICY
def test_a_letter_that_can_never_be_sent_is_parked_after_its_attempts(place: Place, policy: str) -> None:
    world, process = World(NotSent("no route")), letter(POLICIES[policy], retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            return await posted(engine)

    row, entry = run(main())

    assert (row.status, row.reason) == (Status.PARKED, "'post' was not sent in 3 attempts: no route")
    assert (entry.status, len(world.keys)) == (EffectStatus.NOT_SENT, 3)


@EACH_POLICY
def test_a_rejection_is_final_and_not_called_again_by_a_redrive(place: Place, policy: str) -> None:
    world, process = World(Rejected("no such street"), "receipt 1"), letter(POLICIES[policy], retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            row, entry = await posted(engine)
            await engine.redrive(row.id, by="anna", why="again")
            again = await engine.wait_until_resting(row.id)
            return row, entry, again, [event.kind for event in await engine.reader.events(case=row.id)]

    row, entry, again, kinds = run(main())

    assert (row.status, row.reason) == (Status.PARKED, "'post' was rejected: no such street")
    assert kinds[-5:] == ["node.failed", "parked", "redriven", "effect.settled", "parked"]  # no attempt failed the second time
    assert (entry.status, entry.error) == (EffectStatus.FAILED, "no such street")
    assert (again.reason, len(world.keys)) == (row.reason, 1)


@EACH_POLICY
def test_a_recorded_rejection_becomes_the_fields_value_and_the_case_continues(place: Place, policy: str) -> None:
    world, process = World(Rejected("no such street")), letter(POLICIES[policy], on_failure="record")

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            row, entry = await posted(engine)
            return row, entry, await engine.state(row.id, State)

    row, entry, state = run(main())

    assert (row.outcome, entry.status, len(world.keys)) == ("posted", EffectStatus.FAILED, 1)
    assert state.receipt == Failure(step="post", error="Rejected", message="no such street", attempts=1)


def test_a_rejection_in_words_that_json_cannot_hold_is_a_rejection_all_the_same(place: Place) -> None:
    world, process = World(Rejected("no such stra\udcdfe")), letter(Idempotent(), on_failure="record")

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            return await posted(engine)

    row, entry = run(main())

    assert (row.outcome, entry.status, len(world.keys)) == ("posted", EffectStatus.FAILED, 1)


@pytest.mark.parametrize("policy", ["idempotent", "at least once"])
@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError()], ids=["error", "timeout"])
def test_a_call_in_doubt_is_repeated_under_its_key_where_the_policy_allows_it(place: Place, policy: str, error: Exception) -> None:
    world, process = World(error, "receipt 1"), letter(POLICIES[policy], retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            return await posted(engine)

    row, entry = run(main())

    assert (row.outcome, entry.status, entry.attempts) == ("posted", EffectStatus.DONE, 2)
    assert world.keys == [entry.key] * 2


@pytest.mark.parametrize("policy", ["idempotent", "at least once"])
def test_calls_that_all_end_in_doubt_park_the_case_in_doubt(place: Place, policy: str) -> None:
    world, process = World(ConnectionResetError("reset")), letter(POLICIES[policy], retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            row, entry = await posted(engine)
            return row, entry, await engine.reader.in_doubt()

    row, entry, in_doubt = run(main())

    assert (row.status, entry.status, len(world.keys)) == (Status.PARKED, EffectStatus.IN_DOUBT, 3)
    assert "3 calls ended in doubt" in row.reason
    assert in_doubt == [entry]


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError(), KeyError()], ids=repr)
def test_a_call_in_doubt_at_most_once_parks_for_a_person_and_stays_so(place: Place, error: Exception) -> None:
    world, process = World(error), letter(AtMostOnce(), retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            row, _ = await posted(engine)
            await engine.redrive(row.id, by="anna", why="try")
            again = await engine.wait_until_resting(row.id)
            return row, again, (await engine.reader.effects(row.id))[0]

    row, again, entry = run(main())

    assert (row.status, again.status, entry.status) == (Status.PARKED, Status.PARKED, EffectStatus.IN_DOUBT)
    assert entry.key in again.reason
    assert len(world.keys) == 1


def test_a_call_that_runs_out_of_time_is_in_doubt_and_says_after_how_long(place: Place) -> None:
    process = Process("letter", Letter)

    @process.effect(writes="receipt", safety=AtMostOnce(), timeout_seconds=0.5)
    async def post(message: str) -> str:
        await asyncio.Event().wait()
        return message

    process.rules(when("unposted", lambda c: c.receipt is None, post), otherwise(finish("posted")))

    async def main() -> Any:
        async with place.open(process) as engine:
            return await posted(engine)

    row, entry = run(main())

    assert (row.status, entry.status) == (Status.PARKED, EffectStatus.IN_DOUBT)
    assert "no answer within 0.5 seconds" in row.reason


def held_up(gate: asyncio.Event, **settings: Any) -> Process[Letter]:
    """A letter whose call waits for its connection, and then sends."""
    process = Process("letter", Letter)

    @process.effect(writes="receipt", timeout_seconds=TIMEOUT_SECONDS, **settings)
    async def post(message: str, *, ctx: Context, world: World) -> str:
        world.reached.set()
        await gate.wait()
        return await world.post(ctx.key)

    process.rules(when("unposted", lambda c: c.receipt is None, post), otherwise(finish("posted")))
    return process


@pytest.mark.parametrize("stopped", ["now", "monotonic"])
def test_a_call_that_was_held_up_beyond_its_deadline_sends_nothing_any_more(place: Place, stopped: str) -> None:
    world, clock = World(), ManualClock()

    async def main() -> tuple[Any, Any]:
        gate, world.reached = asyncio.Event(), asyncio.Event()
        async with place.open(held_up(gate, safety=AtMostOnce()), resources={"world": world}, clock=clock) as engine:
            case = (await engine.start("letter", {"message": "m"})).case
            await world.reached.wait()
            gate.set()
            setattr(clock, stopped, lambda: ManualClock.now(clock) + TIMEOUT_SECONDS)
            row = await engine.wait_until_resting(case)
            return row, (await engine.reader.effects(case))[0]

    row, entry = run(main())

    assert world.keys == []
    assert (row.status, entry.status) == (Status.PARKED, EffectStatus.IN_DOUBT)
    assert entry.error == f"no answer within {TIMEOUT_SECONDS} seconds"


def test_a_plain_call_that_gets_its_thread_too_late_is_not_begun_and_costs_no_attempt(place: Place) -> None:
    world, clock = World(), ManualClock()
    process = Process("letter", Letter)

    late: list[str] = []

    class SlowThreads(Threads):
        def give(self, call: Any, function: Any) -> Any:
            if not late:
                late.append("late")
                clock.advance(TIMEOUT_SECONDS)
            return super().give(call, function)

    @process.effect(writes="receipt", safety=AtMostOnce(), timeout_seconds=TIMEOUT_SECONDS, retry=Retry(attempts_max=1))
    def post(message: str, *, ctx: Context, world: World) -> str:
        world.keys.append(ctx.key)
        return "posted"

    process.rules(when("unposted", lambda c: c.receipt is None, post), otherwise(finish("posted")))

    async def main() -> tuple[Any, Any]:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start("letter", {"message": "m"})).case
            await seen(engine, "effect.not_sent")
            entry = (await engine.reader.effects(case))[0]
            assert (entry.status, world.keys) == (EffectStatus.NOT_SENT, [])
            clock.advance(TIMEOUT_SECONDS)  # longer than the wait for the next try
            return await engine.wait_until_resting(case), (await engine.reader.effects(case))[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pointsman.runtime.engine.Threads", SlowThreads)
        row, entry = run(main())

    assert len(world.keys) == 1
    assert (row.outcome, entry.status) == ("posted", EffectStatus.DONE)


def test_an_error_without_a_message_is_recorded_by_its_type_and_not_as_a_timeout(place: Place) -> None:
    world, process = World(ConnectionResetError()), letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            return await posted(engine)

    row, entry = run(main())

    assert "ConnectionResetError" in row.reason
    assert "no answer within" not in f"{row.reason} {entry.error}"


@EACH_POLICY
def test_an_outcome_that_cannot_be_stored_did_happen_and_is_not_called_again(place: Place, policy: str) -> None:
    world, process = World("a\0b"), letter(POLICIES[policy], retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            row, entry = await posted(engine)
            await engine.redrive(row.id, by="anna", why="try")
            again = await engine.wait_until_resting(row.id)
            await engine.resolve(entry.key, happened=True, outcome="by hand", by="anna", why="asked the office")
            return row, entry, again, await engine.wait_until_resting(row.id), await engine.state(row.id, State)

    row, entry, again, resolved, state = run(main())

    assert (row.status, entry.status, entry.outcome) == (Status.PARKED, EffectStatus.DONE, None)
    assert (again.status, len(world.keys)) == (Status.PARKED, 1)
    assert (resolved.outcome, state.receipt) == ("posted", "by hand")


def test_a_key_past_its_ttl_is_not_used_again(place: Place) -> None:
    world, clock = World(ConnectionResetError("reset")), ManualClock()
    process = letter(Idempotent(key_ttl_seconds=100), retry=Retry(attempts_max=9, first_seconds=50, factor=1, jitter=0))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "effect.in_doubt")
            clock.advance(50)
            await seen(engine, "effect.in_doubt", count=2)
            clock.advance(50)
            row = await engine.wait_until_resting(case)
            return row, (await engine.reader.effects(case))[0]

    row, entry = run(main())

    assert (row.status, entry.status, len(world.keys)) == (Status.PARKED, EffectStatus.IN_DOUBT, 2)
    assert "forgotten its key" in row.reason


def test_a_later_call_that_was_not_sent_does_not_undo_the_doubt_about_an_earlier_one(place: Place) -> None:
    world, clock = World(ConnectionResetError("reset"), NotSent("busy", retry_after=500), "twice"), ManualClock()
    process = letter(Idempotent(key_ttl_seconds=100), retry=Retry(attempts_max=9, first_seconds=10, factor=1, jitter=0))

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await seen(engine, "effect.in_doubt")
            clock.advance(10)
            await seen(engine, "effect.not_sent")
            clock.advance(500)
            row = await engine.wait_until_resting(case)
            return row, (await engine.reader.effects(case))[0]

    row, entry = run(main())

    assert (row.status, entry.status, len(world.keys)) == (Status.PARKED, EffectStatus.IN_DOUBT, 2)


def test_attempts_that_were_not_sent_after_one_in_doubt_park_the_case_in_doubt(place: Place) -> None:
    world, process = World(ConnectionResetError("reset"), NotSent("no route")), letter(Idempotent(), retry=AT_ONCE)

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            return await posted(engine)

    row, entry = run(main())

    assert (row.status, entry.status) == (Status.PARKED, EffectStatus.IN_DOUBT)
    assert entry.key in row.reason


def test_the_key_is_that_of_the_case_the_effect_and_its_arguments(place: Place) -> None:
    world, process = World(), drafting()

    async def main() -> list[str]:
        async with place.open(process, resources={"world": world}) as engine:
            for _ in range(2):
                case = (await engine.start(process, {"message": "m"})).case
                await engine.wait_until_resting(case)
                token = (await engine.pending(case)).token
                await engine.resume(token, "more", by="anna", edits={"draft": "B"})
                await engine.wait_until_resting(case)
            return world.keys

    keys = run(main())

    assert len(keys) == 4
    assert len(set(keys)) == 4
    assert {len(key) for key in keys} == {40}


def test_a_settled_effect_is_adopted_when_the_same_arguments_come_again(place: Place) -> None:
    world, process = World(), drafting()

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            receipts = []
            for draft in ("B", "A"):
                await engine.wait_until_resting(case)
                receipts.append((await engine.state(case, State)).receipt)
                token = (await engine.pending(case)).token
                await engine.resume(token, "more", by="anna", edits={"draft": draft})
            row = await engine.wait_until_resting(case)
            return row, [*receipts, (await engine.state(case, State)).receipt]

    row, receipts = run(main())

    assert (row.status, row.step) == (Status.WAITING, "wish")
    assert receipts == ["A posted", "B posted", "A posted"]
    assert len(world.keys) == 2


def test_two_databases_make_two_keys_of_the_same_case(tmp_path: Any) -> None:
    world, process = World(), letter(Idempotent())

    async def main(place: Place) -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            return await posted(engine)

    for name in ("one.db", "two.db"):
        run(main(Place(tmp_path / name)))

    assert len(set(world.keys)) == 2


def test_two_effects_with_the_same_arguments_have_two_keys(place: Place) -> None:
    class Both(State):
        message: str
        letter: str | None = None
        copy_sent: str | None = None

    process = Process("both", Both)
    keys: list[str] = []

    @process.effect(writes="letter", safety=AtMostOnce())
    async def post(message: str, *, ctx: Context) -> str:
        keys.append(ctx.key)
        return "posted"

    @process.effect(writes="copy_sent", safety=AtMostOnce())
    async def post_copy(message: str, *, ctx: Context) -> str:
        keys.append(ctx.key)
        return "posted"

    process.rules(
        when("unposted", lambda c: c.letter is None, post),
        when("no copy", lambda c: c.copy_sent is None, post_copy),
        otherwise(finish("both")),
    )

    async def main() -> Any:
        async with place.open(process) as engine:
            return await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)

    assert run(main()).outcome == "both"
    assert len(set(keys)) == 2


def test_the_key_is_the_same_for_every_attempt_and_after_reopening(place: Place) -> None:
    world, clock = World(NotSent("busy"), ConnectionResetError("reset"), "receipt 1"), ManualClock()
    process = letter(Idempotent(), retry=Retry(first_seconds=10))

    async def attempt(event: str | None) -> Any:
        async with place.open(process, resources={"world": world}, clock=clock) as engine:
            case = (await engine.start(process, {"message": "m"}, key="k")).case
            if event is None:
                return await engine.wait_until_resting(case)
            return await seen(engine, event)

    run(attempt("effect.not_sent"))
    clock.advance(60)
    run(attempt("effect.in_doubt"))
    clock.advance(60)
    row = run(attempt(None))

    assert row.outcome == "posted"
    assert len(world.keys) == 3
    assert len(set(world.keys)) == 1


def test_the_authors_key_takes_the_place_of_the_arguments_and_other_arguments_under_it_park(place: Place) -> None:
    world, process = World(), drafting(key=lambda message: f"letter of {message}")

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            case = (await engine.start(process, {"message": "m"})).case
            await engine.wait_until_resting(case)
            token = (await engine.pending(case)).token
            await engine.resume(token, "more", by="anna", edits={"draft": "B"})
            return await engine.wait_until_resting(case)

    row = run(main())

    assert row.status is Status.PARKED
    assert "with other arguments" in row.reason
    assert world.keys[0] in row.reason
    assert len(world.keys) == 1


def test_an_outcome_is_kept_when_the_key_of_the_next_effect_cannot_be_made(place: Place) -> None:
    class Both(State):
        message: str
        letter: str | None = None
        copy_sent: str | None = None

    process, calls = Process("both", Both), []

    @process.effect(writes="letter", safety=AtMostOnce())
    async def post(message: str) -> str:
        calls.append("post")
        return "posted"

    def broken(letter: str) -> str:
        raise LookupError("no number in it")

    @process.effect(writes="copy_sent", safety=AtMostOnce(), key=broken)
    async def post_copy(message: str, letter: str) -> str:
        return "posted"

    process.rules(
        when("unposted", lambda c: c.letter is None, post),
        when("no copy", lambda c: c.copy_sent is None, post_copy),
        otherwise(finish("both")),
    )

    async def main() -> Any:
        async with place.open(process) as engine:
            row = await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)
            return row, await engine.state(row.id, State), (await engine.reader.effects(row.id))[0]

    row, state, entry = run(main())

    assert (row.status, "no number in it" in row.reason) == (Status.PARKED, True)
    assert (state.letter, entry.status) == ("posted", EffectStatus.DONE)


@EACH_POLICY
def test_the_ledger_says_when_a_call_is_given_up(place: Place, policy: str) -> None:
    world, process = World(), letter(POLICIES[policy])

    async def main() -> Any:
        async with place.open(process, resources={"world": world}, clock=ManualClock(1_000.0)) as engine:
            return await posted(engine)

    _, entry = run(main())

    assert (entry.intended_at, entry.deadline) == (1_000.0, 1_000.0 + TIMEOUT_SECONDS)
