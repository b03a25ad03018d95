"""Mails of a mailbox are taken in side by side, as if they were taken in one by one."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pointsman.store.sqlite import SqliteStore
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Case
from pointsman_desk.config import DeskConfig
from pointsman_desk.desk import Run
from pointsman_desk.errors import IndexUnavailable
from pointsman_desk.mail.apart import IN_PLACE_BYTES
from pointsman_desk.mail.message import identify
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.mail.threads import Threads
from pointsman_desk.nodes.ingest import names_of
from pointsman_desk.wiring import Desk, open_desk

MAILS = 48
PASSES = 20  # of the event loop
HANG_SECONDS = 300.0
OWN = "support@haus-und-hof.example"


def mail(number: int, *fields: str, text: str = "When are you open?", sender: str = "") -> bytes:
    head = [
        f"From: {sender or f'customer{number}@post.example'}",
        f"To: {OWN}",
        "Subject: Hours",
        f"Message-ID: <{number}@post.example>",
        *fields,
    ]
    return ("\n".join(head) + f"\n\n{text}\n").encode()


async def taken(desk: Desk, mails: Sequence[bytes]) -> Run:
    return await at_desk.work_off(desk, lambda name: None, asyncio.Event(), [Found(name="a mail", raw=raw) for raw in mails])


def senders(tmp_path: Path, mails: Sequence[bytes]) -> tuple[Run, list[list[str]]]:
    """What a run did, and the senders of each case in the order of the cases."""

    async def main() -> tuple[Run, list[list[str]]]:
        async with open_desk(DeskConfig(home=tmp_path / "desk", mailbox=None), models=()) as desk:
            run = await taken(desk, mails)
            states = [await desk.engine.state(row.id, Case) for row in sorted(await desk.engine.reader.cases(limit=1_000))]
            return run, [[one.email_id.partition("@")[0] for one in state.mails] for state in states]

    return asyncio.run(main())


def test_mails_of_many_customers_share_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commits = 0
    commit_whole = SqliteStore._commit_whole

    def counted(self: SqliteStore, *arguments: Any) -> Any:
        nonlocal commits
        commits += 1
        for _ in range(PASSES):  # on a quick disk, too, a commit takes longer than what can go on meanwhile
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._loop).result(HANG_SECONDS)
        return commit_whole(self, *arguments)

    monkeypatch.setattr(SqliteStore, "_commit_whole", counted)

    run, _ = senders(tmp_path, [mail(number) for number in range(MAILS)])

    assert len(run.started) == MAILS
    assert commits < 4 * MAILS  # each mail has two before its case runs, and its case about eight


def test_cases_start_in_the_order_of_the_mails(tmp_path: Path) -> None:
    long = "A long line of text.\n" * (IN_PLACE_BYTES // 20)  # a thread looks at it

    run, mails = senders(tmp_path, [mail(number, text=long if number % 5 == 0 else "Hello") for number in range(MAILS)])

    assert mails == [[str(number)] for number in range(MAILS)]
    assert sorted(run.started) == list(range(1, MAILS + 1))


def test_an_answer_and_a_second_copy_wait_for_their_mail(tmp_path: Path) -> None:
    answer = mail(10, "In-Reply-To: <1@post.example>", sender="customer1@post.example", text="And on Sundays?")
    another = mail(11, "References: <1@post.example> <10@post.example>", sender="customer1@post.example", text="Hello?")

    run, mails = senders(tmp_path, [mail(0), mail(1), mail(2), answer, mail(1), another, mail(3)])

    assert mails == [["0"], ["1", "10", "11"], ["2"], ["3"]]
    assert (len(run.started), len(run.joined), run.known) == (4, 2, 1)


def test_a_mail_that_fails_ends_the_run_and_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mails = [mail(number) for number in range(MAILS)]
    arrived = Threads.arrived

    def failing(self: Threads, sender: str, *arguments: Any) -> list[float]:
        if sender == "customer20@post.example":
            raise IndexUnavailable("the index cannot be used now; try again.")
        return arrived(self, sender, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Threads, "arrived", failing)
        with pytest.raises(IndexUnavailable):
            senders(tmp_path, mails)
    run, cases = senders(tmp_path, mails)

    assert sorted(cases) == sorted([str(number)] for number in range(MAILS))
    assert len(run.started) + run.known == MAILS
    assert run.known >= 20 - 16


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        (mail(1), mail(2), False),
        (mail(1), mail(1, text="Another text"), True),
        (mail(1), mail(2, "In-Reply-To: <1@post.example>"), True),
        (mail(1), mail(2, "References: <0@post.example> <1@post.example>"), True),
        (mail(1), mail(2, sender="customer1@post.example"), False),
        (mail(1, "In-Reply-To: <a@shop.example>"), mail(2, "In-Reply-To: <b@shop.example>"), True),
        (mail(1, "In-Reply-To: <a@shop.example>"), mail(2), False),
    ],
)
def test_mails_that_may_belong_together_share_a_name(one: bytes, other: bytes, common: bool) -> None:
    assert names_of(identify(one)).isdisjoint(names_of(identify(other))) is not common
