"""The pages of entrypoints, without a browser: what they say, also after a restart."""

import asyncio
import re
from html import unescape
from pathlib import Path

import httpx
from pydantic import BaseModel

from pointsman import Engine, Retry
from pointsman.functional import Entrypoint, TaskFailed, entrypoint, pause, task
from pointsman.operations.history import event_text, history_of, with_task_names
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.web import pages

BROWSER = {"Accept": "text/html", "Sec-Fetch-Site": "same-origin"}


class Verdict(BaseModel):
    approved: bool
    note: str = ""


@task
def classify_email(text: str) -> str:
    return "refund"


@task(retry=Retry(attempts_max=1))
def fetch(what: str) -> str:
    if what == "ghost":
        raise ValueError("no such thing")
    return what


def mails() -> Entrypoint[str, str]:
    """The entrypoint, as a program that was started again declares it."""

    @entrypoint(name="mails")
    def mails(text: str) -> str:
        kind = classify_email(text).result()
        found = [fetch(what).result() for what in ("order", "policy")]
        try:
            fetch("ghost").result()
        except TaskFailed:
            found.append("no ghost")
        verdict = pause({"kind": kind, "found": found}, answer=Verdict, name="approve", assignee="bob")
        if not verdict.approved:
            raise ValueError("nobody approved it")
        return kind

    return mails


async def text_of(engine: Engine, path: str) -> str:
    """What a page says, its marks left out."""
    app = create_app(engine, LocalAccess("ada", "a token"), pages())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=BROWSER) as client:
        found = await client.get(path)
    assert found.status_code == 200
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", found.text.partition("<main")[2].partition("</main>")[0])).split())


def test_a_body_that_waits_reads_well_on_every_page_also_after_a_restart(tmp_path: Path) -> None:
    async def main(*, starts: bool) -> None:
        async with Engine.open(tmp_path / "cases.db", [mails().process]) as engine:
            if starts:
                started = await engine.start("mails", {"invocation": {"input": "not here", "thread": "t"}})
                await engine.wait_until_resting(started.case)

            work = await text_of(engine, "/")
            assert "1 task waits" in work
            assert "kind: refund, found: order, policy, no ghost" in work
            assert "any me nobody bob" in work
            assert "any approve" in await text_of(engine, "/cases")
            assert "Approve mails 1" in await text_of(engine, "/overview")
            task = await text_of(engine, "/cases/1/task")
            assert "kind refund found order policy no ghost" in task
            assert "Approved Yes No Note (optional)" in task
            case = await text_of(engine, "/cases/1")
            assert "Calls of the body" in case
            assert "classify_email returned refund" in case
            assert "failed ValueError: no such thing" in case
            assert "approve none yet with kind refund" in case
            assert "node.succeeded classify_email wrote results" in case
            assert case.count("fetch[") == 6  # called several times: each with the digest of its arguments, as a call and as an event
            assert "rule" not in case
            assert "asked" not in case

    asyncio.run(main(starts=True))
    asyncio.run(main(starts=False))


def test_a_parked_body_says_what_a_redrive_does_and_its_record_is_no_field_to_correct(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [mails().process]) as engine:
            started = await engine.start("mails", {"invocation": {"input": "not here", "thread": "t"}})
            await engine.wait_until_resting(started.case)
            await engine.resume((await engine.pending(started.case)).token, {"approved": False}, by="ann")
            await engine.wait_until_resting(started.case)

            case = await text_of(engine, "/cases/1")
            assert "A redrive runs the body again over its record, and repeats no call" in case
            assert "approve answered approved no" in case
            assert "nobody approved it" in case
            assert "outcomes" not in case

    asyncio.run(main())


def test_the_map_of_a_body_groups_its_calls_by_task(tmp_path: Path) -> None:
    async def main() -> None:
        async with Engine.open(tmp_path / "cases.db", [mails().process]) as engine:
            for thread in ("s", "t"):
                started = await engine.start("mails", {"invocation": {"input": thread, "thread": thread}})
                await engine.wait_until_resting(started.case)

            text = await text_of(engine, "/map?process=mails")
            assert "start to classify_email: 2 times" in text
            assert "classify_email to fetch: 2 times" in text
            assert "fetch to approve: 2 times" in text
            assert "fetch[" not in text

            events = with_task_names((await history_of(engine.reader, 1)).events)
            assert [event_text(event) for event in events if event.kind == "decided"] == ["the body pauses -> approve"]

    asyncio.run(main())
