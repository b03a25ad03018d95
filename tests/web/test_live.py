"""The stream that tells open pages of a commit."""

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from pointsman import Engine
from pointsman.server.access import LocalAccess
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman.web import live, pages
from server.serving import HANG_SECONDS, TOKEN, claims


def test_a_viewer_is_told_of_a_commit_and_its_stream_ends_with_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    async def body() -> None:
        rested = asyncio.Event()
        monkeypatch.setattr(live, "asyncio", SimpleNamespace(sleep=lambda _: rested.wait()))
        async with (
            Engine.open(tmp_path / "cases.db", [claims]) as engine,
            AsyncExitStack() as program,
            httpx.AsyncClient(timeout=HANG_SECONDS) as client,
        ):
            app = create_app(engine, LocalAccess("ada", TOKEN), pages())
            url = await program.enter_async_context(listening(app, tmp_path / "cases.db", TOKEN, "127.0.0.1", 0))
            async with client.stream("GET", f"{url}/live") as stream:
                lines = stream.aiter_lines()
                assert (stream.status_code, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
                assert await anext(lines) == "retry: 2000"

                await asyncio.gather(*(engine.start("claims", {"text": f"claim {number}"}) for number in range(50)))

                while await anext(lines) != "data: changed":
                    pass
                await engine.idle()
                rested.set()
                await program.aclose()
                rest = [line async for line in lines if line.startswith("data:")]
                assert len(rest) <= 1  # what was committed during the rest is one message

    asyncio.run(body())


def test_a_page_is_told_of_a_commit_that_came_before_it_began_to_listen(tmp_path: Path) -> None:
    async def body() -> None:
        async with Engine.open(tmp_path / "cases.db", [claims]) as engine, httpx.AsyncClient(timeout=HANG_SECONDS) as client:
            app = create_app(engine, LocalAccess("ada", TOKEN), pages())
            async with listening(app, tmp_path / "cases.db", TOKEN, "127.0.0.1", 0) as url:
                page = (await client.get(url)).text
                path = re.search(r'data-live="([^"]+)"', page)
                assert path is not None
                await engine.start("claims", {"text": "fire"})

                async with client.stream("GET", url + path[1]) as stream:
                    lines = stream.aiter_lines()
                    while await anext(lines) != "data: changed":
                        pass

    asyncio.run(body())
