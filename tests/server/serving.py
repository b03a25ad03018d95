"""What the tests of the server share: an engine with one process with a pause, served in this process without a socket."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from pydantic import BaseModel

from pointsman import Engine, Process, State, finish, otherwise, when
from pointsman.definition.process import AnyProcess
from pointsman.server.access import Access, LocalAccess
from pointsman.server.app import create_app
from pointsman.server.bounds import Recorder
from pointsman.web import pages


class Verdict(BaseModel):
    paid: bool
    note: str = ""


class Letter(BaseModel):
    """A customer's letter: about which claim, and what it says."""

    claim: str
    text: str


class Claim(State):
    text: str
    later: Letter | None = None
    letter: str | None = None
    verdict: Verdict | None = None


claims = Process("claims", Claim)


@claims.node(writes="letter")
async def draft(text: str, later: Letter | None) -> str:
    return f"Dear customer, about {text if later is None else later.text}"


claims.accept(Letter, writes="later", correlate=lambda letter: letter.claim, starts=False)
assess = claims.pause(name="assess", writes="verdict", answer=Verdict, shows=("text", "letter"), edits=("letter",))
claims.rules(
    when("there is no letter", lambda claim: claim.letter is None, draft),
    when("it is not assessed", lambda claim: claim.verdict is None, assess),
    otherwise(finish("done")),
)

TOKEN = "a token of this test"
HANG_SECONDS = 300.0  # a program on a busy machine answers long before


@asynccontextmanager
async def served(
    folder: Path, access: Access | None = None, processes: Sequence[AnyProcess] = (claims,), record: Recorder | None = None
) -> AsyncIterator[tuple[Engine, httpx.AsyncClient]]:  # fmt: skip
    """Serve the processes, and give their engine and a client of its own machine."""
    async with Engine.open(folder / "cases.db", processes) as engine:
        app = create_app(engine, access or LocalAccess("ada", TOKEN), pages(), record=record)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client:
            yield engine, client
