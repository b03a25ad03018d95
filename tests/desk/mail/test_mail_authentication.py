"""Whose word on a mail's origin counts, and what it must say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman_desk.mail.authentication import MICROSOFT_365, Result, read_results
from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.tree import HEADER_MAX

OURS = "mx.shop.example"
PASSED = f"{OURS}; dmarc=pass header.from=post.example"


def vouched(*results: str, authserv: str = OURS, sender: str = "Jane <jane@post.example>", more: str = "") -> bool:
    fields = "".join(f"Authentication-Results: {value}\r\n" for value in results)
    raw = f"{fields}From: {sender}\r\n{more}Subject: Hello\r\n\r\nHello"
    mail = read_mail(raw.encode(), authserv)
    assert mail.subject == "Hello"
    return mail.authentication.aligned


@pytest.mark.parametrize(
    "value",
    [
        PASSED,
        f"{OURS} 1; spf=fail smtp.mailfrom=news.test; dkim=pass header.d=post.example; dmarc=pass header.from=post.example",
        f"{OURS};\r\n\tdkim=pass (2048-bit key; unprotected) header.d=post.example;\r\n\tdmarc=pass (p=none dis=none) header.from=post.example",
        f'(checked here) {OURS.upper()} (yes (really)) ; DMARC = Pass reason="all; well" Header . From = "POST.example"',
        f"{OURS}; none; dmarc/1=pass policy.dmarc=reject header.from=post.example.",
        f"{OURS}; =; x; dmarc=pass header.from=post.example",
    ],
)
def test_a_dmarc_pass_of_our_own_exchanger_for_the_senders_domain_counts(value: str) -> None:
    assert vouched(value)


@pytest.mark.parametrize("domain", ["shop.post.example", "a.b.post.example"])
def test_a_pass_for_the_organisation_counts_for_its_subdomains(domain: str) -> None:
    assert vouched(PASSED, sender=f"jane@{domain}")


@pytest.mark.parametrize(
    "value",
    [
        "mx.other.example; dmarc=pass header.from=post.example",
        f"sub.{OURS}; dmarc=pass header.from=post.example",
        f"{OURS}; dmarc=fail header.from=post.example",
        f"{OURS}; dmarc=passed header.from=post.example",
        f"{OURS}; dmarc=pass",
        f"{OURS}; dmarc=pass header.d=post.example",
        f"{OURS}; dmarc=pass header.from=evil.test",
        f"{OURS}; dmarc=pass header.from=ost.example",
        f"{OURS}; dmarc=pass header.from=example",
        f"{OURS}; dmarc=pass header.from=jane.post.example",
        f"{OURS}; dmarc=pass header.from=evil.test header.from=post.example",
        f"{OURS}; dmarc=pass header.from=post.example header.from=evil.test",
        f"{OURS}; dkim=pass header.d=post.example; spf=pass smtp.mailfrom=post.example",
        f"{OURS}; none",
        f"{OURS} 2; dmarc=pass header.from=post.example",
        f"{OURS} dmarc=pass header.from=post.example",
        "",
        ";",
        "dmarc=pass header.from=post.example",
    ],
)
def test_anything_else_does_not_count(value: str) -> None:
    assert not vouched(value)


@pytest.mark.parametrize(
    "value",
    [
        f'{OURS}; spf=fail smtp.mailfrom="x; dmarc=pass header.from=post.example"@evil.test; dmarc=fail header.from=post.example',
        f"{OURS}; spf=fail (dmarc=pass header.from=post.example) smtp.helo=evil.test; dmarc=fail header.from=post.example",
        f"{OURS}; spf=fail smtp.mailfrom=x; dmarc=pass header.from=post.example; dmarc=fail header.from=post.example",
        f"{OURS}; spf=fail smtp.mailfrom=x; dmarc=pass header.from=post.example (@evil.test; dmarc=fail header.from=post.example",
        f'{OURS}; spf=fail smtp.mailfrom=x; dmarc=pass header.from=post.example reason="@evil.test; dmarc=fail header.from=post.example',
        f"{OURS}; spf=fail smtp.mailfrom=dmarc=pass header.from=post.example",
    ],
)
def test_what_a_sender_can_put_into_our_exchangers_words_does_not_count(value: str) -> None:
    assert not vouched(value)


def test_only_the_topmost_field_of_our_exchanger_counts() -> None:
    failed = f"{OURS}; dmarc=fail header.from=post.example"

    assert not vouched(failed, PASSED)
    assert vouched(PASSED, failed)
    assert vouched("inner.shop.example; spf=none", PASSED)
    assert not vouched(f'{OURS}; dmarc="fail header.from=post.example', PASSED)


def test_without_the_setting_nobodys_word_counts() -> None:
    mail = read_mail(f"Authentication-Results: {PASSED}\nFrom: jane@post.example\n\nHello".encode())

    assert not mail.authentication.aligned
    assert "authserv" in mail.authentication.why


MICROSOFTS = (
    "spf=pass (sender IP is 192.0.2.52)\r\n smtp.mailfrom=post.example; dkim=pass (signature was verified)\r\n"
    " header.d=post.example;dmarc=pass action=none\r\n header.from=post.example;compauth=pass reason=100"
)


def test_microsoft_365_names_itself_not_and_only_the_topmost_field_of_all_is_its_own() -> None:
    assert vouched(MICROSOFTS, authserv=MICROSOFT_365)
    assert vouched(MICROSOFTS, MICROSOFTS.replace("dmarc=pass", "dmarc=fail"), authserv=MICROSOFT_365)
    assert not vouched(MICROSOFTS.replace("dmarc=pass", "dmarc=bestguesspass"), authserv=MICROSOFT_365)
    assert not vouched(MICROSOFTS.replace("dmarc=pass", "dmarc=fail"), MICROSOFTS, authserv=MICROSOFT_365)
    assert not vouched("mx.other.example; spf=none", MICROSOFTS, authserv=MICROSOFT_365)
    assert not vouched(PASSED, authserv=MICROSOFT_365)
    assert not vouched(authserv=MICROSOFT_365)


@pytest.mark.parametrize(
    ("sender", "more"),
    [
        ("jane@post.example", "From: eve@post.example\r\n"),
        ("jane@post.example", "From: jane@post.example\r\n"),
        ("jane@post.example, eve@post.example", ""),
        ("eve@post.example <jane@post.example>", ""),
        ('"eve@post.example" <jane@post.example>', ""),
        ("=?utf-8?q?eve=40post.example?= <jane@post.example>", ""),
        ("jane@post.example (eve@post.example)", ""),
        ("<eve@post.example> <jane@post.example>", ""),
        ("\u212aelly@post.example", ""),
        ("<=?utf-8?q?=E2=84=AAelly?=@post.example>", ""),
        ("=?utf-8?q?jane?=@post.example", ""),
        ("=?utf-8?q?jane=40post.example?=", ""),
        ("nobody", ""),
    ],
)
def test_a_from_that_can_be_read_in_two_ways_is_vouched_for_by_nobody(sender: str, more: str) -> None:
    assert not vouched(PASSED, sender=sender, more=more)


@pytest.mark.parametrize(
    "smuggled",
    [
        b"X-A: a\rFrom: jane@post.example\r\r\nFrom: eve@post.example",
        b"X-A: a\rFrom: jane@post.example\r\rFrom: eve@post.example",
        b"From : eve@post.example\r\nFrom: jane@post.example",
        b"From: jane@post.example\r\nno field\r\nFrom: eve@post.example",
        b"From: jane@post.example" + b"\r\nX-A: a" * 1_000 + b"\r\nfrom\t: eve@post.example",
        b"From: jane@post.example," + b" " * HEADER_MAX + b"eve@post.example",
    ],
)
def test_a_from_that_another_server_reads_and_the_desk_does_not_is_vouched_for_by_nobody(smuggled: bytes) -> None:
    raw = b"Authentication-Results: " + PASSED.encode() + b"\r\n" + smuggled + b"\r\nSubject: Hello\r\n\r\nFrom: the body"

    assert not read_mail(raw, OURS).authentication.aligned


@pytest.mark.parametrize(
    "sender",
    [
        '"Doe, Jane" <Jane@Post.Example>',
        "jane@post.example <jane@post.example>",
        "=?utf-8?q?J=C3=A4ne?= <jane@post.example>",
        "J\u00e4ne <jane@post.example>",
    ],
)
def test_a_from_with_one_address_is_vouched_for_however_it_is_written(sender: str) -> None:
    assert vouched(PASSED, sender=sender)


def test_what_was_said_is_told_to_a_person_in_one_line() -> None:
    told = f'{OURS}; dmarc=fail\r\n header.from="evil\u202e.test{"x" * 900}"'
    raw = f"Authentication-Results: {told}\r\nFrom: jane@post.example\r\n\r\nHello"

    why = read_mail(raw.encode(), OURS).authentication.why

    assert why.startswith(f"{OURS} says dmarc=fail for evil.test")
    assert len(why) <= 200


def test_a_field_is_read_into_its_methods_and_their_properties() -> None:
    read = read_results('a.example; dkim=pass reason="good; (really)" header.d=b.example header.i=@b.example; spf=none')

    assert read is not None
    assert read.authserv == "a.example"
    assert read.results[0] == Result("dkim", "pass", (("reason", "good; (really)"), ("header.d", "b.example"), ("header.i", "@b.example")))
    assert [result.method for result in read.results] == ["dkim", "spf"]


@pytest.mark.parametrize(
    "value",
    ["a; dkim=pass (", 'a; dkim="pass', "a; dkim=pass\\", "a; dmarc=pass=\\; dmarc=fail", "a; dkim=pass ((x)", "a" * (HEADER_MAX + 1)],
)
def test_a_field_that_cannot_be_read_to_its_end_says_nothing(value: str) -> None:
    assert read_results(value) is None


PIECES = ["dmarc=pass", "header.from=post.example", f"{OURS}", ";", "=", "(", ")", '"', "\\", " ", "x", "\r\n "]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_no_envelope_sender_turns_a_failed_check_into_a_passed_one(written: str) -> None:
    assert not vouched(f"{OURS}; spf=fail smtp.mailfrom={written}; dmarc=fail header.from=post.example")


@pytest.mark.parametrize("piece", ["(", '"', "\\", ";", "=", "a=b;", "a.", '"\\', "()", "( \\", "dmarc=pass;"])
def test_a_hostile_field_of_any_kind_is_read(piece: str) -> None:
    assert not vouched(f"{OURS}; {piece * 8_000}")
