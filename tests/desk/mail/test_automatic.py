"""Machines told from persons, and what the reports of mail servers say."""

from pathlib import Path

import pytest

import tiers
from pointsman_desk.case import Bounce
from pointsman_desk.mail.automatic import HOPS_MAX
from pointsman_desk.mail.message import read_mail

STATUS = (
    b"Reporting-MTA: dns; mx.relay.example\nArrival-Date: Mon, 2 Nov 2026 10:00:00 +0100\n\n"
    b"Final-Recipient: rfc822; Jane@Customer.example\nAction: %s\nStatus: %s\nDiagnostic-Code: smtp; 550 5.1.1\n No such user\n"
)
RETURNED = b"Message-ID: <case-7.0a1b@shop.example>\nSubject: Re: My order\nTo: jane@customer.example\n\nDear Jane\n"


def mail_of(*fields: bytes, body: bytes = b"Hello") -> bytes:
    return b"\n".join(fields) + b"\n\n" + body


def report(*parts: tuple[bytes, bytes], kind: bytes = b"delivery-status", text: bytes = b"It did not arrive.") -> bytes:
    pieces = [(b"text/plain", text), *parts]
    return mail_of(
        b"From: postmaster@relay.example",
        b"Content-Type: multipart/report; boundary=cut; report-type=" + kind,
        body=b"".join(b"--cut\nContent-Type: %s\n\n%s\n" % piece for piece in pieces) + b"--cut--\n",
    )


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ((b"Content-Type: multipart/report; report-type=delivery-status; boundary=x",), "bounce"),
        ((b"Content-Type: multipart/report; report-type=feedback-report; boundary=x",), "abuse report"),
        ((b"Content-Type: multipart/report; report-type=disposition-notification; boundary=x",), "read receipt"),
        ((b"From: staff@b.example", b"Subject: complaint about message from 192.0.2.1"), "abuse report"),
        ((b"From: MAILER-DAEMON@mx.test",), "bounce"),
        ((b"From: mailer-daemon",), "bounce"),
        ((b"From: Mail Delivery System <x@mx.test>",), "bounce"),
        ((b"From: a@b.example", b"X-Failed-Recipients: c@d.example"), "bounce"),
        ((b"From: a@b.example", b"Return-Path: <>"), "bounce"),
        (
            (b"From: a@b.example", b"Subject: =?utf-8?q?=D0=9D=D0=B5=D0=B4=D0=BE=D1=81=D1=82=D0=B0=D0=B2=D0=BB=D0=B5=D0=BD=D0=BE?="),
            "bounce",
        ),
        ((b"From: a@b.example", b"Auto-Submitted: auto-replied"), "out of office"),
        ((b"From: a@b.example", b"Auto-Submitted: auto-replied", b"Return-Path: <>"), "out of office"),
        ((b"From: a@b.example", b"Subject: Abwesenheitsnotiz"), "out of office"),
        ((b"From: a@b.example", "Subject: 自動返信".encode()), "out of office"),
        ((b"From: a@b.example", b"List-Id: <news.b.example>"), "mailing list"),
        ((b"From: a@b.example", b"Precedence: bulk"), "mailing list"),
        ((b"From: a@b.example", b"Auto-Submitted: auto-generated"), "automatic"),
        ((b"From: a@b.example", b"X-Auto-Response-Suppress: All"), "automatic"),
        ((b"From: no-reply@b.example",), "automatic"),
        ((b"From: a@b.example", *[b"Received: by mx.test"] * (HOPS_MAX + 1)), "loop"),
        ((b"From: a@b.example", *[b"Received: by mx.test"] * HOPS_MAX), None),
        ((b"From: a@b.example", b"Auto-Submitted: no", b"Subject: my refund", b"Return-Path: <a@b.example>"), None),
        ((b"From: noreen@b.example", b"Subject: Fwd: Undelivered Mail"), None),
        ((b"From: Paul Mason <postmaestro@b.example>", b"Subject: Re: Automatic reply"), None),
    ],
)
def test_a_machine_is_told_from_a_person(fields: tuple[bytes, ...], label: str | None) -> None:
    raw = mail_of(*fields)

    mail = read_mail(raw)

    assert mail.automatic == label


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ((b"From: Support@shop.example",), "own address"),
        ((b"From: support+c.7@shop.example",), "own address"),
        ((b"From: support@shop.example", b"Reply-To: support@shop.example"), "own address"),
        ((b"From: support@shop.example", b"Reply-To: jane@customer.example"), None),
        ((b"From: jane@customer.example", b"X-Loop: <support@shop.example>"), "loop"),
        ((b"From: anna@shop.example", b"To: support@shop.example"), None),
        ((b"From: support@shop.example.test",), None),
    ],
)
def test_what_the_desk_sent_itself_is_known(fields: tuple[bytes, ...], label: str | None) -> None:
    mail = read_mail(mail_of(*fields), own="support@shop.example")

    assert mail.automatic == label


@pytest.mark.parametrize(
    ("action", "status", "read"),
    [
        (b"failed", b"5.1.1", "failed"),
        (b"delayed", b"4.4.1", "delayed"),
        (b"relayed (to x)", b"2.1.9", "delivered"),
        (b"?", b"5.0.0", "failed"),
    ],
)
def test_a_delivery_report_names_the_mail_and_what_became_of_it(action: bytes, status: bytes, read: str) -> None:
    raw = report((b"message/delivery-status", STATUS % (action, status)), (b"text/rfc822-headers", RETURNED))

    mail = read_mail(raw)

    assert mail.automatic == "bounce"
    assert mail.bounce == Bounce(
        action=read,  # type: ignore[arg-type]
        recipients=("jane@customer.example",),
        status=status.decode(),
        message_id="case-7.0a1b@shop.example",
        diagnostic="550 5.1.1 No such user",
    )


def test_of_several_recipients_the_worst_counts() -> None:
    second = b"Original-Recipient: rfc822;bob@customer.example\nAction: failed\nStatus: 5.2.2\n"
    raw = report((b"message/delivery-status", STATUS % (b"delivered", b"2.0.0") + b"\n" + second))

    bounce = read_mail(raw).bounce

    assert bounce is not None
    assert (bounce.action, bounce.status) == ("failed", "5.2.2")
    assert bounce.recipients == ("jane@customer.example", "bob@customer.example")


@pytest.mark.parametrize("returned", [b"--- Below this line is a copy of the message.\n\n" + RETURNED, b""])
def test_a_bounce_in_words_alone_is_read_as_far_as_it_goes(returned: bytes) -> None:
    words = b"I could not deliver your message from 192.5.1.1:\n\n<jane@customer.example>:\nRemote host said: 550 5.1.1 User unknown\n\n"
    raw = mail_of(b"From: MAILER-DAEMON@mx.test", b"Subject: failure notice", body=words + returned)

    bounce = read_mail(raw).bounce

    assert bounce is not None
    assert (bounce.action, bounce.recipients, bounce.status) == ("failed", ("jane@customer.example",), "5.1.1")
    assert bounce.message_id == ("case-7.0a1b@shop.example" if returned else None)


def test_a_bounce_without_a_recipient_names_those_of_the_returned_mail() -> None:
    raw = report((b"message/rfc822", RETURNED))

    bounce = read_mail(raw).bounce

    assert bounce is not None
    assert (bounce.recipients, bounce.message_id) == (("jane@customer.example",), "case-7.0a1b@shop.example")


def test_a_warning_is_a_delay() -> None:
    raw = mail_of(b"From: MAILER-DAEMON@mx.test", b"Subject: Warning: could not send message for past 4 hours")

    bounce = read_mail(raw).bounce

    assert bounce is not None
    assert bounce.action == "delayed"


def test_an_abuse_report_names_the_mail_and_who_complained() -> None:
    feedback = b"Feedback-Type: abuse\nUser-Agent: X/1\nOriginal-Rcpt-To: <jane@customer.example>\n"
    raw = report((b"message/feedback-report", feedback), (b"message/rfc822", RETURNED), kind=b"feedback-report")

    mail = read_mail(raw)

    assert mail.automatic == "abuse report"
    assert mail.bounce == Bounce(action="complained", recipients=("jane@customer.example",), message_id="case-7.0a1b@shop.example")


def test_a_report_of_any_length_is_read_as_far_as_its_facts_go() -> None:
    raw = report((b"message/delivery-status", (STATUS % (b"failed", b"5.1.1") + b"\n") * 20_000), text=b"<a@b.example>\n" * 20_000)

    bounce = read_mail(raw).bounce

    assert bounce is not None
    assert (bounce.recipients, bounce.status) == (("jane@customer.example",), "5.1.1")


# The real mails: what each folder holds was told by reading it.
BOUNCES = ("sisimai/bsd", "sisimai/dos", "sisimai/mac", "sisimai/err", "sisimai/tmp")
OTHER_KINDS = {"arf": "abuse report", "rfc3834": "out of office"}  # by the beginning of a file's name
FORWARDED = {"lhost-sendmail-14.eml", "make-test-36.eml"}  # a person sends a bounce on
PERSONAL = (
    "mikel-mail/attachment_emails", "mikel-mail/error_emails", "mikel-mail/mime_emails", "mikel-mail/multi_charset", "mikel-mail/plain_emails",
    "mikel-mail/rfc2822", "mikel-mail/rfc6532", "stalwart/legacy", "stalwart/malformed", "stalwart/rfc", "stalwart/thirdparty",
)  # fmt: skip
MACHINES_AMONG_THEM = {
    "mikel-mail/error_emails/bad_date_header.eml": "an offer sent in bulk",
    "mikel-mail/error_emails/empty_in_reply_to.eml": "from a list",
    "mikel-mail/error_emails/encoding_madness.eml": "a note of a market place, from no-reply",
    "mikel-mail/mime_emails/raw_email_with_mimepart_without_content_type.eml": "a delivery is late",
    "mikel-mail/plain_emails/raw_email_trailing_dot.eml": "a post in a forum, from noreply",
    "stalwart/thirdparty/014.eml": "a post to a list",
}


@pytest.mark.parametrize(
    ("copy", "evidence"),
    [
        ((), "delivery report"),
        (((b"message/rfc822", b"From: jane@customer.example\n\nHello\n"),), "delivery report"),
        (((b"message/rfc822", b"From: MAILER-DAEMON@mx.test\n\nUndelivered\n"),), "report on a machine's mail"),
    ],
    ids=["no copy", "a person's", "a machine's"],
)
def test_a_report_proves_itself_only_where_it_is_surely_about_a_machines_mail(copy: tuple[tuple[bytes, bytes], ...], evidence: str) -> None:
    raw = report((b"message/delivery-status", STATUS % (b"failed", b"5.1.1")), *copy)

    assert read_mail(raw).evidence == evidence


def test_real_bounces_are_recognised_and_no_personal_mail_is_taken_for_one() -> None:
    folder = tiers.real_mails()
    bounces = [file for name in BOUNCES for file in sorted((folder / name).glob("*.eml")) if file.name not in FORWARDED]
    plain = [file for file in bounces if file.name.partition("-")[0] not in OTHER_KINDS]
    personal = [file for name in PERSONAL for file in (folder / name).glob("*.eml")]
    personal = [file for file in personal if file.relative_to(folder).as_posix() not in MACHINES_AMONG_THEM]

    flagged = [file for file in bounces if read_mail(file.read_bytes()).automatic is not None]
    recognised = [file for file in plain if read_mail(file.read_bytes()).automatic == "bounce"]
    others = [
        file
        for file in bounces
        if (kind := OTHER_KINDS.get(file.name.partition("-")[0])) and read_mail(file.read_bytes()).automatic == kind
    ]
    wrong = [file.name for file in [*personal, *_forwarded(folder)] if read_mail(file.read_bytes()).automatic is not None]

    print(
        f"\nautomatic: {len(flagged)} of {len(bounces)}; as a bounce {len(recognised)} of {len(plain)}; abuse reports and answers of "
        f"machines {len(others)} of {len(bounces) - len(plain)}; personal mails flagged: {len(wrong)} of {len(personal) + len(FORWARDED)}"
    )
    assert len(plain) >= 700
    assert len(personal) >= 150
    assert len(flagged) >= 0.98 * len(bounces)
    assert len(recognised) >= 0.98 * len(plain)
    assert wrong == []


def test_real_delivery_reports_name_recipient_status_and_mail() -> None:
    folder = tiers.real_mails()
    mails = [read_mail(file.read_bytes()) for name in BOUNCES for file in sorted((folder / name).glob("*.eml"))]
    reports = [
        mail.bounce for mail in mails if mail.bounce and any(file.media_type == "message/delivery-status" for file in mail.attachments)
    ]

    named = {name: sum(bool(getattr(report, name)) for report in reports) for name in ("recipients", "status", "message_id", "diagnostic")}

    print(f"\n{len(reports)} delivery reports: {named}")
    assert len(reports) >= 300
    assert named["recipients"] >= 0.98 * len(reports)
    assert named["status"] >= 0.95 * len(reports)
    assert named["message_id"] >= 0.90 * len(reports)


def _forwarded(folder: Path) -> list[Path]:
    return [file for name in ("sisimai/bsd", "sisimai/err") for file in (folder / name).glob("*.eml") if file.name in FORWARDED]
