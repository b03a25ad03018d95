"""Composed replies: threaded, safe, and the same bytes each time."""

from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.utils import getaddresses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman_desk.case import Language, Letter, Mail, Reply, Tone
from pointsman_desk.errors import HeaderRefused
from pointsman_desk.mail.compose import Letterhead, compose, reply_to
from pointsman_desk.mail.message import read_mail

DATE = datetime(2026, 11, 22, 9, 30, tzinfo=timezone(timedelta(hours=1)))
LETTER = Letter(
    message_id="c1.r1@shop.example",
    date=DATE,
    sender="support@shop.example",
    to="jane@customer.example",
    subject="Re: My order",
    body="It is on its way.\n",
)
MAIL = Mail(
    message_id="one@customer.example",
    sender="jane@customer.example",
    sender_name="Jane Doe",
    subject="AW: RE[2]: re: My order",
    date="2026-11-20T10:00:00+01:00",
    text="Where is it?\nIt is late.",
)


def reply_in(language: Language, subject: str = "") -> Reply:
    return Reply(subject=subject, body="It is on its way.\n", language=language, tone=Tone.WARM, author="Sam")


def made(mail: Mail, reply: Reply | None = None, letterhead: Letterhead | None = None) -> Letter:
    return reply_to(
        mail,
        reply or reply_in(Language.ENGLISH),
        letterhead or Letterhead("support@shop.example"),
        to="jane@customer.example",
        message_id="c1.r1@shop.example",
        date=DATE,
        automatic=False,
    )


@pytest.mark.parametrize(
    "name", ["Refund at evil.example", "Call +44 20 7946 0001", "https://evil.example", "", "a" * 61, "Pay {{order.total}}"]
)
def test_a_name_that_is_none_does_not_stand_above_the_quotation(name: str) -> None:
    letter = made(MAIL.model_copy(update={"sender_name": name}))

    assert letter.body.splitlines()[2] == "On 2026-11-20, jane@customer.example wrote:"


def test_a_reply_is_threaded_and_quotes_the_original_below() -> None:
    mail = MAIL.model_copy(update={"references": ("zero@shop.example",)})

    letter = made(mail)

    assert (letter.in_reply_to, letter.references) == (
        "one@customer.example",
        ("zero@shop.example", "one@customer.example"),
    )
    assert letter.subject == "Re: My order"
    assert letter.body == ("It is on its way.\n\nOn 2026-11-20, Jane Doe wrote:\n> Where is it?\n> It is late.\n")


def test_long_references_keep_the_first_and_the_last() -> None:
    mail = MAIL.model_copy(update={"references": tuple(f"{number}@shop.example" for number in range(50))})

    letter = made(mail)

    assert letter.references[:2] == ("0@shop.example", "30@shop.example")
    assert letter.references[-2:] == ("49@shop.example", "one@customer.example")
    assert len(letter.references) == 22


@pytest.mark.parametrize("message_id", ["a1@no-id.invalid", "sp ace@x.example", "ü@x.example", "x" * 901])
def test_an_id_that_cannot_be_answered_is_left_out(message_id: str) -> None:
    mail = MAIL.model_copy(update={"message_id": message_id, "references": (message_id, "zero@shop.example")})

    letter = made(mail)

    assert letter.in_reply_to is None
    assert message_id not in letter.references or message_id.endswith("no-id.invalid")
    compose(letter)


@pytest.mark.parametrize("language", list(Language))
@pytest.mark.parametrize("date", [MAIL.date, None])
def test_our_own_quotation_is_known_again_when_the_customer_answers(language: Language, date: str | None) -> None:
    sent = made(MAIL.model_copy(update={"date": date}), reply_in(language))

    read = read_mail(compose(sent))

    assert read.text == "It is on its way."
    assert "> Where is it?" in read.doubtful


def test_an_id_of_two_hundred_characters_stays_on_its_header_line() -> None:
    long_id = "A" * 180 + "@mail.outlook.test"
    letter = LETTER.model_copy(update={"in_reply_to": long_id, "references": (long_id, "b@x.example")})

    raw = compose(letter)

    assert f"\r\nIn-Reply-To: <{long_id}>\r\n".encode() in raw
    assert f"\r\nReferences: <{long_id}>\r\n <b@x.example>\r\n".encode() in raw
    assert read_mail(raw).references == (long_id, "b@x.example")


def test_only_an_unattended_reply_is_marked_as_automatic() -> None:
    unattended = LETTER.model_copy(update={"automatic": True})

    marked, plain = compose(unattended), compose(LETTER)

    assert b"\r\nAuto-Submitted: auto-replied\r\nX-Auto-Response-Suppress: All\r\n" in marked
    assert b"Auto" not in plain


@pytest.mark.parametrize("field", ["subject", "sender", "sender_name", "to", "message_id", "in_reply_to"])
@pytest.mark.parametrize("poison", ["\r", "\n", "\r\nBcc: x@y.example", "\x00", "\u2028"])
def test_a_line_break_in_a_header_is_refused(field: str, poison: str) -> None:
    value = (getattr(LETTER, field) or "a@b.example") + poison
    letter = LETTER.model_copy(update={field: value})

    with pytest.raises(HeaderRefused, match="line break"):
        compose(letter)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "jane",
        "a@b.example, c@d.example",
        "Jane <a@b.example>",
        "a b@c.example",
        "a@b.example;",
        "a@-b",
    ],
)
@pytest.mark.parametrize("field", ["sender", "to"])
def test_what_is_no_single_address_is_refused(field: str, address: str) -> None:
    letter = LETTER.model_copy(update={field: address})

    with pytest.raises(HeaderRefused, match="single plain address"):
        compose(letter)


@pytest.mark.parametrize("address", ["ü@b.example", "a@bücher.example"])
def test_an_address_that_takes_smtputf8_is_refused_as_one(address: str) -> None:
    letter = LETTER.model_copy(update={"to": address})

    with pytest.raises(HeaderRefused, match="the desk does not support SMTPUTF8"):
        compose(letter)


def test_a_bad_reference_is_refused() -> None:
    letter = LETTER.model_copy(update={"references": ("good@x.example", "bad>\r\nX: y")})

    with pytest.raises(HeaderRefused, match="message identifier"):
        compose(letter)


SUBJECTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=120).map(str.strip)
BODIES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=400)


@settings(max_examples=200, deadline=None)
@given(
    subject=SUBJECTS,
    body=BODIES,
    references=st.lists(st.from_regex(r"[a-z]{1,200}@x\.example", fullmatch=True), max_size=4),
)
def test_a_composed_mail_parses_back_equal(subject: str, body: str, references: list[str]) -> None:
    letter = LETTER.model_copy(update={"subject": subject, "body": body, "references": tuple(references)})

    raw = compose(letter)

    head, _, content = raw.partition(b"\r\n\r\n")
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert max(map(len, content.split(b"\r\n"))) <= 76
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert all(len(line) <= 76 for line in head.split(b"\r\n") if b"=?utf-8?" in line)
    parsed = message_from_bytes(raw, policy=policy.default)
    assert parsed["to"] == letter.to
    text = parsed.get_payload(decode=True)
    assert isinstance(text, bytes)
    wanted = body.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n") + "\n"
    assert text.decode().replace("\r\n", "\n") == wanted
    assert read_mail(raw).references == tuple(dict.fromkeys(references))


WORDS = st.text("aA1 \\\"',.;:<>()[]@ü\u20ac=?_-😀", max_size=80).map(lambda text: " ".join(text.split()))
ORDINARY = st.lists(st.from_regex(r"[!-~]{1,40}", fullmatch=True), max_size=12).map(" ".join)


def of_the_old_parser(value: str) -> str:
    return str(make_header(decode_header(value.replace("\r\n ", " "))))


@settings(max_examples=100, deadline=None)
@given(subject=WORDS | ORDINARY)
def test_a_subject_comes_back_from_three_parsers(subject: str) -> None:
    raw = compose(LETTER.model_copy(update={"subject": subject}))

    new, old, ours = message_from_bytes(raw, policy=policy.default), message_from_bytes(raw, policy=policy.compat32), read_mail(raw)
    assert new["subject"] == subject
    assert of_the_old_parser(old["subject"]) == subject
    assert ours.subject == subject


@settings(max_examples=100, deadline=None)
@given(name=WORDS.filter(bool) | ORDINARY.filter(bool))
def test_a_name_comes_back_from_three_parsers_and_cannot_become_an_address(name: str) -> None:
    raw = compose(LETTER.model_copy(update={"sender_name": name}))

    new, old, ours = message_from_bytes(raw, policy=policy.default), message_from_bytes(raw, policy=policy.compat32), read_mail(raw)
    [mailbox] = new["from"].addresses
    [(quoted, address)] = getaddresses([old["from"].replace("\r\n ", " ")])
    spaceless = mailbox.display_name.replace(" ", "")  # this parser puts spaces between encoded words (cpython#92081)
    assert (spaceless, mailbox.addr_spec) == (name.replace(" ", ""), LETTER.sender)
    assert (of_the_old_parser(quoted), address) == (name, LETTER.sender)
    assert (ours.sender_name, ours.sender) == (name, LETTER.sender)
    assert all(len(line) <= 76 for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    assert all(len(word) <= 75 for word in raw.split() if word.startswith(b"=?utf-8?"))


def test_a_long_plain_subject_is_folded_at_its_spaces_and_stays_readable() -> None:
    subject = "Re: the garden hose of order A-1008 that you sent to the old address and that never came to the new one"

    raw = compose(LETTER.model_copy(update={"subject": subject}))

    assert b"\r\nSubject: Re: the garden hose of order A-1008 that you sent to the old\r\n address and" in raw


@pytest.mark.parametrize(
    "subject",
    ["My order", "Re: My order", "AW: SV: Antw: My order", "RE[2]: Re(3): My order", "RV: TR: VS: My order", "re : Re\uff1aMy order", "Rif: Odp: My order"],
)  # fmt: skip
def test_a_reply_is_marked_as_one_once(subject: str) -> None:
    mail = MAIL.model_copy(update={"subject": subject})

    letter = made(mail)

    assert letter.subject == "Re: My order"


@pytest.mark.parametrize("subject", ["Regarding my order", "Trouble: no hose", "Return: A-1008", "Ref: 4711", "R2: a question"])
def test_a_subject_that_only_looks_like_a_reply_keeps_its_words(subject: str) -> None:
    mail = MAIL.model_copy(update={"subject": subject})

    letter = made(mail)

    assert letter.subject == f"Re: {subject}"


def test_the_letterhead_names_the_desk_and_says_whether_it_quotes() -> None:
    quiet = Letterhead("support@shop.example", "Haus & Hof, Kundenservice", quotes=False)

    letter = made(MAIL, letterhead=quiet)

    assert letter.body == "It is on its way.\n"
    assert b'From: "Haus & Hof, Kundenservice"\r\n <support@shop.example>\r\n' in compose(letter)


def test_what_the_customer_calls_themselves_stands_in_no_header() -> None:
    mail = MAIL.model_copy(update={"sender_name": "Your prize, Jane\r\nBcc: all@x.example"})

    head = compose(made(mail)).partition(b"\r\n\r\n")[0]

    assert b"To: jane@customer.example\r\n" in head
    assert b"prize" not in head
    assert b"Bcc" not in head


def test_a_mail_of_doubtful_lines_alone_is_quoted() -> None:
    letter = made(MAIL.model_copy(update={"text": "", "doubtful": "> I want my money back."}))

    assert letter.body.endswith("> > I want my money back.\n")
