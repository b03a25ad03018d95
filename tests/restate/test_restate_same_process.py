"""One and the same definition runs on SQLite, on PostgreSQL and on Restate, and its cases end in the same way."""

import asyncio
import json
import os
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
from pydantic import TypeAdapter
from same_processes import claims, incoming, mails, processes, resources_in

from pointsman import Engine, Process, Status
from pointsman.restate import RestateClient
from restate_server import Server, Supervised, free_ports
from tiers import figure

HERE = Path(__file__).parent
CASES = figure("RESTATE_SAME", 8)  # half of them mails, and half claims
AT_ONCE = 8
LOOK_SECONDS = 0.05
RESTING = {"waiting", "parked", "blocked", "done", "cancelled"}
PLAIN = TypeAdapter(Any)


class Seen(NamedTuple):
    """A case that rests: its fields and its open pause as JSON, and each effect of its ledger with its status."""

    status: str
    outcome: str | None
    fields: dict[str, Any]
    effects: list[tuple[str, str]]
    pause: dict[str, Any] | None


class Store(Protocol):
    """Where cases run."""

    async def store_blob(self, content: bytes) -> object: ...
    async def start(self, inputs: dict[str, Any], key: str) -> int: ...
    async def send(self, message: object) -> int: ...
    async def rested(self, process: Process[Any], case: int) -> Seen: ...
    async def answer(self, process: Process[Any], case: int, token: str, answer: object, edits: dict[str, Any]) -> object: ...


class OnEngine:
    """Cases in a database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.store_blob = engine.store_blob

    async def start(self, inputs: dict[str, Any], key: str) -> int:
        return (await self._engine.start(claims, inputs, key=key)).case

    async def send(self, message: object) -> int:
        return (await self._engine.send(mails, message, name="mails")).case or 0

    async def rested(self, process: Process[Any], case: int) -> Seen:
        row = await self._engine.wait_until_resting(case)
        waits = row.status is Status.WAITING
        pause = PLAIN.dump_python((await self._engine.pending(case))._asdict() | {"answer": None}, mode="json") if waits else None
        effects = [(entry.effect, str(entry.status)) for entry in await self._engine.reader.effects(case)]
        state = await self._engine.state(case, process.state)
        return Seen(row.status, row.outcome, state.model_dump(mode="json"), effects, pause)

    async def answer(self, process: Process[Any], case: int, token: str, answer: object, edits: dict[str, Any]) -> object:
        return await self._engine.resume(token, answer, by="anna", edits=edits)


class OnRestate:
    """Cases on a server."""

    def __init__(self, client: RestateClient) -> None:
        self._client = client
        self.store_blob = client.store_blob

    async def start(self, inputs: dict[str, Any], key: str) -> int:
        return (await self._client.start("claims", inputs, key=key)).case

    async def send(self, message: object) -> int:
        return (await self._client.send(mails.name, message, name="mails")).case or 0

    async def rested(self, process: Process[Any], case: int) -> Seen:
        while (shown := await self._client.show(process.name, case))["status"] not in RESTING:  # noqa: ASYNC110 - another process moves it
            await asyncio.sleep(LOOK_SECONDS)
        state = process.state.model_validate_json(json.dumps(shown["fields"]))
        effects = [(entry["effect"], entry["status"]) for entry in shown["effects"]]
        return Seen(shown["status"], shown["outcome"], state.model_dump(mode="json"), effects, shown["pause"])

    async def answer(self, process: Process[Any], case: int, token: str, answer: object, edits: dict[str, Any]) -> object:
        return await self._client.answer(process.name, case, token, answer, by="anna", edits=edits)


def decision(number: int, pause: dict[str, Any], asked: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a person answers to the pause that a case has `asked` so many times before, and edits."""
    refuses, edits = number % 7 == 3, number % 3 == 1 and asked == 0
    if pause["pause"] == "assess":
        said = {"decision": "refuse" if refuses else "pay", "amount": 10 * number, "reason": "the pump was old"}
        return said, {"letter": f"Dear customer {number}"} if edits else {}
    if pause["pause"] == "sort":
        return {"found": "automatic" if number % 2 else "a customer's", "by": "anna"}, {}
    if edits and "value" not in pause["shown"]["reply"]:
        return {"decision": "edit", "by": "anna"}, {"reply": pause["shown"]["reply"] | {"body": f"We have read your mail {number}."}}
    sha256 = (pause["beside"]["outgoing"] or {}).get("sha256")
    if refuses or sha256 is None:
        return {"decision": "reject", "by": "anna"}, {}
    return {"decision": "approve", "by": "anna", "sha256": sha256, "despite_violations": True}, {}


async def decided(store: Store, process: Process[Any], case: int, number: int) -> Seen:
    """A case after all decisions about it."""
    asked = 0
    while (seen := await store.rested(process, case)).pause is not None:
        said, edits = decision(number, seen.pause, asked)
        await store.answer(process, case, seen.pause["token"], said, edits)
        asked += 1
    return seen


async def claim(store: Store, number: int) -> Seen:
    damage = "a war" if number % 11 == 5 else f"a flooded cellar {number}"
    asked = {"customer": f"customer {number}", "damage": damage, "asked": (230 * number + 300) % 600, "iban": f"DE00 {number}"}
    case = await store.start(asked, f"claim-{number}")
    assert await store.start(asked, f"claim-{number}") == case
    return await decided(store, claims, case, number)


async def mail(store: Store, number: int) -> Seen:
    raw, message = incoming(number, number)
    await store.store_blob(raw)
    case = await store.send(message)
    assert await store.send(message) == case
    if number % 4 == 2 and (await store.rested(mails, case)).pause is not None:
        raw, message = incoming(1_000 + number, number)
        await store.store_blob(raw)
        assert await store.send(message) == case
        while len((await store.rested(mails, case)).fields["mails"]) == 1:  # noqa: ASYNC110 - on Restate, it is on its way
            await asyncio.sleep(LOOK_SECONDS)
    return await decided(store, mails, case, number)


async def ends(store: Store) -> list[Seen]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(begun: Any) -> Seen:
        async with room:
            return plain(await begun)

    return await asyncio.gather(*(one(story(store, number)) for number in range(CASES // 2) for story in (mail, claim)))


def plain(seen: Seen) -> Seen:
    """The end of a case without times, and without what is computed from times and from the number of the case."""
    outgoing = seen.fields.get("outgoing")
    if outgoing is None:
        return seen
    text = json.dumps(seen.fields)
    for token in (outgoing["message_id"], outgoing["sha256"], outgoing["date"]):
        text = text.replace(token, "...")
    fields = json.loads(text)
    fields["outgoing"]["raw"] = re.sub(r"(?m)^(Date|Message-ID):\s.*\r?\n", "", fields["outgoing"]["raw"])
    fields["sent"] = [one | {"at": None} for one in fields["sent"]]
    return seen._replace(fields=fields)


class Happened(NamedTuple):
    """What happened outside: how many mails each address got, each payment, and how many automatic replies were counted."""

    mails: Counter[str]
    repeated: int
    payments: Counter[str]
    counted: int


def happened(outside: Path) -> Happened:
    sent = [line.split("\t") for line in (outside / "sent").read_text().splitlines()]
    with closing(sqlite3.connect(outside / "bounds.db")) as bounds:
        counted = bounds.execute("SELECT count(*) FROM desk_machine_sent").fetchone()[0]
    repeated = len(sent) - len({key for key, _ in sent})
    return Happened(Counter(to for _, to in sent), repeated, Counter(file.read_text() for file in (outside / "bank").iterdir()), counted)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    def made(name: str) -> Path:
        (tmp_path / name).mkdir()
        monkeypatch.setenv("BANK", str(tmp_path / name / "bank"))
        return tmp_path / name

    return made


@asynccontextmanager
async def on_an_engine(place: str, outside: Path) -> AsyncIterator[Store]:
    used = resources_in(outside)
    async with Engine.open(place, processes, resources=used) as engine:
        yield OnEngine(engine)
    for name in ("guesses", "threads", "sent_replies"):
        used[name].close()


@asynccontextmanager
async def on_restate(server: Server) -> AsyncIterator[Store]:
    async with RestateClient(server.ingress) as client:
        yield OnRestate(client)


@contextmanager
def serving(server: Server, outside: Path) -> Iterator[None]:
    """Run `pointsman restate serve` until it is registered."""
    [port] = free_ports(1)
    named = ["--app", "same_processes:processes", "--resources", "same_processes:resources", "--blobs", str(outside / "blobs")]
    where = ["--port", str(port), "--admin", server.admin]
    variables = {"PYTHONPATH": os.pathsep.join(map(str, (HERE, HERE.parent))), "OUTSIDE": str(outside)}
    with Supervised([sys.executable, "-m", "pointsman.cli.main", "restate", "serve", *named, *where], variables) as command:
        command.until(lambda: "READY" in command.said())
        yield


def run(store: AbstractAsyncContextManager[Store]) -> list[Seen]:
    async def story() -> list[Seen]:
        async with store as opened:
            return await ends(opened)

    return asyncio.run(story())


def test_cases_end_in_the_same_way_on_every_store(
    restate: Server, postgres_url: str, tmp_path: Path, outside: Callable[[str], Path]
) -> None:
    seen, happens = [], []

    for name, place in {"file": str(tmp_path / "cases.db"), "postgres": postgres_url}.items():
        folder = outside(name)
        seen.append(run(on_an_engine(place, folder)))
        happens.append(happened(folder))
    folder = outside("restate")
    with serving(restate, folder):
        seen.append(run(on_restate(restate)))
    happens.append(happened(folder))

    on_file, on_postgres, on_server = seen
    assert on_postgres == on_file
    assert on_server == on_file
    assert happens[1:] == happens[:1] * 2
    assert {one.status for one in on_file} == {"done"}
    assert sum(happens[0].payments.values()) == sum(effect == "pay" for one in on_file for effect, _ in one.effects)
    assert sum(happens[0].mails.values()) == sum(effect == "send" for one in on_file for effect, _ in one.effects)
    assert happens[0].repeated == 0
    ended = ", ".join(f"{number} {outcome}" for outcome, number in Counter(one.outcome for one in on_file).most_common())
    print(f"{len(on_file)} cases on SQLite, PostgreSQL and Restate: equal ends ({ended}), {sum(happens[0].mails.values())} mails and "
          f"{sum(happens[0].payments.values())} payments on each, 0 repeated")  # fmt: skip
