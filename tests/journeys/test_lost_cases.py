"""A desk whose cases were lost, or put back from a backup, knows it, and answers no mail twice."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pointsman import Engine, NotSent, Status
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk import places, wiring
from pointsman_desk.case import Case, Receipt
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.errors import AnotherDesk, CasesLost
from pointsman_desk.health import findings
from pointsman_desk.mail.sent_replies import SentReplies
from pointsman_desk.mail.transports.maildir import MaildirOutbox
from pointsman_desk.wiring import Desk, after_restore, open_desk

ANSWERED, WAITS, AUTOMATIC = "02-status-en.eml", "01-article.eml", "36-out-of-office-de.eml"


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    (tmp_path / "mailbox").mkdir()
    return DeskConfig(home=tmp_path / "desk", mailbox=tmp_path / "mailbox", authserv="mx.haus-und-hof.example")


def deliver(config: DeskConfig, *names: str) -> None:
    assert config.mailbox is not None
    for name in names:
        shutil.copyfile(SAMPLE / "mails" / name, config.mailbox / name)


async def nothing(desk: Desk) -> None:
    pass


def run(config: DeskConfig, work: Callable[[Desk], Awaitable[Any]] = nothing, **settings: Any) -> Any:
    """Work the mailbox off, then do `work`."""

    async def main() -> Any:
        async with open_desk(config, **settings) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event())
            return await work(desk)

    return asyncio.run(main())


async def ends(desk: Desk) -> dict[str, str]:
    """How each case stands, by the Message-ID of its mail."""
    rows = await desk.engine.reader.cases()
    return {(await desk.engine.state(row.id, Case)).email_id: row.outcome or str(row.status) for row in rows}


def sent(config: DeskConfig) -> int:
    return len(list((config.outbox / "new").glob("*")))


def back_up(config: DeskConfig) -> Path:
    kept = config.home.with_name("backup.db")
    shutil.copyfile(config.cases_file, kept)
    return kept


def put_back(config: DeskConfig, kept: Path) -> None:
    lose(config)
    shutil.copyfile(kept, config.cases_file)


def lose(config: DeskConfig, *names: str) -> None:
    for pattern in names or ("cases.db*",):
        for file in config.home.glob(pattern):
            shutil.rmtree(file) if file.is_dir() else file.unlink()


def test_a_desk_whose_cases_are_lost_sends_nothing_until_a_person_says_so_and_then_nothing_twice(config: DeskConfig) -> None:
    deliver(config, ANSWERED, WAITS, AUTOMATIC)
    before = run(config, ends)
    lose(config)

    with pytest.raises(CasesLost, match=r"it is missing.*--after-restore"):
        run(config)
    after_restore(config)
    restored = run(config, ends)
    deliver(config, "06-hours-en.eml")
    later = run(config, ends)

    assert sorted(before.values()).count("sent") == 1
    assert restored == {name: "answered before" if end == "sent" else end for name, end in before.items()}
    assert restored.items() < later.items()
    assert sent(config) == 2


def test_every_command_refuses_cases_that_are_not_the_desks(config: DeskConfig) -> None:
    deliver(config, WAITS)
    run(config)
    lose(config)

    async def decide() -> None:
        async with open_desk(config, needs="nothing"):
            pass

    with pytest.raises(CasesLost):
        asyncio.run(decide())
    assert not config.cases_file.exists()


class Later(MaildirOutbox):
    """An outbox that takes nothing for now."""

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        raise NotSent("later", retry_after=3_600.0)


def test_a_mail_that_no_reply_had_left_for_waits_for_a_person(config: DeskConfig) -> None:
    deliver(config, ANSWERED)
    run(config, transport=Later(config.outbox), clock=ManualClock())
    with sqlite3.connect(config.sent_file) as sent_replies:
        sent_replies.execute("DELETE FROM sent")  # as if the desk had died before it came to that line
    lose(config)
    after_restore(config)

    assert list(run(config, ends).values()) == ["waiting"]
    assert sent(config) == 0


@pytest.mark.parametrize("how", ["backup", "log cut off"])
def test_an_older_database_is_known_for_one_and_what_left_since_is_not_sent_again(config: DeskConfig, how: str) -> None:
    deliver(config, WAITS)
    run(config)
    kept = back_up(config)

    async def approve(desk: Desk) -> None:
        await at_desk.approve(desk, 1, by="anna", seen=None)
        if how == "log cut off":  # what has not come from the write-ahead log into the file is gone
            assert config.cases_file.with_name("cases.db-wal").stat().st_size > 0
            back_up(config)

    run(config, approve)
    put_back(config, kept)

    with pytest.raises(CasesLost, match="the reply of case 1, sent at"):
        run(config)
    after_restore(config)

    async def settle(desk: Desk) -> tuple[list[int], dict[str, str]]:
        return await at_desk.settle_restored(desk), await ends(desk)

    settled, restored = run(config, settle)

    assert settled == [1]
    assert list(restored.values()) == ["cancelled"]
    assert sent(config) == 1


def test_a_database_without_its_newest_case_is_known_for_an_older_one(config: DeskConfig) -> None:
    deliver(config, WAITS)
    run(config)
    kept = back_up(config)
    deliver(config, AUTOMATIC)
    run(config)
    put_back(config, kept)

    with pytest.raises(CasesLost, match="case 2, which got a mail, is missing"):
        run(config)


def test_a_reply_that_was_about_to_leave_in_an_older_database_waits_for_a_word(config: DeskConfig) -> None:
    deliver(config, ANSWERED)
    run(config, transport=Later(config.outbox), clock=ManualClock())
    after_restore(config)  # nobody knows whether it left since

    async def word(desk: Desk) -> Any:
        parked = await desk.engine.case(1)
        return parked.status, parked.reason, await at_desk.resolve(desk, 1, by="anna", arrived=False)

    status, reason, row = run(config, word, clock=ManualClock(1_010_000.0))

    assert (status, "before the cases were restored" in (reason or "")) == (Status.PARKED, True)
    assert (row.status, row.outcome, sent(config)) == (Status.DONE, "sent", 1)


def test_without_the_file_that_says_what_left_the_copies_say_it(config: DeskConfig) -> None:
    deliver(config, ANSWERED)
    run(config)
    lose(config, "cases.db*", "sent.db*", "threads.db*")

    with pytest.raises(CasesLost, match=r"sent\.db, the record of sent replies, is missing or empty"):
        run(config)
    with pytest.raises(CasesLost):
        run(config)  # and it is not made by looking
    after_restore(config)

    assert list(run(config, ends).values()) == ["waiting"]
    assert sent(config) == 1


def test_an_emptied_file_of_what_left_is_a_missing_one(config: DeskConfig) -> None:
    deliver(config, ANSWERED)
    run(config)
    config.sent_file.write_bytes(b"")

    for _ in range(2):
        with pytest.raises(CasesLost, match=r"sent\.db, the record of sent replies, is missing or empty"):
            run(config)
    after_restore(config)

    assert list(run(config, ends).values()) == ["sent"]
    assert sent(config) == 1


@pytest.mark.parametrize("gone", ["cases.db*", "sent.db*"])
def test_the_doctor_finds_lost_cases_and_brings_nothing_into_being(config: DeskConfig, gone: str) -> None:
    def ill() -> list[str]:
        return [str(found.problem) for found in findings(config, now=0.0) if found.problem is not None]

    before = [found.problem for found in findings(config, now=0.0) if found.what == "replies sent"]
    born = config.home.exists()
    deliver(config, ANSWERED)
    run(config)
    well = ill()
    lose(config, gone)

    assert (before, born, well) == ([None], False, [])
    assert [problem for problem in ill() if "--after-restore" in problem] == ill() != []
    assert not list(config.home.glob(gone))


def test_another_database_is_not_taken_for_the_desks_own(config: DeskConfig, tmp_path: Path) -> None:
    run(config)
    other = config.model_copy(update={"home": tmp_path / "other", "mailbox": None})
    run(other)
    put_back(config, other.cases_file)

    with pytest.raises(CasesLost, match="it is another database"):
        run(config)


def test_two_desks_do_not_work_off_one_mailbox(config: DeskConfig, tmp_path: Path) -> None:
    deliver(config, ANSWERED)
    run(config)
    other = config.model_copy(update={"home": tmp_path / "other"})

    with pytest.raises(AnotherDesk, match=str(config.home)):
        run(other)
    again = run(config, ends)
    shutil.rmtree(config.home)
    with pytest.raises(AnotherDesk):  # the whole desk is lost, and the mailbox knows of it
        run(config)

    assert list(again.values()) == ["sent"]
    assert not other.outbox.exists()


DIED = 9


def dies(work: Callable[[], object], place: Any, name: str) -> int:
    """Do the work in a process that dies where it calls this function; its exit code."""
    child = os.fork()
    if child == 0:
        setattr(place, name, lambda *_, **__: os._exit(DIED))
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize(
    ("place", "name"),
    [
        (places, "secret_of"),  # what says what left is there, and nothing else
        (places, "Threads"),
        (wiring, "transport_of"),
        (Engine, "open"),
        (SentReplies, "record_cases"),
        (SentReplies, "record"),
        (MaildirOutbox, "deliver"),
        (SentReplies, "record_case"),
    ],
)
def test_a_crash_at_any_line_is_no_loss_of_cases(config: DeskConfig, place: Any, name: str) -> None:
    deliver(config, ANSWERED)

    assert dies(lambda: run(config), place, name) == DIED
    assert list(run(config, ends).values()) == ["sent"]
    assert sent(config) == 1


@pytest.mark.parametrize(
    ("place", "name"), [(wiring, "prepare"), (places, "SentReplies"), (wiring, "copies"), (SentReplies, "forget_cases")]
)
def test_a_crash_in_a_restore_leaves_the_desk_refusing(
    config: DeskConfig, place: Any, name: str
) -> None:  # fmt: skip
    deliver(config, ANSWERED)
    run(config)
    lose(config)

    assert dies(lambda: after_restore(config), place, name) == DIED
    with pytest.raises(CasesLost):
        run(config)
    after_restore(config)
    assert list(run(config, ends).values()) == ["answered before"]
    assert sent(config) == 1
