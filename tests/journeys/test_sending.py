"""Replies on their way out, through real mail servers that fail at every step: each customer gets one mail, and it is known which."""

import asyncio
import json
import mailbox
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from pointsman import AtLeastOnce, Safety, Status, history_of
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.mail.message import identify
from pointsman_desk.mail.transports.relay import Relay
from pointsman_desk.mail.transports.resend import ResendAccount
from pointsman_desk.wiring import Desk, open_desk
from resend_server import KEY, resend_server
from smtp_faults import mail_server
from smtp_sink import smtp_sink

ARCHIVE = "support+sent@haus-und-hof.example"
CUSTOMER = "john.smith@post.example"
BRIEF = 0.4  # seconds until a server is given up that never answers
PATIENT = 120.0


class Server(Protocol):
    """A mail server with a fault."""

    port: int

    @property
    def taken(self) -> list[tuple[str, list[str], bytes]]: ...

    def mend(self) -> None: ...


class Fault(NamedTuple):
    """A server's fault, and the right outcome: "sent", "tried again", "refused", "found in the archive" or "asked a person".

    `silent` servers are waited for only a moment: up to the dot or, where that leaves the mail in doubt, behind it.
    """

    name: str
    server: Callable[[], AbstractContextManager[Server]]
    outcome: str
    silent: bool = False

    @property
    def timeouts(self) -> tuple[float, float]:
        """The seconds for the mail up to the dot, and for the answer to it."""
        in_doubt = self.outcome == "found in the archive"
        return (BRIEF if self.silent and not in_doubt else PATIENT), (BRIEF if self.silent and in_doubt else PATIENT)


def ours(name: str, step: str, fault: str, outcome: str) -> Fault:
    return Fault(name, lambda: mail_server(step, fault), outcome, fault == "silence")


def sink(name: str, options: str, outcome: str, *, silent: bool = False) -> Fault:
    takes = outcome in {"sent", "found in the archive"}
    return Fault(name, lambda: smtp_sink(tuple(options.split()), takes=takes), outcome, silent)


OURS = [
    ours("no fault", "nothing", "", "sent"),
    ours("turns everyone away", "greeting", "554 not here", "tried again"),
    ours("busy", "greeting", "421 busy", "tried again"),
    ours("drop at EHLO", "EHLO", "drop", "tried again"),
    ours("silent at EHLO", "EHLO", "silence", "tried again"),
    ours("drop at MAIL", "MAIL", "drop", "tried again"),
    ours("450 at MAIL", "MAIL", "450 later", "tried again"),
    ours("550 at MAIL", "MAIL", "550 not you", "refused"),
    ours("drop at RCPT", "RCPT", "drop", "tried again"),
    ours("450 at RCPT", "RCPT", "450 later", "tried again"),
    ours("550 at RCPT", "RCPT", "550 no such user", "refused"),
    ours("450 at the archive's RCPT only", f"RCPT {ARCHIVE}", "450 later", "tried again"),
    ours("550 at the archive's RCPT only", f"RCPT {ARCHIVE}", "550 no such user", "refused"),
    ours("550 at the customer's RCPT only", f"RCPT {CUSTOMER}", "550 no such user", "refused"),
    ours("drop at DATA", "DATA", "drop", "tried again"),
    ours("silent at DATA", "DATA", "silence", "tried again"),
    ours("450 at DATA", "DATA", "450 later", "tried again"),
    ours("550 at DATA", "DATA", "550 no", "refused"),
    ours("drop amid the content", "amid the content", "", "asked a person"),
    ours("421 at the dot", "content", "421 closing", "tried again"),
    ours("451 at the dot", "content", "451 later", "tried again"),
    ours("554 at the dot", "content", "554 spam", "refused"),
    ours("drop behind the dot", "content", "drop", "found in the archive"),
    ours("silent behind the dot", "content", "silence", "found in the archive"),
    ours("nonsense behind the dot", "content", "what", "found in the archive"),
    ours("drop at QUIT", "QUIT", "drop", "sent"),
    ours("500 at QUIT", "QUIT", "500 what", "sent"),
]

THEIRS = [
    Fault("connection refused", lambda: smtp_sink(None), "tried again"),
    sink("no fault", "", "sent"),
    sink("drop at MAIL", "-q MAIL", "tried again"),
    sink("450 at RCPT", "-r RCPT", "tried again"),
    sink("550 at RCPT", "-f RCPT", "refused"),
    sink("drop at DATA", "-q DATA", "tried again"),
    sink("550 at DATA", "-f DATA", "refused"),
    sink("550 behind its own 354", "-A 0", "refused or asked a person"),  # as its 550 outruns the broken connection, or not
    sink("421 at the dot", "-Q .", "tried again"),
    sink("450 at the dot", "-r .", "tried again"),
    sink("550 at the dot", "-f .", "refused"),
    sink("drop behind the dot", "-q .", "found in the archive"),
    sink("silent behind the dot", "-W .:600", "found in the archive", silent=True),
    sink("drop at QUIT", "-q QUIT", "sent"),
]


@pytest.fixture(autouse=True)
def _nobody_outside(only_here: None) -> None:
    """No mail of these tests leaves this machine."""


class Life:
    """A desk with one mail to answer, and a clock that is moved where nothing else moves."""

    def __init__(self, folder: Path, **way_out: Any) -> None:
        (folder / "mailbox").mkdir(parents=True)
        shutil.copyfile(SAMPLE / "mails" / "02-status-en.eml", folder / "mailbox" / "question.eml")
        places = {"home": folder / "desk", "mailbox": folder / "mailbox"}
        self.config = DeskConfig(**places, authserv="mx.haus-und-hof.example", **way_out)
        self.clock = ManualClock()

    async def first_call(self, desk: Desk) -> None:
        """Take the mail in, and wait until the server has been called."""
        self.working = asyncio.ensure_future(at_desk.work_off(desk, lambda name: None, asyncio.Event()))
        while all(entry.status == "intended" for entry in await desk.engine.reader.effects(1)):  # noqa: ASYNC110 - the database says it
            await asyncio.sleep(0)

    async def rested(self, desk: Desk) -> Status:
        """Let the time pass that the case waits for, until it waits for nothing but a person; no time passes during a call."""
        while (row := await desk.engine.case(1)).status not in {Status.DONE, Status.PARKED}:
            if row.status is Status.READY and (row.wake_at or 0.0) > self.clock.now():
                self.clock.advance((row.wake_at or 0.0) - self.clock.now())
            elif row.status is Status.READY and row.needs is not None:
                self.clock.advance(1.0)  # the other side has asked all cases to wait
            await asyncio.sleep(0)
        await self.working
        return row.status


class Relayed(Life):
    """One that sends through a mail server, with an archive into which the copies of its replies are filed."""

    def __init__(self, folder: Path, server: Server, timeouts: tuple[float, float] = (PATIENT, PATIENT)) -> None:
        relay = Relay(
            host="127.0.0.1", port=server.port, tls="none", timeout_seconds=timeouts[0], answer_seconds=timeouts[1],
            archive=ARCHIVE, archive_mailbox=folder / "archive",
        )  # fmt: skip
        super().__init__(folder, smtp=relay)
        self.archive = mailbox.Maildir(folder / "archive")
        self.server = server

    def as_file(self) -> str:
        """The same configuration as a file, for a desk of its own process."""
        file, relay = self.config.home.with_name("desk.toml"), self.config.smtp
        assert relay is not None
        settings = self.config.model_dump(mode="json", include={"home", "mailbox", "authserv"})
        way_out = relay.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        lines = [f"{name} = {json.dumps(value)}" for table in (settings, way_out) for name, value in table.items()]
        lines.insert(len(settings), "[smtp]")
        file.write_text("\n".join(lines), encoding="utf-8")
        return str(file)

    def file_copies(self) -> None:
        """Deliver to the archive what the server took for it."""
        for _, recipients, content in self.server.taken:
            if ARCHIVE in recipients:
                self.archive.add(content)

    def copies(self) -> Counter[str]:
        """How often the customer got which mail."""
        return Counter(identify(content).email_id for _, recipients, content in self.server.taken if CUSTOMER in recipients)


async def outcome_of(life: Relayed, safety: Safety | None = None) -> str:
    """What became of the reply; where a person is asked, or the server refuses, they have it sent again, once it is mended."""
    async with open_desk(life.config, clock=life.clock, safety=safety) as desk:
        await life.first_call(desk)
        life.server.mend()
        life.file_copies()
        status = await life.rested(desk)
        [entry] = await desk.engine.reader.effects(1)
        if status is Status.PARKED:
            await at_desk.resolve(desk, 1, by="anna", arrived=False)
            assert await life.rested(desk) is Status.DONE
            return {"failed": "refused", "in_doubt": "asked a person"}[entry.status]
        receipt = (await history_of(desk.engine.reader, 1)).state["receipt"]
        if "its copy is in the archive" in receipt["detail"]:
            return "found in the archive"
        return "tried again" if entry.attempts > 1 else "sent"


def run(faults: list[Fault], folder: Path) -> tuple[dict[str, str], dict[str, Counter[str]], int]:
    """The faults with a wrong outcome, those with which the customer did not get exactly one mail, and how often the archive settled it."""
    wrong, not_one, found = {}, {}, 0
    for number, fault in enumerate(faults):
        with fault.server() as server:
            life = Relayed(folder / str(number), server, fault.timeouts)
            outcome = asyncio.run(outcome_of(life))
            copies = life.copies()
        found += outcome == "found in the archive"
        if outcome not in fault.outcome.split(" or "):
            wrong[fault.name] = outcome
        if copies.total() != 1:
            not_one[fault.name] = copies
    return wrong, not_one, found


@pytest.mark.parametrize("faults", [OURS, THEIRS], ids=["ours", "smtp-sink"])
def test_every_fault_of_a_server_ends_as_it_should_and_no_customer_gets_two_mails(
    faults: list[Fault], tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong, not_one, found = run(faults, tmp_path)

    assert wrong == {}
    assert not_one == {}
    assert found > 0
    with capsys.disabled():
        told = f"{len(faults)} faults: right outcome each; 0 customers got two mails; {found} in doubt settled by the archive copy"
        print(f"\n{request.node.callspec.id}: {told}")


def test_a_desk_that_calls_again_in_doubt_sends_two_mails(tmp_path: Path) -> None:
    with mail_server("content", "drop") as server:
        life = Relayed(tmp_path, server)
        asyncio.run(outcome_of(life, AtLeastOnce("the control")))

    assert life.copies().total() == 2


def test_a_copy_that_comes_late_is_found_when_somebody_looks_again(tmp_path: Path) -> None:
    async def work() -> list[Status]:
        async with open_desk(life.config, clock=life.clock) as desk:
            await life.first_call(desk)
            life.server.mend()
            seen = [await life.rested(desk), (await at_desk.redrive(desk, 1, by="anna", why="look again")).status]
            life.file_copies()
            return [*seen, (await at_desk.redrive(desk, 1, by="anna", why="look again")).status]

    with mail_server("content", "drop") as server:
        life = Relayed(tmp_path, server)
        seen = asyncio.run(work())

    assert seen == [Status.PARKED, Status.PARKED, Status.DONE]
    assert life.copies().total() == 1


@pytest.mark.parametrize(
    ("moment", "outcome"), [("RCPT", "asked a person"), ("taken", "found in the archive"), ("QUIT", "found in the archive")]
)
def test_a_desk_that_is_killed_while_it_sends_sends_one_mail(moment: str, outcome: str, tmp_path: Path) -> None:
    with mail_server(deliver=lambda *_: server.reached("taken")) as server:
        life = Relayed(tmp_path, server)
        with subprocess.Popen([sys.executable, "-m", "pointsman_desk.cli.main", "run", "--config", life.as_file()]) as desk:
            server.reached = lambda at: desk.kill() if at.startswith(moment) else None
        killed = len(server.taken)
        server.reached = lambda at: None
        life.file_copies()
        life.clock = ManualClock(time.time() + 10_000.0)  # beyond every deadline and settle time of the first life
        found = asyncio.run(outcome_of(life))

    assert desk.returncode == -signal.SIGKILL
    assert killed == (0 if moment == "RCPT" else 1)
    assert (found, life.copies().total()) == (outcome, 1)


@pytest.mark.parametrize("fault", ["silence after taking", "drop after taking", 500, "concurrent", 429])
def test_a_provider_that_knows_keys_sends_one_mail_whatever_comes_between(
    fault: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> str:
        async with open_desk(life.config, clock=life.clock) as desk:
            await life.first_call(desk)
            return (await life.rested(desk)).value

    monkeypatch.setenv("RESEND_API_KEY", KEY)
    with resend_server() as server:
        server.faults = [fault]
        life = Life(tmp_path, resend=ResendAccount(url=server.url, timeout_seconds=BRIEF if "silence" in str(fault) else PATIENT))
        status = asyncio.run(work())

    assert (status, len(server.mails)) == ("done", 1)
    assert len(server.asked) == 2 or (fault == "silence after taking" and len(server.asked) > 2), "a slow answer may come too late again"
    assert len({request["Idempotency-Key"] for request in server.asked}) == 1
