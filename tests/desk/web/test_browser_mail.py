"""A mail in the browser: from the mailbox to the sent reply, by keyboard."""

import asyncio
from pathlib import Path

from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.desk import work_off
from pointsman_desk.web import desk_pages
from pointsman_desk.wiring import open_desk
from server.serving import TOKEN
from web.browsing import chromium_on


def test_the_mail_of_the_article_is_approved_by_keyboard_and_its_reply_lies_in_the_outbox(tmp_path: Path) -> None:
    config = DeskConfig(home=tmp_path / "desk", mailbox=SAMPLE / "mails")

    async def body() -> None:
        async with open_desk(config) as desk:
            await work_off(desk, lambda _: None, asyncio.Event())
            before = len(list((config.outbox / "new").iterdir()))
            app = create_app(desk.engine, LocalAccess("ada", TOKEN), desk_pages(desk))
            async with listening(app, config.database, TOKEN, "127.0.0.1", 0) as url, chromium_on(url) as visited:
                page = await visited.open("/cases/1/task")
                assert "hasn't arrived" in await page.locator(".mail").inner_text()

                await page.fill("#body", "We will refund 5000 EUR.")
                objections = page.locator("#checks", has_text="As written now, it breaks")
                await objections.wait_for()
                assert "5000" in await objections.inner_text()
                await page.reload()
                await page.locator("#to").focus()
                async with page.expect_navigation():
                    await page.keyboard.press("Enter")
                assert len(list((config.outbox / "new").iterdir())) == before
                await page.goto(f"{url}/cases/1/task")
                await page.keyboard.press("a")
                await page.keyboard.press("Enter")
                await page.locator(".note.good", has_text="is decided").wait_for()

                assert (await desk.engine.state(1)).approval.by == "ada"
                sent = sorted((config.outbox / "new").iterdir(), key=lambda file: file.stat().st_mtime)
                assert len(sent) == before + 1
                assert b"refund the shipping of 6.90 EUR" in sent[-1].read_bytes()

    asyncio.run(body())
