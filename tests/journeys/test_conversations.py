"""Conversations on the real desk: which mails are one case, which are not, and what a mail does to a draft that waits."""

import asyncio
import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pointsman import Stale, Status
from pointsman.testing.clock import ManualClock
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Case, Receipt
from pointsman_desk.config import ConversationsConfig, DeskConfig, FollowUpConfig, LimitsConfig
from pointsman_desk.errors import DraftChanged
from pointsman_desk.mail import apart
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.nodes.ingest import EARLIER_MAX
from pointsman_desk.standing import beside
from pointsman_desk.wiring import Desk, after_restore, open_desk
from tiers import figure

JOHN, EVE = "john.smith@post.example", "eve@elsewhere.test"
ASKS = "Where is my order A-1002? It has not arrived yet."
COMPLAINS = "I want my money back for order A-1002, please. The lamp is broken."


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    return DeskConfig(home=tmp_path / "desk", mailbox=None, authserv="mx.haus-und-hof.example")


def mail(number: int, text: str = ASKS, sender: str = JOHN, answers: str | None = None, **more: str) -> bytes:
    fields = {
        "From": sender,
        "To": "support@haus-und-hof.example",
        "Subject": "Re: My order" if answers else "My order",
        "Date": f"Mon, 02 Nov 2026 10:{number:02}:00 +0000",
        "Message-ID": f"<mail-{number}@post.example>",
        "Authentication-Results": f"mx.haus-und-hof.example; dmarc=pass header.from={sender.partition('@')[2]}",
        **({"In-Reply-To": f"<{answers}>"} if answers else {}),
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items()).encode() + b"\n" + text.encode() + b"\n"


def bounce(reported: str, action: str = "failed") -> bytes:
    return f"""From: MAILER-DAEMON@mx.post.example
To: support@haus-und-hof.example
Subject: Undelivered Mail Returned to Sender
Message-ID: <{action}@mx.post.example>
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

The address does not exist.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.post.example

Final-Recipient: rfc822; {JOHN}
Action: {action}
Status: {"5.1.1" if action == "failed" else "4.4.1"}
--b
Content-Type: text/rfc822-headers

Message-ID: <{reported}>
--b--
""".encode()


async def take(desk: Desk, *mails: bytes) -> at_desk.Run:
    found = [Found(name=f"mail {number}", raw=raw) for number, raw in enumerate(mails)]
    return await at_desk.work_off(desk, lambda name: None, asyncio.Event(), found)


def at_the_desk(config: DeskConfig, work: Callable[[Desk], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with open_desk(config) as desk:
            return await work(desk)

    return asyncio.run(main())


def sent(config: DeskConfig) -> list[bytes]:
    return [file.read_bytes() for file in sorted((config.outbox / "new").glob("*"))] if config.outbox.exists() else []


async def state(desk: Desk, case: int) -> Case:
    return await desk.engine.state(case, Case)


async def rows(desk: Desk) -> list[Any]:
    return await desk.engine.reader.cases()


def test_an_answer_while_a_draft_waits_voids_the_draft_and_is_answered_with_it(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS))
        before = await desk.engine.pending(1)
        run = await take(desk, mail(2, "Any news?", answers="mail-1@post.example"))
        with pytest.raises(Stale):
            await desk.engine.resume(
                before.token, before.answer(decision="approve", by="anna", sha256=before.beside["outgoing"].sha256), by="anna"
            )
        with pytest.raises(DraftChanged):
            await at_desk.approve(desk, 1, by="anna", seen=before.digest)
        return before, run, await desk.engine.pending(1), await state(desk, 1), await rows(desk)

    before, run, after, now, cases = at_the_desk(config, work)

    assert (len(cases), run.started, run.joined) == (1, [], [1])
    assert sent(config) == []
    assert now.mail is not None
    assert (now.mail.text, now.mails[-1].link) == ("Any news?", "answer to a mail of the conversation")
    assert [one.text for one in now.earlier or ()] == [COMPLAINS]
    assert now.risk is not None
    assert after.beside["outgoing"].message_id != before.beside["outgoing"].message_id
    assert after.beside["outgoing"].in_reply_to == "mail-2@post.example"
    assert "refund" in after.beside["intents"]


MOVES = "My address has changed. Please send order A-1002 to 4 Mill Lane instead."
HOURS = "What are your opening hours?"


@pytest.mark.parametrize(
    ("texts", "intents"),
    [
        ([COMPLAINS, MOVES], ("refund", "change_address")),
        ([MOVES, COMPLAINS], ("refund", "change_address")),
        ([HOURS, ASKS], ("order_status", "opening_hours")),
        ([ASKS, "And my invoice, please?", HOURS], ("opening_hours", "order_status", "invoice")),
    ],
)
def test_every_mail_that_no_reply_has_answered_counts(
    config: DeskConfig, monkeypatch: pytest.MonkeyPatch, texts: list[str], intents: tuple[str, ...]
) -> None:
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=14), "limits": LimitsConfig(machine_case_hour=9)})

    async def work(desk: Desk) -> Any:
        all_came, read_now = asyncio.Event(), apart.read

        async def read(raw: bytes, authserv: str, *more: Any) -> Any:
            if authserv:  # the node that reads; without it, intake looks for the conversation
                await all_came.wait()
            return await read_now(raw, authserv, *more)

        monkeypatch.setattr(apart, "read", read)
        for number, text in enumerate(texts, 1):  # all of them wait for the one draft
            raw = mail(number, text, answers="mail-1@post.example" if number > 1 else None)
            await at_desk.ingest(desk.engine, desk.process, raw, desk.conversations, now=desk.clock.now())
        all_came.set()
        await take(desk)
        return await state(desk, 1), await desk.engine.pending(1)

    now, pending = at_the_desk(config, work)

    assert now.intents == intents
    assert now.reply.template is None
    assert now.outgoing.answers == tuple(one.key for one in now.mails)
    assert (pending.pause, len(pending.beside["earlier"])) == ("approve", len(texts) - 1)
    assert sent(config) == []


def test_only_what_no_reply_has_answered_counts_for_the_next_one(config: DeskConfig) -> None:
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=14)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS))
        await at_desk.approve(desk, 1, by="anna", seen=None)
        await take(desk, mail(2, HOURS, answers="mail-1@post.example"))
        first = await state(desk, 1)
        await take(desk, mail(3, MOVES, answers="mail-1@post.example"))
        return first, await state(desk, 1)

    first, second = at_the_desk(config, work)

    assert (first.intents, [one.text for one in first.answered], first.earlier) == (("opening_hours",), [COMPLAINS], ())
    assert (second.intents, [one.text for one in second.earlier]) == (("change_address", "opening_hours"), [HOURS])
    assert [one.text for one in second.answered] == [COMPLAINS]


def test_a_mail_of_a_sender_who_is_not_sure_keeps_the_order_out_of_the_reply_to_all(config: DeskConfig) -> None:
    forged = mail(2, "And when does it come?", answers="mail-1@post.example").replace(b"dmarc=pass", b"dmarc=fail")

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS), forged)
        await take(desk, mail(3, "Well?", answers="mail-1@post.example"))
        return await state(desk, 1)

    now = at_the_desk(config, work)

    assert (len(now.mails), now.trust, now.order.reason) == (3, "none", "the sender is not verified")


def test_more_mails_than_are_read_are_for_a_person(config: DeskConfig) -> None:
    # A person must decide on the first one, so that it is not answered before the others come.
    mails = [mail(1, COMPLAINS), *(mail(number, HOURS, answers="mail-1@post.example") for number in range(2, EARLIER_MAX + 3))]

    async def work(desk: Desk) -> Any:
        for raw in mails:
            await at_desk.ingest(desk.engine, desk.process, raw, desk.conversations, now=desk.clock.now())
        await take(desk)
        return await state(desk, 1), (await desk.engine.case(1)).status

    now, status = at_the_desk(config, work)

    assert (len(now.mails), len(now.earlier), status) == (EARLIER_MAX + 2, EARLIER_MAX, Status.WAITING)
    assert "mails-unread" in now.mail.notes
    assert now.is_doubtful


@pytest.mark.parametrize("answered", [False, True])
def test_the_risk_of_a_conversation_never_falls(config: DeskConfig, answered: bool) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, "My lawyer will write to you about order A-1002."))
        first = await state(desk, 1)
        if answered:
            await at_desk.approve(desk, 1, by="anna", seen=None, despite_violations=True)
        answers = first.outgoing.message_id if answered and first.outgoing else "mail-1@post.example"
        await take(desk, mail(2, "What are your opening hours?", answers=answers))
        last = (await rows(desk))[-1]
        return first.risk, (await state(desk, last.id)).risk, last.id, last.status

    assert at_the_desk(config, work) == ("high", "high", 2 if answered else 1, Status.WAITING)


def test_an_answer_to_our_reply_is_a_new_case_of_the_conversation_where_the_old_one_has_ended(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        ours = (await state(desk, 1)).outgoing
        assert ours is not None
        await take(desk, mail(2, answers=ours.message_id))
        return (
            [row.outcome for row in await rows(desk)],
            (await state(desk, 2)).mails[0],
            [one.case for one in (await beside(config, desk.engine.reader, await desk.engine.case(1))).later],
        )

    outcomes, second, later = at_the_desk(config, work)

    assert outcomes == ["sent", "sent"]
    assert (second.link, second.related, later) == ("answer to our mail", 1, [2])
    assert len(sent(config)) == 2


QUOTED = {
    "marked": lambda body: (
        "On Mon, 2 Nov 2026 at 10:01, Haus & Hof <support@haus-und-hof.example> wrote:\n"
        + "\n".join(f"> {line}" for line in body.split("\n"))
    ),
    "unmarked": lambda body: (
        "From: Haus & Hof <support@haus-und-hof.example>\nSent: Monday, 2 November 2026\nTo: John\nSubject: Re: My order\n\n" + body
    ),
}


@pytest.mark.parametrize("wait_days", [0, 14])
@pytest.mark.parametrize("quoted", QUOTED)
@pytest.mark.parametrize("below", ["", "3 weeks late, this is not what I paid for."])
def test_what_quotes_our_reply_is_history_and_what_stands_below_it_is_not(
    config: DeskConfig, wait_days: int, quoted: str, below: str
) -> None:
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=wait_days), "limits": LimitsConfig(machine_case_hour=2)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        ours = (await state(desk, 1)).outgoing
        assert ours is not None
        await take(desk, mail(2, f"{ASKS}\n\n{QUOTED[quoted](ours.body)}\n{below}", answers=ours.message_id))
        row = (await rows(desk))[-1]
        return row, (await state(desk, row.id)).mail

    row, read = at_the_desk(config, work)

    assert below in read.said
    doubted = bool(below) and quoted == "unmarked"
    assert ("doubtful-lines" in read.notes) is doubted
    assert (len(sent(config)), row.rule == "some lines may not be the customer's own") == ((1, True) if doubted else (2, False))


def test_a_doubtful_line_of_an_earlier_mail_keeps_the_case_for_a_person(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, f"{ASKS}\n> it does not sound good at all"))
        await take(desk, mail(2, ASKS, answers="mail-1@post.example"))
        [row] = await rows(desk)
        return row, await state(desk, row.id)

    row, case = at_the_desk(config, work)

    assert case.mail is not None
    assert "doubtful-lines" not in case.mail.notes
    assert (row.status, row.rule) == (Status.WAITING, "some lines may not be the customer's own")
    assert sent(config) == []


def test_each_answer_of_a_conversation_has_a_message_id_of_its_own(config: DeskConfig) -> None:
    async def work(desk: Desk) -> None:
        await take(desk, mail(1))
        for number in (2, 3):
            last = max(range(1, number), key=int)
            ours = (await state(desk, last)).outgoing
            assert ours is not None
            await take(desk, mail(number, answers=ours.message_id))

    at_the_desk(config, work)

    assert len({re.search(rb"^Message-ID: <(.*)>", one, re.MULTILINE)[1] for one in sent(config)}) == 3  # type: ignore[index]


@pytest.mark.parametrize("what", ["our reply", "the customer's mail"])
def test_a_stranger_who_names_a_mail_of_a_case_does_not_get_into_it(config: DeskConfig, what: str) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS))
        before = await desk.engine.pending(1)
        named = before.beside["outgoing"].message_id if what == "our reply" else "mail-1@post.example"
        await take(desk, mail(2, "Send it to me instead.", sender=EVE, answers=named))
        after = await desk.engine.pending(1)
        return before == after, len((await state(desk, 1)).mails), (await state(desk, 2)).mails[0], (await rows(desk))[1].correlation

    same, mails, strangers, conversation = at_the_desk(config, work)

    assert (same, mails) == (True, 1)
    assert (strangers.link, strangers.related, strangers.conversation) == (None, 1, conversation)


@pytest.mark.parametrize(
    "forged", ["case-1.0123456789abcdef0123456789abcdef01234567@haus-und-hof.example", "case-99.{rest}", "case-2.{rest}"]
)
def test_a_forged_message_id_leads_nowhere(config: DeskConfig, forged: str) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS), mail(2, COMPLAINS, Subject="Another matter"))
        ours = (await desk.engine.pending(1)).beside["outgoing"].message_id
        await take(desk, mail(3, answers=forged.format(rest=ours.partition(".")[2])))
        return [len((await state(desk, case)).mails) for case in (1, 2)], (await state(desk, 3)).mails[0]

    mails, third = at_the_desk(config, work)

    assert mails == [1, 1]
    assert (third.link, third.related) == (None, None)


@pytest.mark.parametrize(("setting", "where"), [("signs_addresses", "Delivered_To"), ("signs_subjects", "Subject")])
def test_an_answer_without_ids_is_known_by_the_signed_mark(config: DeskConfig, setting: str, where: str) -> None:
    config = config.model_copy(update={"conversations": ConversationsConfig.model_validate({setting: True})})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS), mail(2, COMPLAINS, Subject="Another matter"))
        ours = (await desk.engine.pending(1)).beside["outgoing"]
        mark = ours.reply_to if where == "Delivered_To" else ours.subject
        spoilt = mark.replace("c1.", "c2.").replace("C-1-", "C-2-")
        await take(desk, mail(3, "And?", **{where: mark.upper()}), mail(4, "Well?", **{where: spoilt}))
        return mark, (await state(desk, 1)).mails[1:], (await state(desk, (await rows(desk))[-1].id)).mails[0]

    mark, joined, other = at_the_desk(config, work)

    assert mark
    assert [one.link for one in joined] == ["signed address" if where == "Delivered_To" else "signed subject"]
    assert other.link is None


def test_our_mark_stands_once_in_a_subject(config: DeskConfig) -> None:
    config = config.model_copy(update={"conversations": ConversationsConfig(signs_subjects=True)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS))
        ours = (await desk.engine.pending(1)).beside["outgoing"]
        await take(desk, mail(2, "And?", answers=ours.message_id, Subject=ours.subject))
        return ours.subject, (await desk.engine.pending(1)).beside["outgoing"].subject

    first, second = at_the_desk(config, work)

    assert re.fullmatch(r"Re: My order \[#C-1-[A-Z2-7]{8}\]", first)
    assert second == first


def test_a_mail_that_came_by_an_alias_too_is_one_mail(config: DeskConfig) -> None:
    copy = b"Received: by mx2.example\nDelivered-To: info@haus-und-hof.example\n" + mail(1)

    async def work(desk: Desk) -> Any:
        run = await take(desk, mail(1), copy)
        config.threads_file.unlink()  # without the index, the engine still knows
        return run

    run = at_the_desk(config, work)
    again = at_the_desk(config, lambda desk: take(desk, copy, mail(1)))

    assert (run.started, run.known) == ([1], 1)
    assert (again.started, again.joined, again.known) == ([], [], 2)
    assert len(sent(config)) == 1


def test_another_mail_under_a_message_id_that_was_used_is_another_mail(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        run = await take(desk, mail(1), mail(1, "What are your opening hours?", sender=EVE))
        return run, [(await state(desk, case)).mail for case in (1, 2)]

    run, (first, second) = at_the_desk(config, work)

    assert run.started == [1, 2]
    assert first is not None
    assert second is not None
    assert ("message-id-reused" in first.notes, "message-id-reused" in second.notes) == (False, True)


def test_mails_that_answer_a_third_one_are_a_conversation_for_one_sender_only(config: DeskConfig) -> None:
    letter = "newsletter@shop-news.example"

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS, answers=letter), mail(2, "And?", answers=letter), mail(3, sender=EVE, answers=letter))
        states = [await state(desk, row.id) for row in await rows(desk)]
        return [[one.link for one in each.mails] for each in states], states[-1].mails[0].related

    assert at_the_desk(config, work) == ([[None, "shared reference"], [None]], None)


def test_a_changed_subject_is_told_to_the_person_who_approves(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS))
        await take(desk, mail(2, COMPLAINS, answers="mail-1@post.example"))
        same = (await state(desk, 1)).mail
        await take(desk, mail(3, COMPLAINS, answers="mail-1@post.example", Subject="Invoice for last December"))
        return same, (await desk.engine.pending(1)).shown["mail"]

    same, other = at_the_desk(config, work)

    assert ("new-topic" in same.notes, "new-topic" in other.notes) == (False, True)


def test_of_endless_subjects_the_beginnings_are_compared(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS, Subject=f"{'chair ' * 40}{'a' * 2_000}"))
        await take(desk, mail(2, COMPLAINS, answers="mail-1@post.example", Subject=f"{'chair ' * 40}{'b' * 2_000}"))
        return (await desk.engine.pending(1)).shown["mail"].notes

    assert "new-topic" not in at_the_desk(config, work)


@pytest.mark.parametrize(("organisations", "cases"), [((), 2), (("firm.example",), 1)])
def test_a_colleague_goes_on_with_a_case_where_the_organisation_is_named(
    config: DeskConfig, organisations: tuple[str, ...], cases: int
) -> None:
    config = config.model_copy(update={"conversations": ConversationsConfig(organisations=organisations)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS, sender="ann@firm.example"))
        await take(desk, mail(2, COMPLAINS, sender="ben@firm.example", answers="mail-1@post.example"))
        return len(await rows(desk)), (await desk.engine.pending(cases)).beside["outgoing"].to

    assert at_the_desk(config, work) == (cases, "ben@firm.example")


def test_what_a_machine_says_to_an_open_case_is_kept_there_and_changes_nothing(config: DeskConfig) -> None:
    away = mail(2, "I am away until Monday.", answers="mail-1@post.example", Auto_Submitted="auto-replied")

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS))
        before = await desk.engine.pending(1)
        run = await take(desk, away, bounce(before.beside["outgoing"].message_id, "delayed"))
        after = await desk.engine.pending(1)
        again = await take(desk, away)
        return before, run, after, again, await rows(desk), (await state(desk, 1)).reports

    before, run, after, again, cases, reports = at_the_desk(config, work)

    assert (before.token, before.digest, before.shown) == (after.token, after.digest, after.shown)
    assert (run.joined, again.known, len(cases)) == ([1, 1], 1, 1)
    assert [(one.automatic, one.link) for one in reports] == [
        ("out of office", "answer to a mail of the conversation"), ("bounce", "answer to our mail"),
    ]  # fmt: skip
    assert reports[1].bounce.action == "delayed"


@pytest.mark.parametrize(("action", "ends"), [("failed", (Status.PARKED, None)), ("delayed", (Status.DONE, "automatic"))])
def test_a_bounce_of_our_reply_is_shown_with_the_case_that_it_answers_and_is_never_answered(
    config: DeskConfig, action: str, ends: tuple[Status, str | None]
) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        ours = (await state(desk, 1)).outgoing
        assert ours is not None
        await take(desk, bounce(ours.message_id, action))
        row = await desk.engine.case(2)
        return (
            row,
            (await state(desk, 2)).mails[0],
            [one.case for one in (await beside(config, desk.engine.reader, await desk.engine.case(1))).later],
        )

    row, second, later = at_the_desk(config, work)

    assert (row.status, row.outcome) == ends
    assert (second.related, later) == (1, [2])
    assert second.conversation == row.correlation
    assert len(sent(config)) == 1


def test_a_bounce_that_names_a_mail_which_we_never_sent_is_of_no_case(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        await take(desk, mail(1), bounce("case-1.0123456789abcdef0123456789abcdef01234567@haus-und-hof.example"))
        return await desk.engine.case(2), (await state(desk, 2)).mails[0].related

    row, related = at_the_desk(config, work)

    assert (row.status, row.outcome, related) == (Status.WAITING, None, None), "nothing proves whose mail it is about"


def test_the_index_holds_no_address_and_no_identifier(config: DeskConfig) -> None:
    at_the_desk(config, lambda desk: take(desk, mail(1), mail(2, answers="mail-1@post.example")))

    with sqlite3.connect(config.threads_file) as index:
        held = "\n".join(index.iterdump())

    assert len(held.splitlines()) > 6
    assert "post.example" not in held


def test_after_a_loss_of_the_cases_every_mail_is_taken_anew(config: DeskConfig) -> None:
    at_the_desk(config, lambda desk: take(desk, mail(1, COMPLAINS), mail(2, COMPLAINS, sender=EVE)))
    for file in config.home.glob("cases.db*"):
        file.unlink()
    after_restore(config)

    async def work(desk: Desk) -> Any:
        run = await take(desk, mail(2, COMPLAINS, sender=EVE), mail(1, COMPLAINS), mail(3, "And?", answers="mail-1@post.example"))
        return run, [len((await state(desk, row.id)).mails) for row in await rows(desk)]

    run, mails = at_the_desk(config, work)

    assert (run.started, run.joined, run.known) == ([1, 2], [2], 0)
    assert mails == [1, 2]


class Renaming:
    """A provider that gives each mail a Message-ID of its own."""

    name = "renaming"

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        return Receipt(provider_message_id="0102018f-1a2b-000000@eu-west-1.amazonses.com", transport=self.name)


def test_an_answer_that_names_the_providers_id_of_our_reply_finds_its_case(config: DeskConfig) -> None:
    async def main() -> Any:
        async with open_desk(config, transport=Renaming()) as desk:
            await take(desk, mail(1))
            await take(desk, mail(2, COMPLAINS, answers="0102018f-1a2b-000000@email.amazonses.com"))
            return (await state(desk, 2)).mails[0]

    second = asyncio.run(main())

    assert (second.link, second.related) == ("answer to our mail", 1)


DAY = 86_400.0


def test_a_case_that_waits_for_the_customer_goes_on_with_the_answer(config: DeskConfig) -> None:
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=14)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        waiting = await desk.engine.case(1)
        with pytest.raises(at_desk.NotSendable, match="waits for an answer"):
            await at_desk.approve(desk, 1, by="anna", seen=None)
        ours = (await state(desk, 1)).outgoing
        assert ours is not None
        run = await take(desk, mail(2, COMPLAINS, answers=ours.message_id))
        row = await at_desk.approve(desk, 1, by="anna", seen=None)
        return waiting, run, row, await at_desk.close(desk, 1, by="anna"), await rows(desk)

    waiting, run, approved, closed, cases = at_the_desk(config, work)

    assert (waiting.status, waiting.rule, run.joined) == (Status.WAITING, "the customer may answer", [1])
    assert (approved.status, approved.rule) == (Status.WAITING, "the customer may answer")
    assert (closed.status, closed.outcome, len(cases)) == (Status.DONE, "sent", 1)
    assert len({re.search(rb"^Message-ID: <(.*)>", one, re.MULTILINE)[1] for one in sent(config)}) == 2  # type: ignore[index]


def test_the_case_keeps_each_reply_that_left_and_which_mails_it_answers(config: DeskConfig) -> None:
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=14)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1, COMPLAINS), mail(2, "My address has changed, too.", answers="mail-1@post.example"))
        before = await state(desk, 1)
        await at_desk.approve(desk, 1, by="anna", seen=None)
        after = await state(desk, 1)
        await take(desk, mail(3, COMPLAINS, answers=after.sent[0].message_id))
        return before, after, await state(desk, 1)

    before, after, again = at_the_desk(config, work)

    assert (before.sent, before.outgoing.answers) == ([], tuple(one.key for one in before.mails))
    assert [(one.to, one.subject, one.body) for one in after.sent] == [(JOHN, after.outgoing.subject, after.outgoing.body)]
    assert after.sent[0].answers == before.outgoing.answers
    assert again.sent == after.sent, "what was sent stays, whatever comes"
    assert again.receipt is None
    assert again.outgoing.answers == (again.mails[2].key,)


def test_a_case_that_hears_nothing_reminds_the_desk_and_ends_as_sent(config: DeskConfig) -> None:
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=14, remind_days=7)})
    clock = ManualClock()

    async def after(desk: Desk, days: float) -> tuple[Status, str | None, int]:
        clock.advance(days * DAY)
        await take(desk)
        row, events = await desk.engine.case(1), await desk.engine.reader.events(case=1)
        return row.status, row.outcome, sum(event.kind == "reminded" for event in events)

    async def main() -> Any:
        async with open_desk(config, clock=clock) as desk:
            await take(desk, mail(1))
            return [await after(desk, days) for days in (6.9, 0.2, 6.8, 0.2)]

    waits = Status.WAITING
    assert asyncio.run(main()) == [(waits, None, 0), (waits, None, 1), (waits, None, 1), (Status.DONE, "sent", 1)]


def test_a_reply_that_comes_back_while_its_case_waits_is_for_a_person(config: DeskConfig) -> None:
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=14)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1))
        ours = (await state(desk, 1)).outgoing
        assert ours is not None
        await take(desk, bounce(ours.message_id, "delayed"))
        delayed = await desk.engine.case(1)
        await take(desk, bounce(ours.message_id))
        return delayed, await desk.engine.case(1), len((await state(desk, 1)).reports), await rows(desk)

    delayed, failed, reports, cases = at_the_desk(config, work)

    assert (delayed.status, failed.status, reports, len(cases)) == (Status.WAITING, Status.PARKED, 2, 1)
    assert len(sent(config)) == 1


def test_two_machines_that_answer_each_other_come_to_an_end(config: DeskConfig) -> None:
    """The other machine hides what it is, and answers each reply at once."""
    config = config.model_copy(update={"follow_up": FollowUpConfig(wait_days=14)})
    clock = ManualClock()

    async def main() -> Any:
        async with open_desk(config, clock=clock) as desk:
            for number in range(1, 10):
                ours = (await state(desk, 1)).outgoing if number > 1 else None
                await take(desk, mail(number, answers=ours.message_id if ours else None))
                clock.advance(120.0)
            return await desk.engine.case(1), (await state(desk, 1)).allowance

    row, allowance = asyncio.run(main())

    assert len(sent(config)) == 1
    assert (row.status, row.rule) == (Status.WAITING, "the limit of automatic replies is reached")
    assert allowance.why == "automatic replies in this case within an hour: 1"


def test_an_address_is_answered_by_itself_a_few_times_a_day(config: DeskConfig) -> None:
    clock = ManualClock()

    async def main() -> Any:
        async with open_desk(config, clock=clock) as desk:
            for number in range(1, 6):
                await take(desk, mail(number, Subject=f"Order, {number}"))
            before = [row.status for row in await rows(desk)]
            clock.advance(DAY + 1.0)
            await take(desk, mail(6, Subject="Order, 6"))
            return before, (await rows(desk))[-1].outcome

    done, waits = Status.DONE, Status.WAITING
    assert asyncio.run(main()) == ([done, done, done, waits, waits], "sent")


def test_a_sender_of_a_flood_waits_for_a_person_and_others_do_not(config: DeskConfig) -> None:
    clock = ManualClock()

    async def main() -> Any:
        async with open_desk(config, clock=clock) as desk:
            await take(desk, *(mail(number, "Hello", Subject=f"Question {number}") for number in range(1, 53)))
            await take(desk, mail(53, "What are your opening hours?", sender=EVE))
            return [(await state(desk, row.id)).mails[0].flood for row in await rows(desk)]

    floods = asyncio.run(main())

    assert floods[:50] == [None] * 50
    assert floods[50:] == ["the sender wrote 51 mails within 1 min", "the sender wrote 52 mails within 1 min", None]


def test_what_a_flood_asks_is_not_answered_without_a_person(config: DeskConfig) -> None:
    config = config.model_copy(update={"limits": LimitsConfig(mails_minute=1)})

    async def work(desk: Desk) -> Any:
        await take(desk, mail(1), mail(2, Subject="Another order"))
        return [row.rule for row in await rows(desk)]

    assert at_the_desk(config, work) == ["otherwise", "its sender writes too many mails"]


def test_an_answer_that_comes_while_the_desk_is_killed_is_neither_lost_nor_another_case() -> None:
    world = Path(__file__).with_name("reply_world.py")
    wanted = figure("REPLY_KILLS", 12)
    done = subprocess.run([sys.executable, str(world), str(wanted)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)

    assert report["wanted"] == [[["mail-1@post.example", "mail-2@post.example"], ["out of office"], "Any news of it?"]]
    assert report["other_ends"] == []
    assert report["killed"] >= min(wanted, report["points"]) * 0.8
