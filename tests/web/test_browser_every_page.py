"""Every page for every reader: in both themes, on a phone and wide."""

import asyncio
from pathlib import Path

from axe_playwright_python.async_playwright import Axe

from web.browsing import visit
from web.everything import FACTS


def test_the_pages_are_accessible_in_both_themes_and_fit_a_phone(tmp_path: Path) -> None:
    async def body() -> None:
        async with visit(tmp_path) as visited:
            case = (await visited.engine.start("claims", {"text": "fire " * 80})).case
            await visited.engine.wait_until_resting(case)
            other = (await visited.engine.start("everything", {"facts": FACTS})).case
            await visited.engine.wait_until_resting(other)
            paths = (
                "/",
                "/cases",
                "/overview",
                "/map",
                "/operations",
                "/operations/bulk?do=cancel&status=waiting",
                f"/cases/{case}",
                f"/cases/{case}/task",
                "/cases/99",
                f"/cases/{other}",
                f"/cases/{other}/task",
            )
            for theme in ("light", "dark"):
                for path in paths:
                    page = await visited.open(path, color_scheme=theme, viewport={"width": 320, "height": 700})

                    found = (await Axe().run(page)).response["violations"]

                    assert [(path, one["id"]) for one in found if one["impact"] in {"serious", "critical"}] == []
                    assert await page.evaluate("document.documentElement.scrollWidth") == 320, path
                    rows = await page.evaluate("new Set([...document.querySelectorAll('.top nav a')].map((a) => a.offsetTop)).size")
                    assert rows == 1, f"{path}: the names of the pages take {rows} rows"

    asyncio.run(body())
