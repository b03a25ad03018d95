"""Messages by correlation key on Restate: they end in the same cases as on an engine, and none is lost when the program dies."""

import asyncio
import json
from random import Random
from typing import Any

import pytest
from objects_in_memory import Objects
from pydantic import BaseModel, Field
from pydantic_core import to_json
from restate import TerminalError
from tickets import Letter, tickets

from pointsman import Engine, Log, PointsmanError, Process, State, finish, otherwise, when
from pointsman.restate.work import Work
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock
from pointsman.testing.world import World
from tiers import figure

EVERY = figure("RESTATE_EVERY", 16)
WAYS = ("supersede", "append", "hold", "new_case")
FIRST, SECOND, OTHER = (
    Letter(id="1", thread="a", text="one"),
    Letter(id="2", thread="a", text="two"),
    Letter(id="3", thread="b", text="three"),
)
HALF_AN_HOUR = 1_800.0


def on_restate(way: str, *, dies_at: int = 0) -> tuple[list[Any], list[str], Objects]:
    """Send letters while the case of the first one waits, and return the ends of all cases, what became of the letters, and the cluster."""
    cluster = Objects(ManualClock(), dies_at=dies_at)
    cluster.serve(Work([tickets(way)], clock=cluster.clock, random=Random(7)))

    async def story() -> list[str]:
        how = []
        for letter in (FIRST, OTHER, SECOND, SECOND):
            how.append((await cluster.call("send", "", {"process": "tickets", "message": letter.model_dump()}))["how"])
            await cluster.work(until=cluster.clock.now() + HALF_AN_HOUR / 2)
        await cluster.work()
        return how

    how = asyncio.run(story())
    shown = [asyncio.run(cluster.call("show", key)) for key in [*cluster.states] if key.startswith("tickets:")]
    return sorted((one["outcome"], one["fields"].get("reply")) for one in shown), how, cluster


def on_an_engine(way: str) -> tuple[list[Any], list[str]]:
    process = tickets(way)
    world = World(process)

    async def story() -> list[str]:
        how = []
        for letter in (FIRST, OTHER, SECOND, SECOND):
            how.append((await world.send(process, letter, key=letter.id)).how)
            await world.sleep(HALF_AN_HOUR / 2)
        await world.wait_until_resting()
        return how

    how = world.run(story)
    return sorted((row.outcome, json.loads(to_json(world.state(row.id))).get("reply")) for row in world.cases()), how


@pytest.mark.parametrize("way", WAYS)
def test_messages_end_in_the_same_cases_as_on_an_engine(way: str) -> None:
    ends, how = on_an_engine(way)

    found, told, _ = on_restate(way)

    assert found == ends
    assert told == how


def test_a_program_that_dies_anywhere_loses_and_repeats_no_message() -> None:
    ends, _, whole = on_restate("hold")

    for entry in range(1, whole.entries + 1, EVERY):
        found, _, cluster = on_restate("hold", dies_at=entry)
        assert cluster.deaths == 1
        assert found == ends, f"entry {entry}"


def test_a_message_that_an_ended_case_gets_starts_the_next_one() -> None:
    async def story() -> list[Any]:
        cluster = Objects(ManualClock())
        cluster.serve(Work([tickets("supersede")], clock=cluster.clock, random=Random(7)))
        first = await cluster.call("send", "", {"process": "tickets", "message": FIRST.model_dump()})
        await cluster.work(until=cluster.clock.now() + HALF_AN_HOUR)
        key = f"tickets:{first['case']}"
        second = await cluster.call("send", "", {"process": "tickets", "message": SECOND.model_dump()})
        assert second == {"case": first["case"], "how": "delivered"}

        await cluster.call("cancel", key, {"by": "otto", "why": "before the letter has arrived"})
        await cluster.work()

        shown = [await cluster.call("show", one) for one in [*cluster.states] if one.startswith("tickets:")]
        return sorted((one["outcome"] or "", one["inbox"]) for one in shown)

    assert asyncio.run(story()) == [("", 0), ("answered", 0)]


@pytest.mark.parametrize("way", ["supersede", "append"])
def test_the_record_of_a_case_keeps_no_message_that_was_taken_in(way: str) -> None:
    _, how, cluster = on_restate(way)

    records = [json.loads(state["case"]) for key, state in cluster.states.items() if key.startswith("tickets:")]
    assert "delivered" in how
    assert not any(record.get("came") or record.get("messages") for record in records)


class Stamped(BaseModel):
    """A letter as newer code takes it."""

    id: str
    thread: str
    stamp: str


class Post(State):
    letter: Stamped


def stamped() -> Process[Any]:
    """Tickets of newer code, which takes no letter without a stamp."""
    process = Process("tickets", Post, version=2, accepts={1: lambda old: {"letter": {"id": "1", "thread": "a", "stamp": "none"}}})
    process.accept(Stamped, writes="letter", correlate=lambda letter: letter.thread, while_open="hold", name="letter-came")
    process.rules(otherwise(finish("answered")))
    return process


def test_a_held_message_that_newer_code_cannot_take_stays_held_until_there_is_such_code(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> list[Any]:
        cluster = Objects(ManualClock())
        older, newer = (Work([process], clock=cluster.clock, random=Random(7)) for process in (tickets("hold"), stamped()))
        cluster.serve(older)
        for letter in (FIRST, SECOND):
            await cluster.call("send", "", {"process": "tickets", "message": letter.model_dump()})
            await cluster.work(until=cluster.clock.now() + 1)
        cluster.serve(newer)
        await cluster.work()

        cluster.serve(older)
        await cluster.call("send", "", {"process": "tickets", "message": {**FIRST.model_dump(), "id": "4"}})
        await cluster.work()

        shown = [await cluster.call("show", key) for key, state in [*cluster.states.items()] if "case" in state]
        return sorted(one["fields"].get("reply", "") for one in shown)

    assert asyncio.run(story()) == ["", "to one", "to two"]
    assert "a message to 'tickets' stays held (ValueRefused)" in caplog.text


class Note(State):
    text: str


def notes() -> Process[Any]:
    """Notes whose author knows no key of "odd", and no inputs of "bad"."""
    process = Process("notes", Note)
    process.accept(
        str, writes="text", correlate=lambda text: "" if text == "lost" else None, key=lambda text: {"odd": {}}.get(text, {text: None})[text],
        starts=lambda text: {"bad": {}}.get(text, {text: {}})[text],
    )  # fmt: skip
    process.rules(otherwise(finish("read")))
    return process


async def told_by_an_engine(message: object, settings: dict[str, Any]) -> str:
    async with Engine.open("unused", [notes()], store=MemoryStore()) as engine:
        with pytest.raises(PointsmanError) as refused:
            await engine.send("notes", message, **settings)
    return f"{type(refused.value).__name__}: {refused.value}"


@pytest.mark.parametrize(
    ("message", "settings", "why"),
    [
        (7, {}, "Input should be a valid string"),
        ("odd", {}, "cannot take this 'text': KeyError: 'odd'; correct the message, or the function that raised it."),
        ("bad", {}, "cannot take this 'text': KeyError: 'bad'; correct the message, or the function that raised it."),
        ("lost", {}, "the correlation is empty"),
        ("good", {"key": ""}, "the key is empty"),
        ("good", {"tenant": 7}, "tenant: int is not a text"),
        ("good", {"tenant": {}}, "tenant: dict is not a text"),
        ("good", {"priority": 2**63}, "is not an int of at most 64 bits"),
    ],
)
def test_a_message_is_refused_as_on_an_engine(message: object, settings: dict[str, Any], why: str) -> None:
    cluster = Objects(ManualClock())
    cluster.serve(Work([notes()], clock=cluster.clock, random=Random(7)))
    engines = asyncio.run(told_by_an_engine(message, settings))

    with pytest.raises(TerminalError) as refused:
        asyncio.run(cluster.call("send", "", {"process": "notes", "message": message, **settings}))

    assert refused.value.message == engines
    assert why in engines
    assert not any(cluster.states.values())


class Talk(State):
    said: Log[str] = Field(default_factory=list)
    about: str | None = None
    decided: bool | None = None


def talks() -> Process[Any]:
    """A person decides while more is said. The pause shows what it is about, and not all that is said."""
    process = Process("talks", Talk)
    process.accept(str, writes="said", correlate=lambda _: "one", while_open="append", name="said")

    @process.node(writes="about")
    async def look() -> str:
        return "drinks"

    decide = process.pause(writes="decided", answer=bool, shows=("about",))
    process.rules(
        when("not looked yet", lambda c: c.about is None, look),
        when("not decided yet", lambda c: c.decided is None, decide),
        otherwise(finish("decided")),
    )
    return process


def test_an_answer_is_taken_although_a_message_has_just_woken_the_case() -> None:
    cluster = Objects(ManualClock())
    cluster.serve(Work([talks()], clock=cluster.clock, random=Random(7)))

    async def story() -> tuple[dict[str, Any], dict[str, Any]]:
        case = (await cluster.call("send", "", {"process": "talks", "message": "tea"}))["case"]
        await cluster.work()
        pause = (await cluster.call("show", f"talks:{case}"))["pause"]
        record = json.loads(cluster.states[f"talks:{case}"]["case"])
        await cluster.call("send", "", {"process": "talks", "message": "coffee"})
        while (woken := json.loads(cluster.states[f"talks:{case}"]["case"])) == record:
            await cluster.work_once()
        await cluster.call("answer", f"talks:{case}", {"token": pause["token"], "answer": True, "by": "anna"})
        await cluster.work()
        return woken, await cluster.call("show", f"talks:{case}")

    woken, shown = asyncio.run(story())

    assert woken["row"][4] == "ready"
    assert (shown["outcome"], shown["fields"]["said"]) == ("decided", ["tea", "coffee"])
