"""Desks that share a PostgreSQL database and a mailbox: every mail has one case and every reply is sent once, whichever desk dies."""

import asyncio
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from email.message import EmailMessage
from pathlib import Path

import pytest
from shared_desk import HELD

from dovecot import PASSWORD, Dovecot
from pointsman_desk import desk as at_desk
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.folder import reader_of
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.sources.mailbox import BATCH_MAX
from pointsman_desk.mail.sources.turns import Turn
from pointsman_desk.shared import SharedTables
from pointsman_desk.wiring import Desk, mailboxes_of, open_desk
from resend_server import KEY, resend_server

WORLD = Path(__file__).with_name("shared_desk.py")
EXPECTED = tomllib.loads((Path(__file__).parents[1] / "desk" / "expected_samples.toml").read_text(encoding="utf-8"))
MAILS = [name for name, row in EXPECTED.items() if row.get("ends", "sent") == "sent"] + ["01-article.eml"]
ENDS = Counter(EXPECTED[name]["ends"] for name in MAILS if "duplicate_of" not in EXPECTED[name])
NAMES = ("one", "two", "three")
LEASE_SECONDS = 6.0  # a desk on a busy machine renews it in time
BOUND_SECONDS = 300.0  # against a hang only
FEW = ("01-article.eml", "02-status-en.eml", "06-hours-en.eml", "38-newsletter.eml", "39-second-delivery-of-02.eml")


def maildir(folder: Path, names: Sequence[str]) -> Path:
    for part in ("new", "cur", "tmp"):
        (folder / part).mkdir(parents=True)
    for name in names:
        shutil.copyfile(SAMPLE / "mails" / name, folder / "new" / name)
    return folder


class Desks:
    """Desks in processes of their own. `lines` are what they say, each with its desk; the last one of a desk is "ended"."""

    def __init__(self, folder: Path, url: str, mailbox: Path, provider: str) -> None:
        self.lines: queue.Queue[tuple[str, str]] = queue.Queue()
        self.running: dict[str, int] = {}
        self.killed: list[str] = []
        files = [folder / f"{name}.toml" for name in NAMES]
        for file in files:
            file.write_text(
                f'home = "{folder / file.stem}"\ndatabase = "{url}"\nmailbox = "{mailbox}"\nauthserv = "mx.haus-und-hof.example"\n'
                f'[resend]\nurl = "{provider}/{file.stem}"\n',
                encoding="utf-8",
            )
        command = [sys.executable, str(WORLD), str(LEASE_SECONDS), str(sum(ENDS.values())), *map(str, files)]
        self._program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"RESEND_API_KEY": KEY})
        self._listening = threading.Thread(target=self._listen)
        self._listening.start()

    def _listen(self) -> None:
        assert self._program.stdout is not None
        for spoken in self._program.stdout:
            name, _, line = spoken.strip().partition(" ")
            if line.isdecimal():
                self.running[name] = int(line)
            elif line == "ended":
                del self.running[name]
            self.lines.put((name, line))

    def kill(self, name: str) -> None:
        self.killed.append(name)
        os.kill(self.running[name], signal.SIGKILL)

    def close(self) -> None:
        for process in [*self.running.values()]:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._listening.join()
        self._program.wait()
        assert self._program.stdout is not None
        self._program.stdout.close()


def test_desks_that_die_lose_no_mail_and_send_no_reply_twice(tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    mailbox = maildir(tmp_path / "mailbox", MAILS)
    taken: dict[str, list[str]] = {name: [] for name in NAMES}
    problems, done, one_kill = [], "", threading.Lock()

    with resend_server() as provider, closing(Desks(tmp_path, postgres_url, mailbox, provider.url)) as desks:

        def took(desk: str) -> None:
            with one_kill:
                if len(desks.killed) == 1 and desk not in desks.killed:
                    desks.kill(desk)  # the provider has the reply, and nobody is told so

        provider.took = lambda path: took(path.split("/")[1])
        while not done:
            name, line = desks.lines.get(timeout=BOUND_SECONDS)
            if line.startswith("takes "):
                taken[name].append(line)
                if len(taken[name]) == HELD and not desks.killed:
                    desks.kill(name)  # the reader, amid the mails
                    (tmp_path / "go").touch()
            elif line.startswith("problem"):
                problems.append(line)
            elif line == "done":
                done = name
            assert line != "ended" or name in desks.killed, f"{name} ended by itself"

    async def ends() -> Counter[str]:
        async with reader_of(DeskConfig(home=tmp_path / done, database=postgres_url)) as reader:
            return Counter(row.outcome or str(row.status) for row in await reader.cases())

    mails, repeated = len(provider.mails), len(provider.asked) - len(provider.mails)
    with capsys.disabled():
        counts = ", ".join(f"{name} {len(lines)}" for name, lines in taken.items())
        print(f"\nkilled {desks.killed}; mails begun: {counts}; {mails} replies, {repeated} requests repeated with their key")
    assert len(desks.killed) == 2
    assert problems == []
    assert asyncio.run(ends()) == ENDS
    assert Counter((str(mail["to"]), mail["subject"]) for mail in provider.mails).most_common(1)[0][1] == 1
    assert mails == ENDS["sent"] == 14


@pytest.mark.parametrize("by_lease", [True, False])
def test_two_desks_read_a_folder_once_by_their_lease_and_make_no_double_case_without_it(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch, by_lease: bool
) -> None:
    mailbox = maildir(tmp_path / "mailbox", FEW)
    begun: Counter[str] = Counter()
    if not by_lease:
        monkeypatch.setattr(Turn, "take", allowed)

    async def work(desk: Desk) -> at_desk.Run:
        return await at_desk.work_off(desk, lambda name: begun.update([name]), asyncio.Event())

    async def both() -> list[at_desk.Run]:
        config = DeskConfig(home=tmp_path / "desk", database=postgres_url, mailbox=mailbox, authserv="mx.haus-und-hof.example")
        async with open_desk(config) as one, open_desk(config) as two:
            return await asyncio.gather(work(one), work(two))

    runs = asyncio.run(both())

    assert set(begun.values()) == {1 if by_lease else 2}
    assert len(begun) == len(FEW)
    cases = [case for run in runs for case in run.started]
    assert len(cases) == len(set(cases)) == len(FEW) - 1, "a mail has two cases"
    assert len([*(tmp_path / "desk" / "outbox" / "new").iterdir()]) == 2


async def allowed(_: Turn) -> bool:
    return True


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dovecot]:
    monkeypatch.setenv("MAILBOX_PASSWORD", PASSWORD)
    with closing(Dovecot()) as server:
        server.start()
        yield server


def test_a_desk_goes_on_in_a_mailbox_where_the_one_before_it_stopped(server: Dovecot, tmp_path: Path, postgres_url: str) -> None:
    account = Account(
        name="inbox", host="127.0.0.1", port=server.imap, tls="none", username="inbox", password_env="MAILBOX_PASSWORD", timeout_seconds=20.0
    )  # fmt: skip
    server.deliver("inbox", [question(number) for number in range(BATCH_MAX + 10)])
    config = DeskConfig(home=tmp_path / "desk", database=postgres_url, mailboxes=(account,))
    taken: dict[str, list[str]] = {"one": [], "two": []}

    async def read() -> None:
        [one], [two] = mailboxes_of(config, told.append), mailboxes_of(config, told.append)

        async def first(mails: Sequence[Found]) -> None:
            taken["one"] += [mail.name for mail in mails]
            if len(taken["one"]) > BATCH_MAX:
                await two.fetch(second)  # the first desk has its turn
                assert taken["two"] == []
                with closing(SharedTables(postgres_url)) as tables, tables.using() as connection:
                    connection.execute("UPDATE main.mailboxes SET until = '-infinity'")  # it stands still, and its lease ends
                two._place._ask_at = 0.0
                await two.fetch(second)

        async def second(mails: Sequence[Found]) -> None:
            taken["two"] += [mail.name for mail in mails]

        await one.fetch(first)
        for mailbox in (one, two):
            await mailbox.close()
            await mailbox.leave()

    told: list[str] = []
    asyncio.run(read())

    with closing(SharedTables(postgres_url)) as tables:
        bookmark = Bookmark.of(tables.bookmark(account.place), account.place)
    assert told == []
    assert len(set(taken["one"])) == BATCH_MAX + 10
    assert taken["two"] == taken["one"][BATCH_MAX:], "the second desk read more than what the bookmark of the first left"
    assert (bookmark.behind, bookmark.uid) == (0, BATCH_MAX + 10)


def question(number: int) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = f"customer{number}@post.example", "support@haus-und-hof.example"
    mail["Subject"], mail["Message-ID"], mail["Date"] = "Hours", f"<question-{number}@post.example>", "Mon, 02 Nov 2026 10:00:00 +0000"
    mail.set_content("When are you open?\n")
    return mail.as_bytes()
