"""A desk on the sample mails or on mails of a test, served in this process or for a browser."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.requests import Request

from pointsman.server.access import SCOPES_OF, Access, LocalAccess, Principal, Role
from pointsman.server.app import create_app
from pointsman.server.running import listening
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.desk import work_off
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.web import desk_pages
from pointsman_desk.wiring import Desk, open_desk
from server.serving import TOKEN
from web.browsing import Browsing, Chromium

WHO = "X-Who"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


class Named:
    """Access for several people: each request says who sends it."""

    async def principal(self, request: Request) -> Principal | None:
        """Return the person; a viewer's name begins with "viewer"."""
        name = request.headers.get(WHO, "ada")
        return Principal(name, SCOPES_OF[Role.VIEWER if name.startswith("viewer") else Role.OPERATOR])


def letter(
    text: str, *fields: str, number: int = 1, sender: str = "Maria Keller <maria.keller@mail.example>", subject: str = "My order"
) -> bytes:
    """Return a mail of a customer whose domain the sample's mail server confirmed."""
    domain = sender.rpartition("@")[2].rstrip(">")
    head = (
        f"From: {sender}", "To: support@haus-und-hof.example", f"Subject: {subject}", f"Message-ID: <mail-{number}@{domain}>",
        f"Date: Wed, 18 Nov 2026 10:{number:02}:00 +0000",
        f"Authentication-Results: mx.haus-und-hof.example; dmarc=pass header.from={domain}", *fields,
    )  # fmt: skip
    return ("\n".join(head) + f"\n\n{text}\n").encode()


async def take_in(desk: Desk, mails: Iterable[bytes] | None = None) -> None:
    """Take in these mails, or the sample's, and wait until no case moves."""
    found = None if mails is None else [Found(f"mail {number}", raw) for number, raw in enumerate(mails)]
    await work_off(desk, lambda _: None, asyncio.Event(), found)


@asynccontextmanager
async def desk_with(
    folder: Path, mails: Iterable[bytes] | None = None, opened: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Desk]:
    """Open a desk that has taken in these mails, or the sample's. `opened` is how to open it, `settings` its configuration."""
    async with open_desk(DeskConfig(home=folder / "desk", mailbox=SAMPLE / "mails", **settings), **(opened or {})) as desk:
        await take_in(desk, mails)
        yield desk


@asynccontextmanager
async def client_of(desk: Desk, access: Access | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a desk's pages without a socket."""
    app = create_app(desk.engine, access or LocalAccess("ada", TOKEN), desk_pages(desk))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1", headers=SAME_ORIGIN) as client:
        yield client


@asynccontextmanager
async def browser_on(desk: Desk, chromium: Chromium, access: Access | None = None) -> AsyncIterator[Browsing]:
    """Serve a desk's pages, and look at them."""
    app = create_app(desk.engine, access or LocalAccess("ada", TOKEN), desk_pages(desk))
    async with listening(app, desk.config.cases_file, TOKEN, "127.0.0.1", 0) as url, chromium.on(url) as visited:
        yield visited


def hidden(html: str, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found is not None, f"the page has no field {name}"
    return found[1]


async def post(client: httpx.AsyncClient, case: int, action: str, **fields: object) -> httpx.Response:
    """Send a form of a mail's page, with the digest of what the page shows now unless another is given."""
    html = (await client.get(f"/cases/{case}/task")).text
    known = {"csrf": hidden(html, "csrf"), "digest": hidden(html, "digest")}
    answer = await client.post(f"/cases/{case}/{action}", data={**known, **fields})
    assert "pointsman-desk " not in answer.text, "a person in front of a page types no command"
    return answer
