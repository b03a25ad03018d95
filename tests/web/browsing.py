"""A real engine behind a real server, and a real browser that looks at it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, Request, async_playwright

from pointsman import Engine
from pointsman.server.access import Access, LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman.web import pages
from server.serving import TOKEN, claims
from tiers import program

CHROMIUM_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]  # a container has no user namespace and little /dev/shm


@dataclass
class Visit:
    """An engine, the address at which it is served, and a browser. `strays` are the requests that left this machine."""

    engine: Engine
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


@asynccontextmanager
async def visit(folder: Path, access: Access | None = None) -> AsyncIterator[Visit]:
    """Serve the process of claims, and start a browser. Without chromium the test is skipped, or fails where CI is set."""
    chromium = program("chromium")
    async with Engine.open(folder / "cases.db", [claims]) as engine, async_playwright() as playwright:
        app = create_app(engine, access or LocalAccess("ada", TOKEN), pages())
        async with listening(app, folder / "cases.db", TOKEN, "127.0.0.1", 0) as url:
            browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
            visited = Visit(engine, url, browser, [])
            try:
                yield visited
            finally:
                await browser.close()
            assert not visited.strays, f"requests left this machine: {visited.strays}"
