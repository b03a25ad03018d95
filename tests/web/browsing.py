"""A real engine behind a real server, and a real browser that looks at it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from playwright.async_api import Browser, Page, Playwright, Request, async_playwright, expect

from pointsman import Engine
from pointsman.server.access import Access, LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman.web import pages
from server.serving import TOKEN, claims
from tiers import program
from web.everything import everything

T = TypeVar("T")
HANG_MILLISECONDS = 180_000  # a page on a busy machine needs far less
expect.set_options(timeout=HANG_MILLISECONDS)
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
        browser = await self.browser.new_context(**context)  # type: ignore[arg-type]
        browser.set_default_timeout(HANG_MILLISECONDS)
        page = await browser.new_page()
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


class Chromium:
    """A browser that several tests use, each with contexts of its own, and the event loop that it belongs to.

    Without chromium the test is skipped, or fails where CI is set. A request that leaves the machine fails the test.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a test that looks at pages."""
        return self._runner.run(work)

    @asynccontextmanager
    async def on(self, url: str) -> AsyncIterator[Browsing]:
        """Look at the pages at one address."""
        browsing = Browsing(url, await self._started(), [])
        try:
            yield browsing
        finally:
            for context in browsing.browser.contexts:
                await context.close()
        assert not browsing.strays, f"requests left this machine: {browsing.strays}"

    async def _started(self) -> Browser:
        if self._browser is None or not self._browser.is_connected():
            self._playwright = self._playwright or await async_playwright().start()
            self._browser = await self._playwright.chromium.launch(
                executable_path=program("chromium"), args=CHROMIUM_FLAGS, timeout=HANG_MILLISECONDS
            )
        return self._browser

    def close(self) -> None:
        """End the browser."""
        self._runner.run(self._end())
        self._runner.close()

    async def _end(self) -> None:
        if self._browser is not None:
            await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()


@asynccontextmanager
async def visit(folder: Path, chromium: Chromium, access: Access | None = None) -> AsyncIterator[Visit]:
    """Serve the processes of claims and of everything, and look at their pages."""
    async with Engine.open(folder / "cases.db", [claims, everything]) as engine:
        app = create_app(engine, access or LocalAccess("ada", TOKEN), pages())
        async with listening(app, folder / "cases.db", TOKEN, "127.0.0.1", 0) as url, chromium.on(url) as browsing:
            yield Visit(browsing.url, browsing.browser, browsing.strays, engine)
