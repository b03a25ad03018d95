"""Starts with a correlation key on Restate: messages find the case as on an engine, and it is started once, whoever dies."""

import asyncio
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from objects_in_memory import Objects, client_of
from restate import TerminalError
from tickets import Letter, tickets

from pointsman import InputInvalid, Process, Refused, State, finish, otherwise, when
from pointsman.client.restate_names import START_HERE, place_of
from pointsman.restate.work import Work
from pointsman.testing.clock import ManualClock
from pointsman.testing.world import World
from tiers import figure

EVERY = figure("RESTATE_EVERY", 16)
WHY = {"by": "otto", "why": "it was a mistake"}
EARLY, SECOND, THIRD, FOURTH = (Letter(id=str(number), thread="a", text=f"text {number}") for number in range(1, 5))
TOLD = [
    ("unmatched", None),  # the first letter
    ("started", 0),
    ("duplicate", 0),  # the same letter again
    ("started", 1),
    ("started", 0),  # the first start again
    ("delivered", 1),  # the second letter, to the case that started last
    ("delivered", 0),  # the third, when that case has been cancelled
    ("unmatched", None),  # the fourth, when both have ended
]
REPLIES = [("answered", "text 1 and text 3"), (None, "text 2")]


class OnRestate:
    """Cases in memory, as a Restate server has them."""

    def __init__(self, *, dies_at: int = 0, dies: str = "program", starts: bool = False) -> None:
        self.cluster = Objects(ManualClock(), dies_at=dies_at, dies=dies)
        self.cluster.serve(Work([tickets("append", starts=starts)], clock=self.cluster.clock, random=Random(7)))
        self.client = client_of(self.cluster)

    async def start(self, key: str) -> int:
        return (await self.client.start("tickets", {}, key=key, correlation="a")).case

    async def send(self, letter: Letter) -> Any:
        return await self.client.send("tickets", letter)

    async def cancel(self, case: int) -> None:
        await self.client.cancel("tickets", case, **WHY)

    async def sleep(self, seconds: float) -> None:
        await self.cluster.work(until=self.cluster.clock.now() + seconds)

    async def end(self, case: int) -> tuple[str | None, str]:
        shown = await self.client.show("tickets", case)
        return shown["outcome"], shown["fields"]["reply"]


class OnEngine:
    """Cases on an engine."""

    def __init__(self) -> None:
        self.process = tickets("append", starts=False)
        self.world = World(self.process)

    async def start(self, key: str) -> int:
        return await self.world.start(self.process, {}, key=key, correlation="a")

    async def send(self, letter: Letter) -> Any:
        return await self.world.send(self.process, letter, key=letter.id)

    async def cancel(self, case: int) -> None:
        await self.world._insist(lambda engine: engine.cancel(case, **WHY))

    async def sleep(self, seconds: float) -> None:
        await self.world.sleep(seconds)

    async def end(self, case: int) -> tuple[str | None, str]:
        return self.world.case(case).outcome, self.world.state(case)["reply"]


async def story(on: OnRestate | OnEngine) -> tuple[list[Any], list[Any]]:
    """What senders and starters are told, with the place of the case, and how the two cases end."""
    told, cases = list[Any](), list[int]()

    def tell(how: str, case: int | None) -> None:
        told.append((how, None if case is None else cases.index(case)))

    async def start(key: str) -> None:
        case = await on.start(key)
        if case not in cases:
            cases.append(case)
        tell("started", case)

    async def send(letter: Letter) -> None:
        case, how = await on.send(letter)
        tell(how, case)
        await on.sleep(60)

    await send(EARLY)
    await start("one")
    await on.sleep(60)
    await send(EARLY)
    await start("two")
    await on.sleep(60)
    await start("one")
    await send(SECOND)
    await on.cancel(cases[1])
    await on.sleep(60)
    await send(THIRD)
    await on.sleep(2 * 3_600)
    await send(FOURTH)
    return told, [await on.end(case) for case in cases]


def test_messages_find_the_open_case_that_started_last_as_on_an_engine() -> None:
    on = OnEngine()
    on_an_engine = on.world.run(lambda: story(on))

    on_restate = asyncio.run(story(OnRestate()))

    assert on_restate == on_an_engine == (TOLD, REPLIES)


def test_a_death_anywhere_loses_and_repeats_no_start_and_no_message() -> None:
    whole = OnRestate()
    asyncio.run(story(whole))

    for place, entry in enumerate(range(1, whole.cluster.entries + 1, EVERY)):
        on = OnRestate(dies_at=entry, dies=("program", "server")[place % 2])
        assert asyncio.run(story(on)) == (TOLD, REPLIES), f"entry {entry}"
        assert on.cluster.deaths == 1


def test_a_start_that_somebody_kills_and_that_is_repeated_is_one_case_which_messages_find() -> None:
    whole = OnRestate()
    asyncio.run(whole.start("one"))

    async def killed(on: OnRestate) -> Any:
        with pytest.raises(Refused, match="killed"):
            await on.start("one")
        await on.send(EARLY)
        case = await on.start("one")
        told = await on.send(SECOND)
        await on.cluster.work(until=on.cluster.clock.now() + 60)
        shown = await on.client.show("tickets", case)
        cases = [key for key, state in on.cluster.states.items() if "case" in state]
        return cases == [f"tickets:{case}"], told == (case, "delivered"), len(shown["fields"]["letters"]) + shown["inbox"]

    for entry in range(1, whole.cluster.entries + 1):
        assert asyncio.run(killed(OnRestate(dies_at=entry, dies="invocation"))) == (True, True, 2), f"entry {entry}"


def test_a_start_key_that_another_correlation_key_has_finds_its_case_and_takes_no_messages_from_there() -> None:
    async def story() -> Any:
        on = OnRestate()
        case = await on.start("one")
        again = await on.client.start("tickets", {}, key="one", correlation="b")
        return case, again, await on.send(Letter(id="1", thread="b", text="to nobody"))

    case, again, sent = asyncio.run(story())

    assert (again, sent) == ((case, True), (None, "unmatched"))


def test_a_repeated_start_does_not_wait_for_a_step_of_the_case() -> None:
    async def story() -> Any:
        on = OnRestate()
        case = await on.start("one")
        starts = on.cluster.calls["start"]
        return case, await on.start("one"), on.cluster.calls["start"] - starts

    case, again, asked = asyncio.run(story())

    assert (again, asked) == (case, 0)


def test_a_repeated_start_of_a_case_that_has_ended_brings_it_no_messages() -> None:
    async def story() -> Any:
        on = OnRestate()
        case = await on.start("one")
        await on.cancel(case)
        await on.sleep(60)
        return case, await on.start("one"), (await on.send(SECOND)).how

    case, again, how = asyncio.run(story())

    assert (again, how) == (case, "unmatched")


def test_a_start_that_is_refused_leaves_early_messages_to_the_next_one() -> None:
    async def story() -> Any:
        on = OnRestate()
        await on.send(EARLY)
        with pytest.raises(InputInvalid, match="cannot start: nonsense"):
            await on.client.start("tickets", {"nonsense": 1}, key="one", correlation="a")
        case = await on.start("one")
        await on.sleep(60)
        return await on.client.show("tickets", case)

    assert asyncio.run(story())["fields"]["reply"] == "text 1"


def test_early_messages_wait_for_a_case_that_does_not_end_at_its_start() -> None:
    class Case(State):
        ended: bool
        letter: Letter | None = None
        slept: float | None = None

    process = Process("quick", Case)
    process.accept(
        Letter, writes="letter", correlate=lambda letter: letter.thread, while_open="supersede", name="letter-came", starts=False
    )
    sleep = process.sleep(writes="slept", seconds=timedelta(hours=1))
    process.rules(when("over", lambda c: c.ended or c.slept is not None, finish("over")), otherwise(sleep))

    async def story() -> list[Any]:
        cluster = Objects(ManualClock())
        cluster.serve(Work([process], clock=cluster.clock, random=Random(7)))
        client = client_of(cluster)
        await client.send("quick", EARLY)
        cases = [(await client.start("quick", {"ended": ended}, correlation="a")).case for ended in (True, False)]
        await cluster.work()
        return [(await client.show("quick", case))["fields"].get("letter") for case in cases]

    assert asyncio.run(story()) == [None, EARLY.model_dump()]


@pytest.mark.parametrize("correlation", ["b", None])
def test_the_object_of_a_correlation_key_starts_no_case_of_another_one(correlation: str | None) -> None:
    asked = ["tickets", {"seed": "one", "correlation": correlation}]

    with pytest.raises(TerminalError, match="InputInvalid: this object is that of another correlation key"):
        asyncio.run(OnRestate().cluster.call(START_HERE, place_of("tickets", "", "a"), asked))


def test_a_message_that_a_cancelled_case_did_not_take_in_waits_for_the_end_of_the_other_open_case() -> None:
    async def story() -> list[tuple[str | None, str]]:
        on = OnRestate(starts=True)
        first, second = [await on.start(key) for key in ("one", "two")]
        await on.sleep(60)
        await on.send(SECOND)
        while not (await on.client.show("tickets", second))["inbox"]:
            await on.cluster.work_once()
        await on.cancel(second)
        await on.cluster.work()
        [third] = {int(key.removeprefix("tickets:")) for key, state in on.cluster.states.items() if "case" in state} - {first, second}
        return [await on.end(case) for case in (first, second, third)]

    assert asyncio.run(story()) == [("answered", ""), (None, ""), ("answered", "text 2")]
