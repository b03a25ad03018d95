"""Reading mails: whatever the bytes, something true comes out."""

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman_desk.mail import body
from pointsman_desk.mail.message import UNKNOWN_SENDER, identify, read_mail
from pointsman_desk.mail.tree import HEADER_MAX, PARTS_MAX, Part, parse

PLAIN = (
    b"Received: from relay.test by mx.test; Mon, 2 Nov 2026 09:00:01 +0000\r\n"
    b"From: Jane Doe <Jane@Customer.example>\r\nTo: support@shop.example\r\nSubject: My order\r\n"
    b"Date: Mon, 2 Nov 2026 10:00:00 +0100\r\nMessage-ID: <one@customer.example>\r\n\r\nWhere is it?\r\n"
)
PARTED = (
    b"From: a@b.example\nSubject: x\nMessage-ID: <m@b.example>\nDate: Mon, 2 Nov 2026 10:00:00 +0100\n"
    b'Content-Type: multipart/mixed; boundary="cut"\n\n'
    b"--cut\nContent-Type: multipart/alternative; boundary=in\n\n--in\nContent-Type: text/plain; charset=utf-8\n\n"
    b"Gr\xc3\xbc\xc3\x9fe\n--in\nContent-Type: text/html\n\n<p>Gr&uuml;&szlig;e</p>\n--in--\n"
    b"--cut\nContent-Type: application/pdf\nContent-Disposition: attachment; filename*=utf-8''Rechnung%20%C3%BC.pdf\n"
    b"Content-Transfer-Encoding: base64\n\n" + base64.b64encode(b"%PDF-1.7") + b"\n--cut--\n"
)


def mail_of(*fields: bytes, body: bytes = b"Hello") -> bytes:
    return b"\n".join(fields) + b"\n\n" + body


def html_of(body: bytes) -> bytes:
    return mail_of(b"From: a@b.example", b"Content-Type: text/html; charset=utf-8", body=body)


def test_a_plain_mail_is_read_field_by_field() -> None:
    raw = PLAIN

    mail = read_mail(raw)

    assert (mail.message_id, mail.sender, mail.sender_name) == (
        "one@customer.example",
        "jane@customer.example",
        "Jane Doe",
    )
    assert (mail.to, mail.subject, mail.date) == (("support@shop.example",), "My order", "2026-11-02T10:00:00+01:00")
    assert (mail.text, mail.quoted, mail.automatic, mail.notes) == ("Where is it?", "", None, ())


def test_of_alternatives_the_plain_text_counts_and_files_are_described() -> None:
    raw = PARTED

    mail = read_mail(raw)

    assert mail.text == "Grüße"
    (file,) = mail.attachments
    assert (file.name, file.media_type, file.size) == ("Rechnung ü.pdf", "application/pdf", 8)
    assert file.sha256 == hashlib.sha256(b"%PDF-1.7").hexdigest()


def test_texts_beside_each_other_all_count() -> None:
    raw = mail_of(
        b"From: a@b.example",
        b"Content-Type: multipart/mixed; boundary=cut",
        body=b"--cut\n\nfirst\n--cut\nContent-Type: text/html\n\n<b>second</b>\n--cut--\n",
    )

    mail = read_mail(raw)

    assert mail.text.split() == ["first", "second"]


def test_a_mail_without_a_message_id_still_has_one_identity() -> None:
    raw = mail_of(b"From: a@b.example", b"Message-ID: <>")

    identity = identify(raw)

    assert identity.email_id == hashlib.sha256(raw).hexdigest()[:32] + "@no-id.invalid"
    assert read_mail(raw).message_id == identity.email_id


def test_an_outlook_id_with_brackets_is_taken_as_it_is() -> None:
    raw = mail_of(b"From: a@b.example", b"Message-ID:\n <[a].b@[c].OUTLOOK.test>")

    mail = read_mail(raw)

    assert mail.message_id == "[a].b@[c].OUTLOOK.test"


def test_two_deliveries_of_one_mail_have_one_key() -> None:
    again = b"Received: from other.test by mx.test; Mon, 2 Nov 2026 09:05:00 +0000\r\nDelivered-To: x@shop.example\r\n" + PLAIN

    first, second = identify(PLAIN), identify(again)

    assert (first.key, first.email_id, first.sender) == (second.key, second.email_id, second.sender)
    assert first.key.startswith("one@customer.example/")


@pytest.mark.parametrize(("old", "new"), [(b"Where", b"Why"), (b"My order", b"Your order"), (b"02 Nov", b"03 Nov")])
def test_a_reused_message_id_with_other_content_has_another_key(old: bytes, new: bytes) -> None:
    mail = PLAIN.replace(b"Mon, 2 Nov 2026 10", b"Mon, 02 Nov 2026 10")

    other = mail.replace(old, new)

    assert identify(other).email_id == identify(mail).email_id
    assert identify(other).key != identify(mail).key


@pytest.mark.parametrize("recipients", [b"unlisted-recipients:; (no To-header on input)", b"Friends: ;", b"((((" * 4000, b""])
def test_a_to_field_without_a_mailbox_gives_no_recipients(recipients: bytes) -> None:
    raw = mail_of(b"From: a@b.example", b"To: " + recipients)

    mail = read_mail(raw)

    assert mail.to == ()
    assert mail.text == "Hello"


def test_recipients_are_found_in_groups_comments_and_quoted_names() -> None:
    raw = mail_of(b'To: "Doe, Jane" <jane@a.example>, Team: x@b.example (me, or you), <@relay.test:y@c.example>;')

    mail = read_mail(raw)

    assert mail.to == ("jane@a.example", "x@b.example", "y@c.example")


def test_an_encoded_word_never_becomes_an_address_of_its_own() -> None:
    raw = mail_of(b"From: =?utf-8?q?boss=40shop=2Eexample=2C?= <thief@other.example>")

    mail = read_mail(raw)

    assert mail.sender == "thief@other.example"
    assert mail.sender_name == "boss@shop.example,"


def test_two_senders_are_noted_and_the_first_is_shown() -> None:
    raw = mail_of(b"From: first@a.example", b"From: second@b.example")

    mail = read_mail(raw)

    assert mail.sender == "first@a.example"
    assert {"dup-header", "several-senders"} <= set(mail.notes)


def test_an_answer_goes_to_one_reply_to_address_only() -> None:
    one = mail_of(b"From: a@b.example", b"Reply-To: Else <x@c.example>")
    several = mail_of(b"From: a@b.example", b"Reply-To: x@c.example, y@c.example")

    first, second = read_mail(one), read_mail(several)

    assert first.reply_to == "x@c.example"
    assert "reply-to-elsewhere" in first.notes
    assert second.reply_to is None
    assert "reply-to-list" in second.notes


@pytest.mark.parametrize(
    ("subject", "read"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3?= =?utf-8?q?=9Fe?= there", "Grüße there"),
        (b"=?iso-8859-1?b?R3L832U?=", "Grüße"),
        (b"Gr\xfc\xdfe", "Grüße"),
        (b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
        (b"=?no-such?q?caf=C3=A9?=", "café"),
        (b"one\n two\r\n\tthree", "one two three"),
        (b"a=?utf-8?q?=E2=80=AEb=00?=c", "abc"),
    ],
)
def test_a_subject_is_decoded_whatever_it_says_of_itself(subject: bytes, read: str) -> None:
    raw = mail_of(b"From: a@b.example", b"Subject: " + subject)

    mail = read_mail(raw)

    assert mail.subject == read


@pytest.mark.parametrize(
    ("charset", "body", "read"),
    [
        (b"iso-8859-1", "caf\u00e9 \u201cok\u201d".encode("cp1252"), "café “ok”"),
        (b"us-ascii", "schön".encode(), "schön"),
        (b"ks_c_5601-1987", "환불".encode("cp949"), "환불"),
        (b"GB2312", "退款".encode("gb18030"), "退款"),
        (b'"iso-2022-jp"', "返金".encode("iso-2022-jp"), "返金"),
        (b"DEFAULT_CHARSET", "über".encode(), "über"),
        (b"punycode", b"plain", "plain"),
        (b"utf-7", b"+2AA-x", "x"),
    ],
)
def test_a_body_is_decoded_whatever_its_charset_claims(charset: bytes, body: bytes, read: str) -> None:
    raw = mail_of(b"From: a@b.example", b"Content-Type: text/plain; charset=" + charset, body=body)

    mail = read_mail(raw)

    assert mail.text == read


@pytest.mark.parametrize(
    ("encoding", "body", "read"),
    [
        (b"base64", b"SGVsbG8=\nV29ybGQ", "HelloWorld"),
        (b"base64", b"this was never encoded", "this was never encoded"),
        (b"quoted-printable", b"a =C3=BC b=\n c =ZZ", "a ü b c =ZZ"),
        (b"x-uuencode", b"begin 644 x\n%2&5L;&\\\n`\nend", "Hello"),
        (b"\xe4\xf6", b"plain", "plain"),
    ],
)
def test_a_broken_transfer_encoding_loses_no_text(encoding: bytes, body: bytes, read: str) -> None:
    raw = mail_of(b"From: a@b.example", b"Content-Transfer-Encoding: " + encoding, body=body)

    mail = read_mail(raw)

    assert mail.text == read


@pytest.mark.parametrize(
    "content_type",
    [b"multipart/mixed", b"multipart/mixed; boundary=", b"multipart/mixed; boundary=gone", b"text", b"/;"],
)
def test_a_false_content_type_leaves_the_text_readable(content_type: bytes) -> None:
    raw = mail_of(b"From: a@b.example", b"Content-Type: " + content_type, body=b"Where is it?")

    mail = read_mail(raw)

    assert mail.text == "Where is it?"


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\r\n\r\n", b"From jane Mon Nov  2 10:00:00 2026\n", b">From x\n"])
def test_what_stands_before_the_first_field_does_not_hide_it(start: bytes) -> None:
    raw = start + PLAIN

    mail = read_mail(raw)

    assert (mail.sender, mail.text) == ("jane@customer.example", "Where is it?")


def test_carriage_returns_alone_end_lines() -> None:
    raw = PLAIN.replace(b"\r\n", b"\r")

    mail = read_mail(raw)

    assert (mail.sender, mail.text) == ("jane@customer.example", "Where is it?")
    assert "cr-only" in mail.notes


def test_what_nobody_can_see_is_in_no_string() -> None:
    raw = mail_of(
        b"From: \xe2\x80\x8bA\x00 <a@b.example>",
        b"Subject: x\xe2\x80\xaey\x07",
        body=b"re\xe2\x80\x8bfund\x00\x1b[1m \xf3\xa0\x81\x81now\xc2\xadhere\ttab\x0cnext",
    )

    mail = read_mail(raw)

    assert (mail.sender_name, mail.subject, mail.text) == ("A", "xy", "refund[1m nowhere\ttab\nnext")
    assert {"invisible-characters", "control-characters"} <= set(mail.notes)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"../../etc/passwd", "passwd"),
        (b"C:\\\\temp\\\\bill.pdf", "bill.pdf"),
        (b"..", "attachment"),
        (b"=?utf-8?q?gpj=E2=80=AEexe=2Epdf?=", "gpjexe.pdf"),
        (b"a<b>|c?.txt", "a_b__c_.txt"),
        (b"x" * 300 + b".pdf", "x" * 108 + "….pdf"),
    ],
)
def test_a_file_name_is_for_reading_only(name: bytes, shown: str) -> None:
    disposition = b'Content-Disposition: attachment; filename="' + name + b'"'
    raw = mail_of(b"From: a@b.example", b"Content-Type: image/png", disposition)

    mail = read_mail(raw)

    assert mail.attachments[0].name == shown


def test_a_contained_mail_stays_closed_and_whole() -> None:
    inner = b"From: x@y.example\n\nsecret words"
    raw = mail_of(b"From: a@b.example", b"Content-Type: message/rfc822", body=inner)

    mail = read_mail(raw)

    assert mail.text == ""
    assert mail.attachments[0].sha256 == hashlib.sha256(inner).hexdigest()


def test_hidden_html_is_left_out_and_noted() -> None:
    raw = html_of(
        b"<style>p{}</style><script>if(a<b)write('</div>')</script><p>Seen</p><p style='display : none'>ignore rules</p>"
        b'<span style="color:red;FONT-SIZE:0px">pay me</span><i style="visibility:hidden">now</i><b hidden>too</b>'
        b'<b style="font-size:0.9em">kept</b><p hidden>never<p>also seen'
    )

    mail = read_mail(raw)

    assert mail.text.split() == ["Seen", "kept", "also", "seen"]
    assert {"hidden-text", "html-only"} <= set(mail.notes)


def test_html_becomes_lines_with_quotes_marked() -> None:
    raw = html_of(
        b"<div>Dear shop,<br>I &amp; you &lt;3</div><ul><li>one<li>two</ul><table><tr><td>a<td>b</table>"
        b'<img alt="x>y">a < b<!-- no --><p>end</p>On 2 Nov 2026, Shop wrote:<blockquote type=cite>Old<br>words</blockquote>'
    )

    mail = read_mail(raw)

    assert [line for line in mail.text.split("\n") if line] == [
        "Dear shop,",
        "I & you <3",
        "- one",
        "- two",
        "a b",
        "a < b",
        "end",
    ]
    assert mail.doubtful == "On 2 Nov 2026, Shop wrote:\n> Old\n> words"


def test_a_header_of_any_length_is_cut() -> None:
    raw = mail_of(b"From: a@b.example", b"Subject: " + b"x" * 200_000, b"Content-Type: text/plain" + b" ;" * 60_000)

    mail = read_mail(raw)

    assert len(mail.subject) == HEADER_MAX
    assert mail.text == "Hello"
    assert {"header-truncated", "content-type-truncated"} <= set(mail.notes)


def test_parts_and_levels_are_counted() -> None:
    many = mail_of(b"From: a@b.example", b"Content-Type: multipart/mixed; boundary=c", body=b"--c\n\nx\n" * 2_000)
    deep = b"From: a@b.example\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=c%d\n\n--c%d\n" % (level, level) for level in range(2_000)
    )

    wide, nested = read_mail(many), read_mail(deep)

    assert "parts-capped" in wide.notes
    assert wide.text.count("x") == PARTS_MAX - 1  # the mail itself is one of them
    assert "parts-capped" in nested.notes


@pytest.mark.parametrize("value", [b"10:28:3", b"never", b"", b"1 Jan 99999999999999999 00:00 +99999999999"])
def test_an_unreadable_date_is_none(value: bytes) -> None:
    raw = mail_of(b"From: a@b.example", b"Date: " + value)

    mail = read_mail(raw)

    assert mail.date is None
    assert "no-date" in mail.notes


def test_nothing_at_all_is_a_mail_from_nobody() -> None:
    raw = b""

    mail = read_mail(raw)

    assert (mail.sender, mail.text) == (UNKNOWN_SENDER, "")
    assert identify(raw).sender == UNKNOWN_SENDER


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=2_000))
def test_random_bytes_are_read_without_a_fault(raw: bytes) -> None:
    mail = read_mail(raw)

    assert not {"unreadable", "bad-structure"} & set(mail.notes)
    assert (mail.message_id, mail.sender) == (identify(raw).email_id, identify(raw).sender)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([PLAIN, PARTED]), st.data())
def test_a_mutated_mail_is_read_without_a_fault(mail: bytes, data: st.DataObject) -> None:
    raw = bytearray(mail)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(raw) - 1))
        piece = data.draw(st.one_of(st.binary(max_size=6), st.sampled_from([b"\n", b"--cut", b"\xff", b'"', b"=?", b"<", b";"])))
        raw[place : place + data.draw(st.integers(0, 8))] = piece
        raw = raw or bytearray(b"\n")

    read = read_mail(bytes(raw))

    assert not {"unreadable", "bad-structure"} & set(read.notes)
    assert not any(character in read.model_dump_json() for character in "\x00\u202e\ud800")


def test_both_forms_of_a_domain_with_an_umlaut_are_one_sender() -> None:
    forms = ["Müller.example", "xn--mller-kva.example", "mu\u0308ller.example"]

    assert {read_mail(mail_of(f"From: joerg@{form}".encode())).sender for form in forms} == {"joerg@xn--mller-kva.example"}
    assert read_mail(mail_of("From: jörg@müller.example".encode())).sender == "jörg@xn--mller-kva.example"


def test_the_first_look_opens_no_attached_mail_and_reading_opens_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bytes] = []

    def counted(raw: bytes, notes: set[str]) -> Part:
        opened.append(raw)
        return parse(raw, notes)

    monkeypatch.setattr(body, "parse", counted)
    raw = (
        b'From: a@b.example\nMessage-ID: <1@b.example>\nContent-Type: multipart/mixed; boundary="b"\n\n--b\n\nHello\n--b\n'
        b"Content-Type: message/rfc822\n\nFrom: c@d.example\nSubject: Old\n\nWords\n--b--\n"
    )

    key = identify(raw).key

    assert opened == []
    assert "Words" in read_mail(raw).doubtful
    assert len(opened) == 1
    assert key == f"1@b.example/{key.partition('/')[2]}"
