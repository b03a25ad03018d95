"""A real engine behind a real server, and a real browser that looks at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, Request, async_playwright, expect

from pointsman import Engine
from pointsman.server.access import Access, LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman.web import pages
from server.serving import TOKEN, claims
from tiers import program
from web.everything import everything

CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]  # a container has no user namespace and little /dev/shm


async def arrive(page: Page, url: str) -> None:
    """Wait until the page has this address, and its script hears keys."""
    await expect(page).to_have_url(url)
    await page.wait_for_load_state()


@dataclass
class Browsing:
    """A browser on the pages at one address. `strays` are the requests that left this machine."""

    url: str
    browser: Browser
    strays: list[str]

    async def open(self, path: str = "/", **context: object) -> Page:
        """Open a page in a browser of its own: without another's cookies."""
        page = await (await self.browser.new_context(**context)).new_page()  # type: ignore[arg-type]
        page.on("request", self._requested)
        await page.goto(self.url + path)
        return page

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self.url, "data:", "about:")):
            self.strays.append(request.url)


@dataclass
class Visit(Browsing):
    """A browser on the pages of this engine."""

    engine: Engine


@asynccontextmanager
async def chromium_on(url: str) -> AsyncIterator[Browsing]:
    """Start a browser. Without chromium the test is skipped, or fails where CI is set. A request that leaves the machine fails the test."""
    chromium = program("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        browsing = Browsing(url, browser, [])
        try:
            yield browsing
        finally:
            await browser.close()
        assert not browsing.strays, f"requests left this machine: {browsing.strays}"


@asynccontextmanager
async def visit(folder: Path, access: Access | None = None) -> AsyncIterator[Visit]:
    """Serve the processes of claims and of everything, and start a browser."""
    async with Engine.open(folder / "cases.db", [claims, everything]) as engine:
        app = create_app(engine, access or LocalAccess("ada", TOKEN), pages())
        async with listening(app, folder / "cases.db", TOKEN, "127.0.0.1", 0) as url, chromium_on(url) as browsing:
            yield Visit(browsing.url, browsing.browser, browsing.strays, engine)
