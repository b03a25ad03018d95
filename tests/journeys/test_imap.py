"""Mailboxes on a real mail server: every mail is taken in once, whatever breaks."""

import asyncio
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from email.message import EmailMessage
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

import interpreter
from dovecot import PASSWORD, Dovecot
from pointsman import Busy, SystemClock, open_reader
from pointsman_desk.errors import MailboxRefused, MailboxUnreachable
from pointsman_desk.mail.message import identify
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.sources.imap import Connection
from pointsman_desk.mail.sources.mailbox import BATCH_MAX, REFUSED_MAX_SECONDS, REFUSED_SECONDS, Deliver, Mailbox
from pointsman_desk.mail.tree import MAIL_MAX_BYTES
from tiers import figure, seed

WORLD = Path(__file__).with_name("imap_world.py")
BOUND_SECONDS = 120.0  # far beyond what any step takes: a test that hangs ends
BEYOND = 5  # mails that a desk takes in at most beyond the moment of its kill
USERS = count(1)


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Dovecot]:
    server = Dovecot()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(name="user")
def _user() -> str:
    return f"user{next(USERS)}"


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILBOX_PASSWORD", PASSWORD)
    monkeypatch.setenv("WRONG_PASSWORD", "a guess")


def mail(number: int, text: str = "Where is my order?") -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = f"Customer <customer{number}@post.example>", "support@haus-und-hof.example"
    message["Subject"], message["Message-ID"] = f"Question {number}", f"<question-{number}@post.example>"
    message["Date"] = "Mon, 02 Nov 2026 10:00:00 +0000"
    message.set_content(f"{text}\n")
    return message.as_bytes()


def account(server: Dovecot, user: str, **settings: Any) -> Account:
    usual = {"name": user, "host": "127.0.0.1", "port": server.imap, "tls": "none", "username": user, "password_env": "MAILBOX_PASSWORD"}
    return Account(**{**usual, "poll_seconds": 1_000.0, "timeout_seconds": 20.0, **settings})


class Held(SystemClock):
    """A clock whose waits are noted, and end when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: asyncio.Queue[float] = asyncio.Queue()
        self.passed = asyncio.Semaphore(0)

    async def wait(self, event: asyncio.Event, seconds: float | None) -> None:
        self.waits.put_nowait(seconds or 0.0)
        await self.passed.acquire()


class Reader:
    """Takes mails in, and remembers them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.ids: Counter[str] = Counter()
        self.news = asyncio.Event()

    async def deliver(self, mails: Sequence[Found]) -> None:
        self.names += [found.name for found in mails]
        self.ids.update(identify(found.raw or b"").email_id for found in mails)
        self.news.set()

    async def has(self, mails: int) -> None:
        while len(self.ids) < mails:
            self.news.clear()
            await self.news.wait()


def within(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(BOUND_SECONDS):
            return await work()

    return asyncio.run(bounded())


@asynccontextmanager
async def followed(mailbox: Mailbox, deliver: Deliver) -> AsyncIterator[None]:
    task = asyncio.create_task(mailbox.follow(deliver))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_a_mailbox_is_read_once_and_nothing_in_it_is_changed(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.deliver(user, [mail(number) for number in range(120)])
    reader = Reader()

    async def fetch() -> Mailbox:
        mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=SystemClock(), random=Random(1))
        await mailbox.fetch(reader.deliver)
        await mailbox.close()
        return mailbox

    within(fetch)
    again = within(fetch)

    assert reader.ids == {f"question-{number}@post.example": 1 for number in range(120)}
    assert [file.name.partition(":2,")[2] for file in server.files(user)] == [""] * 120
    assert (again.bookmark.behind, again.bookmark.error) == (0, None)
    assert again.bookmark == Bookmark.read(tmp_path / "bookmark.json", again.account.place)


def test_a_mail_is_pushed_while_the_desk_listens(server: Dovecot, user: str, tmp_path: Path) -> None:
    reader = Reader()
    clock = Held()  # nobody wakes up who only waits

    async def push() -> None:
        mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=clock, random=Random(1))
        async with followed(mailbox, reader.deliver):
            for number in range(3):
                await asyncio.to_thread(server.deliver, user, [mail(number)])
                await reader.has(number + 1)

    within(push)

    assert clock.waits.empty()
    assert len(reader.names) == 3


def test_a_mail_that_comes_while_others_are_fetched_is_not_left_until_the_next_look(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.deliver(user, [mail(number) for number in range(BATCH_MAX + 1)])
    reader = Reader()

    async def deliver(mails: Sequence[Found]) -> None:
        if not reader.names:
            await asyncio.to_thread(server.deliver, user, [mail(BATCH_MAX + 1)])  # the server tells of it with the next batch
        await reader.deliver(mails)

    async def push() -> None:
        mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=Held(), random=Random(1))
        async with followed(mailbox, deliver):
            await reader.has(BATCH_MAX + 2)

    within(push)

    assert len(reader.names) == BATCH_MAX + 2


def test_a_killed_server_is_found_out_and_found_again(server: Dovecot, user: str, tmp_path: Path) -> None:
    reader, clock, told = Reader(), Held(), []

    async def outage() -> tuple[Bookmark, list[float]]:
        mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=clock, random=Random(1), report=told.append)
        waits = []
        async with followed(mailbox, reader.deliver):
            await asyncio.to_thread(server.deliver, user, [mail(1)])
            await reader.has(1)
            server.kill()
            for _ in range(4):
                waits.append(await clock.waits.get())
                failing = mailbox.bookmark
                clock.passed.release()
            waits.append(await clock.waits.get())
            server.start()
            await asyncio.to_thread(server.deliver, user, [mail(2)])
            clock.passed.release()
            await reader.has(2)
        return failing, waits

    failing, waits = within(outage)

    assert failing.error is not None
    assert str(server.imap) in failing.error
    assert failing.failing_since is not None
    assert all(later > sooner for sooner, later in pairwise(waits)), "it hurries although nobody answers"
    assert reader.ids.total() == 2
    assert Bookmark.read(tmp_path / "bookmark.json", account(server, user).place).error is None


def numbering(server: Dovecot, user: str) -> int:
    connection = Connection(account(server, user))
    uidvalidity = connection.look()
    connection.close()
    return uidvalidity


def test_a_mailbox_that_is_numbered_anew_is_read_from_its_beginning(server: Dovecot, user: str, tmp_path: Path) -> None:
    reader = Reader()

    async def fetch() -> Bookmark:
        mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=SystemClock(), random=Random(1))
        await mailbox.fetch(reader.deliver)
        await mailbox.close()
        return mailbox.bookmark

    server.deliver(user, [mail(1), mail(2)])
    before = within(fetch)
    while numbering(server, user) == before.uidvalidity:  # the server takes the second for it
        server.renumber(user)
    server.deliver(user, [mail(3)])
    after = within(fetch)

    assert after.uidvalidity != before.uidvalidity
    assert reader.ids == {"question-1@post.example": 2, "question-2@post.example": 2, "question-3@post.example": 1}


def test_a_wrong_password_is_told_and_tried_again_slowly(server: Dovecot, user: str, tmp_path: Path) -> None:
    clock, told = Held(), []

    async def refused() -> list[float]:
        wrong = account(server, user, password_env="WRONG_PASSWORD")
        mailbox = Mailbox(wrong, tmp_path / "bookmark.json", clock=clock, random=Random(1), report=told.append)
        async with followed(mailbox, Reader().deliver):
            waits = []
            for _ in range(6):
                waits.append(await clock.waits.get())
                clock.passed.release()
            return waits

    waits = within(refused)

    assert waits[0] >= REFUSED_SECONDS / 2
    assert REFUSED_MAX_SECONDS / 2 <= waits[-1] <= REFUSED_MAX_SECONDS
    assert len(told) == 1, "the same trouble is told again and again"
    assert "refuses the login" in told[0]
    assert "WRONG_PASSWORD" in told[0]
    assert "a guess" not in told[0]
    assert Bookmark.read(tmp_path / "bookmark.json", account(server, user).place).error == told[0]


def test_a_mail_that_the_server_cannot_give_does_not_keep_the_others_away(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.deliver(user, [mail(number) for number in range(5)])
    Connection(account(server, user)).close()
    [broken] = [file for file in server.files(user) if b"question-2@" in file.read_bytes()]
    mode = broken.stat().st_mode
    broken.chmod(0)
    reader, clock, told = Reader(), Held(), []
    mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=clock, random=Random(1), report=told.append)

    async def four() -> tuple[int, ...]:
        clock.passed = asyncio.Semaphore(10)
        async with followed(mailbox, reader.deliver):
            await reader.has(4)
            return mailbox.bookmark.missed

    async def mended() -> None:
        broken.chmod(mode)
        again = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=SystemClock(), random=Random(1))
        await again.fetch(reader.deliver)
        await again.close()

    missed = within(four)
    within(mended)

    assert missed == (3,)
    assert sum("does not return mail 3" in one for one in told) == 1
    assert reader.ids == {f"question-{number}@post.example": 1 for number in range(5)}
    assert Bookmark.read(tmp_path / "bookmark.json", account(server, user).place).missed == ()


def test_a_desk_without_room_gets_its_mails_later(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.deliver(user, [mail(1), mail(2)])
    reader, clock = Reader(), Held()
    full = iter([True])

    async def deliver(mails: Sequence[Found]) -> None:
        if next(full, False):
            raise Busy("there is no room", retry_after=7.0)
        await reader.deliver(mails)

    async def later() -> tuple[float, Bookmark]:
        mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=clock, random=Random(1))
        async with followed(mailbox, deliver):
            waited, refused = await clock.waits.get(), mailbox.bookmark
            clock.passed.release()
            await reader.has(2)
            return waited, refused

    waited, refused = within(later)

    assert waited == 7.0
    assert (refused.uid, refused.behind, refused.error) == (0, 2, None)
    assert reader.ids.total() == 2


class Relay:
    """What stands between the desk and its server: it can go silent without hanging up, and hide a word of the server's."""

    def __init__(self, port: int, *, hides: bytes = b"") -> None:
        self._behind = port
        self._hides = hides
        self._passing: list[asyncio.Task[None]] = []
        self._forwards = asyncio.Event()
        self._forwards.set()
        self.connections = 0

    async def open(self) -> int:
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def freeze(self) -> None:
        """Say nothing more on the connections that there are; new ones work."""
        self._forwards.clear()
        self._forwards = asyncio.Event()
        self._forwards.set()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._passing.append(asyncio.create_task(self._pass_on(reader, writer, self._forwards)))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, forwards: asyncio.Event) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._behind)

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, hidden: bytes = b"") -> None:
            while data := await source.read(65_536):
                await forwards.wait()
                target.write(data.replace(hidden, b"X" * len(hidden)) if hidden else data)
                await target.drain()
            target.close()

        try:
            await asyncio.gather(pump(reader, ours), pump(theirs, writer, self._hides))
        finally:
            for end in (writer, ours):
                end.transport.abort()

    async def close(self) -> None:
        self._server.close()
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        await asyncio.sleep(0)  # the transports are closed in the loop's next round


def test_a_connection_that_has_died_silently_is_given_up(server: Dovecot, user: str, tmp_path: Path) -> None:
    reader = Reader()

    async def silence() -> int:
        relay = Relay(server.imap)
        through = account(server, user, port=await relay.open(), poll_seconds=0.2, timeout_seconds=2.0)
        mailbox = Mailbox(through, tmp_path / "bookmark.json", clock=SystemClock(), random=Random(1))
        async with followed(mailbox, reader.deliver):
            await asyncio.to_thread(server.deliver, user, [mail(1)])
            await reader.has(1)
            relay.freeze()
            await asyncio.to_thread(server.deliver, user, [mail(2)])
            await reader.has(2)
        await relay.close()
        return relay.connections

    connections = within(silence)

    assert connections > 1
    assert reader.ids.total() == 2


def test_a_server_that_pushes_nothing_is_asked_now_and_then(server: Dovecot, user: str, tmp_path: Path) -> None:
    reader, clock = Reader(), Held()

    async def ask() -> list[float]:
        relay = Relay(server.imap, hides=b"IDLE")
        through = account(server, user, port=await relay.open(), poll_seconds=90.0)
        mailbox = Mailbox(through, tmp_path / "bookmark.json", clock=clock, random=Random(1))
        async with followed(mailbox, reader.deliver):
            waits = [await clock.waits.get()]
            await asyncio.to_thread(server.deliver, user, [mail(1)])
            clock.passed.release()
            await reader.has(1)
            waits.append(await clock.waits.get())
        await relay.close()
        return waits

    assert within(ask) == [90.0, 90.0]
    assert reader.ids.total() == 1


@pytest.mark.parametrize("tls", ["tls", "starttls"])
def test_the_way_to_the_server_is_encrypted_and_its_name_is_checked(
    server: Dovecot, user: str, tls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.deliver(user, [mail(1)])
    safe = account(server, user, tls=tls, port=server.imaps if tls == "tls" else server.imap)

    with pytest.raises(MailboxRefused, match="certificate"):
        Connection(safe)
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    connection = Connection(safe)
    connection.look()
    [listed] = connection.beyond(0)
    connection.close()

    assert listed.uid == 1


def test_a_token_opens_a_mailbox_too(server: Dovecot, user: str, tmp_path: Path) -> None:
    if not server.takes_tokens:
        pytest.skip("this Dovecot takes no token without a server that vouches for it")
    server.deliver(user, [mail(1)])
    tells = (sys.executable, "-c", f"print({PASSWORD!r})")  # the server takes it for a token

    connection = Connection(account(server, user, password_env=None, token_command=tells))
    connection.look()
    [listed] = connection.beyond(0)
    connection.close()

    assert listed.uid == 1
    with pytest.raises(MailboxRefused, match="gave no token"):
        Connection(account(server, user, password_env=None, token_command=(sys.executable, "-c", "raise SystemExit(3)")))


def test_of_a_mail_that_is_too_long_the_beginning_is_fetched(server: Dovecot, user: str, tmp_path: Path) -> None:
    long = mail(1) + b"And so on.\r\n" * (MAIL_MAX_BYTES // 12 + 1)
    server.deliver(user, [long, mail(2)])
    taken: list[Found] = []

    async def fetch() -> None:
        async def keep(mails: Sequence[Found]) -> None:
            taken.extend(mails)

        mailbox = Mailbox(account(server, user), tmp_path / "bookmark.json", clock=SystemClock(), random=Random(1))
        await mailbox.fetch(keep)
        await mailbox.close()

    within(fetch)

    assert [len(found.raw or b"") == MAIL_MAX_BYTES + 1 for found in taken] == [True, False]
    assert (taken[0].raw or b"").count(b"Question 1") == 1


@pytest.mark.parametrize(
    ("settings", "error"),
    [({"port": 1}, MailboxUnreachable), ({"folder": "Nowhere"}, MailboxRefused), ({"password_env": "NOT_SET"}, MailboxRefused)],
)
def test_what_keeps_a_mailbox_closed_is_one_sentence(
    server: Dovecot, user: str, tmp_path: Path, settings: dict[str, Any], error: type[Exception]
) -> None:
    async def fetch() -> None:
        mailbox = Mailbox(account(server, user, **settings), tmp_path / "bookmark.json", clock=SystemClock(), random=Random(1))
        try:
            await mailbox.fetch(Reader().deliver)
        finally:
            await mailbox.close()

    with pytest.raises(error, match=rf"mailbox {user}: .*[^.]\.$"):
        within(fetch)


def desk_file(tmp_path: Path, server: Dovecot, *mailboxes: dict[str, Any]) -> Path:
    tables = []
    for settings in mailboxes:
        known = account(server, **settings).model_dump(exclude_none=True, exclude_defaults=True)
        tables += ["[[mailboxes]]", *(f"{name} = {json.dumps(value)}" for name, value in known.items())]
    file = tmp_path / "desk.toml"
    file.write_text("\n".join([f'home = "{tmp_path / "desk"}"', *tables]), encoding="utf-8")
    return file


def command(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return interpreter.run("-m", "pointsman_desk.cli.main", *arguments, "--config", file)


def test_the_desk_takes_in_several_mailboxes_and_tells_of_the_one_that_fails(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.deliver(user, [mail(1), mail(2)])
    server.deliver(f"{user}b", [mail(2), mail(3)])
    file = desk_file(tmp_path, server, {"user": user}, {"user": f"{user}b"}, {"user": f"{user}c", "password_env": "WRONG_PASSWORD"})

    ran = command(file, "run", "--json")
    health = {one["name"]: one for one in json.loads(command(file, "mailboxes", "--json").stdout)}
    shown = command(file, "mailboxes")

    assert ran.returncode == 1
    assert "refuses the login" in ran.stderr.replace("\n", " ")
    assert "Traceback" not in ran.stderr
    done = json.loads(ran.stdout)
    assert (len(done["started"]), done["known"]) == (3, 1)
    assert [health[name]["health"] for name in (user, f"{user}b", f"{user}c")] == ["well", "well", "failing"]
    assert (health[user]["uid"], health[user]["behind"]) == (2, 0)
    assert "failing" in shown.stdout
    assert shown.returncode == 0


def test_a_desk_that_follows_its_mailbox_works_what_comes_and_stops_in_order(server: Dovecot, user: str, tmp_path: Path) -> None:
    file = desk_file(tmp_path, server, {"user": user})
    arguments = [sys.executable, "-m", "pointsman_desk.cli.main", "serve", "--port", "0", "--json", "--config", str(file)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server.deliver(user, [mail(1)])
        statuses = next(done for line in process.stdout if (done := json.loads(line)).get("started"))["statuses"]
        decided = command(file, "reject", "1", "--yes", "--why", "a test")
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=BOUND_SECONDS)

    assert statuses == {"waiting": 1}
    assert decided.returncode == 0, decided.stderr
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped" in told
    assert "Traceback" not in told


def ids_of(database: Path) -> Counter[str]:
    async def look() -> Counter[str]:
        with open_reader(database) as reader:
            rows = await reader.cases(limit=1_000_000)
            fields = [field for row in rows for field in await reader.fields(row.id) if field.field == "email_id"]
            return Counter(json.loads(field.text) for field in fields)

    return asyncio.run(look())


def survive(file: Path, moments: Sequence[int], *control: str) -> Counter[str]:
    """Kill the desk after each of these numbers of mails, let it end in peace at last, and count the cases by the mails' ids."""
    begun: set[bytes] = set()
    for enough in moments:
        arguments = [sys.executable, str(WORLD), str(file), *control]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"." * (enough - len(begun) + BEYOND))
            with process.stdout as names:
                while len(begun) < enough and (name := names.readline()):
                    process.stdin.write(b"." * (name in begun))
                    begun.add(name)
                process.kill()
        assert process.returncode == -signal.SIGKILL, "it ended by itself"
    ran = command(file, "run")
    assert ran.returncode == 0, ran.stderr
    return ids_of(file.parent / "desk" / "cases.db")


def test_a_desk_that_is_killed_while_it_fetches_loses_no_mail_and_takes_none_twice(
    server: Dovecot, user: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mails, kills, chance = figure("MAILS", 150), figure("MAIL_KILLS", 4), seed()
    server.deliver(user, [mail(number) for number in range(mails)])

    moments = sorted(Random(chance).sample(range(1, mails * 9 // 10), kills))
    cases = survive(desk_file(tmp_path, server, {"user": user}), moments)

    lost = mails - len(cases)
    with capsys.disabled():
        print(f"\n{mails:,} mails, {kills} kills: {cases.total():,} cases, {lost} lost, {cases.total() - len(cases)} twice (seed {chance})")
    assert cases == {f"question-{number}@post.example": 1 for number in range(mails)}


def test_a_kill_of_a_desk_that_moves_its_bookmark_too_early_loses_mails(server: Dovecot, user: str, tmp_path: Path) -> None:
    server.deliver(user, [mail(number) for number in range(100)])

    cases = survive(desk_file(tmp_path, server, {"user": user}), [BATCH_MAX // 2], "--control")

    assert len(cases) <= 100 - (BATCH_MAX // 2 - BEYOND)
