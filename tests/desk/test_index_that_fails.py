"""What follows a sent reply cannot change that it was sent: the index of mails fails at each of its calls in turn."""

import asyncio
import sqlite3
from collections.abc import Coroutine, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from pointsman import AtMostOnce, Status
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk import places
from pointsman_desk.case import Receipt
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import IndexUnavailable
from pointsman_desk.mail.threads import Threads
from pointsman_desk.wiring import Desk, open_desk

QUESTION = (
    "From: john.smith@post.example\nTo: support@haus-und-hof.example\nSubject: Opening hours\nMessage-ID: <one@post.example>\n"
    "Date: Mon, 02 Nov 2026 10:01:00 +0000\n\nWhen are you open?\n"
)
ANSWER = (
    "From: john.smith@post.example\nTo: support@haus-und-hof.example\nSubject: Re: Opening hours\nMessage-ID: <two@post.example>\n"
    "Date: Mon, 02 Nov 2026 11:01:00 +0000\nIn-Reply-To: <provider-1@mail.example>\n\nThank you. And on Sundays?\n"
)


class Provider:
    """A way out that calls each mail by a name of its own, which is the only one that the customer's answer has."""

    name = "provider"

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        self.taken.append(to)
        return Receipt(provider_message_id=f"provider-{len(self.taken)}@mail.example", transport=self.name)


class Failing(Threads):
    """An index whose statement number `fails_at` fails, or every one from there on."""

    calls = 0
    fails_at = 0
    for_good = False

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._connection: Any = Connection(self._connection)


class Connection:
    def __init__(self, real: sqlite3.Connection) -> None:
        self.real = real
        self.close = real.close

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            Failing.calls += 1
            if Failing.calls == Failing.fails_at or (Failing.for_good and 0 < Failing.fails_at < Failing.calls):
                raise sqlite3.OperationalError("database is locked")
            return getattr(self.real, name)(*arguments)

        return call


@pytest.fixture(name="index")
def _index(monkeypatch: pytest.MonkeyPatch) -> type[Failing]:
    monkeypatch.setattr(places, "Threads", Failing)
    Failing.calls, Failing.fails_at, Failing.for_good = 0, 0, False
    return Failing


def config_in(folder: Path, *mails: str) -> DeskConfig:
    mailbox = folder / "mailbox"
    mailbox.mkdir(parents=True, exist_ok=True)
    for number, mail in enumerate(mails):
        (mailbox / f"{number}.eml").write_text(mail, encoding="utf-8")
    return DeskConfig(home=folder / "desk", mailbox=mailbox)


async def work(config: DeskConfig, provider: Provider, clock: ManualClock) -> list[Any]:
    """Run the desk later than anything is put off to, and approve what waits; says how each case, and its reply, ended."""
    clock.advance(10_000.0)
    async with open_desk(config, transport=provider, safety=AtMostOnce(), clock=clock) as desk:
        await passing(desk, clock, at_desk.work_off(desk, lambda name: None, asyncio.Event()))
        for row in await desk.engine.reader.cases(status=Status.WAITING):
            await passing(desk, clock, at_desk.approve(desk, row.id, by="anna", seen=None))
        rows = await desk.engine.reader.cases()
        ends = [(row.status, row.outcome, entry.status) for row in rows for entry in await desk.engine.reader.effects(row.id)]
    Failing.fails_at = 0
    return ends


async def passing(desk: Desk, clock: ManualClock, work: Coroutine[Any, Any, Any]) -> None:
    """Do it, and let the time pass that cases wait for; none passes during a call. What the index stops is done by the next run."""
    task = asyncio.ensure_future(work)
    while not task.done():
        rows = await desk.engine.reader.cases()
        if rows and all(row.status is Status.READY and (row.wake_at or 0.0) > clock.now() for row in rows):
            clock.advance(min(row.wake_at or 0.0 for row in rows) - clock.now())
        await asyncio.sleep(0)
    with suppress(IndexUnavailable):
        await task


@pytest.mark.parametrize("for_good", [False, True])
def test_an_index_that_fails_at_any_call_leaves_a_sent_reply_sent_once(index: type[Failing], for_good: bool, tmp_path: Path) -> None:
    provider = Provider()
    assert asyncio.run(work(config_in(tmp_path / "quiet", QUESTION), provider, ManualClock())) == [(Status.DONE, "sent", "done")]
    calls, wrong = index.calls, {}
    assert calls > 4

    for number in range(1, calls + 1):
        provider, clock, config = Provider(), ManualClock(), config_in(tmp_path / str(number), QUESTION)
        index.calls, index.fails_at, index.for_good = 0, number, for_good
        asyncio.run(work(config, provider, clock))
        ends = asyncio.run(work(config, provider, clock))
        if (ends, provider.taken) != ([(Status.DONE, "sent", "done")], ["john.smith@post.example"]):
            wrong[number] = (ends, provider.taken)

    assert wrong == {}


def test_the_providers_name_of_a_reply_is_noted_later_where_the_index_failed(index: type[Failing], tmp_path: Path) -> None:
    asyncio.run(work(config_in(tmp_path / "quiet", QUESTION), Provider(), ManualClock()))
    provider, clock, config = Provider(), ManualClock(), config_in(tmp_path / "life", QUESTION)
    index.fails_at, index.calls = index.calls, 0  # the last call notes the name
    asyncio.run(work(config, provider, clock))

    asyncio.run(work(config_in(tmp_path / "life", QUESTION, ANSWER), provider, clock))

    with closing(Threads(config.threads_file)) as threads:
        conversations = {
            place and place.conversation for place in (threads.find("mail", f"{name}@post.example") for name in ("one", "two"))
        }
    assert len(conversations) == 1
