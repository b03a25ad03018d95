"""Erase a person: every case that is found by exactly this value, each for itself."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pointsman import (
    AtMostOnce,
    Blob,
    CaseQuery,
    Engine,
    Log,
    Private,
    Process,
    Retry,
    Searchable,
    State,
    ValueRefused,
    finish,
    otherwise,
    when,
)
from pointsman.cli.main import app as command
from pointsman.runtime.retention import BLOB_SECONDS
from pointsman.server.accounts import Accounts, accounts_file
from pointsman.server.audit import sentence
from pointsman.store.memory import MemoryStore
from pointsman.testing.clock import ManualClock

JANE, JOHN = "jane@shop.example", "john@shop.example"


class Letter(State):
    sender: Private[Searchable[str]]
    copies: Searchable[list[str]] = []  # noqa: RUF012 - a State's defaults are copied
    mode: str = "done"
    original: Blob = Blob.of(b"")
    notes: Searchable[Log[str] | None] = None
    sent: str | None = None
    answer: str | None = None


class Order(State):
    customer: Searchable[str]


def letters() -> Process[Letter]:
    process = Process("letters", Letter)

    @process.effect(writes="sent", safety=AtMostOnce(), retry=Retry(attempts_max=1))
    def send(sender: str) -> str:
        raise ConnectionError(sender)

    ask = process.pause(writes="answer", answer=str, shows=("sender",), name="ask")
    process.accept(str, writes="notes", correlate=lambda note: note, while_open="append", starts=False)
    process.rules(
        when("it waits", lambda c: c.mode == "waits" and c.answer is None, ask),
        when("it is in doubt", lambda c: c.mode == "doubt" and c.sent is None, send),
        otherwise(finish("read")),
    )
    return process


def orders() -> Process[Order]:
    process = Process("orders", Order)
    process.rules(otherwise(finish("paid")))
    return process


both: list[Process[Any]] = [letters(), orders()]


async def filled(engine: Engine) -> None:
    """Cases 1 to 4 and 7 are Jane's: done, waiting, in doubt, one as a copy, and an order; 5 and 6 are not."""
    for inputs in ({"sender": JANE}, {"sender": JANE.upper(), "mode": "waits"}, {"sender": JANE, "mode": "doubt"}, {"sender": JOHN, "copies": [JANE]},
                   {"sender": JOHN}, {"sender": f"not-{JANE}"}):  # fmt: skip
        await engine.wait_until_resting((await engine.start("letters", inputs)).case)
    await engine.wait_until_resting((await engine.start("orders", {"customer": JANE})).case)


def test_each_case_of_a_person_is_erased_or_named_with_the_reason() -> None:
    async def main() -> None:
        async with Engine.open("", both, store=MemoryStore()) as engine:
            await filled(engine)

            planned = await engine.erase_person(JANE, by="ada", why="asked for", dry_run=True)
            found = [(await engine.reader.find(CaseQuery(search={"sender": JANE}))).rows for _ in range(2)]
            erased = await engine.erase_person(JANE, by="ada", why="asked for")
            again = await engine.erase_person(f" {JANE.title()} ", by="ada", why="asked for")

            assert (planned.cases, erased.cases, again.cases) == ((1, 4, 7), (1, 4, 7), ())
            assert len(found[1]) == 3
            assert (
                [case for case, _ in erased.refused]
                == [2, 3]
                == [case for case, _ in again.refused]
                == [case for case, _ in planned.refused]
            )
            assert ["cancel it first" in why or "is in doubt" in why for _, why in erased.refused] == [True, True]
            assert JANE not in json.dumps(erased)
            assert planned.person == again.person
            assert [bool(await engine.reader.fields(case)) for case in range(1, 8)] == [case in {2, 3, 5, 6} for case in range(1, 8)]
            await engine.cancel(2, by="ada", why="asked for")
            assert (await engine.erase_person(JANE, by="ada", why="asked for")).cases == (2,)

    asyncio.run(main())


def test_blobs_that_only_erased_cases_refer_to_are_deleted_a_day_after_they_were_stored() -> None:
    async def main() -> list[bool]:
        clock = ManualClock(1e9)
        async with Engine.open("", both, store=MemoryStore(), clock=clock) as engine:
            own, shared = await engine.store_blob(b"of Jane"), await engine.store_blob(b"of both")
            for sender, blob in ((JANE, own), (JANE, shared), (JOHN, shared)):
                await engine.wait_until_resting((await engine.start("letters", {"sender": sender, "original": blob})).case)
            at_once = await engine.erase_person(JANE, by="ada", why="asked for")
            clock.advance(BLOB_SECONDS + 1)
            later = await engine.erase_person(JANE, by="ada", why="asked for")
            assert (len(at_once.cases), at_once.blobs, later.cases, later.blobs) == (2, 0, (), 1)
            return [await engine.reader.blob(blob) is None for blob in (own, shared)]

    assert asyncio.run(main()) == [True, False]


def test_a_value_that_can_find_nothing_is_refused() -> None:
    async def main() -> None:
        async with Engine.open("", both, store=MemoryStore()) as engine:
            for person in ("", "  ", "x" * 201):
                with pytest.raises(ValueRefused, match="give a value of 1 to 200 characters"):
                    await engine.erase_person(person, by="ada", why="asked for")

    asyncio.run(main())


def test_processes_whose_code_is_not_here_are_named() -> None:
    async def main() -> tuple[str, ...]:
        store = MemoryStore()
        async with Engine.open("", both, store=store):
            pass
        async with Engine.open("", [orders()], store=store) as engine:
            return (await engine.erase_person(JANE, by="ada", why="asked for")).not_searched

    assert asyncio.run(main()) == ("letters",)


def test_the_command_says_what_it_would_erase_and_the_audit_log_does_not_name_the_person(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "letters.db"

    async def fill() -> None:
        async with Engine.open(file, both) as engine:
            await filled(engine)

    asyncio.run(fill())
    words = ["erase", "--person", JANE, "--why", "asked for", "--db", str(file), "--app", "runtime.test_persons:both"]

    said = []
    for more in ([], ["--yes"], ["--yes"]):
        with pytest.raises(SystemExit) as left:
            command([*words, *more], standalone_mode=False)
        assert left.value.code == 1  # two cases were left as they are
        said.append(capsys.readouterr().out.splitlines())
    accounts = Accounts(accounts_file(file), Random(1))
    entries = accounts.entries()
    accounts.close()

    assert [lines[0] for lines in said] == [
        "3 cases (1, 4, 7) would be erased; add --yes to erase them.", "3 cases (1, 4, 7) erased.", "0 cases erased.",
    ]  # fmt: skip
    assert [len(lines) for lines in said] == [3, 3, 3]
    assert [entry.did for entry in entries] == ["erase person", "erase person"]
    assert sentence(entries[0]).partition(" (")[0].endswith(" erased 3 cases of a person")
    assert not any("jane" in (repr(entry) + sentence(entry)).lower() for entry in entries)
    assert not any(b"jane@" in left.read_bytes() for left in tmp_path.iterdir() if "accounts" in left.name)
