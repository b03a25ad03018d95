"""A private text is in nothing that is shown to whoever may not see it, nor in the log; and nowhere once its case is erased."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.requests import Request

from pointsman import (
    AtMostOnce,
    Engine,
    Guard,
    Log,
    ModelResponse,
    Private,
    Process,
    Retry,
    Searchable,
    State,
    Status,
    finish,
    otherwise,
    when,
)
from pointsman.cli.main import app as command
from pointsman.kernel.hiding import HIDDEN
from pointsman.operations.redaction import OPEN, Redacted
from pointsman.server.access import SCOPES_OF, Principal, Role
from pointsman.server.app import create_app
from pointsman.server.redacted import shown_to
from pointsman.server.streams import event_stream
from pointsman.store.base import Reader
from pointsman.store.postgres import reading_url
from pointsman.store.postgres.reader import PostgresReader
from pointsman.web import pages

MARKER = "Xylophonist"  # in every private text here, and in no other
LETTER = f"{MARKER} of 12 Elm Street asks for a refund"
BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


class Letter(BaseModel):
    claim: str
    text: str


class Verdict(BaseModel):
    paid: bool


class Complaint(State):
    letter: Private[Searchable[Letter]]
    notes: Private[Log[str] | None] = None
    kind: str | None = None
    reply: Private[str | None] = None
    verdict: Verdict | None = None
    receipt: Private[dict[str, str] | None] = None
    closed: str | None = None


tries: list[str] = []
"""The calls of nodes in this test: the first of each fails."""


def complaints() -> Process[Complaint]:
    process, once = Process("complaints", Complaint), Retry(attempts_max=1)

    @process.node(writes="kind", retry=Retry(attempts_max=2, first_seconds=0.001))
    def sort(letter: Letter) -> str:
        tries.append("sort")
        if len(tries) == 1:
            raise ValueError(f"cannot sort {letter!r}")
        return "refund"

    def short(reply: str) -> str | None:
        return f"{reply!r} is too long" if len(reply) > 40 else None

    @process.node(writes="reply", retry=once, guard=Guard(short, repairs_max=1))
    def answer(letter: Letter, kind: str) -> ModelResponse[str]:
        tries.append("answer")
        text = f"Dear {MARKER}, {'no' * (30 if tries.count('answer') == 1 else 1)}"
        return ModelResponse(text, "a-model", text)

    approve = process.pause(name="approve", writes="verdict", answer=Verdict, shows=("letter", "reply"), edits=("reply",))

    @process.effect(writes="receipt", safety=AtMostOnce(), retry=once)
    def send(letter: Letter, reply: str) -> dict[str, str]:
        return {"to": letter.text, "said": reply}

    @process.node(writes="closed", retry=once)
    def close(notes: list[str] | None, receipt: dict[str, str]) -> str:
        raise RuntimeError(f"cannot close {receipt} with {notes}")

    process.accept(str, writes="notes", correlate=lambda note: note[:2], while_open="append", starts=False)
    process.accept(Letter, writes="letter", correlate=lambda letter: letter.claim, while_open="hold")
    process.rules(
        when("it is not sorted", lambda c: c.kind is None, sort),
        when("there is no reply", lambda c: c.reply is None, answer),
        when("it is not approved", lambda c: c.verdict is None, approve),
        when("it is not sent", lambda c: c.receipt is None, send),
        when("it is open", lambda c: c.closed is None and c.letter.text != "", close),
        otherwise(finish("closed")),
    )
    return process


process = complaints()


class As:
    """Everybody has this role."""

    def __init__(self, role: Role) -> None:
        self.role = role

    async def principal(self, _: Request) -> Principal:
        return Principal(self.role, SCOPES_OF[self.role])


@asynccontextmanager
async def opened(place: Path | str) -> AsyncIterator[Engine]:
    async with Engine.open(place, [process]) as engine:
        yield engine


async def seen(engine: Engine, role: Role) -> str:
    """All that the API, its stream of events and the pages show of the case."""
    app = create_app(engine, As(role), pages())
    api = [
        "cases",
        "tasks",
        "cases/1",
        "cases/1/explanation",
        "cases/1/task",
        "effects/in-doubt",
        "processes",
        "limits",
        "counts",
        "events",
    ]
    paths = [f"/api/v1/{path}" for path in api]
    paths += ["/", "/cases", "/cases?pause=approve", "/overview", "/map", "/operations", "/cases/1/task"]
    paths += [f"/cases/1?revision={revision}" for revision in (2, (await engine.case(1)).revision)]
    if role is not Role.VIEWER:
        paths = ["/api/v1/cases/1", "/cases/1"]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        answers = [await client.get(path, headers=BROWSER if "api" not in path else {}) for path in paths]
    assert {answer.status_code for answer in answers} <= {200, 409}
    stream = [event async for event in _events(app, engine)]
    return "\n".join([*(answer.text for answer in answers), *stream])


async def _events(app: Any, engine: Engine) -> AsyncIterator[str]:
    """The stream of events, up to the last one."""
    last = (await engine.reader.events())[-1].cursor
    request = Request({"type": "http", "app": app, "headers": [], "method": "GET"})
    shown = await shown_to(await app.state.access.principal(request), engine)
    source = event_stream(request, shown, "")
    async for text in source:
        yield text
        if text.startswith(f"id: {last}\n"):
            break


def printed(file: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """All that the commands print about the case."""
    capsys.readouterr()
    code = ["--app", "server.test_private_values:process"]
    for words in (["ps"], ["ps", "--json"], *([name, "1", *more] for name in ("show", "explain") for more in ([], ["--json"])), ["export", "1"],
                  ["show", "1", "--at", "3"], ["diff", "1"], ["events"], ["events", "--json"], ["check"], ["explain", "1", "--set", "kind=other"]):  # fmt: skip
        given = options if words[0] in {"show", "explain", "export", "events", "diff"} else ()
        command([*words, "--db", str(file), *(code if words[0] in {"explain", "check"} else []), *given], standalone_mode=False)
    out, err = capsys.readouterr()
    return out + err


async def to_the_pause(file: Path | str) -> tuple[str, str]:
    """The letter comes, and what a viewer and an approver see of it."""
    tries.clear()
    async with opened(file) as engine:
        await engine.start(process, {"letter": {"claim": "c1", "text": LETTER}}, correlation="c1")
        await engine.wait_until_resting(1)
        await engine.send(process, f"c1 {MARKER} called")
        await engine.wait_until_resting(1)
        await engine.pending(1)
        return await seen(engine, Role.VIEWER), await seen(engine, Role.APPROVER)


async def to_the_park(file: Path | str) -> tuple[str, str]:
    async with opened(file) as engine:
        await engine.resume((await engine.pending(1)).token, {"paid": True}, by="ada")
        row = await engine.wait_until_resting(1)
        assert row.status is Status.PARKED
        assert HIDDEN in (row.reason or "")
        await engine.send(process, Letter(claim="c1", text=LETTER))  # it is held until the case has ended, and then starts another
        return await seen(engine, Role.VIEWER), await seen(engine, Role.APPROVER)


async def erase(file: Path | str) -> None:
    async with opened(file) as engine:
        await engine.cancel(1, by="ada", why="asked for")
        while not (started := await engine.reader.open_cases()):
            pass  # the held letter is on its way
        await engine.wait_until_resting(started[0].id)
        await engine.cancel(started[0].id, by="ada", why="asked for")
        erased = await engine.erase_person(LETTER, by="ada", why="asked for")
        assert erased.cases == (1, started[0].id)


def test_a_private_text_is_shown_to_nobody_who_may_not_see_it_and_is_gone_once_erased(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "complaints.db"
    with caplog.at_level(logging.DEBUG):
        waits, waits_for_approver = asyncio.run(to_the_pause(file))
        lines = printed(file, capsys)
        parked, parked_for_approver = asyncio.run(to_the_park(file))
        lines += printed(file, capsys)
        private_lines = printed(file, capsys, "--private")
        before = file.read_bytes()
        asyncio.run(erase(file))

    assert [MARKER in text for text in (waits_for_approver, parked_for_approver, private_lines)] == [True] * 3
    assert MARKER.encode() in before
    assert [one for text in (waits, parked, lines, caplog.text) for one in text.splitlines() if MARKER in one] == []
    assert [text.count(HIDDEN) > 10 for text in (waits, parked, lines)] == [True] * 3
    assert [
        left.name for left in tmp_path.iterdir() if MARKER.encode() in left.read_bytes() or MARKER.lower().encode() in left.read_bytes()
    ] == []


def test_no_table_of_a_postgres_database_has_a_private_text_once_it_is_erased(postgres_url: str) -> None:
    async def tables() -> dict[str, bool]:
        async with reading_url(postgres_url) as reader:
            assert isinstance(reader, PostgresReader)
            rows = reader.connections.rows
            schema = reader.connections.place.schema
            named = [name for (name,) in await rows("SELECT tablename::text FROM pg_tables WHERE schemaname = %s", (schema,))]
            texts = {name: await rows(f'SELECT lower(of::text) FROM "{schema}"."{name}" AS of') for name in named}
            return {
                name: any(one in text for (text,) in rows for one in (MARKER.lower(), MARKER.encode().hex()))
                for name, rows in texts.items()
            }

    async def main() -> tuple[str, dict[str, bool], dict[str, bool]]:
        waits, _ = await to_the_pause(postgres_url)
        parked, _ = await to_the_park(postgres_url)
        before = await tables()
        await erase(postgres_url)
        return waits + parked, before, await tables()

    shown, before, after = asyncio.run(main())

    assert MARKER not in shown
    assert any(before.values())
    assert [name for name, has in after.items() if has] == []


def test_each_read_is_redacted_or_known_to_have_no_private_value() -> None:
    reads = {name for name in dir(Reader) if not name.startswith("_")} | {"incarnation"}
    redacts = {name for name in vars(Redacted) if not name.startswith("_")} - {"private_of", "of_events"}

    assert reads == OPEN | redacts
    assert OPEN.isdisjoint(redacts)


def test_a_viewer_does_not_search_by_private_fields(tmp_path: Path) -> None:
    async def main() -> list[tuple[int, int]]:
        async with opened(tmp_path / "complaints.db") as engine:
            await engine.start(process, {"letter": {"claim": "c1", "text": LETTER}})
            found = []
            for query in ("search=letter=c1", "text=elm", "search=kind=refund", "process=other&text=elm"):
                statuses = [(await asked(engine, role, f"/api/v1/cases?{query}")).status_code for role in (Role.VIEWER, Role.APPROVER)]
                found.append((statuses[0], statuses[1]))
            assert (await asked(engine, Role.VIEWER, "/cases?text=elm")).status_code == 403
            return found

    statuses = asyncio.run(main())

    assert statuses == [(403, 200), (403, 200), (200, 200), (200, 200)]


async def asked(engine: Engine, role: Role, path: str) -> httpx.Response:
    app = create_app(engine, As(role), pages())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
        return await client.get(path, headers={} if "api" in path else BROWSER)
