"""Cases as virtual objects, in memory: the same ends as on an engine, and what a death of the program at each entry of each journal does."""

import asyncio
import json
from collections import Counter
from contextlib import suppress
from random import Random
from typing import Annotated, Any

import pytest
from objects_in_memory import Away, Died, Objects
from orders import Approval, Checked, Order, Outside, orders
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import to_json
from restate import TerminalError
from trips import trips

from pointsman import AtMostOnce, Blob, Database, DefinitionError, Log, Peek, Process, State, finish, otherwise, parallel, when
from pointsman.client import restate_requests
from pointsman.kernel.rows import CaseRow
from pointsman.restate import turns
from pointsman.restate.turns import STEPS_SECONDS
from pointsman.restate.work import Work
from pointsman.runtime.one_case import THREADS
from pointsman.testing.clock import ManualClock
from pointsman.testing.world import World
from tiers import figure

ITEMS = ("tea", "rare", "coffee", "lost")
YES = {"agreed": True, "by": "anna"}
ALWAYS = -1
DAY = 86_400.0
HANG_SECONDS = 30.0  # far longer than the test takes
ORDERS, TRIPS = orders(), trips()
EVERY = figure("RESTATE_EVERY", 16)  # a program dies at one moment of so many


class Counting(State):
    name: str
    number: int | None = None


class Cluster:
    """A cluster in memory with the process of orders. Its program dies at the `time`-th passing of the failpoint `dies_in`."""

    def __init__(self, *, dies_at: int = 0, dies: str = "program", dies_in: str = "", time: int = 1, threads: int = THREADS) -> None:
        self.outside = Outside()
        self.objects = Objects(ManualClock(), dies_at=dies_at, dies=dies)
        self.calls: Counter[str] = Counter()
        self._dies_in, self._time, self._threads = dies_in, time, threads
        self.serve(ORDERS)

    def serve(self, *processes: Process[Any]) -> None:
        resources, clock = {"outside": self.outside}, self.objects.clock
        work = Work(processes, resources, threads=self._threads, clock=clock, random=Random(7), failpoints=self._pass)
        self.objects.serve(work)

    def _pass(self, label: str) -> None:
        self.calls[label] += 1
        if label == self._dies_in and self._time in {self.calls[label], ALWAYS}:
            raise Died

    async def start(self, item: str, seed: str = "one", number: int = 1) -> dict[str, Any]:
        asked = {"seed": seed, "inputs": {"item": item}, "key": seed}
        told: dict[str, Any] = await self.objects.call("start", f"orders:{number}", asked)
        return told

    async def show(self, number: int = 1) -> dict[str, Any]:
        shown: dict[str, Any] = await self.objects.call("show", f"orders:{number}")
        return shown

    async def ask(self, handler: str, asked: dict[str, Any], number: int = 1) -> dict[str, Any]:
        told: dict[str, Any] = await self.objects.call(handler, f"orders:{number}", asked)
        return told

    async def soon(self) -> None:
        """Let pass what is due within a minute."""
        await self.objects.work(until=self.objects.clock.now() + 60)

    async def finish(self, item: str) -> dict[str, Any]:
        """Start a case, answer its pause, and let it end."""
        await self.start(item)
        await self.soon()
        if (pause := (await self.show())["pause"]) is not None:
            await self.ask("answer", {"token": pause["token"], "answer": YES, "by": "anna"})
        await self.objects.work()
        return await self.show()


def on_an_engine(item: str) -> tuple[dict[str, Any], Counter[str]]:
    outside = Outside()
    world = World(ORDERS, resources={"outside": outside}, people={"approval": Approval(**YES)})

    async def story() -> int:
        case = await world.start(ORDERS, {"item": item})
        await world.wait_until_resting()
        return case

    case = world.run(story)
    return world.state(case), Counter(effect for effect, _ in outside.deliveries)


def trip_on_an_engine(country: str) -> tuple[dict[str, Any], str | None, Counter[str]]:
    outside = Outside()
    world = World(*TRIPS, resources={"outside": outside})

    async def story() -> int:
        case = await world.start(TRIPS[0], {"country": country})
        await world.wait_until_resting()
        return case

    case = world.run(story)
    return world.state(case), world.case(case).outcome, Counter(effect for effect, _ in outside.deliveries)


async def trip_on_restate(cluster: Cluster, country: str) -> dict[str, Any]:
    cluster.serve(*TRIPS)
    await cluster.objects.call("start", "trips:1", {"seed": "one", "inputs": {"country": country}})
    await cluster.objects.work()
    shown: dict[str, Any] = await cluster.objects.call("show", "trips:1")
    return shown


@pytest.mark.parametrize("country", ["france", "full", "moon"])
def test_children_branches_and_compensations_end_on_restate_as_on_an_engine(country: str) -> None:
    fields, outcome, effects = trip_on_an_engine(country)

    cluster = Cluster()
    shown = asyncio.run(trip_on_restate(cluster, country))

    assert shown["outcome"] == outcome
    assert shown["status"] == ("parked" if country == "moon" else "done")
    assert shown["fields"] == json.loads(to_json(fields))
    assert Counter(effect for effect, _ in cluster.outside.deliveries) == effects


def test_a_program_that_dies_anywhere_on_a_trip_repeats_no_effect() -> None:
    whole = Cluster()
    asyncio.run(trip_on_restate(whole, "full"))

    for entry in range(1, whole.objects.entries + 1, EVERY):
        cluster = Cluster(dies_at=entry)
        shown = asyncio.run(trip_on_restate(cluster, "full"))

        assert cluster.objects.deaths == 1
        assert shown["outcome"] == "reversed", f"entry {entry}"
        assert len({*cluster.outside.deliveries}) == 2, f"entry {entry}"


def test_a_cancelled_case_cancels_its_child() -> None:
    async def story() -> None:
        cluster = Cluster()
        cluster.serve(*trips(waits=True))
        await cluster.objects.call("start", "trips:1", {"seed": "one", "inputs": {"country": "france"}})
        await cluster.soon()
        [child] = [key for key in cluster.objects.states if key.startswith("visas:")]

        await cluster.objects.call("cancel", "trips:1", {"by": "otto", "why": "no trip"})
        await cluster.soon()

        assert (await cluster.objects.call("show", child))["status"] == "cancelled"
        assert (await cluster.objects.call("show", "trips:1"))["status"] == "cancelled"

    asyncio.run(story())


def test_a_case_whose_child_somebody_has_cancelled_is_redriven_to_another_one() -> None:
    async def story() -> tuple[str, dict[str, Any]]:
        cluster = Cluster()
        cluster.serve(*trips(waits=True))
        await cluster.objects.call("start", "trips:1", {"seed": "one", "inputs": {"country": "france"}})
        await cluster.soon()
        [child] = [key for key in cluster.objects.states if key.startswith("visas:")]
        await cluster.objects.call("cancel", child, {"by": "otto", "why": "the wrong office"})
        await cluster.soon()
        before = (await cluster.objects.call("show", "trips:1"))["status"]

        await cluster.objects.call("redrive", "trips:1", {"by": "otto", "why": "to the right one"})
        await cluster.objects.work()

        return before, await cluster.objects.call("show", "trips:1")

    before, shown = asyncio.run(story())

    assert before == "parked"
    assert (shown["outcome"], shown["fields"]["visa"]) == ("booked", "stamp of france")


def test_a_child_that_was_called_off_counts_as_cancelled_before_it_is() -> None:
    async def story() -> tuple[str, str]:
        cluster = Cluster()
        cluster.serve(*trips(waits=True))
        await cluster.objects.call("start", "trips:1", {"seed": "one", "inputs": {"country": "france"}})
        await cluster.soon()
        [child] = [key for key in cluster.objects.states if key.startswith("visas:")]
        await cluster.objects.call("cancel", "trips:1", {"by": "otto", "why": "no trip"})
        await cluster.objects.work_once()  # it has the message

        seed = json.loads(cluster.objects.states[child]["case"])["seed"]
        told = await cluster.objects.call("start", child, {"seed": seed, "home": "trips:1"})

        return (await cluster.objects.call("show", child))["status"], CaseRow(*told["child"][0]).status

    shown, told = asyncio.run(story())

    assert (shown, told) == ("ready", "cancelled")


@pytest.mark.parametrize("item", ITEMS)
def test_a_case_ends_on_restate_as_it_does_on_an_engine(item: str) -> None:
    fields, effects = on_an_engine(item)

    cluster = Cluster()
    shown = asyncio.run(cluster.finish(item))

    assert shown["status"] == "done"
    assert shown["outcome"] == "sent"
    assert {**shown["fields"], "slept": 0} == json.loads(to_json({**fields, "slept": 0}))
    assert Counter(effect for effect, _ in cluster.outside.deliveries) == effects


def test_a_program_that_dies_at_any_entry_of_a_journal_loses_and_repeats_nothing() -> None:
    whole = Cluster()
    asyncio.run(whole.finish("coffee"))

    for entry in range(1, whole.objects.entries + 1, EVERY):
        cluster = Cluster(dies_at=entry)
        shown = asyncio.run(cluster.finish("coffee"))

        effects = Counter(effect for effect, _ in cluster.outside.deliveries)
        assert cluster.objects.deaths == 1
        assert effects["mail"] == 1, f"entry {entry}"
        assert effects["book"] <= 1, f"entry {entry}"
        assert len({key for effect, key in cluster.outside.deliveries if effect == "pay"}) == 1, f"entry {entry}"
        assert shown["status"] == "done" or "'book' is in doubt" in shown["reason"], f"entry {entry}"


def test_a_server_that_dies_at_any_entry_of_a_journal_interrupts_no_call() -> None:
    whole = Cluster()
    asyncio.run(whole.finish("coffee"))

    for entry in range(1, whole.objects.entries + 1, EVERY):
        cluster = Cluster(dies_at=entry, dies="server")
        shown = asyncio.run(cluster.finish("coffee"))

        assert cluster.objects.deaths == 1
        assert (shown["status"], shown["outcome"]) == ("done", "sent"), f"entry {entry}"
        assert [effect for effect, _ in cluster.outside.deliveries] == ["pay", "mail", "book", "count"], f"entry {entry}"
        assert cluster.calls == whole.calls, f"entry {entry}"


def test_a_turn_that_failed_is_interrupted_and_not_asked_again() -> None:
    class Faulty(Cluster):
        def _pass(self, label: str) -> None:
            self.calls[label] += 1
            if label == "node.call" and self.calls[label] == 1:
                raise Away

    cluster = Faulty()
    shown = asyncio.run(cluster.finish("tea"))

    assert cluster.objects.deaths == 1
    assert (shown["status"], shown["outcome"]) == ("done", "sent")


def test_a_case_that_goes_to_and_fro_between_two_programs_repeats_nothing() -> None:
    booked = Counter[str]()

    for entry in range(10, 60, 5):
        for later in (2, 3, 5):
            cluster = Cluster()
            cluster.objects.elsewhere = {entry, entry + later}
            shown = asyncio.run(cluster.finish("tea"))

            effects = Counter(effect for effect, _ in cluster.outside.deliveries)
            assert effects["mail"] == 1, f"entries {entry} and {later} later"
            assert effects["book"] <= 1, f"entries {entry} and {later} later"
            assert len({key for effect, key in cluster.outside.deliveries if effect == "pay"}) == 1
            assert shown["status"] == "done" or "'book' is in doubt" in shown["reason"], f"entries {entry} and {later} later"
            booked[shown["status"]] += 1

    assert booked["done"] > booked["parked"]


async def paused(cluster: Cluster) -> dict[str, Any]:
    """Start a case that waits for an answer, and return its pause."""
    await cluster.start("coffee")
    await cluster.soon()
    pause: dict[str, Any] = (await cluster.show())["pause"]
    return pause


def refused(told: pytest.ExceptionInfo[TerminalError]) -> str:
    return told.value.message.partition(":")[0]


def test_a_start_with_the_same_seed_finds_the_case_and_another_seed_is_told_that_the_number_is_taken() -> None:
    cluster = Cluster()
    first = asyncio.run(cluster.start("tea"))

    again, other = asyncio.run(cluster.start("tea")), asyncio.run(cluster.start("tea", seed="two"))

    assert first["status"] == "ready"
    assert again["duplicate"]
    assert other["other"]


def test_an_answer_is_taken_once_and_only_with_the_token_of_what_was_shown() -> None:
    async def story() -> None:
        cluster = Cluster()
        pause = await paused(cluster)
        assert pause["shown"] == {"item": "coffee", "price": 600}

        with pytest.raises(TerminalError) as unknown:
            await cluster.ask("answer", {"token": "other", "answer": YES, "by": "anna"})
        with pytest.raises(TerminalError) as unfit:
            await cluster.ask("answer", {"token": pause["token"], "answer": {"agreed": "perhaps"}, "by": "anna"})
        await cluster.ask("redrive", {"by": "otto", "why": "a new price", "fields": {"price": 700}})
        with pytest.raises(TerminalError) as stale:
            await cluster.ask("answer", {"token": pause["token"], "answer": YES, "by": "anna"})
        await cluster.soon()
        now = (await cluster.show())["pause"]
        told = await cluster.ask("answer", {"token": now["token"], "answer": YES, "by": "anna"})
        with pytest.raises(TerminalError) as second:
            await cluster.ask("answer", {"token": now["token"], "answer": YES, "by": "ben"})

        assert (refused(unknown), refused(unfit), refused(stale), refused(second)) == (
            "NotWaiting",
            "AnswerInvalid",
            "Stale",
            "AlreadyAnswered",
        )
        assert now["shown"]["price"] == 700
        assert told["status"] == "ready"

    asyncio.run(story())


@pytest.mark.parametrize(
    ("handler", "asked"),
    [
        ("start", {}),
        ("start", {"seed": 7, "inputs": []}),
        ("start", {"seed": "one", "inputs": {"item": "tea"}, "key": ""}),
        ("start", {"seed": "one", "inputs": {"item": "tea"}, "priority": 2**63}),
        ("answer", {}),
        ("cancel", {"by": 7}),
        ("resolve", {"key": "k"}),
    ],
)
def test_a_request_that_does_not_fit_is_refused_and_not_repeated_for_ever(handler: str, asked: dict[str, Any]) -> None:
    cluster = Cluster()
    if handler != "start":
        asyncio.run(cluster.start("tea"))

    with pytest.raises(TerminalError) as told:
        asyncio.run(cluster.ask(handler, asked))

    assert refused(told) in {"InputInvalid", "ValueRefused"}


@pytest.mark.parametrize(
    ("handler", "asked", "told"),
    [
        ("answer", {"token": "t", "answer": "no", "by": "eve", "edit": {}}, "'edit' is unknown; 'answer' takes an object with token, answer, by, and perhaps edits."),
        ("answer", {"answer": "no"}, "'token' is missing, 'by' is missing; 'answer' takes an object with token, answer, by, and perhaps edits."),
        ("cancel", {"by": "eve"}, "'why' is missing; 'cancel' takes an object with by, why."),
        ("cancel", ["eve"], "'by' is missing, 'why' is missing; 'cancel' takes an object with by, why."),
        ("resolve", {"key": "k", "happened": "no", "by": "eve", "why": "w"}, "'happened' is not true or false; 'resolve' takes an object with key, happened, by, why, and perhaps outcome, calls."),
        ("redrive", {"by": "eve", "why": "w", "fields": "price"}, "'fields' is not an object; 'redrive' takes an object with by, why, and perhaps fields."),
        ("send", {"process": "p", "message": "m", "kee": "k"}, "'kee' is unknown; 'send' takes an object with process, message, and perhaps name, key, tenant, priority."),
    ],
)  # fmt: skip
def test_a_request_with_a_name_that_the_handler_would_overlook_or_without_one_that_it_needs_is_refused_and_told_which(
    handler: str, asked: Any, told: str
) -> None:
    cluster = Cluster()
    asyncio.run(cluster.start("tea"))

    with pytest.raises(TerminalError) as refused_with:
        asyncio.run(cluster.objects.call("send", "", asked) if handler == "send" else cluster.ask(handler, asked))

    assert refused_with.value.message == f"InputInvalid: the request does not fit: {told}"


@pytest.mark.parametrize("handler", ["answer", "send"])
def test_a_request_that_is_too_large_is_refused_before_anything_keeps_it(monkeypatch: pytest.MonkeyPatch, handler: str) -> None:
    monkeypatch.setattr(restate_requests, "REQUEST_MAX", 1_000)
    asked = {"answer": {"token": "t", "answer": "x" * 1_000, "by": "eve"}, "send": {"process": "orders", "message": "x" * 1_000}}[handler]
    cluster = Cluster()
    asyncio.run(cluster.start("tea"))

    with pytest.raises(
        TerminalError, match=r"InputInvalid: the request has 1,0\d\d bytes of JSON, of 1,000 at most; keep large values as blobs"
    ):
        asyncio.run(cluster.objects.call("send", "", asked) if handler == "send" else cluster.ask(handler, asked))


def test_a_refusal_of_what_does_not_fit_names_its_place_and_not_its_value() -> None:
    with pytest.raises(TerminalError) as told:
        asyncio.run(Cluster().ask("start", {"seed": "one", "inputs": ["a private text"]}))

    assert told.value.message == (
        "InputInvalid: the request does not fit (inputs: Input should be an object); see the documentation of the handler."
    )


def test_a_refusal_that_quotes_half_a_character_is_told_and_not_repeated_for_ever() -> None:
    cluster = Cluster()
    asyncio.run(cluster.start("tea"))

    with pytest.raises(TerminalError, match="no effect has the key \\?;"):
        asyncio.run(cluster.ask("resolve", {"key": "\ud800", "happened": True, "by": "otto", "why": "the bank says so"}))


@pytest.mark.parametrize("number", ["01", "\u0661", "9" * 5_000])
@pytest.mark.parametrize("handler", ["start", "show"])
def test_a_number_that_is_written_in_another_way_is_that_of_no_case(handler: str, number: str) -> None:
    asked = {"seed": "one", "inputs": {"item": "tea"}} if handler == "start" else None

    with pytest.raises(TerminalError) as told:
        asyncio.run(Cluster().objects.call(handler, f"orders:{number}", asked))

    assert refused(told) == "UnknownCase"


def test_a_message_that_does_not_fit_is_refused() -> None:
    with pytest.raises(TerminalError) as told:
        asyncio.run(Cluster().objects.call("send", "", {"message": {}}))

    assert refused(told) == "InputInvalid"


def test_a_pause_that_nobody_answers_takes_the_answer_of_its_ladder() -> None:
    cluster = Cluster()
    asyncio.run(cluster.start("coffee"))

    asyncio.run(cluster.objects.work())
    shown = asyncio.run(cluster.show())

    assert (shown["status"], shown["outcome"]) == ("done", "refused")


def test_a_timer_of_a_pause_that_is_no_longer_open_moves_nothing() -> None:
    async def story() -> None:
        cluster = Cluster()
        await paused(cluster)
        await cluster.objects.work(until=cluster.objects.clock.now() + DAY)
        await cluster.ask("redrive", {"by": "otto", "why": "a new price", "fields": {"price": 700}})
        await cluster.soon()
        before = await cluster.show()

        await cluster.objects.work(until=cluster.objects.clock.now() + 1.5 * DAY)

        assert (await cluster.show())["revision"] == before["revision"]

    asyncio.run(story())


@pytest.mark.parametrize("running", [False, True])
def test_a_cancelled_case_calls_nothing_more(running: bool) -> None:
    async def story() -> None:
        cluster = Cluster()
        if running:
            await cluster.start("tea")
        else:
            await paused(cluster)

        await cluster.ask("cancel", {"by": "otto", "why": "the customer left"})
        await cluster.objects.work()

        shown = await cluster.show()
        assert (shown["status"], shown["reason"]) == ("cancelled", "the customer left")
        assert cluster.outside.deliveries == []

    asyncio.run(story())


def test_an_effect_in_doubt_that_may_not_be_repeated_parks_its_case_until_a_person_resolves_it() -> None:
    async def story() -> None:
        cluster = Cluster(dies_in="effect.called", time=3)
        shown = await cluster.finish("tea")
        assert shown["status"] == "parked"
        doubt = next(entry for entry in shown["effects"] if entry["status"] == "in_doubt")
        assert doubt["effect"] == "book"

        said = {"key": doubt["key"], "happened": True, "by": "otto", "why": "it is in the book", "outcome": "book done"}
        await cluster.ask("resolve", said)
        await cluster.objects.work()

        assert (await cluster.show())["outcome"] == "sent"
        assert cluster.outside.count("book") == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("dies_in", "reason"),
    [
        ("node.call", "the engine died 8 times while step 'ask_price' was running"),
        ("effect.call", "effect 'pay' is in doubt: 3 calls ended"),
    ],
)
def test_a_step_that_kills_the_program_again_and_again_parks_its_case(dies_in: str, reason: str) -> None:
    cluster = Cluster(dies_in=dies_in, time=ALWAYS)

    shown = asyncio.run(cluster.finish("tea"))

    assert shown["status"] == "parked"
    assert shown["reason"].startswith(reason)


def test_a_node_without_a_limit_that_kills_the_program_again_and_again_parks_its_case() -> None:
    cluster = Cluster(dies_in="node.call", time=ALWAYS)
    cluster.serve(counting(cluster.objects.clock, 0.0))

    asyncio.run(cluster.objects.call("start", "count:1", {"seed": "one", "inputs": {"name": "sheep"}}))
    asyncio.run(cluster.objects.work())

    shown = asyncio.run(cluster.objects.call("show", "count:1"))
    assert shown["status"] == "parked"
    assert shown["reason"].startswith("the engine died 8 times while step 'add' was running")


def counting(clock: ManualClock, seconds: float) -> Process[Any]:
    """A case of twenty steps, each of which takes so many seconds."""
    process = Process("count", Counting)

    @process.node(writes="number")
    async def add(number: Peek[int | None]) -> int:
        clock.advance(seconds)
        return (number or 0) + 1

    process.rules(when("not counted", lambda c: (c.number or 0) < 20, add), otherwise(finish("counted")))
    return process


@pytest.mark.parametrize(("seconds", "invocations"), [(0.0, 3), (0.06, 10), (1.0, 20)])
def test_an_invocation_takes_few_steps_and_one_that_is_slow_lets_others_come_between(seconds: float, invocations: int) -> None:
    cluster = Cluster()
    cluster.serve(counting(cluster.objects.clock, seconds))

    asyncio.run(cluster.objects.call("start", "count:1", {"seed": "one", "inputs": {"name": "sheep"}}))
    asyncio.run(cluster.objects.work())

    shown = asyncio.run(cluster.objects.call("show", "count:1"))
    assert (shown["outcome"], shown["fields"]) == ("counted", {"name": "sheep", "number": 20})
    assert cluster.objects.calls["step"] == invocations
    assert cluster.objects.longest <= 30


def test_line_breaks_in_a_value_are_kept() -> None:
    cluster, name = Cluster(), "one\ntwo\r\n\u2028three\n"
    cluster.serve(counting(cluster.objects.clock, 0.0))

    asyncio.run(cluster.objects.call("start", "count:1", {"seed": "one", "inputs": {"name": name}}))
    asyncio.run(cluster.objects.work())

    shown = asyncio.run(cluster.objects.call("show", "count:1"))
    assert (shown["outcome"], shown["fields"]) == ("counted", {"name": name, "number": 20})


class Copies(State):
    text: str
    first: str | None = None
    second: str | None = None


def copying(sent: list[str]) -> Process[Any]:
    """A process that copies a text in a node and then in an effect."""
    process = Process("copies", Copies)

    @process.node(writes="first")
    async def copy(text: str) -> str:
        return text

    @process.effect(writes="second", safety=AtMostOnce())
    async def send(text: str) -> str:
        sent.append(text)
        return text

    process.rules(
        when("not copied", lambda c: c.first is None, copy), when("not sent", lambda c: c.second is None, send), otherwise(finish("copied"))
    )
    return process


@pytest.mark.parametrize(
    ("length", "step", "calls"), [(5_000, "copy", 0), (3_500, "send", 1)], ids=["the result of a node", "the outcome of an effect"]
)
def test_a_case_whose_record_would_become_too_large_parks_calls_no_effect_again_and_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch, length: int, step: str, calls: int
) -> None:
    monkeypatch.setattr(turns, "RECORD_MAX", 10_000)
    sent: list[str] = []

    async def story() -> list[dict[str, Any]]:
        cluster, shown = Cluster(), []
        cluster.serve(copying(sent))
        operator = {"by": "otto", "why": "it is too large"}
        for handler, asked in (("start", {"seed": "one", "inputs": {"text": "x" * length}}), ("redrive", operator), ("cancel", operator)):
            await cluster.objects.call(handler, "copies:1", asked)
            await cluster.objects.work()
            shown.append(await cluster.objects.call("show", "copies:1"))
        return shown

    parked, redriven, cancelled = asyncio.run(story())

    assert [one["status"] for one in (parked, redriven, cancelled)] == ["parked", "parked", "cancelled"]
    assert parked["step"] == step
    assert "of 10,000 at most; keep large values as blobs" in parked["reason"]
    assert len(sent) == calls


def test_a_start_whose_record_would_be_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "RECORD_MAX", 10_000)
    cluster = Cluster()
    cluster.serve(copying([]))

    with pytest.raises(TerminalError, match="keep large values as blobs"):
        asyncio.run(cluster.objects.call("start", "copies:1", {"seed": "one", "inputs": {"text": "x" * 20_000}}))

    with pytest.raises(TerminalError, match="UnknownCase"):
        asyncio.run(cluster.objects.call("show", "copies:1"))


def test_the_wait_for_other_cases_between_two_steps_does_not_count_as_time_of_the_steps() -> None:
    cluster, cases = Cluster(), 10
    cluster.serve(counting(cluster.objects.clock, 0.01))

    async def story() -> None:
        for case in range(cases):
            await cluster.objects.call("start", f"count:{case}", {"seed": str(case), "inputs": {"name": "sheep"}})
        for _ in range(3):
            await asyncio.gather(*(cluster.objects.work_once() for _ in range(cases)))

    asyncio.run(story())

    assert [asyncio.run(cluster.objects.call("show", f"count:{case}"))["outcome"] for case in range(cases)] == ["counted"] * cases


def test_a_case_that_takes_long_to_read_goes_on() -> None:
    cluster = Cluster()
    cluster.serve(heavy(cluster.objects.clock))
    asyncio.run(cluster.objects.call("start", "heavy:1", {"seed": "one", "inputs": {"text": "long"}}))

    asyncio.run(cluster.soon())

    assert asyncio.run(cluster.objects.call("show", "heavy:1"))["outcome"] == "read"


def heavy(clock: ManualClock) -> Process[Any]:
    """A case whose fields take longer to read than the steps of an invocation may."""

    def read(text: str) -> str:
        clock.advance(2 * STEPS_SECONDS)
        return text

    class Heavy(State):
        text: Annotated[str, AfterValidator(read)]
        words: int | None = None
        lines: int | None = None

    process = Process("heavy", Heavy)

    @process.node(writes="words")
    async def count_words(text: str) -> int:
        return len(text.split())

    @process.node(writes="lines")
    async def count_lines(text: str) -> int:
        return len(text.splitlines())

    process.rules(when("not counted", lambda c: c.words is None, parallel(count_words, count_lines)), otherwise(finish("read")))
    return process


@pytest.mark.parametrize("handler", ["redrive", "cancel", "answer"])
def test_a_case_whose_invocation_somebody_has_killed_goes_on_with_the_next_call(handler: str) -> None:
    asked = {"by": "otto", "why": "it does not move", "token": "none", "answer": None}

    async def story(entry: int) -> bool:
        cluster = Cluster(dies_at=entry, dies="invocation")
        await cluster.start("tea")
        await cluster.soon()
        running = (await cluster.show())["status"] == "running"
        if running:
            with suppress(TerminalError):
                await cluster.ask(handler, asked)
            await cluster.objects.work()
            assert (await cluster.show())["status"] in {"done", "cancelled", "parked"}
            assert cluster.outside.count("book") <= 1
        return running

    found = [asyncio.run(story(entry)) for entry in range(10, 60, 7)]

    assert any(found)


def test_a_killed_invocation_keeps_no_thread_from_other_cases() -> None:
    async def story(entry: int) -> bool:
        cluster = Cluster(dies_at=entry, dies="invocation", threads=1)
        await cluster.start("tea")
        await cluster.soon()
        killed = any((one["effect"], one["status"]) == ("mail", "intended") for one in (await cluster.show())["effects"])
        if killed:
            await cluster.start("tea", seed="two", number=2)
            await asyncio.wait_for(cluster.soon(), HANG_SECONDS)
            assert (await cluster.show(2))["fields"]["mailed"] == "mail done"
        return killed

    found = [asyncio.run(story(entry)) for entry in range(20, 40)]

    assert any(found)


def test_a_case_in_which_the_adapter_itself_fails_is_parked() -> None:
    class Faulty(Cluster):
        def _pass(self, label: str) -> None:
            if label == "node.call":
                raise RuntimeError("a fault")

    shown = asyncio.run(Faulty().finish("tea"))

    assert (shown["status"], shown["reason"]) == ("parked", "it cannot go on: RuntimeError: a fault")


def test_a_case_that_waits_goes_on_under_newer_code_and_repeats_nothing() -> None:
    async def story() -> None:
        cluster = Cluster()
        pause = await paused(cluster)

        cluster.serve(orders(Checked))
        await cluster.ask("answer", {"token": pause["token"], "answer": YES, "by": "anna"})
        await cluster.objects.work()

        shown = await cluster.show()
        assert shown["fields"]["checked"] == "checked"
        assert shown["outcome"] == "sent"
        assert cluster.calls["node.called"] == 3

    asyncio.run(story())


def test_a_case_of_a_version_that_no_code_accepts_is_blocked_until_there_is_such_code() -> None:
    async def story() -> None:
        cluster = Cluster()
        await cluster.start("tea")

        cluster.serve(orders(version=3, accepts={2: None}))
        await cluster.soon()
        blocked = await cluster.show()
        cluster.serve(orders(version=2, accepts={1: None}))
        await cluster.ask("redrive", {"by": "otto", "why": "the code is back"})
        await cluster.objects.work()

        assert blocked["status"] == "blocked"
        assert (await cluster.show())["outcome"] == "sent"

    asyncio.run(story())


def test_a_case_whose_process_the_program_lacks_is_blocked_without_a_death_until_it_is_served() -> None:
    async def story() -> None:
        cluster = Cluster()
        await cluster.start("tea")

        cluster.serve(*TRIPS)
        await cluster.soon()
        blocked = await cluster.show()
        cluster.serve(*TRIPS, ORDERS)
        await cluster.ask("redrive", {"by": "otto", "why": "the process is served"})
        await cluster.objects.work()

        assert (blocked["status"], blocked["interruptions"]) == ("blocked", 0)
        assert "no process 'orders'" in blocked["reason"]
        assert (await cluster.show())["outcome"] == "sent"

    asyncio.run(story())


class Weighed(Order):
    weight: int


@pytest.mark.parametrize(
    "newer", [TRIPS, [orders(version=3)], [orders(Weighed)]], ids=["lacks the process", "lacks the version", "lacks a field"]
)
def test_a_case_that_waits_is_shown_without_its_pause_by_code_that_cannot_continue_it(newer: list[Process[Any]]) -> None:
    async def story() -> dict[str, Any]:
        cluster = Cluster()
        await paused(cluster)
        cluster.serve(*newer)
        return await cluster.show()

    shown = asyncio.run(story())

    assert (shown["status"], shown["pause"]) == ("waiting", None)


def test_the_events_of_a_case_are_kept_in_their_order() -> None:
    cluster = Cluster()
    asyncio.run(cluster.finish("tea"))

    events = asyncio.run(cluster.objects.call("events", "orders:1"))

    kinds = [event["kind"] for event in events]
    assert (kinds[0], kinds[-1]) == ("accepted", "finished")
    assert kinds.count("effect.intended") == kinds.count("effect.settled") == 4
    assert [event["revision"] for event in events] == sorted(event["revision"] for event in events)


def test_what_restate_does_not_offer_is_refused_when_a_process_is_registered() -> None:
    class Entry(State):
        item: str
        written: str | None = None

    book = Process("book", Entry)

    @book.transaction(writes="written")
    def write(item: str, *, db: Database) -> str:
        return item

    book.rules(when("not written yet", lambda c: c.written is None, write), otherwise(finish("written")))

    with pytest.raises(DefinitionError, match="transaction 'write' has no database on Restate; make it an effect, or run it on SQLite"):
        Work([book])


class Letter(BaseModel):
    """A value with a blob, which may have letters of its own kind within."""

    model_config = ConfigDict(frozen=True)

    raw: Blob | None = None
    answers: "tuple[Letter, ...]" = ()


class Mailbox(State):
    letters: Log[Letter] = Field(default_factory=list)


def test_a_blob_within_the_values_of_a_field_is_refused() -> None:
    box = Process("box", Mailbox)
    box.rules(otherwise(finish("empty")))

    with pytest.raises(DefinitionError, match="the blob in 'letters' has no store on Restate; give the folder of one with --blobs"):
        Work([box])


def test_a_timer_that_comes_early_is_set_again_once() -> None:
    cluster = Cluster()
    cluster.objects.ahead = 3.0

    shown = asyncio.run(cluster.finish("tea"))

    steps = cluster.objects.calls["step"]
    assert shown["outcome"] == "sent"
    cluster = Cluster()
    asyncio.run(cluster.finish("tea"))
    assert steps == cluster.objects.calls["step"] + 1
