"""Every page for every reader: in both themes, on a phone and wide."""

from pathlib import Path

from axe_playwright_python.async_playwright import Axe

from web.browsing import Chromium, visit
from web.everything import FACTS


def test_the_pages_are_accessible_in_both_themes_and_fit_a_phone(tmp_path: Path, chromium: Chromium) -> None:
    async def body() -> None:
        async with visit(tmp_path, chromium) as visited:
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
            page = await visited.open(viewport={"width": 320, "height": 700}, reduced_motion="reduce")
            for path in paths:
                await page.goto(visited.url + path)
                for theme in ("light", "dark"):
                    await page.emulate_media(color_scheme=theme)

                    found = (await Axe().run(page)).response["violations"]

                    assert [(path, theme, one["id"]) for one in found if one["impact"] in {"serious", "critical"}] == []
                    assert await page.evaluate("document.documentElement.scrollWidth") == 320, path
                    rows = await page.evaluate("new Set([...document.querySelectorAll('.top nav a')].map((a) => a.offsetTop)).size")
                    assert rows == 1, f"{path}: the names of the pages take {rows} rows"

    chromium.run(body())
