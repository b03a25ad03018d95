"""What stands in several parts: all that some mail program shows is read, and parts that say different things are noted."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman_desk.case import DOUBTS, Mail
from pointsman_desk.mail.body import ATTACHED_DEPTH_MAX, ATTACHED_MAX
from pointsman_desk.mail.cms import NotReadable, signed_content
from pointsman_desk.mail.invitations import invitation_text
from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.tree import parse

HEAD = b"From: Jane <jane@customer.example>\nSubject: My order\nDate: Mon, 2 Nov 2026 10:00:00 +0100\nMessage-ID: <1@customer.example>\n"
DEMAND = "I want my money back."
QUESTION = "Where is my order A-1002?"


def multipart(kind: str, *parts: bytes) -> bytes:
    body = b"".join(b"--cut\n" + part + b"\n" for part in parts) + b"--cut--\n"
    return HEAD + f"Content-Type: multipart/{kind}; boundary=cut\n\n".encode() + body


def test_a_mail_that_is_read_again_is_parsed_once_with_the_same_notes() -> None:
    raw = b"From someone Mon Nov  2 10:00:00 2026\n" + HEAD + b"\nhello"
    first, again = set[str](), set[str]()

    assert parse(raw, first) is parse(bytes(bytearray(raw)), again)
    assert first == again == {"mbox-from"}


def part(text: str, media_type: str = "text/plain", *fields: str) -> bytes:
    return "\n".join([f"Content-Type: {media_type}; charset=utf-8", *fields, "", text]).encode()


def said(mail: Mail) -> list[str]:
    return mail.said.split()


PLAIN = (
    "Hello,\n\nwhere is my order A-1002?\nSee https://shop.example/a?b=1 or <https://shop.example>.\n\n* one\n* two\n\n"
    "[image: logo.png]\n-- \nJane Doe\njane@customer.example<mailto:jane@customer.example>\n\n"
    "On Mon, 2 Nov 2026, Shop <support@shop.example> wrote:\n> It's on its way.\n"
)
# The same as mail programs write it into HTML.
SAME = [
    PLAIN,
    (
        "<p>Hello,</p><p>where is my <b>order</b> A-1002?<br>See <a href='https://shop.example/a?b=1'>https://shop.example/a?b=1</a> or "
        "<a href='https://shop.example'>https://shop.example</a>.</p><ul><li>one</li><li>two</li></ul><img src='cid:1' alt=logo>"
        "<div>--&nbsp;<br>Jane&#160;Doe<br><a href='mailto:jane@customer.example'>jane@customer.example</a></div>"
        "<div>On Mon, 2 Nov 2026, Shop &lt;<a href='mailto:support@shop.example'>support@shop.example</a>&gt; wrote:</div>"
        "<blockquote type=cite>It&#39;s on its way.</blockquote>"
    ),
    (
        "<table><tr><td>Hello,</td></tr><tr><td>WHERE is my order A-1002? See or .</td></tr></table> one two -- Jane Doe"
        "<p>On Mon, 2 Nov 2026, Shop wrote: It's on its way.</p>"
    ),
]


@pytest.mark.parametrize("html", SAME)
def test_alternatives_that_say_the_same_are_one_text(html: str) -> None:
    mail = read_mail(multipart("alternative", part(PLAIN), part(html, "text/html")))

    alone = read_mail(HEAD + b"\n" + PLAIN.encode())
    assert (mail.text, mail.doubtful, mail.quoted) == (alone.text, alone.doubtful, alone.quoted)
    assert "alternatives-differ" not in mail.notes


@pytest.mark.parametrize("media_type", ["text/html", "text/x-amp-html"])
@pytest.mark.parametrize("more", [DEMAND, "No.", "Refund", "I will go to court"])
def test_what_the_html_says_beyond_the_plain_text_is_read_and_noted(more: str, media_type: str) -> None:
    mail = read_mail(multipart("alternative", part(QUESTION), part(f"<p>{QUESTION}</p><p>{more}</p>", media_type)))

    assert said(mail) == [*QUESTION.split(), *more.split()]
    assert mail.notes == ("alternatives-differ",)


def test_what_only_the_plain_text_says_is_noted() -> None:
    mail = read_mail(multipart("alternative", part(f"{QUESTION}\n{DEMAND}"), part(f"<p>{QUESTION}</p>", "text/html")))

    assert said(mail) == [*QUESTION.split(), *DEMAND.split()]
    assert mail.notes == ("alternatives-differ",)


def test_the_same_words_in_another_order_are_another_text() -> None:
    mail = read_mail(multipart("alternative", part("I do not want a refund."), part("<p>I do want a refund, not.</p>", "text/html")))

    assert mail.notes == ("alternatives-differ",)


@pytest.mark.parametrize(
    ("media_type", "fields"),
    [
        ('text/plain; name="message.txt"', ("Content-Disposition: inline",)),
        ("text/plain", ('Content-Disposition: inline; filename="body.txt"',)),
        ('text/plain; name="part1.txt"', ()),
        ('text/html; name="message.html"', ("Content-Disposition: inline",)),
        ("text/markdown", ()),
        ("text/enriched", ()),
    ],
)
def test_a_text_that_mail_programs_show_is_read_whatever_its_name(media_type: str, fields: tuple[str, ...]) -> None:
    mail = read_mail(multipart("mixed", part(QUESTION), part(DEMAND, media_type, *fields)))

    assert said(mail) == [*QUESTION.split(), *DEMAND.split()]
    assert [file.name for file in mail.attachments] == ([] if "name=" not in media_type + "".join(fields) else [mail.attachments[0].name])


@pytest.mark.parametrize("media_type", ["text/plain", "text/csv", "text/vcard"])
def test_a_text_that_is_attached_stays_a_file(media_type: str) -> None:
    mail = read_mail(multipart("mixed", part(QUESTION), part(DEMAND, media_type, 'Content-Disposition: attachment; filename="a.txt"')))

    assert said(mail) == QUESTION.split()
    assert [file.name for file in mail.attachments] == ["a.txt"]


INNER = f"From: Carla <carla@other.example>\nTo: support@shop.example\nSubject: Reso\nDate: Mon, 2 Nov 2026 09:00:00 +0100\n\n{DEMAND}\n"


@pytest.mark.parametrize("disposition", ["attachment", "inline"])
def test_an_attached_mail_is_read_as_text_of_its_own(disposition: str) -> None:
    forwarded = part(INNER, "message/rfc822", f'Content-Disposition: {disposition}; filename="earlier.eml"')

    mail = read_mail(multipart("mixed", part(QUESTION), forwarded))

    assert mail.text == QUESTION
    assert mail.doubtful.split("\n") == [
        "[attached mail]", "From: Carla <carla@other.example>", "To: support@shop.example", "Date: Mon, 2 Nov 2026 09:00:00 +0100",
        "Subject: Reso", "", DEMAND,
    ]  # fmt: skip
    assert mail.notes == ("attached-mail",)
    assert [file.name for file in mail.attachments] == ["earlier.eml"]


def test_what_a_report_brings_back_is_no_text_of_its_sender() -> None:
    status = part("Reporting-MTA: dns; mx.example\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed", "message/delivery-status")

    mail = read_mail(multipart("report; report-type=delivery-status", part("Not delivered."), status, part(INNER, "message/rfc822")))

    assert (mail.automatic, mail.doubtful, mail.notes) == ("bounce", "", ())


def nested(depth: int) -> bytes:
    inner = INNER.encode()
    for level in range(depth):
        inner = f"Subject: level {level}\nContent-Type: message/rfc822\n\n".encode() + inner
    return HEAD + b"Content-Type: message/rfc822\n\n" + inner


def test_mails_in_mails_are_opened_so_deep_and_no_deeper() -> None:
    shallow, deep = read_mail(nested(ATTACHED_DEPTH_MAX - 1)), read_mail(nested(ATTACHED_DEPTH_MAX))
    many = read_mail(multipart("mixed", *(part(INNER + str(number), "message/rfc822") for number in range(ATTACHED_MAX + 5))))

    assert DEMAND in shallow.doubtful
    assert "parts-capped" not in shallow.notes
    assert DEMAND not in deep.doubtful
    assert many.doubtful.count(DEMAND) == ATTACHED_MAX
    assert "parts-capped" in deep.notes
    assert "parts-capped" in many.notes


CALENDAR = """BEGIN:VCALENDAR
METHOD:REQUEST
BEGIN:VTIMEZONE
TZID:Europe/Berlin
END:VTIMEZONE
BEGIN:VEVENT
SUMMARY;LANGUAGE=en:Pick-up\\, order A-1011
DTSTART;TZID=Europe/Berlin:20261127T100000
DTEND:20261127T110000Z
LOCATION:At
  home
ORGANIZER;CN="Emma Brown":mailto:emma@post.example
DESCRIPTION:I come on Friday.\\nI want my money back.
END:VEVENT
END:VCALENDAR
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("disposition", ["inline", "attachment; filename=invite.ics"])
def test_an_invitation_is_read_as_text(ends: str, disposition: str) -> None:
    invitation = part(CALENDAR.replace("\n", ends), "text/calendar; method=REQUEST", f"Content-Disposition: {disposition}")

    mail = read_mail(multipart("mixed", part(QUESTION), invitation))

    assert mail.text == QUESTION
    assert mail.doubtful.split("\n") == [
        "Invitation: Pick-up, order A-1011", "Begins: 2026-11-27 10:00 (Europe/Berlin)", "Ends: 2026-11-27 11:00 UTC", "Place: At home",
        "Organiser: Emma Brown <emma@post.example>", "I come on Friday.", "I want my money back.",
    ]  # fmt: skip
    assert mail.notes == ("invitation",)


@given(st.text(alphabet='BEGIN:VEND;="\\\n \tSUMARYDT2026Z', max_size=400))
def test_any_calendar_is_read(source: str) -> None:
    assert isinstance(invitation_text(source), str)


def tlv(tag: int, *content: bytes, indefinite: bool = False) -> bytes:
    value = b"".join(content)
    if indefinite:
        return bytes([tag, 0x80]) + value + b"\0\0"
    length = bytes([len(value)]) if len(value) < 0x80 else b"\x82" + len(value).to_bytes(2, "big")
    return bytes([tag]) + length + value


def signed(content: bytes, *, ber: bool) -> bytes:
    oid = {name: tlv(0x06, bytes.fromhex(f"2a864886f70d01070{name}")) for name in (1, 2)}
    octets = (
        tlv(0x24, *(tlv(0x04, content[at : at + 7]) for at in range(0, len(content), 7)), indefinite=True) if ber else tlv(0x04, content)
    )
    capsule = tlv(0x30, oid[1], tlv(0xA0, octets, indefinite=ber), indefinite=ber)
    signers = tlv(0x31)
    data = tlv(0x30, tlv(0x02, b"\x01"), tlv(0x31, tlv(0x30, tlv(0x06, b"\x2a"))), capsule, signers, indefinite=ber)
    return tlv(0x30, oid[2], tlv(0xA0, data, indefinite=ber), indefinite=ber)


ENTITY = f"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n\r\n{DEMAND}\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>{DEMAND}</p>\r\n--x--\r\n"


def opaque(raw: bytes, media_type: str = "application/pkcs7-mime; smime-type=signed-data; name=smime.p7m") -> bytes:
    return HEAD + f"Content-Type: {media_type}\nContent-Transfer-Encoding: base64\n\n".encode() + base64.encodebytes(raw)


@pytest.mark.parametrize("ber", [False, True])
@pytest.mark.parametrize("media_type", ["application/pkcs7-mime", "application/x-pkcs7-mime", "application/octet-stream; name=smime.p7m"])
def test_what_an_opaque_signature_signs_is_the_text(media_type: str, *, ber: bool) -> None:
    mail = read_mail(opaque(signed(ENTITY.encode(), ber=ber), media_type))

    assert (mail.text, mail.notes) == (DEMAND, ())


def test_what_is_encrypted_or_broken_is_said_so() -> None:
    whole = signed(ENTITY.encode(), ber=False)

    broken, encrypted = read_mail(opaque(whole[:1] + b"\x05" + whole[2:])), read_mail(opaque(b"\x30\x80\x06\x09" + b"secret" * 10))

    assert DEMAND in broken.text
    assert (encrypted.text, encrypted.notes) == ("", ("encrypted",))
    assert not DOUBTS.isdisjoint(broken.notes)
    assert [file.name for file in encrypted.attachments] == ["smime.p7m"]


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader_of_signatures(raw: bytes) -> None:
    whole = signed(b"x" * 20, ber=True)
    for candidate in (raw, whole[:30] + raw, whole[: len(raw)], b"\x30\x80" * len(raw)):
        try:
            signed_content(candidate)
        except NotReadable:
            continue


def test_a_winmail_dat_is_named() -> None:
    mail = read_mail(multipart("mixed", part(QUESTION), part("x", "application/octet-stream; name=winmail.dat")))

    assert mail.notes == ("tnef",)
    assert "tnef" in DOUBTS


@pytest.mark.parametrize("picture", ["<img src='cid:1' alt='I want my money back'>", "<p>[I want my money back]</p>"])
def test_a_sentence_instead_of_a_picture_or_in_brackets_counts(picture: str) -> None:
    mail = read_mail(multipart("alternative", part("Where is it?"), part(f"<p>Where is it?</p>{picture}", "text/html")))

    assert "I want my money back" in mail.text
    assert mail.notes == ("alternatives-differ",)


def test_a_sentence_instead_of_a_picture_that_both_forms_have_makes_no_difference() -> None:
    html = "<p>Where is it?</p><img src='cid:1' alt='The lamp on my desk'>"

    mail = read_mail(multipart("alternative", part("Where is it?\n[image: The lamp on my desk]"), part(html, "text/html")))
    assert mail.notes == ()


@pytest.mark.parametrize("media_type", ["application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"])
def test_the_signature_of_a_signed_mail_is_no_file_but_one_elsewhere_is(media_type: str) -> None:
    signature = part("MIIB", media_type, "Content-Disposition: attachment; filename=smime.p7s")

    assert read_mail(multipart("signed", part("Where is it?"), signature)).attachments == ()
    assert [file.name for file in read_mail(multipart("mixed", part("Where is it?"), signature)).attachments] == ["smime.p7s"]
