"""Private fields: which they are is stored, and what an error says of their values is not."""

import asyncio
import html
import json
import logging
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote, quote_plus

import pytest
from pydantic import AfterValidator, BaseModel

from pointsman import (
    AtMostOnce,
    Engine,
    Failure,
    Guard,
    Item,
    ModelResponse,
    NotSent,
    PointsmanError,
    Private,
    Process,
    Rejected,
    Retry,
    Searchable,
    State,
    Status,
    each,
    finish,
    otherwise,
    when,
)
from pointsman.kernel.hiding import HIDDEN, leaves, without
from pointsman.store.base import PrivateField
from pointsman.store.memory import MemoryStore

SECRET = "Zaphod lives at 42 Magrathea Lane"


class Letter(State):
    address: Private[Searchable[str]]
    names: Private[tuple[str, ...]] = ("Trillian McMillan",)
    found: str | Failure | None = None
    lines: list[str] | None = None
    reply: Private[str | None] = None
    sent: str | None = None


def letters(broken: str = "", state: type[State] = Letter) -> Process[Any]:
    """A letter. What is `broken` raises an error with what it has read, or what it has made."""
    process: Process[Any] = Process("letters", state)
    once = Retry(attempts_max=1)

    @process.node(writes="found", retry=once, on_failure="record" if broken == "recorded" else "park")
    def find(address: str) -> str:
        if broken in {"node", "recorded"}:
            raise ValueError(f"nobody at {address}, near {address[7:25]}")
        return "found"

    @process.node(writes="lines", retry=once)
    def line(name: Item[str]) -> str:
        if broken == "branch":
            raise ValueError(f"not {name}")
        return "line"

    def polite(reply: str) -> str | None:
        return f"it says {reply}" if broken == "guard" else None

    @process.node(writes="reply", retry=once, guard=Guard(polite, repairs_max=0))
    def answer(found: str | Failure) -> ModelResponse[str]:
        return ModelResponse("Dear Zaphod of Magrathea, no", "m", "Dear Zaphod of Magrathea, no")

    @process.effect(writes="sent", safety=AtMostOnce(), retry=once)
    def send(address: str, reply: str) -> str:
        if broken in {"not sent", "rejected", "in doubt"}:
            kind = {"not sent": NotSent, "rejected": Rejected, "in doubt": ConnectionError}[broken]
            raise kind(f"no route to {address} for {reply}")
        return "sent"

    process.rules(
        when("not found", lambda c: c.found is None, find),
        when("no lines", lambda c: c.lines is None, each(line, over="names")),
        when("broken", lambda c: broken == "rule" and int(c.address), finish("x")),
        when("no reply", lambda c: c.reply is None, answer),
        when("not sent", lambda c: c.sent is None, send),
        otherwise(finish("sent")),
    )
    return process


def test_a_process_knows_its_private_fields() -> None:
    assert letters().private == {"address", "names", "reply"}
    assert letters().searchable == {"address"}


def test_an_engine_stores_which_fields_are_private() -> None:
    class Open(Letter):
        address: str
        found: Private[str | Failure | None] = None

    async def main() -> list[PrivateField]:
        store = MemoryStore()
        async with Engine.open("", [letters()], store=store):
            pass
        async with Engine.open("", [letters(state=Open)], store=store) as engine:
            return await engine.reader.private()

    fields = asyncio.run(main())

    assert fields == [PrivateField("letters", name) for name in ("address", "found", "names", "reply")]


@pytest.mark.parametrize("broken", ["node", "recorded", "branch", "rule", "guard", "not sent", "rejected", "in doubt"])
def test_what_the_engine_says_of_an_error_has_no_private_text(broken: str) -> None:
    async def main() -> str:
        async with Engine.open("", [letters(broken)], store=MemoryStore()) as engine:
            started = await engine.start("letters", {"address": SECRET})
            row = await engine.wait_until_resting(started.case)
            assert row.status is (Status.DONE if broken == "recorded" else Status.PARKED)
            dossier = await engine.reader.dossier(row.id)
        assert dossier is not None
        facts = [json.loads(event.facts) for event in dossier.events if event.kind != "guard.violated"]
        texts = [row.reason, *(json.dumps({**one, "raw": ""}) for one in facts)]  # what a model answered is kept
        texts += [write.text for write in dossier.writes if write.field == "found"]
        texts += [*(effect.error for effect in dossier.effects), *(branch.failure for branch in dossier.branches)]
        return "\n".join(text for text in texts if text)

    said = asyncio.run(main())

    assert HIDDEN in said
    assert not any(part in said for part in ("Magrathea", "Zaphod", "Trillian"))


def test_a_private_text_is_hidden_whole_in_lines_and_in_long_parts() -> None:
    private = ["ab", "Ford", "Dear Sirs,\nthe towel is missing since noon"]

    assert without("ab is Ford, Fords", private) == f"ab is {HIDDEN}, {HIDDEN}s"
    assert without("he wrote 'Dear Sirs,\\nthe towel is missing s…'", private) == f"he wrote '{HIDDEN}…'"
    assert without("a towel is gone", private) == "a towel is gone"  # the common part is shorter than a run
    assert not any("towel" in without(" " * n + private[2], private) for n in range(1_900, 2_100))
    assert list(leaves({"name": ["Ford", 42, None, True]})) == ["Ford", "42"]


def test_a_case_that_cannot_be_read_does_not_say_what_is_in_it(caplog: pytest.LogCaptureFixture) -> None:
    def short(address: str) -> str:
        if len(address) > 9:
            raise ValueError(f"too long: {address}")
        return address

    class Strict(Letter):
        address: Private[Annotated[str, AfterValidator(short)]]

    async def main() -> str:
        store = MemoryStore()
        async with Engine.open("", [letters()], store=store, concurrency=0) as engine:
            case = (await engine.start("letters", {"address": SECRET})).case
        async with Engine.open("", [letters(state=Strict)], store=store) as engine:
            return (await engine.wait_until_resting(case)).reason or ""

    with caplog.at_level(logging.DEBUG):
        reason = asyncio.run(main())

    assert reason == f"its state cannot be read: {HIDDEN}"
    assert "Zaphod" not in caplog.text


@pytest.mark.parametrize(
    "written", [repr, ascii, json.dumps, quote, partial(quote, safe=""), quote_plus, html.escape, str.lower, str.upper]
)
def test_a_private_text_is_hidden_in_each_form_in_which_errors_write_texts(written: Callable[[str], str]) -> None:
    name = "Zoë O'Hara <zoe@shop.example>"

    told = without(f"404 for {written(name)}: nobody", [name])

    assert told.strip("'\"") == f"404 for {HIDDEN}: nobody" or told in {f"404 for '{HIDDEN}': nobody", f'404 for "{HIDDEN}": nobody'}


def test_a_private_text_is_hidden_in_a_text_that_was_cut_within_it() -> None:
    assert without("no route to Zaphod Bee…", ["Zaphod Beeblebrox"]) == f"no route to {HIDDEN}…"
    assert without("no route to a zap…", ["Zaphod Beeblebrox"]) == "no route to a zap…"  # three characters are too few to know


def test_a_private_date_is_hidden_as_python_writes_it() -> None:
    assert without(f"not born on {date(1961, 7, 19)!r} or 1961-07-19", ["1961-07-19"]) == f"not born on datetime.date({HIDDEN}) or {HIDDEN}"


def test_the_keys_of_a_private_dictionary_are_hidden_and_the_names_of_members_are_not() -> None:
    class Person(BaseModel):
        address: str

    class Book(State):
        debts: Private[dict[str, int]]
        person: Private[Person]
        found: int | None = None

    books, once = Process("books", Book), Retry(attempts_max=1)

    @books.node(writes="found", retry=once)
    def find(debts: dict[str, int], person: Person) -> int:
        raise KeyError(f"{next(iter(debts))} at {person.address}, which is the address")

    books.rules(when("not found", lambda c: c.found is None, find), otherwise(finish("found")))

    async def main() -> str:
        async with Engine.open("unused", [books], store=MemoryStore()) as engine:
            case = (await engine.start(books, {"debts": {"Trillian": 1}, "person": {"address": "Elm Street"}})).case
            return str((await engine.wait_until_resting(case)).reason)

    assert f"{HIDDEN} at {HIDDEN}, which is the address" in asyncio.run(main())


@pytest.mark.parametrize("what", ["migration", "type"])
def test_what_stops_a_stored_case_is_told_without_its_private_texts(what: str) -> None:
    def refuse(name: str) -> str:
        raise KeyError(f"nobody is called {name.lower()}")

    class Named(State):
        who: Private[str]
        answer: str | None = None

    class Moved(State):
        name: Private[str]
        answer: str | None = None

    class Refusing(Named):
        who: Private[Annotated[str, AfterValidator(refuse)]]

    def waiting(state: type[State], shows: str = "who", **more: Any) -> Process[Any]:
        process: Process[Any] = Process("people", state, **more)
        process.rules(otherwise(process.pause(name="ask", writes="answer", answer=str, shows=(shows,))))
        return process

    def moved(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"name": refuse(fields["who"])}

    changed = waiting(Moved, "name", version=2, accepts={1: moved}) if what == "migration" else waiting(Refusing)

    async def main() -> str:
        store = MemoryStore()
        async with Engine.open("unused", [waiting(Named)], store=store) as engine:
            case = (await engine.start("people", {"who": "Trillian"})).case
            await engine.wait_until_resting(case)
        async with Engine.open("unused", [changed], store=store) as engine:
            with pytest.raises(PointsmanError) as raised:
                await engine.pending(case)
            return f"{raised.value} {(await engine.case(case)).reason}"

    said = asyncio.run(main())

    assert f"nobody is called {HIDDEN}" in said
    assert "trillian" not in said.lower()
