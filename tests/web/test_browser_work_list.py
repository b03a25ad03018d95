"""The work list in a browser."""

import asyncio
from pathlib import Path

from axe_playwright_python.async_playwright import Axe

from web.browsing import visit


def test_the_work_list_shows_what_waits(tmp_path: Path) -> None:
    async def body() -> None:
        async with visit(tmp_path) as visited:
            started = await visited.engine.start("claims", {"text": "fire"})
            await visited.engine.wait_until_resting(started.case)

            page = await visited.open()

            assert await page.locator("h1").inner_text() == "Work list"
            assert await page.locator("tbody tr").count() == 1

    asyncio.run(body())


def test_the_pages_are_accessible_in_both_themes(tmp_path: Path) -> None:
    async def body() -> None:
        async with visit(tmp_path) as visited:
            started = await visited.engine.start("claims", {"text": "fire"})
            await visited.engine.wait_until_resting(started.case)
            for theme in ("light", "dark"):
                page = await visited.open(color_scheme=theme)

                found = (await Axe().run(page)).response["violations"]

                assert [one["id"] for one in found if one["impact"] in {"serious", "critical"}] == []

    asyncio.run(body())
