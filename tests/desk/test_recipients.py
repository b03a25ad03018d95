"""Whom a reply goes to: the sender, or whom a person chooses; never the desk itself, and never elsewhere without a person."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pointsman import Status
from pointsman_desk import desk as at_desk
from pointsman_desk.case import Case, Order
from pointsman_desk.cli.one_case import _print_head
from pointsman_desk.cli.terminal import console
from pointsman_desk.config import DeskConfig, FormConfig
from pointsman_desk.errors import DeskError, DraftChanged
from pointsman_desk.mail.message import UNKNOWN_SENDER
from pointsman_desk.mail.sources.base import Found
from pointsman_desk.standing import Beside, beside
from pointsman_desk.wiring import Desk, open_desk

OWN, JOHN, MARY = "support@haus-und-hof.example", "john.smith@post.example", "mary@other.example"


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> DeskConfig:
    return DeskConfig(home=tmp_path / "desk", mailbox=None, authserv="mx.haus-und-hof.example")


def mail(sender: str, *fields: str) -> bytes:
    head = [f"From: {sender}", f"To: {OWN}", "Subject: My order", "Message-ID: <one@post.example>", *fields]
    head.append(f"Authentication-Results: mx.haus-und-hof.example; dmarc=pass header.from={sender.partition('@')[2]}")
    return ("\n".join(head) + "\n\nWhere is my order A-1002? It has not arrived yet.\n").encode()


def at_the_desk(config: DeskConfig, raw: bytes, work: Callable[[Desk], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        async with open_desk(config, models=()) as desk:
            await at_desk.work_off(desk, lambda name: None, asyncio.Event(), [Found(name="a mail", raw=raw)])
            return await work(desk)

    return asyncio.run(main())


async def _waits(desk: Desk) -> tuple[Status, str]:
    outgoing = (await desk.engine.state(1, Case)).outgoing
    assert outgoing is not None
    return (await desk.engine.case(1)).status, outgoing.to


@pytest.mark.parametrize("sender", [OWN, "noreply@haus-und-hof.example", "no-reply@forms.example"])
def test_what_a_form_sends_is_a_persons_case_for_its_reply_to(config: DeskConfig, sender: str) -> None:
    assert at_the_desk(config, mail(sender, f"Reply-To: {JOHN}"), _waits) == (Status.WAITING, JOHN)


def test_a_person_who_asks_for_the_answer_elsewhere_is_answered_where_they_wrote(config: DeskConfig) -> None:
    status, to = at_the_desk(config, mail(JOHN, f"Reply-To: {MARY}"), _waits)

    assert (status, to) == (Status.WAITING, JOHN)


def test_a_sender_whom_no_server_here_can_write_to_waits_for_a_person_who_names_another_address(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        row = await desk.engine.case(1)
        with pytest.raises(at_desk.NotSendable, match=r"jürgen@post\.example .*SMTPUTF8.*--to ADDRESS"):
            await at_desk.approve(desk, 1, by="anna", seen=None)
        await at_desk.readdress(desk, 1, by="anna", seen=None, to=JOHN, copies=None)
        sent = await at_desk.approve(desk, 1, by="anna", seen=(await desk.engine.pending(1)).digest)
        return row.status, row.rule, sent.outcome

    found = at_the_desk(config, mail("jürgen@post.example"), work)

    assert found == (Status.WAITING, "the reply has no valid recipient", "sent")


def test_a_reply_to_the_desk_itself_is_refused_until_a_person_names_the_customer(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        with pytest.raises(at_desk.NotSendable, match=r"the desk's own address .*--to ADDRESS"):
            await at_desk.approve(desk, 1, by="anna", seen=None)
        for wrong in (OWN, f"{OWN.replace('@', '+c1@')}", "John <john@x.example>", "a@b.example, c@d.example", "x\ny@z.example"):
            with pytest.raises(DeskError, match="--to"):
                await at_desk.readdress(desk, 1, by="anna", seen=None, to=wrong, copies=None)
        before = await desk.engine.pending(1)
        waits = await at_desk.readdress(desk, 1, by="anna", seen=None, to=JOHN, copies=None)
        with pytest.raises(DraftChanged):
            await at_desk.approve(desk, 1, by="anna", seen=before.digest)
        return waits.status, await at_desk.approve(desk, 1, by="anna", seen=(await desk.engine.pending(1)).digest)

    raw = mail(OWN).replace(b"<one@", b"<own@")

    async def treated(desk: Desk) -> Any:
        from pointsman_desk import sorting  # noqa: PLC0415 - only this mail looks automatic

        if (await desk.engine.case(1)).step == "sort":
            await sorting.accept(desk, 1, by="anna")
        return await work(desk)

    waits, row = at_the_desk(config, raw, treated)

    assert (waits, row.outcome) == (Status.WAITING, "sent")
    [sent] = (config.outbox / "new").iterdir()
    assert b"\nTo: john.smith@post.example" in sent.read_bytes().replace(b"\r", b"")


def test_an_edit_that_is_sent_at_once_goes_where_it_says(config: DeskConfig) -> None:
    async def work(desk: Desk) -> Any:
        drafted = (await desk.engine.pending(1)).shown["reply"].body
        return await at_desk.edit(desk, 1, by="anna", body=drafted, seen=None, send=True, to=MARY)

    at_the_desk(config, mail("noreply@haus-und-hof.example", f"Reply-To: {JOHN}"), work)

    [sent] = (config.outbox / "new").iterdir()
    assert f"\nTo: {MARY}".encode() in sent.read_bytes().replace(b"\r", b"")


@pytest.mark.parametrize(("copies", "wanted"), [(None, ()), (True, (MARY,)), (False, ())])
def test_who_stood_in_cc_gets_a_copy_when_the_person_says_so(config: DeskConfig, copies: bool | None, wanted: tuple[str, ...]) -> None:
    raw = mail(JOHN, f"Cc: Mary <{MARY}>, {OWN}, {JOHN}").replace(b"Where is", b"I want my money back. Where is")

    async def work(desk: Desk) -> Any:
        if copies is not None:
            await at_desk.readdress(desk, 1, by="anna", seen=None, to=None, copies=copies)
        pending = await desk.engine.pending(1)
        row = await at_desk.approve(desk, 1, by="anna", seen=pending.digest)
        return pending.shown["addressing"].cc, pending.beside["outgoing"], row.outcome

    cc, outgoing, outcome = at_the_desk(config, raw, work)

    assert (cc, outgoing.cc, outcome) == (wanted, wanted, "sent")
    assert (f"\r\nCc: {MARY}\r\n" in outgoing.raw) is bool(wanted)


def test_a_second_copy_that_a_scanner_changed_is_not_answered_without_a_person(config: DeskConfig) -> None:
    first = mail(JOHN, "Date: Mon, 02 Nov 2026 10:00:00 +0000")
    copy = first.replace(b"Subject: My", b"Subject: [EXTERN] My").replace(b"yet.", b"yet.\n\nThis mail came from outside.")

    async def work(desk: Desk) -> Any:
        await at_desk.work_off(desk, lambda name: None, asyncio.Event(), [Found(name="a copy", raw=copy)])
        return [(row.status, row.outcome) for row in await desk.engine.reader.cases()]

    assert at_the_desk(config, first, work) == [(Status.DONE, "sent"), (Status.WAITING, None)]


def test_a_changed_copy_of_a_mail_that_waits_is_of_its_conversation(config: DeskConfig) -> None:
    first = mail(JOHN, "Date: Mon, 02 Nov 2026 10:00:00 +0000").replace(b"Where is", b"Refund me! Where is")
    copy = first.replace(b"Subject: My", b"Subject: [EXTERN] My")

    async def work(desk: Desk) -> Any:
        await at_desk.work_off(desk, lambda name: None, asyncio.Event(), [Found(name="a copy", raw=copy)])
        rows = await desk.engine.reader.cases()
        return [(row.status, [one.link for one in (await desk.engine.state(row.id, Case)).mails]) for row in rows]

    assert at_the_desk(config, first, work) == [(Status.WAITING, [None, "same Message-ID"])]


def test_another_sender_does_not_join_a_conversation_by_its_message_id(config: DeskConfig) -> None:
    first = mail(JOHN).replace(b"Where is", b"Refund me! Where is")

    async def work(desk: Desk) -> Any:
        await at_desk.work_off(desk, lambda name: None, asyncio.Event(), [Found(name="another", raw=mail(MARY))])
        return [(row.status, (await desk.engine.state(row.id, Case)).customer_id) for row in await desk.engine.reader.cases()]

    assert at_the_desk(config, first, work) == [(Status.WAITING, JOHN), (Status.WAITING, MARY)]


FORM = "form@haus-und-hof.example"


@pytest.mark.parametrize(
    ("form", "fields", "line", "customer"),
    [
        (FormConfig(sender=FORM), (f"Reply-To: {JOHN}", "Auto-Submitted: auto-generated"), "", JOHN),
        (FormConfig(sender="@haus-und-hof.example"), (f"Reply-To: {JOHN}",), "", JOHN),
        (FormConfig(sender=FORM, customer_line="E-Mail:"), (f"Reply-To: {FORM}",), f"e-mail: John <{JOHN}>", JOHN),
        (FormConfig(sender=FORM, customer_line="E-Mail:"), (f"Reply-To: {MARY}",), "no such line", UNKNOWN_SENDER),
        (FormConfig(sender=FORM, customer_line="E-Mail:"), (), f"E-Mail: {JOHN}\nE-Mail: {MARY}", UNKNOWN_SENDER),
        (FormConfig(sender=FORM), (), f"E-Mail: {JOHN}", UNKNOWN_SENDER),
    ],
    ids=["reply-to", "domain", "line", "no line", "two customers", "no reply-to"],
)  # fmt: skip
def test_a_forms_mail_is_the_customers_and_waits_for_a_person(
    config: DeskConfig, form: FormConfig, fields: tuple[str, ...], line: str, customer: str
) -> None:
    raw = mail(FORM, *fields).replace(b"Where is", f"{line}\nWhere is".encode())

    async def work(desk: Desk) -> Any:
        row, state = await desk.engine.case(1), await desk.engine.state(1, Case)
        assert state.mail is not None
        assert state.mail.authentication.aligned is False, "anybody may type any address into a form"
        assert not isinstance(state.order, Order), "nothing of an order is told to it"
        return (
            row.status,
            row.rule != "it is probably automatic",
            state.customer_id,
            state.mails[0].form,
            "form-without-customer" in state.mail.notes,
        )

    found = at_the_desk(config.model_copy(update={"forms": (form,)}), raw, work)

    assert found == (Status.WAITING, True, customer, FORM, customer == UNKNOWN_SENDER)


@pytest.mark.parametrize(
    ("form", "fields", "shown"),
    [
        (FormConfig(sender=FORM), (f"Reply-To: {JOHN}",), f"by the form {FORM}; anybody may type an address into a form"),
        (FormConfig(sender=FORM), (), f"by the form {FORM}, in which the desk looked for exactly one address in Reply-To and found none"),
        (FormConfig(sender=FORM, customer_line="E-Mail:"), (),
         f"by the form {FORM}, in which the desk looked for exactly one address on a line that begins with 'E-Mail:' and found none"),
    ],
)  # fmt: skip
def test_it_is_shown_by_which_form_a_mail_came_and_what_was_looked_for(
    config: DeskConfig, form: FormConfig, fields: tuple[str, ...], shown: str
) -> None:
    settings = config.model_copy(update={"forms": (form,)})

    async def told(desk: Desk) -> list[str]:
        row = await desk.engine.case(1)
        return [(await beside(one, desk.engine.reader, row)).form for one in (settings, config)]

    now, later = at_the_desk(settings, mail(FORM, *fields), told)

    assert now == shown
    assert later == (shown if fields else f"by the form {FORM}, which is no longer configured")
    with console.capture() as printed:
        _print_head({"customer_id": JOHN}, {}, Beside(form=now))
    assert f"Form:    {now}\n" in printed.get()


def test_a_form_at_the_desks_own_address_does_not_hide_the_desks_own_mail(config: DeskConfig) -> None:
    settings = config.model_copy(update={"forms": (FormConfig(sender=OWN, customer_line="E-Mail:"),)})

    async def work(desk: Desk) -> Any:
        [reply] = (config.outbox / "new").iterdir()
        back = [
            Found(name="what the desk wrote", raw=reply.read_bytes()),
            Found(name="a form", raw=mail(OWN).replace(b"Where", f"E-Mail: {MARY}\nWhere".encode()).replace(b"<one@", b"<two@")),
        ]
        await at_desk.work_off(desk, lambda name: None, asyncio.Event(), back)
        return [(row.outcome, (await desk.engine.state(row.id, Case)).customer_id) for row in await desk.engine.reader.cases()]

    assert at_the_desk(settings, mail(JOHN), work) == [("sent", JOHN), ("automatic", OWN), (None, MARY)]


REPORT = f"""\
From: Mail Delivery System <mailer-daemon@haus-und-hof.example>
To: {OWN}
Subject: Undelivered Mail Returned to Sender
Message-ID: <report@haus-und-hof.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b

It could not be delivered. {{words}}
--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.haus-und-hof.example

Final-Recipient: rfc822; {JOHN}
Action: failed
Status: 5.1.1

--b--
"""


@pytest.mark.parametrize("words", ["", "Where is my order A-1002?"])
@pytest.mark.parametrize("fields", ["", f"Reply-To: {JOHN}\n"])
def test_a_report_from_the_domain_of_a_form_is_a_report(config: DeskConfig, words: str, fields: str) -> None:
    settings = config.model_copy(update={"forms": (FormConfig(sender="@haus-und-hof.example"),)})

    async def work(desk: Desk) -> Any:
        row, state = await desk.engine.case(1), await desk.engine.state(1, Case)
        assert state.mail is not None
        return row.rule, state.mail.automatic, state.mails[0].form

    raw = (fields + REPORT.format(words=words)).encode()
    assert at_the_desk(settings, raw, work) == ("it is probably automatic", "bounce", None)


@pytest.mark.parametrize("sender", ["forms.example", "a b@shop.example", "@", "@no domain"])
def test_a_form_without_an_address_is_refused_with_an_example(sender: str) -> None:
    with pytest.raises(ValueError, match=r"neither an address such as form@shop\.example nor a domain"):
        FormConfig(sender=sender)
