"""An operator's night in a real browser: find what is stuck, correct it, and try again; then look where the time goes."""

from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from pointsman import Engine, Status
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman.web import pages
from server.serving import TOKEN
from web.browsing import Chromium
from web.shop import order, orders


async def complaints(page: Page) -> list[str]:
    found = (await Axe().run(page)).response["violations"]
    return [f"{page.url}: {one['id']}" for one in found if one["impact"] in {"serious", "critical"}]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_operator_redrives_what_is_stuck_and_sees_it_on_the_map(tmp_path: Path, chromium: Chromium, theme: str) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [orders]) as engine:
            for article in ("unknown cup 1", "unknown cup 2", "lamp"):
                await order(engine, article)
            app = create_app(engine, LocalAccess("ada", TOKEN), pages())
            async with listening(app, tmp_path / "cases.db", TOKEN, "127.0.0.1", 0) as url, chromium.on(url) as visited:
                page = await visited.open("/overview", color_scheme=theme)
                await page.get_by_role("link", name="3 parked").click()
                await page.get_by_role("link", name="Redrive the cases: 'find_price' failed").click()
                await page.get_by_label("Why").fill("the catalogue is back")
                await page.get_by_label("Corrected fields").fill('{"article": "cup"}')
                await page.get_by_role("button", name="Dry run").click()
                await expect(page.get_by_text("This will redrive 2 cases with the corrected fields.")).to_be_visible()
                dry_run = await complaints(page)
                await page.get_by_role("button", name="Redrive 2 cases").click()
                await expect(page.get_by_text("2 cases were redriven.")).to_be_visible()
                await engine.idle()

                await page.get_by_role("table").get_by_role("link", name="3", exact=True).click()
                await page.get_by_role("radio", name="It happened").check()
                await page.get_by_label("What it returned").fill('"7 paid"')
                await page.get_by_label("Why").first.fill("the bank has it")
                case = await complaints(page)
                await page.set_viewport_size({"width": 320, "height": 700})
                assert await page.evaluate("document.documentElement.scrollWidth") == 320
                await page.set_viewport_size({"width": 1280, "height": 800})
                async with page.expect_navigation(url=f"{url}/cases/3"):
                    await page.get_by_role("button", name="Resolve").click()
                await engine.wait_until_resting(3)
                await page.reload()
                await expect(page.get_by_text("ended as 'paid'")).to_be_visible()
                assert (await engine.case(3)).status is Status.DONE

                await page.goto(f"{url}/map")
                await page.get_by_role("link", name="parked to find_price: 2 times").press("Enter")
                await expect(page.get_by_role("heading", name="Cases")).to_be_visible()
                await expect(page.locator("a.row")).to_have_text(["2", "1"])
                assert dry_run + case == []

    chromium.run(body())
