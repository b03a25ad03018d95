"""What a mail says of its letters is a claim: each is read as what it is, and a doubt is noted."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman_desk.mail.charsets import decode
from pointsman_desk.mail.message import read_mail

HEAD = b"From: Jane <jane@customer.example>\nSubject: My order\nDate: Mon, 2 Nov 2026 10:00:00 +0100\nMessage-ID: <1@customer.example>\n"
RUSSIAN = "Здравствуйте, где мой заказ A-1002? Верните, пожалуйста, деньги."
GREEK = "Πού είναι η παραγγελία μου A-1002; Θέλω τα χρήματά μου πίσω."
JAPANESE = "お世話になっております。注文番号A-1002の荷物が届きません。返金してください。"
CHINESE = "您好，我上周买的台灯坏了，订单A-1002，请退款。"
TAIWANESE = "您好，我上週買的檯燈壞了，訂單A-1002，請退款。"
KOREAN = "안녕하세요, 주문 A-1003 환불해 주세요. 감사합니다."
HEBREW = "שלום, איפה ההזמנה שלי? אני רוצה את הכסף בחזרה."
GERMAN = "Guten Tag, ich möchte die Größe ändern. Schöne Grüße"


def mail_of(body: bytes, *fields: bytes) -> bytes:
    return HEAD + b"".join(field + b"\n" for field in fields) + b"\n" + body


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (RUSSIAN, "koi8_r"), (RUSSIAN, "cp1251"), (GREEK, "cp1253"), (JAPANESE, "euc_jp"), (JAPANESE, "cp932"), (JAPANESE, "iso2022_jp"),
        (CHINESE, "gb18030"), (TAIWANESE, "big5hkscs"), (KOREAN, "cp949"), (HEBREW, "cp1255"), (GERMAN, "cp1252"), (GERMAN, "utf-16"),
        ("Where is my order A-1002?", "utf-16-le"), ("Where is my order A-1002?", "utf-16-be"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", [b"Content-Type: text/plain", b"Content-Type: text/plain; charset=us-ascii"])
def test_a_text_without_a_charset_is_read_and_the_guess_is_noted(text: str, codec: str, field: bytes) -> None:
    mail = read_mail(mail_of(base64.b64encode(text.encode(codec)), field, b"Content-Transfer-Encoding: base64"))

    assert mail.text == text
    assert mail.notes == (() if codec == "utf-16" else ("charset-guessed",))


@pytest.mark.parametrize("text", [RUSSIAN, GREEK, JAPANESE, CHINESE, KOREAN, GERMAN])
@pytest.mark.parametrize("label", [b"us-ascii", b"iso-8859-1", b"windows-1252", b"gb2312", b"koi8-r", b"no-such"])
def test_a_text_in_utf_8_is_read_under_any_label(text: str, label: bytes) -> None:
    mail = read_mail(mail_of(text.encode(), b"Content-Type: text/plain; charset=" + label))

    assert mail.text == text


@pytest.mark.parametrize(("text", "codec"), [(RUSSIAN, "cp1251"), (RUSSIAN, "koi8_r"), (CHINESE, "gb18030"), (KOREAN, "cp949")])
def test_a_label_that_says_latin_of_what_is_not_is_not_believed(text: str, codec: str) -> None:
    mail = read_mail(mail_of(text.encode(codec), b"Content-Type: text/plain; charset=iso-8859-1"))

    assert (mail.text, mail.notes) == (text, ("charset-guessed",))


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("gb2312", "gb18030", "订单 㐀 镕"),
        ("big5", "big5hkscs", "訂單 㗎 啲"),
        ("big5-hkscs", "big5hkscs", "訂單 㗎"),
        ("euc-kr", "cp949", "똠방 주문"),
        ("iso-8859-1", "cp1252", "“10 €” – ja"),
        ("iso-8859-9", "cp1254", "“şikâyet”"),
        ("utf-16le", "utf-16-le", "Größe 訂單"),
        ("utf-16", "utf-16-be", "Größe"),
        ("utf-16", "ascii", "Where is it?"),
        ("hz-gb-2312", "hz", "订单"),
        ("zlib", "ascii", "Where is it?"),
    ],
)
def test_a_label_means_what_senders_mean_by_it(label: str, codec: str, text: str) -> None:
    assert decode(text.encode(codec), label, set()) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"\x1b$BJV6b\x1b(J", "返金"),
        (b"\x1b$B-!\x1b(B \x1b$BJV6b\x1b(B", "① 返金"),  # circled one: a character of vendors
        (b"\x1b$BJV6b\x1b(I1234\x1b(B", "返金ｱｲｳｴ"),
        (b"\x1b$BJV6b\nA-1002", "返金\nA-1002"),  # the escape at the end of the line is missing
        (b"\x1b$(OJV6b\x1b(B", "返金"),
        (b"\x1b$BJV\xff6b\x1b(B ab", "返\ufffd金 ab"),
    ],
)
@pytest.mark.parametrize("label", ["iso-2022-jp", "ISO-2022-JP-MS"])
def test_japanese_is_read_as_mail_programs_write_it(raw: bytes, text: str, label: str) -> None:
    assert decode(raw, label, set()) == text


@pytest.mark.parametrize(
    ("label", "codec", "text", "bad"),
    [
        ("euc-kr", "cp949", KOREAN, b"\xff"),
        ("shift_jis", "cp932", JAPANESE, b"\xff"),
        ("gb2312", "gb18030", CHINESE, b"\xff"),
        ("utf-8", "utf-8", GERMAN, b"\xff"),
        ("windows-1252", "cp1252", GERMAN + " für über möchte Größe Grüße", b"\x81"),
    ],
)
def test_one_bad_byte_costs_one_character(label: str, codec: str, text: str, bad: bytes) -> None:
    notes: set[str] = set()

    assert decode(text.encode(codec) + b"\n" + bad, label, notes) == text + "\n\ufffd"
    assert notes == {"undecodable"}


@pytest.mark.parametrize("meta", ['<meta charset="koi8-r">', '<META content="text/html; charset=KOI8-R" http-equiv=Content-Type>'])
@pytest.mark.parametrize("label", [b"", b"; charset=us-ascii", b"; charset=iso-8859-1", b"; charset=no-such"])
def test_html_names_its_own_charset(meta: str, label: bytes) -> None:
    body = f"<html><head>{meta}</head><body>{RUSSIAN}</body></html>".encode("koi8_r")

    mail = read_mail(mail_of(body, b"Content-Type: text/html" + label))

    assert mail.text == RUSSIAN
    assert "charset-guessed" not in mail.notes or label == b"; charset=us-ascii"


FOOTERS = [
    "_______\nsupport mailing list\nhttps://lists.example",
    "This mail is confidential",
    "--\nName\nand a line",
    "Notice\nRead this: it is a footer",
]


@pytest.mark.parametrize("footer", FOOTERS)
@pytest.mark.parametrize(("text", "label"), [(GERMAN, "utf-8"), (KOREAN, "cp949"), (GERMAN, "iso-8859-1")])
def test_a_footer_in_the_clear_stands_below_an_encoded_text(footer: str, text: str, label: str) -> None:
    body = base64.encodebytes(text.encode(label)) + b"\n" + footer.encode() + b"\n"

    mail = read_mail(mail_of(body, b"Content-Type: text/plain; charset=" + label.encode(), b"Content-Transfer-Encoding: base64"))

    assert "\n".join(filter(None, [mail.text, mail.doubtful, mail.quoted])).split() == [*text.split(), *footer.split()]
    assert "clear-text-added" in mail.notes


def test_a_footer_in_another_charset_is_read_in_its_own() -> None:
    latin = mail_of(GERMAN.encode("cp1252") + "\n\nFußzeile für Müller\n".encode(), b"Content-Type: text/plain; charset=iso-8859-1")
    korean = mail_of(KOREAN.encode("cp949") + "\n\nFußzeile für Müller\n".encode(), b"Content-Type: text/plain; charset=euc-kr")

    assert [read_mail(raw).text for raw in (latin, korean)] == [f"{one}\n\nFußzeile für Müller" for one in (GERMAN, KOREAN)]


@given(
    raw=st.binary(max_size=200),
    label=st.sampled_from([None, "utf-8", "euc-kr", "iso-2022-jp", "iso-2022-kr", "utf-16", "utf-7", "zlib", "x"]),
)
def test_any_bytes_are_read_as_text_under_any_label(raw: bytes, label: str | None) -> None:
    text = decode(raw, label, set(), "gb2312")

    assert text.encode("utf-8").decode("utf-8") == text


def test_raw_header_fields_are_in_the_charset_of_the_text() -> None:
    raw = f"From: {RUSSIAN[:12]} <a@b.example>\nSubject: заказ\nContent-Type: text/plain; charset=koi8-r\n\n{RUSSIAN}\n".encode("koi8_r")

    mail = read_mail(raw)

    assert (mail.sender_name, mail.subject, mail.text) == (RUSSIAN[:12], "заказ", RUSSIAN)


@pytest.mark.parametrize(
    ("text", "charsets"),
    [
        ("Dzień dobry, proszę o zwrot pieniędzy za uszkodzoną lampę. Żądam odpowiedzi.", ("cp1250", "iso8859-2")),
        ("Dobrý den, žádám vrácení peněz, lampa přišla rozbitá. Děkuji", ("cp1250", "iso8859-2")),
        ("Želim povrat novca, žarulja je razbijena, već čekam, šaljite", ("cp1250", "iso8859-2")),
        ("Bună ziua, vreau banii înapoi, lampa a sosit spartă. Mulţumesc", ("cp1250", "iso8859-2")),
        ("Siparişim nerede? Lamba kırık geldi, paramı geri istiyorum. Teşekkürler", ("cp1254",)),
        ("Où est ma commande ? «Été» à Noël, 5° étage, 3 m², Haus® – déjà vu…", ("cp1252",)),
        ("¿Dónde está? ¡Ya! Vivo en el nº 5, 2º B", ("cp1252",)),
        ("Ærø på Østergård, Åse", ("cp1252",)),
        ("Það er pöntun mín, hvar er hún", ("cp1252",)),
    ],
)
def test_letters_of_central_europe_and_turkey_are_read_without_a_charset(text: str, charsets: tuple[str, ...]) -> None:
    for charset in charsets:
        for declared in (None, "us-ascii", "utf-8"):
            notes: set[str] = set()
            assert decode(text.encode(charset), declared, notes) == text
            assert notes == {"charset-guessed"}
