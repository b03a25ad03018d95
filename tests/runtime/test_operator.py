"""Operators cancel, redrive and resolve: each command is done once, reported correctly, and recorded."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from letters import World, drafting, letter
from places import Place, run, seen
from test_ledger import faulty

from pointsman import (
    AtMostOnce,
    Engine,
    NotSent,
    Process,
    Refused,
    Rejected,
    Retry,
    State,
    Status,
    UnknownCase,
    finish,
    otherwise,
    when,
)
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.operators import standing
from pointsman.kernel.rows import CaseRow
from pointsman.testing.clock import ManualClock


class Job(State):
    name: str
    result: str | None = None
    approval: str | None = None


class Work:
    """What the working step finds: it fails as often as told, and waits while the gate is closed."""

    def __init__(self, *, failures: int = 0, closed: bool = False) -> None:
        self.failures = failures
        self.calls = 0
        self.reached = asyncio.Event()
        self.gate = asyncio.Event()
        if not closed:
            self.gate.set()

    async def do(self) -> str:
        self.calls += 1
        self.reached.set()
        await self.gate.wait()
        if self.calls <= self.failures:
            raise RuntimeError("down")
        return "done"


def working(work: Work, retry: Retry = Retry(attempts_max=1)) -> Process[Job]:  # noqa: B008 - a frozen value
    process = Process("work", Job)

    @process.node(writes="result", retry=retry)
    async def do(name: str) -> str:
        return await work.do()

    ask = process.pause(name="ask", writes="approval", answer=str, shows=("result",))
    process.rules(
        when("open", lambda c: c.result is None, do),
        when("unapproved", lambda c: c.approval is None, ask),
        otherwise(finish("approved")),
    )
    return process


async def begun(engine: Engine) -> int:
    return (await engine.start("work", {"name": "m"})).case


def test_a_parked_case_is_redriven_with_its_attempts_renewed(place: Place) -> None:
    work = Work(failures=3)
    process = working(work, Retry(attempts_max=2, first_seconds=0))

    async def main() -> Any:
        async with place.open(process) as engine:
            parked = await engine.wait_until_resting(await begun(engine))
            await engine.redrive(parked.id, by="anna", why="it is up")
            return parked, await engine.wait_until_resting(parked.id), await engine.reader.events(case=parked.id)

    parked, row, events = run(main())

    assert (parked.status, row.status, work.calls) == (Status.PARKED, Status.WAITING, 4)
    facts = [json.loads(event.facts) for event in events if event.kind == "redriven"]
    assert facts == [{"by": "anna", "why": "it is up", "fields": []}]


def test_a_case_that_was_cancelled_without_a_reason_is_told_without_one() -> None:
    row = CaseRow(1, "orders", 0, status=Status.CANCELLED, reason="")

    assert standing(row) == "it is cancelled"


def test_only_a_parked_case_is_redriven(place: Place) -> None:
    process = working(Work())

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await begun(engine)
            await engine.wait_until_resting(case)
            before = place.dump()
            with pytest.raises(Refused) as raised:
                await engine.redrive(case, by="anna", why="impatience")
            return str(raised.value), before == place.dump()

    text, unchanged = run(main())

    assert text == "case 1 is not parked: it is waiting at 'ask'; give the fields to correct."
    assert unchanged


def test_of_two_redrives_at_once_one_is_done_and_the_other_refused(place: Place) -> None:
    process = working(Work(failures=1))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await begun(engine)
            await engine.wait_until_resting(case)
            redrives = [engine.redrive(case, by=by, why="up") for by in ("anna", "bert")]
            told = await asyncio.gather(*redrives, return_exceptions=True)
            await engine.wait_until_resting(case)
            return told, await engine.reader.events(case=case)

    told, events = run(main())

    assert [type(answer) for answer in told if isinstance(answer, Exception)] == [Refused]
    assert [event.kind for event in events].count("redriven") == 1


@pytest.mark.parametrize("case", [99, 0, -1, 2**70])
def test_an_unknown_case_is_said_to_be_unknown_by_everything_that_takes_a_number(place: Place, case: int) -> None:
    process = working(Work())

    async def main() -> None:
        async with place.open(process) as engine:
            cancel, redrive = (
                partial(engine.cancel, by="anna", why="none"),
                partial(engine.redrive, by="anna", why="none"),
            )
            for ask in (engine.case, engine.state, engine.pending, engine.wait_until_resting, cancel, redrive):
                with pytest.raises(UnknownCase, match=f"there is no case {case}"):
                    await ask(case)

    run(main())


def test_a_waiting_case_is_cancelled_and_says_by_whom_and_why(place: Place) -> None:
    process = working(Work())

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await begun(engine)
            await engine.wait_until_resting(case)
            row = await engine.cancel(case, by="anna", why="withdrawn")
            return row, (await engine.reader.events(case=case))[-1], await engine.reader.pause(case)

    row, event, pause = run(main())

    assert (row.status, row.reason) == (Status.CANCELLED, "withdrawn")
    assert (event.kind, json.loads(event.facts)) == ("cancelled", {"by": "anna", "why": "withdrawn"})
    assert pause.closed == "void"


def test_a_case_that_waits_for_a_retry_is_cancelled_and_nothing_is_due_any_more(place: Place) -> None:
    work, clock = Work(failures=9), ManualClock()
    process = working(work, Retry(attempts_max=9, first_seconds=60))

    async def main() -> Any:
        async with place.open(process, clock=clock) as engine:
            case = await begun(engine)
            await seen(engine, "node.retried")
            row = await engine.cancel(case, by="anna", why="withdrawn")
            await engine.idle()
            clock.advance(600)
            await engine.idle()
            return row

    row = run(main())

    assert (row.status, row.wake_at, work.calls) == (Status.CANCELLED, None, 1)


def test_the_result_of_a_running_step_is_kept_when_the_case_is_cancelled(place: Place) -> None:
    async def main() -> Any:
        work = Work(closed=True)
        async with place.open(working(work)) as engine:
            case = await begun(engine)
            await work.reached.wait()
            cancel = asyncio.create_task(engine.cancel(case, by="anna", why="withdrawn"))
            await asyncio.sleep(0)
            work.gate.set()
            return await cancel, await engine.state(case, State), await engine.reader.events(case=case)

    row, state, events = run(main())

    assert (row.status, row.reason, state.result) == (Status.CANCELLED, "withdrawn", "done")
    assert [event.kind for event in events][-2:] == ["node.succeeded", "cancelled"]


def test_a_cancel_during_the_commit_of_a_retry_is_not_lost(place: Place) -> None:
    clock = ManualClock()

    async def main() -> Any:
        work, cancels = Work(failures=9), []
        process = working(work, Retry(attempts_max=9, first_seconds=60))

        def cancel_now(transition: Any) -> bool:
            if transition.wake_at is not None and transition.revision > 0 and not cancels:
                cancels.append(asyncio.ensure_future(engine.cancel(transition.case, by="anna", why="withdrawn")))
            return False

        store = await faulty(place, cancel_now)
        async with place.open(process, store=store, clock=clock) as engine:
            await begun(engine)
            await seen(engine, "node.retried")
            return await cancels[0], work.calls

    row, calls = run(main())

    assert (row.status, calls) == (Status.CANCELLED, 1)


def test_a_cancel_between_an_intent_and_its_call_tells_that_there_was_no_call(place: Place) -> None:
    world = World("receipt 1")

    async def main() -> Any:
        cancels: list[Any] = []

        def cancel_now(transition: Any) -> bool:
            if transition.intent is not None and not cancels:
                cancels.append(asyncio.ensure_future(engine.cancel(transition.case, by="anna", why="withdrawn")))
            return False

        store = await faulty(place, cancel_now)
        async with place.open(drafting(), store=store, resources={"world": world}) as engine:
            case = (await engine.start("draft", {"message": "m"})).case
            row = await engine.wait_until_resting(case)
            return row, await engine.reader.events(case=case)

    row, events = run(main())

    assert (row.status, world.keys) == (Status.CANCELLED, [])
    assert [event.kind for event in events][-3:] == ["effect.intended", "effect.not_sent", "cancelled"]


def test_a_case_that_is_done_is_not_cancelled(place: Place) -> None:
    process = letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": World()}) as engine:
            row = await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)
            before = place.dump()
            with pytest.raises(Refused) as raised:
                await engine.cancel(row.id, by="anna", why="late")
            return str(raised.value), before == place.dump()

    text, unchanged = run(main())

    assert text == "case 1 was not cancelled: it is done (posted)."
    assert unchanged


def test_a_parked_case_is_cancelled(place: Place) -> None:
    process = working(Work(failures=1))

    async def main() -> Any:
        async with place.open(process) as engine:
            case = await begun(engine)
            await engine.wait_until_resting(case)
            return await engine.cancel(case, by="anna", why="hopeless")

    row = run(main())

    assert (row.status, row.reason) == (Status.CANCELLED, "hopeless")


class GatedWorld(World):
    """A world that answers when its gate is opened."""

    def __init__(self, *endings: Any) -> None:
        super().__init__(*endings)
        self.reached, self.gate = asyncio.Event(), asyncio.Event()

    async def post(self, key: str) -> Any:
        self.reached.set()
        await self.gate.wait()
        return await super().post(key)


async def cancelled_during_the_call(engine: Engine, world: GatedWorld) -> Any:
    case = (await engine.start("letter", {"message": "m"})).case
    await world.reached.wait()
    cancel = asyncio.create_task(engine.cancel(case, by="anna", why="withdrawn"))
    await asyncio.sleep(0)
    world.gate.set()
    return await cancel


def test_an_effect_that_is_under_way_is_settled_before_its_case_is_cancelled(place: Place) -> None:
    process = letter(AtMostOnce())

    async def main() -> Any:
        world = GatedWorld("receipt 1")
        async with place.open(process, resources={"world": world}) as engine:
            row = await cancelled_during_the_call(engine, world)
            return row, await engine.state(row.id, State), (await engine.reader.effects(row.id))[0]

    row, state, entry = run(main())

    assert (row.status, state.receipt, entry.status) == (Status.CANCELLED, "receipt 1", EffectStatus.DONE)


def test_an_effect_left_in_doubt_by_a_cancel_can_still_be_resolved(place: Place) -> None:
    process = letter(AtMostOnce())

    async def main() -> Any:
        world = GatedWorld(ConnectionResetError("reset"))
        async with place.open(process, resources={"world": world}) as engine:
            row = await cancelled_during_the_call(engine, world)
            (entry,) = await engine.reader.in_doubt()
            await engine.resolve(entry.key, happened=True, outcome="receipt 1", by="anna", why="asked the office")
            return row, await engine.case(row.id), await engine.reader.effect(entry.key), len(world.keys)

    row, after, entry, calls = run(main())

    assert (row.status, after.status) == (Status.CANCELLED, Status.CANCELLED)
    assert (entry.status, calls) == (EffectStatus.DONE, 1)


def test_of_two_resolutions_of_an_ended_case_the_second_is_refused(place: Place) -> None:
    process = letter(AtMostOnce())

    async def main() -> Any:
        world = GatedWorld(ConnectionResetError("reset"))
        async with place.open(process, resources={"world": world}) as engine:
            row = await cancelled_during_the_call(engine, world)
            (entry,) = await engine.reader.in_doubt()
            resolved = [engine.resolve(entry.key, happened=True, outcome=f"receipt {by}", by=by, why="asked") for by in ("anna", "bob")]
            answers = await asyncio.gather(*resolved, return_exceptions=True)
            return row, answers, await engine.reader.effect(entry.key)

    row, answers, entry = run(main())

    (refused,) = [answer for answer in answers if isinstance(answer, Exception)]
    assert isinstance(refused, Refused)
    assert (entry.status, entry.case) == (EffectStatus.DONE, row.id)


def test_a_case_that_is_done_keeps_its_outcome_when_an_effect_of_it_is_resolved(place: Place) -> None:
    process = letter(AtMostOnce(), on_failure="record")

    async def main() -> Any:
        async with place.open(process, resources={"world": World(Rejected("no such street"))}) as engine:
            row = await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)
            [entry] = await engine.reader.effects(row.id)
            return row, await engine.resolve(entry.key, happened=False, by="anna", why="nobody has it")

    before, after = run(main())

    assert (before.status, before.outcome) == (Status.DONE, "posted")
    assert (after.status, after.outcome) == (Status.DONE, "posted")


async def in_doubt(engine: Engine) -> Any:
    """A parked letter whose call is in doubt: its entry in the ledger."""
    await engine.wait_until_resting((await engine.start("letter", {"message": "m"})).case)
    (entry,) = await engine.reader.in_doubt()
    return entry


def test_an_effect_resolved_as_happened_takes_its_outcome_and_is_not_called_again(place: Place) -> None:
    world, process = World(ConnectionResetError("reset")), letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            entry = await in_doubt(engine)
            await engine.resolve(entry.key, happened=True, outcome="receipt 1", by="anna", why="saw it")
            row = await engine.wait_until_resting(entry.case)
            return row, await engine.state(row.id, State), await engine.reader.events(case=row.id)

    row, state, events = run(main())

    assert (row.outcome, state.receipt, len(world.keys)) == ("posted", "receipt 1", 1)
    facts = [json.loads(event.facts) for event in events if event.kind == "effect.settled"]
    assert (facts[0]["by"], facts[0]["why"], facts[0]["how"]) == ("anna", "saw it", "resolved: it happened")


def test_a_verdict_on_an_earlier_call_does_not_count_for_a_later_one(place: Place) -> None:
    world, process = World(ConnectionResetError("reset"), after=(ConnectionResetError,)), letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            entry = await in_doubt(engine)
            await engine.resolve(entry.key, happened=False, by="anna", why="nothing there", expected_attempts=entry.attempts)
            await engine.wait_until_resting(entry.case)
            with pytest.raises(Refused, match="called again since"):
                await engine.resolve(entry.key, happened=False, by="bob", why="nothing there", expected_attempts=entry.attempts)
            return await engine.case(entry.case), await engine.reader.effect(entry.key)

    row, entry = run(main())

    assert (row.status, entry.status, entry.attempts) == (Status.PARKED, EffectStatus.IN_DOUBT, 2)
    assert len(world.keys) == 2


def test_a_doubt_keeps_its_cause_when_the_case_is_redriven_before_it_is_resolved(place: Place) -> None:
    async def main() -> tuple[str, str]:
        async with place.open(letter(AtMostOnce()), resources={"world": World(ConnectionResetError("reset"))}) as engine:
            entry = await in_doubt(engine)
            first = await engine.case(entry.case)
            await engine.redrive(entry.case, by="anna", why="again")
            return str(first.reason), str((await engine.wait_until_resting(entry.case)).reason)

    first, again = run(main())

    assert again == first
    assert "(reset)" in again


def test_an_effect_resolved_as_not_happened_is_called_again(place: Place) -> None:
    world, process = World(ConnectionResetError("reset"), "receipt 2"), letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            entry = await in_doubt(engine)
            await engine.resolve(entry.key, happened=False, by="anna", why="nobody has it")
            row = await engine.wait_until_resting(entry.case)
            return row, await engine.state(row.id, State)

    row, state = run(main())

    assert (row.outcome, state.receipt) == ("posted", "receipt 2")
    assert len(world.keys) == 2


@pytest.mark.parametrize("outcome", [None, 5, "a\0b"])
def test_an_outcome_that_does_not_fit_is_refused_and_changes_nothing(place: Place, outcome: Any) -> None:
    process = letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": World(ConnectionResetError("reset"))}) as engine:
            entry = await in_doubt(engine)
            before = place.dump()
            with pytest.raises(Refused) as raised:
                await engine.resolve(entry.key, happened=True, outcome=outcome, by="anna", why="saw it")
            return str(raised.value), before == place.dump()

    text, unchanged = run(main())

    assert "receipt" in text
    assert unchanged


def test_a_settled_or_unknown_key_is_not_resolved(place: Place) -> None:
    process = letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": World()}) as engine:
            row = await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)
            key = (await engine.reader.effects(row.id))[0].key
            before, texts = place.dump(), []
            for asked in (key, "0" * 40):
                with pytest.raises(Refused) as raised:
                    await engine.resolve(asked, happened=False, by="anna", why="again")
                texts.append(str(raised.value))
            return texts, before == place.dump()

    texts, unchanged = run(main())

    assert "'post' of case 1 is done" in texts[0]
    assert "is it is" not in texts[0]
    assert "0" * 40 in texts[1]
    assert unchanged


def test_an_effect_that_is_known_to_have_happened_cannot_be_resolved_as_not_happened(place: Place) -> None:
    world, process = World("a\0b", "receipt 2"), letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            row = await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)
            key = (await engine.reader.effects(row.id))[0].key
            with pytest.raises(Refused):
                await engine.resolve(key, happened=False, by="anna", why="a slip")
            await engine.idle()

    run(main())

    assert len(world.keys) == 1


def test_of_two_verdicts_at_once_one_counts_and_the_other_is_refused(place: Place) -> None:
    world, process = World(ConnectionResetError("reset"), "receipt 2"), letter(AtMostOnce())

    async def main() -> Any:
        async with place.open(process, resources={"world": world}) as engine:
            entry = await in_doubt(engine)
            verdicts = [
                engine.resolve(entry.key, happened=True, outcome="receipt 1", by="anna", why="saw it"),
                engine.resolve(entry.key, happened=False, by="bert", why="nobody has it"),
            ]
            told = await asyncio.gather(*verdicts, return_exceptions=True)
            return told, await engine.wait_until_resting(entry.case), await engine.state(entry.case, State)

    told, row, state = run(main())

    assert [type(answer) for answer in told if isinstance(answer, Exception)] == [Refused]
    assert (row.outcome, state.receipt, len(world.keys)) == ("posted", "receipt 1", 1)


def test_a_letter_that_was_not_sent_is_not_in_doubt(place: Place) -> None:
    process = letter(AtMostOnce(), retry=Retry(attempts_max=1))

    async def main() -> Any:
        async with place.open(process, resources={"world": World(NotSent("no route"))}) as engine:
            row = await engine.wait_until_resting((await engine.start(process, {"message": "m"})).case)
            return row, await engine.reader.in_doubt()

    row, entries = run(main())

    assert (row.status, entries) == (Status.PARKED, [])
