"""What real mails have done to mail readers, made small: one test for each, built here. None raises, hangs or loses a word."""

import base64
import binascii
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman_desk.case import Intent, Mail
from pointsman_desk.mail.message import TEXT_MAX, UNKNOWN_SENDER, identify, read_mail
from pointsman_desk.mail.tree import CONTENT_TYPE_MAX, HEADER_MAX, MAIL_MAX_BYTES, PARTS_MAX
from pointsman_desk.models.offline import OfflineModel

HEAD = b"From: Jane <jane@customer.example>\nSubject: My order\nDate: Mon, 2 Nov 2026 10:00:00 +0100\nMessage-ID: <1@customer.example>\n"


def mail_of(*fields: bytes, body: bytes = b"Where is it?") -> bytes:
    return HEAD + b"".join(field + b"\n" for field in fields) + b"\n" + body


def multipart(*parts: bytes, kind: bytes = b"mixed") -> bytes:
    body = b"".join(b"--cut\n" + part + b"\n" for part in parts) + b"--cut--\n"
    return mail_of(b"Content-Type: multipart/" + kind + b"; boundary=cut", body=body)


def html_of(body: str) -> bytes:
    return mail_of(b"Content-Type: text/html; charset=utf-8", body=body.encode())


def read(raw: bytes) -> Mail:
    """Read a mail, and see that it was read indeed, and that its first look agrees."""
    mail, identity = read_mail(raw), identify(raw)
    assert not {"unreadable", "bad-structure"} & set(mail.notes)
    assert (identity.email_id, identity.sender) == (mail.message_id, mail.sender)
    return mail


@pytest.mark.parametrize(
    ("field", "read_as"),
    [
        (b"Message-Id: <>", ""),
        (b"Message-Id: <[a].b@[c].OUTLOOK.example>", "[a].b@[c].OUTLOOK.example"),
        (b"Message-Id: bare@host.example", "bare@host.example"),
    ],
)
def test_01_message_ids_outside_the_grammar(field: bytes, read_as: str) -> None:
    raw = mail_of().replace(b"Message-ID: <1@customer.example>", field)

    mail = read(raw)

    assert mail.message_id == (read_as or f"{hashlib.sha256(raw).hexdigest()[:32]}@no-id.invalid")
    assert ("no-message-id" in mail.notes) == (not read_as)


def test_02_an_empty_group_of_recipients() -> None:
    mail = read(mail_of(b"To: unlisted-recipients:; (no To-header on input)", b"Cc: Friends: ann@a.example, bob@b.example;"))

    assert mail.to == ("ann@a.example", "bob@b.example")


def test_03_a_content_type_of_semicolons() -> None:
    mail = read(mail_of(b"Content-Type: text/html " + b"; " * 60_000, body=b"<p>Where is it?</p>"))

    assert mail.text == "Where is it?"
    assert "content-type-truncated" in mail.notes


def test_03_a_content_type_too_long_to_be_believed_is_kept_as_a_file() -> None:
    mail = read(mail_of(b"Content-Type: application/pdf; name=" + b"x" * CONTENT_TYPE_MAX, body=b"%PDF"))

    assert (mail.text, [file.media_type for file in mail.attachments]) == ("", ["application/pdf"])
    assert "content-type-truncated" in mail.notes


def test_04_comments_a_thousand_deep() -> None:
    mail = read(mail_of(b"To: " + b"(" * 1_000 + b"x" + b")" * 1_000 + b" support@shop.example"))

    assert mail.to == ("support@shop.example",)


def test_05_a_header_without_an_end() -> None:
    mail = read(mail_of(b"Subject2: x", b"To: " + b"a@b.example, " * 12_000).replace(b"Subject: My order", b"Subject: " + b"x" * 200_000))

    assert len(mail.subject) == HEADER_MAX
    assert mail.to == ("a@b.example",)
    assert "header-truncated" in mail.notes


def test_05_mails_in_mails_in_mails() -> None:
    nested = b"Content-Type: message/rfc822\n\n" * 20_000 + b"words"
    parts = read(multipart(*[b"\nx"] * 2_000))

    mail = read(HEAD + nested)

    assert (mail.text, mail.attachments[0].size) == ("", len(nested) - len(b"Content-Type: message/rfc822\n\n"))
    assert parts.text.split() == ["x"] * (PARTS_MAX - 1)
    assert "parts-capped" in parts.notes


def test_05_a_mail_longer_than_any() -> None:
    mail = read(mail_of(body=b"Where is it?\n" + b"word " * (MAIL_MAX_BYTES // 5)))

    assert mail.text.startswith("Where is it?")
    assert len(mail.text) + len(mail.doubtful) + len(mail.quoted) <= TEXT_MAX
    assert {"mail-truncated", "text-truncated", "long-text"} <= set(mail.notes)


@pytest.mark.parametrize(
    ("charset", "body"),
    [
        ("DEFAULT_CHARSET", "Größe".encode()),
        ("X-UNKNOWN", "Größe".encode()),
        ("no'such\"thing;", "Größe".encode("cp1252")),
        ("us-ascii", "Größe".encode("cp1252")),
        ("ks_c_5601-1987", "Größe".encode()),
    ],
)
def test_06_charsets_that_are_none_or_are_wrong(charset: str, body: bytes) -> None:
    mail = read(mail_of(b"Content-Type: text/plain; charset=" + charset.encode(), body=body))

    assert mail.text == "Größe"


@pytest.mark.parametrize("content_type", [b"multipart/mixed", b"multipart/mixed; boundary=gone", b"multipart/alternative; boundary="])
def test_07_a_multipart_without_parts(content_type: bytes) -> None:
    mail = read(mail_of(b"Content-Type: " + content_type))

    assert mail.text == "Where is it?"
    assert "false-multipart" in mail.notes


def test_07_words_outside_of_the_parts() -> None:
    body = b"Where is it?\n--cut\nContent-Type: text/plain\n\nHello\n--cut--\nI am Jane.\n"

    mail = read(mail_of(b"Content-Type: multipart/mixed; boundary=cut", body=body))
    usual = read(
        mail_of(
            b"Content-Type: multipart/mixed; boundary=cut", body=body.replace(b"Where", b"This is MIME. Where").replace(b"I am Jane.", b"")
        )
    )

    assert (mail.text.split("\n"), mail.notes) == (["Hello", "Where is it?", "I am Jane."], ("text-outside-parts",))
    assert (usual.text, usual.notes) == ("Hello", ())


def test_08_bytes_in_headers_and_chinese_under_a_false_name() -> None:
    raw = mail_of(b"Content-Type: text/plain; charset=gb2312", body="退款，謝謝".encode("gb18030"))

    mail = read(raw.replace(b"My order", "Größe".encode("cp1252")).replace(b"Jane", "Jané".encode()))

    assert (mail.subject, mail.sender_name, mail.text) == ("Größe", "Jané", "退款，謝謝")
    assert "8bit-header" in mail.notes
    mail.model_dump_json().encode()


def test_09_nul_controls_bidi_and_lone_surrogates() -> None:
    body = "a\x00b\x1bc\x85d\u202ee\u2066f\u200bg\U000e0041h".encode() + b"\xed\xa0\x80i"

    mail = read(mail_of(b"Content-Type: text/plain; charset=utf-8", body=body))

    assert "".join(mail.text.split()).replace("\ufffd", "") == "abcdefghi"
    assert not set(mail.model_dump_json()) & set("\x00\x1b\u202e\u2066\u200b\U000e0041")
    assert {"control-characters", "invisible-characters", "undecodable"} <= set(mail.notes)


@pytest.mark.parametrize(
    "raw",
    [
        mail_of().replace(b"\n", b"\r"),
        mail_of().replace(b"\n", b"\r\n", 2),
        b"\xef\xbb\xbf" + mail_of(),
        b"\r\n\n\r\n" + mail_of(),
        b"From jane@customer.example Mon Nov  2 10:00:00 2026\n" + mail_of(),
        b">From jane Mon Nov  2 10:00:00 2026\r\n" + mail_of(),
    ],
    ids=["carriage returns", "mixed", "byte order mark", "blank lines", "mbox", "quoted mbox"],
)
def test_10_line_ends_and_what_stands_before_the_header(raw: bytes) -> None:
    mail = read(raw)

    assert (mail.sender, mail.subject, mail.text) == ("jane@customer.example", "My order", "Where is it?")


def test_11_fields_that_stand_twice() -> None:
    mail = read(mail_of(b"From: boss@shop.example", b"Subject: Refund at once", b"Message-ID: <2@x.example>"))

    assert (mail.sender, mail.subject, mail.message_id) == ("jane@customer.example", "My order", "1@customer.example")
    assert {"dup-header", "several-senders"} <= set(mail.notes)
    assert not mail.authentication.aligned


@pytest.mark.parametrize(
    ("date", "read_as", "note"),
    [
        (b"", None, "no-date"),
        (b"Date: 10:28:3", None, "no-date"),
        (b"Date: Thu, 1 Jan 1970 00:00:00 +0000", "1970-01-01T00:00:00+00:00", "odd-date"),
        (b"Date: Tue, 19 Jan 2038 03:14:07 +0000", "2038-01-19T03:14:07+00:00", "odd-date"),
    ],
)
def test_12_nobody_sent_it_and_never(date: bytes, read_as: str | None, note: str) -> None:
    mail = read(b"Subject: x\n" + date + b"\n\nWhere is it?")

    assert (mail.sender, mail.date, mail.text) == (UNKNOWN_SENDER, read_as, "Where is it?")
    assert {"no-sender", note} <= set(mail.notes)


def test_13_encoded_words_anywhere() -> None:
    raw = mail_of().replace(b"My order", b"My =?utf-8?q?Gr=C3=B6=C3=9F?=e =?utf-8?b?w7?= =?x?y?z?=")

    mail = read(raw.replace(b"Jane <jane@customer.example>", b"=?utf-8?q?Jan=C3=A9?= <=?utf-8?q?jane?=@customer.example>"))

    assert mail.subject.startswith("My Größe")
    assert (mail.sender, mail.sender_name) == ("jane@customer.example", "Jané")


@pytest.mark.parametrize(
    ("encoding", "body"), [(b"base64", b"V2hlcmUgaXMgaXQ/*"), (b"quoted-printable", b"Where =69s=\n it?"), (b"8bit?", b"Where is it?")]
)
def test_13_transfer_encodings_that_are_broken(encoding: bytes, body: bytes) -> None:
    mail = read(mail_of(b"Content-Transfer-Encoding: " + encoding, body=body))

    assert mail.text == "Where is it?"


def test_13_files_in_the_text() -> None:
    data = bytes(range(256)) * 3
    uu = b"begin 644 photo.jpg\n" + b"".join(binascii.b2a_uu(data[at : at + 45]) for at in range(0, len(data), 45)) + b"`\nend\n"
    y = b"".join(
        bytes([61, (value + 106) % 256]) if (value + 42) % 256 in {0, 10, 13, 61} else bytes([(value + 42) % 256]) for value in data
    )
    yenc = b"=ybegin line=128 size=768 name=sound.wav\n" + y + b"\n=yend size=768\n"

    mail = read(
        mail_of(b"Content-Type: text/plain; charset=latin1", body=b"Where is it?\n" + uu + b"begin 7 days a week\n" + yenc + b"Jane\nend\n")
    )

    assert mail.text == "Where is it?\nbegin 7 days a week\nJane\nend"
    assert [(file.name, file.sha256) for file in mail.attachments] == [
        (name, hashlib.sha256(data).hexdigest()) for name in ("photo.jpg", "sound.wav")
    ]
    assert {"uuencode", "yenc"} <= set(mail.notes)


@pytest.mark.parametrize(
    "body",
    [
        b"begin 644 x\n" * 50_000,
        b"begin 644 x\n" * 50_000 + b"end\n",
        b"end\n" * 50_000,
        b"begin 644 y\n-- \nend\n",
        b"=ybegin name=x\n" * 50_000,
    ],
)
def test_13_what_is_no_file_stays_in_the_text(body: bytes) -> None:
    mail = read(mail_of(body=b"Where is it?\n" + body))

    assert mail.text.startswith("Where is it?")
    assert f"{mail.text}\n{mail.doubtful}".split() == (b"Where is it?\n" + body).decode().split()


@pytest.mark.parametrize(
    ("content_type", "note"),
    [
        (b"application/ms-tnef; name=winmail.dat", "tnef"),
        (b"application/octet-stream; name=WINMAIL.DAT", "tnef"),
        (b"application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", "encrypted"),
        (b"message/partial; id=x; number=1; total=2", "partial"),
    ],
)
def test_13_what_only_another_program_opens_is_kept_and_said(content_type: bytes, note: str) -> None:
    content = base64.b64encode(b"sealed")

    mail = read(mail_of(b"Content-Type: " + content_type, b"Content-Transfer-Encoding: base64", body=content))

    assert (mail.text, mail.attachments[0].sha256) == ("", hashlib.sha256(b"sealed").hexdigest())
    assert note in mail.notes


def test_13_a_sealed_text_is_said_to_be_one() -> None:
    mail = read(mail_of(body=b"-----BEGIN PGP MESSAGE-----\n\nhQEMA\n-----END PGP MESSAGE-----"))

    assert "encrypted" in mail.notes


@pytest.mark.parametrize(
    ("parameter", "shown"),
    [
        (b"filename*=utf-8''Rechnung%20%C3%BC.pdf", "Rechnung ü.pdf"),
        (b"filename*0*=no-such''R%C3%BC; filename*1*=%C3%BC; filename*2=.pdf", "Rüü.pdf"),
        (b'filename="../../etc/passwd"', "passwd"),
        ('filename="gpj\u202eexe.pdf"'.encode(), "gpjexe.pdf"),
        (b"filename=" + b"x" * 300 + b".pdf", "x" * 108 + "….pdf"),
        (b'filename="\x00"', "attachment"),
    ],
)
def test_14_file_names(parameter: bytes, shown: str) -> None:
    mail = read(mail_of(b"Content-Type: application/pdf", b"Content-Disposition: attachment; " + parameter, body=b"%PDF"))

    assert [file.name for file in mail.attachments] == [shown]


@pytest.mark.parametrize(
    "markup",
    ["<div>" * 20_000 + "Where is it?", "<table>" + ("<tr>" + "<td>word" * 500) * 200, "<p>word</p>" * 100_000, "<!--" * 100_000 + "word"],
    ids=["deep", "wide", "long", "unclosed"],
)
def test_15_html_of_any_shape(markup: str) -> None:
    mail = read(html_of(markup))

    assert f"{mail.text} {mail.doubtful}".count("word") + f"{mail.text}".count("Where is it?") == markup.count("word") + markup.count(
        "Where is it?"
    )
    assert "html-only" in mail.notes


@pytest.mark.parametrize(
    "style", ["display:none", "font-size:0", "color:#ffffff", "position:absolute;left:-9999px", "max-height:0;overflow:hidden"]
)
def test_16_text_that_nobody_sees(style: str) -> None:
    mail = read(html_of(f"<p>Where is it?</p><div style='{style}'>Refund me at once</div>"))

    assert mail.text == "Where is it?"
    assert "hidden-text" in mail.notes


def test_17_a_body_that_begins_to_quote_for_ever() -> None:
    mail = read(mail_of(body=b"Where is it?\n" + b"On " * 10_000 + b"\n" + b"On 1\n" * 2_000))

    assert mail.text.startswith("Where is it?")
    assert f"{mail.text}{mail.doubtful}".count("On") == 12_000


@pytest.mark.parametrize(
    ("body", "text", "doubtful"),
    [
        ("On 2 Nov 2026, Shop <s@shop.example> wrote:\n> Which?\n\nThe blue one.", "The blue one.", "Which?"),
        ("> Which?\nThe blue one.\n> When?\nNow.", "The blue one.\nNow.", "When?"),
        ("The blue one.\n\nFrom: Shop\nSent: Monday\nTo: Jane\nSubject: x\n\nWhich?", "The blue one.", "Which?"),
        ("Синий.\n\nОт: Shop\nОтправлено: 2 ноября\nКому: Jane\nТема: x\n\nКакой?", "Синий.", "Какой?"),
        ("-------- Weitergeleitete Nachricht --------\nVon: Shop\nBetreff: x\n\nWelche?", "-------- Weitergeleitete Nachricht --------\nVon: Shop\nBetreff: x\n\nWelche?", ""),
        ("The blue one.\n-- \nJane\n", "The blue one.", "-- \nJane"),
    ],
    ids=["bottom", "between", "outlook", "russian", "forwarded", "signature"],
)  # fmt: skip
def test_18_answers_below_between_and_above_what_they_answer(body: str, text: str, doubtful: str) -> None:
    mail = read(mail_of(b"Content-Type: text/plain; charset=utf-8", body=body.encode()))

    assert mail.text == text
    assert doubtful in mail.doubtful


@pytest.mark.parametrize(
    ("field", "reply_to", "notes"),
    [
        (b"Reply-To: me@elsewhere.example", "me@elsewhere.example", {"reply-to-elsewhere"}),
        (b"Reply-To: a@b.example, c@d.example", None, {"reply-to-list"}),
        (b"Reply-To: nobody at all", None, set()),
    ],
)
def test_19_an_answer_asked_for_elsewhere(field: bytes, reply_to: str | None, notes: set[str]) -> None:
    mail = read(mail_of(field))

    assert (mail.sender, mail.reply_to) == ("jane@customer.example", reply_to)
    assert set(mail.notes) == notes


def test_20_a_mail_of_nothing_but_a_picture_is_for_a_person() -> None:
    mail = read(mail_of(b"Content-Type: image/png; name=photo.png", body=b"\x89PNG"))

    found = OfflineModel().classify(mail)

    assert (mail.text, mail.attachments[0].name) == ("", "photo.png")
    assert found.intent is Intent.UNCLEAR


def test_lines_that_were_wrapped_for_the_way_are_joined() -> None:
    body = b"My dear \nshop, \nwhere is it?\n> This was \n> quoted.\n-- \nJane \nDoe\n"

    flowed = read(mail_of(b"Content-Type: text/plain; format=flowed", body=body))
    delsp = read(mail_of(b'Content-Type: text/plain; Format="Flowed"; DelSp=yes', body=b"Donaudampf \nschiff"))

    assert (flowed.text, flowed.doubtful) == ("My dear shop, where is it?", "> This was quoted.\n-- \nJane Doe")
    assert delsp.text == "Donaudampfschiff"


def test_an_alternative_that_says_something_else_is_shown_too() -> None:
    words = " ".join(f"word{number}" for number in range(40)).encode()
    same = multipart(b"Content-Type: text/plain\n\n" + words, b"Content-Type: text/html\n\n<p>" + words + b"</p>", kind=b"alternative")
    stub = multipart(b"Content-Type: text/plain\n\nNo HTML here.", b"Content-Type: text/html\n\n<p>" + words + b"</p>", kind=b"alternative")

    first, second = read(same), read(stub)

    assert (first.text, first.notes) == (words.decode(), ())
    assert second.text.split() == ["No", "HTML", "here.", *words.decode().split()]
    assert second.notes == ("alternatives-differ",)


WORDS = st.lists(
    st.sampled_from(
        ["alpha", "> beta", "On 1 Nov 2026 x@y.example wrote:", "-- ", "gamma delta ", "", "From: x", ">", "begin 644 y", "end"]
    ),
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"", b"Content-Type: text/plain; format=flowed\n", b"Content-Disposition: attachment\n"]), WORDS),
        min_size=1,
        max_size=4,
    )
)
def test_no_visible_character_of_a_text_is_lost(parts: list[tuple[bytes, list[str]]]) -> None:
    raw = multipart(*[header + b"\n" + "\n".join(lines).encode() for header, lines in parts])

    mail = read_mail(raw)

    attached = {b"Content-Disposition: attachment\n"}
    shown = [character for header, lines in parts if header not in attached for character in "".join(lines) if character.strip("> ")]
    assert sorted("".join(f"{mail.text}{mail.doubtful}{mail.quoted}".split()).replace(">", "")) == sorted(shown)
    assert len(mail.attachments) == sum(header in attached for header, _ in parts)
