"""New text told from history and signature, and no line lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.quotes import SPLIT_MAX, split

ATTRIBUTIONS = [
    "On Mon, 2 Nov 2026 at 10:00, Shop <support@shop.example> wrote:",
    "Am 02.11.2026 um 10:00 schrieb Shop <support@shop.example>:",
    "Le lun. 2 nov. 2026 à 10:00, Shop <support@shop.example> a écrit :",
    "El lun, 2 nov 2026 a las 10:00, Shop (<support@shop.example>) escribió:",
    "On Mon, 2 Nov 2026 at 10:00, a shop with a very long name\n<support@shop.example> wrote:",
    "Il giorno lun 2 nov 2026 alle ore 10:00 Shop <support@shop.example> ha scritto:",
    "Em seg., 2 de nov. de 2026 às 10:00, Shop <support@shop.example> escreveu:",
    "Op ma 2 nov 2026 om 10:00 schreef Shop <support@shop.example>:",
    "Den mån 2 nov. 2026 kl 10:00 skrev Shop <support@shop.example>:",
    "Den man. 2. nov. 2026 kl. 10.00 skrev Shop <support@shop.example>:",
    "man. 2. nov. 2026 kl. 10:00 skrev Shop <support@shop.example>:",
    "ma 2. marrask. 2026 klo 10.00 Shop (support@shop.example) kirjoitti:",
    "pon., 2 lis 2026 o 10:00 Shop <support@shop.example> napisał(a):",
    "W dniu 02.11.2026 o 10:00, Shop pisze:",
    "po 2. 11. 2026 v 10:00 odesílatel Shop <support@shop.example>\nnapsal:",
    "пн, 2 нояб. 2026 г. в 10:00, Shop <support@shop.example>:",
    "02.11.2026 10:00, Shop <support@shop.example> пишет:",
    "Shop <support@shop.example>, 2 Kas 2026 Pzt, 10:00 tarihinde şunu yazdı:",
    "2026年11月2日(月) 10:00 Shop <support@shop.example>:",
    "Shop <support@shop.example> 于2026年11月2日周一 10:00写道：",
    "在 2026年11月2日，10:00，Shop <support@shop.example> 写道：",
    "2026년 11월 2일 (월) 오전 10:00, Shop <support@shop.example>님이 작성:",
]
HEADINGS = [
    "From: Shop <support@shop.example>\nSent: Monday, 2 November 2026\nTo: Jane\nSubject: Your order",
    "Von: Shop <support@shop.example>\nGesendet: Montag, 2. November 2026\nAn: Jane\nBetreff: Ihre Bestellung",
    "De : Shop <support@shop.example>\nEnvoyé : lundi 2 novembre 2026\nÀ : Jane\nObjet : Votre commande",
    "De: Shop <support@shop.example>\nEnviado el: lunes, 2 de noviembre\nPara: Jane\nAsunto: Su pedido",
    "*From:* Shop <support@shop.example>\n*Sent:* Monday\n*To:* Jane\n*Subject:* Your order",
    "Da: Shop <support@shop.example>\nInviato: lunedì 2 novembre 2026\nA: Jane\nOggetto: Il Suo ordine",
    "De: Shop <support@shop.example>\nEnviada em: segunda-feira, 2 de novembro\nPara: Jane\nAssunto: O seu pedido",
    "Van: Shop <support@shop.example>\nVerzonden: maandag 2 november 2026\nAan: Jane\nOnderwerp: Uw bestelling",
    "Från: Shop <support@shop.example>\nSkickat: den 2 november 2026\nTill: Jane\nÄmne: Din order",
    "Fra: Shop <support@shop.example>\nSendt: 2. november 2026\nTil: Jane\nEmne: Din ordre",
    "Lähettäjä: Shop <support@shop.example>\nLähetetty: 2. marraskuuta 2026\nVastaanottaja: Jane\nAihe: Tilaus",
    "Od: Shop <support@shop.example>\nWysłano: 2 listopada 2026\nDo: Jane\nTemat: Zamówienie",
    "Od: Shop <support@shop.example>\nOdesláno: 2. listopadu 2026\nKomu: Jane\nPředmět: Objednávka",
    "От: Shop <support@shop.example>\nОтправлено: 2 ноября 2026 г.\nКому: Jane\nТема: Заказ",
    "Gönderen: Shop <support@shop.example>\nGönderildi: 2 Kasım 2026\nKime: Jane\nKonu: Sipariş",
    "差出人: Shop <support@shop.example>\n送信日時: 2026年11月2日\n宛先: Jane\n件名: ご注文",
    "发件人： Shop <support@shop.example>\n发送时间： 2026年11月2日\n收件人： Jane\n主题： 订单",
    "보낸 사람: Shop <support@shop.example>\n보낸 날짜: 2026년 11월 2일\n받는 사람: Jane\n제목: 주문",
    "-----Messaggio originale-----\nquel che segue",
    "-----Исходное сообщение-----\nчто следует",
    "-----Original Message-----\nwhatever follows",
    "-----Ursprüngliche Nachricht-----\nwas folgt",
    "---------- Forwarded message ---------\nwhatever follows",
]


@pytest.mark.parametrize("attribution", ATTRIBUTIONS)
def test_marked_history_goes_with_its_attribution(attribution: str) -> None:
    body = f"Yes please.\n\n{attribution}\n\n> Shall we refund it?\n> Your shop"

    parted = split(body)

    assert parted.text == "Yes please."
    assert parted.quoted.startswith(attribution)


@pytest.mark.parametrize("heading", [*ATTRIBUTIONS, *HEADINGS])
def test_everything_below_a_heading_is_unmarked_history(heading: str) -> None:
    body = f"Yes please.\n\n{heading}\n\nShall we refund it?\nYour shop"

    parted = split(body)

    assert parted.text == "Yes please."
    assert parted.quoted == f"{heading}\n\nShall we refund it?\nYour shop"


def test_the_ruler_above_a_heading_goes_with_it() -> None:
    body = f"Yes please.\n________________________________\n{HEADINGS[0]}\n\nOld words"

    parted = split(body)

    assert parted.text == "Yes please."


@pytest.mark.parametrize("heading", [*ATTRIBUTIONS, *HEADINGS])
def test_unmarked_history_with_nothing_above_it_stays_in_the_text(heading: str) -> None:
    body = f"{heading}\n\nShall we refund it?\n\nYes please."

    parted = split(body)

    assert parted.text == body
    assert parted.quoted == ""


def test_an_answer_below_or_between_quoted_lines_is_new_text() -> None:
    body = f"{ATTRIBUTIONS[0]}\n> Refund?\nYes.\n> All of it?\n\nNo, half."

    parted = split(body)

    assert parted.text == "Yes.\n\nNo, half."
    assert parted.quoted.count(">") == 3


@pytest.mark.parametrize(
    "mark", ["-- ", "--", "Sent from my telephone", "Von meinem Telefon gesendet", "Skickat från min telefon", "Отправлено с телефона"]
)
def test_a_signature_goes_with_the_history(mark: str) -> None:
    body = f"Yes please.\n\n{mark}\nJane Doe\n\n{ATTRIBUTIONS[0]}\n> Refund?"

    parted = split(body)

    assert parted.text == "Yes please."
    assert "Jane Doe" in parted.quoted


def test_a_long_text_below_a_dash_is_no_signature() -> None:
    body = "My complaint\n--\n" + "\n".join(f"reason {number}" for number in range(9))

    parted = split(body)

    assert parted.text == body


@pytest.mark.parametrize(
    "body",
    [
        "On Monday I wrote to you: nothing.",
        "From: me\nTo you: a question",
        "I wrote:\nplease refund 12 euro",
        "Am 2.11. kam das Paket an:\nleer.",
        "2 Nov 2026 is the date:\nplease come.",
        "In 2026 my address is jane@customer.example and this is it:\nJane",
        "I read on 2 Nov 2026 what support@shop.example\nhas to say:\nnothing",
        "Op zich is dit alles:\nniets",
        "Von meinem Konto wurde zu viel abgebucht.",
    ],
)
def test_words_that_only_look_like_a_heading_stay_in_the_text(body: str) -> None:
    parted = split("Hello\n" + body)

    assert parted.text == "Hello\n" + body


@pytest.mark.parametrize(
    "line", ["On On On On 1 ", "On 1 ", "> ", "-- ", "From: x", "From: x\nTo: y\n", "2 Nov 2026 ", "a@b.example>:\n", "___\n", "Am 1" * 99, "\n"]
)  # fmt: skip
def test_no_body_takes_more_than_its_length(line: str) -> None:
    body = "Yes.\n" + line * (300_000 // len(line))

    parted = split(body)

    assert len(parted.text) <= SPLIT_MAX
    assert sorted(parted.text + parted.quoted).count("o") == body.count("o")


def test_what_comes_after_the_first_32_kilobytes_is_history() -> None:
    line = "word " * 15

    parted = split("\n".join([line] * 1_000))

    assert parted.text.split("\n") == [line] * (SPLIT_MAX // (len(line) + 1))
    assert parted.quoted.split("\n") == [line] * (1_000 - SPLIT_MAX // (len(line) + 1))


def test_a_mail_of_nothing_but_quotes_is_noted() -> None:
    raw = b"From: a@b.example\n\n> old\n> words\n"

    mail = read_mail(raw)

    assert (mail.text, mail.quoted) == ("", "> old\n> words")
    assert "only-quoted" in mail.notes


PIECES = st.sampled_from(
    [
        *"\n".join([*ATTRIBUTIONS, *HEADINGS]).split("\n"),
        "-- ",
        "--",
        "> old",
        ">> older",
        "",
        " ",
        "On On On 1",
        "new",
        "_______",
        "Sent from my telephone",
        "wrote:",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)), max_size=40))
def test_text_and_quoted_hold_every_visible_line(lines: list[str]) -> None:
    raw = b"From: a@b.example\nContent-Type: text/plain; charset=utf-8\n\n" + "\n".join(lines).encode()

    mail = read_mail(raw)

    kept = [line for line in f"{mail.text}\n{mail.quoted}".split("\n") if line.strip()]
    assert sorted(kept) == sorted(line for line in lines if line.strip())
