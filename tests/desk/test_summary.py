"""The mail to the team: what it says and does not say, when it comes, and that it comes once."""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, time
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pointsman import AtMostOnce, Rejected
from pointsman.testing.clock import ManualClock
from pointsman.testing.crash import CrashAt, in_child, recovers
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Receipt
from pointsman_desk.cli.main import app
from pointsman_desk.config import ApprovalConfig, DeskConfig, FollowUpConfig, SummaryConfig
from pointsman_desk.health import findings
from pointsman_desk.mail.sources.arrivals import Arrivals
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.running import LOOK_SECONDS, Round
from pointsman_desk.summary import GATHER_SECONDS, due
from pointsman_desk.wiring import Desk, open_desk

TEAM, LEAD = "team@haus-und-hof.example", "lea@haus-und-hof.example"
TERMS = SummaryConfig(to=(TEAM, LEAD), at=time(8), zone="Europe/Berlin", pages="https://desk.example/")
SEVEN = datetime(2026, 11, 30, 6, 0, tzinfo=UTC).timestamp()  # in Berlin it is seven
HOUR_SECONDS, DAY_SECONDS, HANG_SECONDS = 3_600.0, 86_400.0, 120.0
DONE = {"node.called", "effect.call", "effect.called"}  # something has just been done, or is about to be


def refund(number: int) -> bytes:
    head = [
        f"From: Anna Weiss <anna{number}@post.example>", "To: support@haus-und-hof.example", "Subject: The blue vase", f"Message-ID: <m{number}@post.example>",
        f"Date: Mon, 02 Nov 2026 10:{number:02}:00 +0000",
    ]  # fmt: skip
    return ("\n".join(head) + "\n\nI want my money back for the blue vase.\n").encode()


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    return DeskConfig(home=tmp_path / "desk", mailbox=None, summary=TERMS)


@pytest.fixture(name="clock")
def _clock() -> ManualClock:
    return ManualClock(SEVEN)


def at_the_desk(config: DeskConfig, clock: ManualClock, work: Callable[[Desk], Awaitable[Any]], **opened: Any) -> Any:
    async def main() -> Any:
        async with open_desk(config, models=(), clock=clock, **opened) as desk:
            return await work(desk)

    return asyncio.run(main())


async def take(desk: Desk, *mails: bytes) -> None:
    await at_desk.work_off(desk, lambda name: None, asyncio.Event(), [Found(name="a mail", raw=raw) for raw in mails])


def outbox(config: DeskConfig) -> list[Message]:
    """The summaries in the outbox, the oldest first."""
    letters = [message_from_bytes(file.read_bytes()) for file in (config.outbox / "new").glob("*")] if config.outbox.exists() else []
    return sorted((one for one in letters if one["Auto-Submitted"] == "auto-generated"), key=lambda one: one["Subject"])


def text(letter: Message) -> str:
    content = letter.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content.decode().replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("now", "day"),
    [
        ("2026-11-30T06:59:59", None),
        ("2026-11-30T07:00:00", "2026-11-30"),
        ("2026-07-01T06:00:00", "2026-07-01"),  # in summer, eight o'clock comes earlier
        ("2026-11-30T22:59:59", "2026-11-30"),
        ("2026-11-30T23:00:00", None),
    ],
)
def test_a_summary_is_due_from_its_time_of_day_until_the_day_ends_in_its_zone(now: str, day: str | None) -> None:
    assert due(TERMS, datetime.fromisoformat(f"{now}+00:00").timestamp()) == day


def test_a_summary_says_how_many_wait_since_when_and_what_is_parked_and_no_word_of_a_customer(
    config: DeskConfig, clock: ManualClock
) -> None:
    class Breaks:
        name = "breaks"

        async def deliver(self, raw: bytes, *, key: str, **_: object) -> Receipt:
            assert b"summary-" not in raw
            raise RuntimeError("the line broke")

    async def before(desk: Desk) -> None:
        await take(desk, refund(1), refund(2), refund(3))
        await at_desk.approve(desk, 3, by="eve", seen=None)
        clock.advance(2 * HOUR_SECONDS)

    at_the_desk(config.model_copy(update={"summary": None}), clock, before, transport=Breaks(), safety=AtMostOnce())
    at_the_desk(config, clock, take)

    [letter] = outbox(config)
    said = text(letter)
    assert (letter["To"], letter["Cc"], letter["From"]) == (TEAM, LEAD, "support@haus-und-hof.example")
    assert letter["Subject"] == "Mail desk: 2 mails wait, 1 case is parked"
    assert "- 2 for a decision, the oldest since 2026-11-30 07:00 (2 hours)\n" in said
    assert "- case 3: nobody knows whether the reply was sent - https://desk.example/cases/3\n" in said
    assert "The work list: https://desk.example/\n" in said
    assert not any(word in letter.as_string() + said for word in ("vase", "anna", "Anna", "post.example"))


def test_a_day_has_one_summary_however_often_the_desk_is_opened_and_the_next_day_another(config: DeskConfig, clock: ManualClock) -> None:
    async def twice(desk: Desk) -> None:
        await take(desk)
        await take(desk)

    at_the_desk(config, clock, lambda desk: take(desk, refund(1)))
    early = len(outbox(config))
    clock.advance(HOUR_SECONDS)
    at_the_desk(config, clock, twice)
    later = config.model_copy(update={"summary": TERMS.model_copy(update={"at": time(9)})})  # a new time is no new day
    clock.advance(HOUR_SECONDS)
    at_the_desk(later, clock, twice)
    first = len(outbox(config))
    clock.advance(DAY_SECONDS)
    at_the_desk(config, clock, twice)

    assert (early, first, len(outbox(config))) == (0, 1, 2)


def test_where_nothing_waits_no_mail_is_sent(config: DeskConfig, clock: ManualClock) -> None:
    async def work(desk: Desk) -> Any:
        clock.advance(HOUR_SECONDS)
        await take(desk)
        return [(row.process, row.outcome) for row in await desk.engine.reader.cases()]

    assert at_the_desk(config, clock, work) == [("summary", "nothing to say")]
    assert outbox(config) == []


def test_a_summary_in_doubt_is_not_sent_again_and_needs_nobody(config: DeskConfig, clock: ManualClock) -> None:
    class Breaks:
        name = "breaks"
        calls = 0

        async def deliver(self, raw: bytes, **_: object) -> Receipt:
            self.calls += 1
            raise RuntimeError("the line broke")

    async def work(desk: Desk) -> Any:
        await take(desk, refund(1))
        clock.advance(HOUR_SECONDS)
        await take(desk)
        clock.advance(HOUR_SECONDS)  # far longer than the call could have taken
        await desk.engine.idle(horizon_seconds=0.0)
        return [(row.process, row.status, row.outcome) for row in await desk.engine.reader.cases()][1:]

    transport = Breaks()

    assert at_the_desk(config, clock, work, transport=transport, safety=AtMostOnce()) == [("summary", "done", "sent")]
    assert transport.calls == 1


def test_the_doctor_tells_of_a_summary_that_reached_nobody(config: DeskConfig, clock: ManualClock) -> None:
    class Refuses:
        name = "refuses"

        async def deliver(self, raw: bytes, **_: object) -> Receipt:
            raise Rejected("no such mailbox")

    def told() -> list[str]:
        return [one.problem for one in findings(config, clock.now()) if one.what == "summary" and one.problem is not None]

    at_the_desk(config, clock, lambda desk: take(desk, refund(1)))
    before = told()
    clock.advance(HOUR_SECONDS)
    at_the_desk(config, clock, take, transport=Refuses())

    assert before == []
    assert told() == ["the summary of 2026-11-30 was not sent (no such mailbox); correct [summary], or what sends mails."]


def test_the_running_desk_sends_a_summary_when_it_is_due(config: DeskConfig, clock: ManualClock) -> None:
    async def work(desk: Desk) -> None:
        await take(desk, refund(1))
        stop = asyncio.Event()

        async def told(_: Desk, __: at_desk.Run) -> None:
            clock.advance(HOUR_SECONDS)

        round_ = asyncio.ensure_future(Round(desk, at_desk.Reception(desk), Arrivals(), told, lambda _: None).work(stop))
        async with asyncio.timeout(HANG_SECONDS):
            while not outbox(config):
                clock.advance(LOOK_SECONDS)
                await asyncio.sleep(0.001)
        stop.set()
        await round_

    at_the_desk(config, clock, work)

    assert len(outbox(config)) == 1


def test_whenever_the_desk_is_killed_a_day_has_one_summary(config: DeskConfig, clock: ManualClock) -> None:
    def worked(home: str, points: Callable[[str], None]) -> DeskConfig:
        of = config.model_copy(update={"home": config.home / home})
        shutil.copytree(config.home / "before", of.home, dirs_exist_ok=True) if not of.home.exists() else None
        at_the_desk(of, clock, take, failpoints=points)
        return of

    at_the_desk(config.model_copy(update={"home": config.home / "before", "summary": None}), clock, lambda desk: take(desk, refund(1)))
    clock.advance(HOUR_SECONDS)

    def where_done(crash: CrashAt) -> Callable[[str], None]:
        return lambda label: crash(label) if label in DONE else None

    counting, killed, found = CrashAt(), [], []
    worked("counted", where_done(counting))
    points = range(1, len(counting.labels) + 1)
    for number in points:
        killed.append(in_child(lambda number=number: worked(f"{number}", where_done(CrashAt(number))) and None) < 0)
        assert recovers(lambda number=number: found.append(len(outbox(worked(f"{number}", lambda label: None)))))

    print(f"\nkilled at {counting.labels}")
    assert {*counting.labels} == DONE
    assert killed == [True] * len(points)
    assert found == [1] * len(points)


def test_reminders_of_ten_minutes_make_one_mail(config: DeskConfig, clock: ManualClock) -> None:
    reminding = {
        "approval": ApprovalConfig(remind_hours=4),
        "follow_up": FollowUpConfig(wait_days=9, remind_days=2),
        "summary": TERMS.model_copy(update={"at": time(23, 59)}),
    }

    async def summaries(desk: Desk) -> list[Any]:
        return [row for row in await desk.engine.reader.cases() if row.process == "summary"]

    async def work(desk: Desk) -> Any:
        await take(desk, refund(1), refund(2), refund(3))
        await at_desk.approve(desk, 3, by="eve", seen=None)
        clock.advance(4 * HOUR_SECONDS)
        async with asyncio.timeout(HANG_SECONDS):
            while not (rows := await summaries(desk)) or rows[0].status != "waiting":
                clock.advance(0.3)  # until the subscriber looks
                await asyncio.sleep(0.001)
            clock.advance(GATHER_SECONDS)
            while (rows := await summaries(desk))[0].status != "done":
                clock.advance(0.3)
                await asyncio.sleep(0.001)
        return [row.outcome for row in rows]

    outcomes = at_the_desk(config.model_copy(update=reminding), clock, work)

    assert outcomes == ["sent"]
    [letter] = outbox(config)
    assert letter["Subject"] == "Mail desk: 2 mails have waited long"
    assert "- 2 for a decision, the oldest since 2026-11-30 07:00 (4 hours)\n" in text(letter)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ('[summary]\nto = ["support@haus-und-hof.example"]', "is the desk's own address"),
        ('[summary]\nto = ["Team <team@haus-und-hof.example>"]', "is not a single plain address"),
        ("[summary]\nto = []", "summary.to"),
        ('[summary]\nto = ["team@haus-und-hof.example"]\nzone = "Berlin"', "is not a time zone known here; name one such as Europe/Berlin"),
        ('[summary]\nto = ["team@haus-und-hof.example"]\nat = "8 Uhr"', "summary.at"),
        ('[approval]\nlead = "lea"\nremind_hours = 24', "remind_hours must be less than lead_hours"),
    ],
)
def test_what_is_wrong_with_the_settings_is_said_in_a_sentence(tmp_path: Path, settings: str, told: str) -> None:
    (tmp_path / "desk.toml").write_text(settings, encoding="utf-8")

    done = CliRunner().invoke(app, ["doctor", "--config", str(tmp_path / "desk.toml")])

    assert done.exit_code == 1
    assert told in " ".join((done.stdout + done.stderr).split())


def test_the_commands_list_mails_and_no_summaries(config: DeskConfig, tmp_path: Path) -> None:
    file = tmp_path / "desk.toml"
    (tmp_path / "mails").mkdir()
    (tmp_path / "mails" / "1.eml").write_bytes(refund(1))
    file.write_text(f'home = "desk"\nmailbox = "mails"\n[summary]\nto = ["{TEAM}"]\nat = 00:00:00\n', encoding="utf-8")

    ran = [CliRunner().invoke(app, ["run", "--json", "--config", str(file)]).exit_code for _ in range(2)]
    listed = CliRunner().invoke(app, ["cases", "--json", "--config", str(file)]).stdout

    assert ran == [0, 0]
    assert [case["subject"] for case in json.loads(listed)] == ["The blue vase"]
    assert len(outbox(config)) == 1
