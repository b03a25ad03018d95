"""New text told from history and signature, and no line lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.quotes import SPLIT_MAX, Split, split

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
    "понедельник, 2 ноября 2026 г. пользователь Shop <support@shop.example> написал:",
    "Понедельник, 2 ноября 2026, 10:00 +03:00 от Shop <support@shop.example>:",
    "пн, 2 лист. 2026 р. о 10:00 Shop <support@shop.example> пише:",
    "Στις Δευ, 2 Νοε 2026 στις 10:00 π.μ., ο/η Shop <support@shop.example> έγραψε:",
    "Shop <support@shop.example> ezt írta (időpont: 2026. nov. 2., H, 10:00):",
    "În lun., 2 nov. 2026 la 10:00, Shop <support@shop.example> a scris:",
    "Pada tanggal 2 Nov 2026 10.00, Shop <support@shop.example> menulis:",
    "เมื่อ จ. 2 พ.ย. 2026 เวลา 10:00 Shop <support@shop.example> เขียนว่า:",
    "In message <1@shop.example> of 2 Nov 2026 10:00, Shop <support@shop.example> writes",
    "Vào Th 2, 2 thg 11, 2026 vào lúc 10:00 Shop <support@shop.example> đã viết:",
    "Op 2 nov. 2026 om 10:00 heeft Shop <support@shop.example> het volgende geschreven:",
    "Shop <support@shop.example> schrieb am Mo. 2. Nov. 2026 um 10:00 Uhr:",
    "Shop Haus & Hof schrieb am Mo. 2. Nov. 2026 um 10:00 Uhr:",
    "Haus & Hof Kundendienst <support@shop.example> schrieb am Mo. 2. Nov.\n2026 um 10:00 Uhr:",
    "---- On Mon, 02 Nov 2026 10:00:00 +0100 Shop <support@shop.example> wrote ----",
    "On Mon, Nov 2, 2026 at 10:00 AM Shop <\n\nmailto:Shop <support@shop.example>\n> wrote:",
    "2026-11-02 10:00 GMT+01:00 Shop",
    "2026-11-02 10:00 GMT+01:00 Shop <\nsupport@shop.example>:",
    "2026/11/2 Shop <support@shop.example>",
    "At 11/2/2026 10:00 AM, Shop wrote:",
]
PROVING = [one for one in ATTRIBUTIONS if one != "W dniu 02.11.2026 o 10:00, Shop pisze:"]
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
    "*---- Original Message ----*\nwhatever follows",
    "Date: Mon, 2 Nov 2026 10:00:00 +0000\nSubject: Your order\nFrom: support@shop.example\nTo: jane@customer.example",
    "Від: Shop <support@shop.example>\nНадіслано: 2 листопада 2026 р.\nКому: Jane\nТема: Замовлення",
    "Từ: Shop <support@shop.example>\nNgày: 2 tháng 11, 2026\nĐến: Jane\nChủ đề: Đơn hàng",
]


def shown(parted: Split) -> tuple[str, str, str]:
    return parted.text, parted.doubtful, parted.quoted


@pytest.mark.parametrize("attribution", ATTRIBUTIONS)
def test_marked_lines_below_an_attribution_are_history_in_a_mail_that_answers(attribution: str) -> None:
    body = f"Yes please.\n\n{attribution}\n\n> Shall we refund it?\n> Your shop"

    parted = split(body, answers=True)

    assert shown(parted) == ("Yes please.", attribution, "> Shall we refund it?\n> Your shop")
    assert parted.sure


@pytest.mark.parametrize("attribution", ATTRIBUTIONS)
def test_marked_lines_are_doubtful_in_a_mail_that_answers_none(attribution: str) -> None:
    body = f"Yes please.\n\n{attribution}\n\n> Shall we refund it?\n> Your shop"

    parted = split(body)

    assert shown(parted) == ("Yes please.", f"{attribution}\n\n> Shall we refund it?\n> Your shop", "")
    assert not parted.sure


@pytest.mark.parametrize(
    "attribution",
    [
        "On 20 November your colleague wrote:",
        "On 20 November 2026 your colleague wrote:",
        "Your colleague wrote:",
        "On 20 Nov 2026 at 10:00 I was told by somebody at your shop that my money comes back at once, as Emma wrote:",
        "-----Original Message-----",
        "From: Shop\nDate: 2 November 2026\nSubject: Your order",
    ],
)
def test_marked_lines_below_what_a_person_may_have_written_are_doubtful(attribution: str) -> None:
    parted = split(f"Yes please.\n\n{attribution}\n> I will refund you", answers=True)

    assert parted.quoted == ""
    assert "> I will refund you" in parted.doubtful
    assert not parted.sure


def test_marked_lines_further_below_are_doubtful() -> None:
    parted = split(f"{ATTRIBUTIONS[0]}\n> Refund?\nYes.\n> 3 weeks late, I want my money back", answers=True)

    assert shown(parted) == ("Yes.", f"{ATTRIBUTIONS[0]}\n> 3 weeks late, I want my money back", "> Refund?")


@pytest.mark.parametrize("heading", [*ATTRIBUTIONS, *HEADINGS])
@pytest.mark.parametrize("answers", [True, False])
def test_everything_unmarked_below_a_heading_is_doubtful(heading: str, answers: bool) -> None:
    body = f"Yes please.\n\n{heading}\n\nShall we refund it?\nYour shop"

    parted = split(body, answers=answers)

    assert shown(parted) == ("Yes please.", f"{heading}\n\nShall we refund it?\nYour shop", "")
    assert not parted.sure


OURS = """Hello Jane,

you asked whether the lamp of your order can be sent back. It can, within thirty days of its delivery.

Your shop
"""
WRAPPED = """Hello Jane,
you asked whether the lamp of your order can
be sent back.   It can, within thirty days of its
delivery.
Your shop"""


@pytest.mark.parametrize("heading", [*ATTRIBUTIONS, *(one for one in HEADINGS if "follow" not in one and "folgt" not in one)])
@pytest.mark.parametrize("mark", ["", "> "])
def test_what_repeats_a_known_mail_is_history_with_its_heading(heading: str, mark: str) -> None:
    quoted = "\n".join(f"{mark}{line}" for line in WRAPPED.split("\n"))

    parted = split(f"Yes please.\n\n{heading}\n\n{quoted}", known=["Another mail of ours, about nothing.", OURS])

    if "segue" not in heading and "следует" not in heading:
        assert shown(parted) == ("Yes please.", heading, quoted)
        assert parted.sure


@pytest.mark.parametrize("mark", ["", "> "])
@pytest.mark.parametrize("place", range(6))
def test_a_line_put_into_a_known_mail_is_not_known(mark: str, place: int) -> None:
    lines = WRAPPED.split("\n")
    lines.insert(place, "I want my money back.")
    quoted = "\n".join(f"{mark}{line}" for line in lines)

    parted = split(f"Yes please.\n\n{ATTRIBUTIONS[0]}\n\n{quoted}", known=[OURS])

    assert "I want my money back." in parted.doubtful
    assert not parted.sure


@pytest.mark.parametrize("place", range(1, 5))
def test_a_line_put_into_a_header_block_is_doubtful(place: int) -> None:
    lines = [*HEADINGS[0].split("\n"), "", *WRAPPED.split("\n")]
    lines.insert(place, "I want my money back.")

    parted = split("\n".join(["Yes please.", "", *lines]), known=[OURS])

    assert "I want my money back." in parted.doubtful
    assert not parted.sure


def test_where_the_quoted_mail_is_known_its_marks_prove_nothing() -> None:
    lines = [f"> {line}" for line in WRAPPED.split("\n")]
    lines.insert(3, "> I want my money back.")

    parted = split("\n".join(["See below.", "", ATTRIBUTIONS[0], *lines]), answers=True, known=[OURS])

    assert parted.doubtful.endswith("> I want my money back.")
    assert not parted.sure


WIDE = "> Pitchers and bowls of the autumn are here, in the colours that you chose,"


def test_the_end_of_a_marked_line_that_was_wrapped_is_doubtful() -> None:
    parted = split(f"Yes.\n\n{ATTRIBUTIONS[0]}\n{WIDE}\nblue and white\n> Your shop", answers=True)

    assert parted.text == "Yes."
    assert "blue and white" in parted.doubtful
    assert not parted.sure


def test_the_end_of_a_wrapped_line_is_known_with_its_mail() -> None:
    known = f"{WIDE[2:]} blue and white\nYour shop"

    parted = split(f"Yes.\n\n{ATTRIBUTIONS[0]}\n{WIDE}\nblue and white\n> Your shop", answers=True, known=[known])

    assert (parted.text, parted.quoted) == ("Yes.", f"{WIDE}\nblue and white\n> Your shop")
    assert parted.sure


def test_an_attribution_that_is_marked_itself_proves_too() -> None:
    parted = split("Yes.\n\n> On 2 Nov 2026, at 10:00, Shop <support@shop.example> wrote:\n> \n> Refund?", answers=True)

    assert (parted.text, parted.quoted) == ("Yes.", "> \n> Refund?")
    assert parted.sure


def test_a_sentence_that_is_repeated_below_its_mail_is_not_known() -> None:
    earlier = "Hello,\n\nI want my money back for the lamp.\n\nJane"
    body = f"Hello again.\n\n{ATTRIBUTIONS[0]}\n\n{earlier}\n\nI want my money back for the lamp."

    parted = split(body, known=[earlier])

    assert parted.doubtful.split("\n")[-1] == "I want my money back for the lamp."
    assert not parted.sure


def test_what_is_known_is_the_customers_own_where_nothing_says_that_it_is_old() -> None:
    parted = split("I want my money back for the lamp.", known=["I want my money back for the lamp."])

    assert parted.text == "I want my money back for the lamp."


def test_the_ruler_above_a_heading_goes_with_it() -> None:
    body = f"Yes please.\n________________________________\n{HEADINGS[0]}\n\nOld words"

    parted = split(body)

    assert parted.text == "Yes please."
    assert parted.doubtful.startswith("___")


@pytest.mark.parametrize("heading", [*ATTRIBUTIONS, *HEADINGS])
def test_unmarked_history_with_nothing_above_it_stays_in_the_text(heading: str) -> None:
    body = f"{heading}\n\nShall we refund it?\n\nYes please."

    parted = split(body)

    assert shown(parted) == (body, "", "")


def test_a_forwarded_mail_with_two_headings_and_nothing_above_stays_in_the_text() -> None:
    body = f"---------- Forwarded message ---------\n{HEADINGS[0]}\n\nShall we refund it?"

    parted = split(body)

    assert shown(parted) == (body, "", "")


def test_an_answer_below_or_between_quoted_lines_is_new_text() -> None:
    body = f"{ATTRIBUTIONS[0]}\n> Refund?\nYes.\n> All of it?\n\nNo, half."

    parted = split(body)

    assert parted.text == "Yes.\n\nNo, half."
    assert parted.doubtful.count(">") == 2 + 1  # with those of the address


@pytest.mark.parametrize(
    "mark",
    [
        "-- ",
        "--",
        "Get Outlook for Android<https://aka.ms/AAb9ysg>",
        "Sent from my telephone",
        "Von meinem Telefon gesendet",
        "Skickat från min telefon",
        "Отправлено с телефона",
    ],
)
def test_a_signature_stands_apart(mark: str) -> None:
    parted = split(f"Yes please.\n\n{mark}\n\n{ATTRIBUTIONS[0]}\n> Refund?", answers=True)

    assert (parted.text, parted.quoted) == ("Yes please.", "> Refund?")
    assert parted.doubtful.replace("\n\n", "\n") == f"{mark}\n{ATTRIBUTIONS[0]}"
    assert parted.sure


@pytest.mark.parametrize(
    "line",
    [
        "Sent from my Samsung Galaxy S21 Ultra 5G",
        "Sent from Mail for Windows 10",
        "Sent from my telephone, please excuse any typos.",
        "(sent from a phone)",
        "Get Outlook for iOS<https://aka.ms/o0ukef>",
        "Diese Nachricht wurde von meinem Android-Mobiltelefon mit K-9 Mail gesendet.",
        "Diese Nachricht wurde von meinem Android Mobiltelefon mit WEB.DE Mail gesendet.",
        "Gesendet mit der GMX Mail App",
        "Outlook für Android herunterladen",
        "Envoyé de mon iPhone",
        "Télécharger Outlook pour Android",
        "Enviado desde mi iPhone",
        "Hanki Outlook for Android<https://aka.ms/ghei36>",
    ],
)
def test_what_a_telephone_adds_raises_no_doubt(line: str) -> None:
    parted = split(f"Where is my order?\n\n{line}\n\n--\nJane")

    assert (parted.text, parted.sure) == ("Where is my order?", True)
    assert line in parted.doubtful


SIGNED = """Kind regards

Maria Keller
Keller & Söhne GmbH
Lange Straße 12a
D-10115 Berlin
Tel.: +49 (0)30 123456
maria@keller.example
www.keller.example"""


@pytest.mark.parametrize("delimiter", ["-- ", "--", "\u2014", "_______"])
@pytest.mark.parametrize(
    "signature",
    [
        SIGNED,
        "Jean Dupont\n12 rue de la Paix\n75002 Paris",
        "Maria del Carmen García López",
        "MfG\nHans",
        "Jane\n\nSent from my iPhone",
        "",
    ],
)
def test_a_signature_that_says_nothing_raises_no_doubt(delimiter: str, signature: str) -> None:
    parted = split(f"Where is my order?\n{delimiter}\n{signature}")

    assert parted.text == "Where is my order?"
    assert parted.sure


@pytest.mark.parametrize(
    "line",
    [
        "And please cancel the two bulbs, I do not need them any more.",
        "please cancel it",
        "Geld zurück",
        "Where is my refund?",
        "REFUND NOW!",
        "I expect 20 €",
        "Ich möchte stornieren",
        "je veux être remboursé",
        "quiero mi dinero",
        "返金してください",
        "CALL ME BEFORE YOU BRING IT",
        "Call Me Now",
        "DAS IST NICHT IN ORDNUNG",
        "Our general terms of business apply to all that we sell to you and others",
    ],
)
@pytest.mark.parametrize("delimiter", ["-- ", "--", "\u2014", "_______"])
def test_a_signature_that_says_something_is_doubtful(delimiter: str, line: str) -> None:
    parted = split(f"Where is my order?\n{delimiter}\nMaria Keller\n{line}")

    assert line in parted.doubtful
    assert not parted.sure


@pytest.mark.parametrize(
    "line",
    [
        "PS: If it is not here tomorrow I want a refund.",
        "Sent from my old address was the refund form, I still want my money back.",
        "Gesendet von mir ist die Ware längst, ich will jetzt mein Geld",
        "Sent from my desk, is much easier than my mobile phone.",
    ],
)
def test_what_stands_below_a_device_or_only_begins_like_one_is_the_customers_own(line: str) -> None:
    parted = split(f"Where is my order?\n\nSent from my iPhone\n\n{line}")

    assert parted.text.endswith(line)


@pytest.mark.parametrize("mark", ["> ", ""])
def test_a_word_behind_a_long_line_of_signs_is_doubtful(mark: str) -> None:
    parted = split(f"Where is it?\n\n{ATTRIBUTIONS[0]}\n{mark}{'-' * 500} Refund")

    assert not parted.sure


def test_the_footer_of_a_list_is_doubtful() -> None:
    footer = "_______________________________________________\nsupport mailing list\nsupport@lists.example"

    parted = split(f"Where is it?\n\n{footer}")

    assert (parted.text, parted.doubtful, parted.sure) == ("Where is it?", footer, False)


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
    assert "".join(shown(parted)).count("o") == body.count("o")


@pytest.mark.parametrize("line", ["> a known line of a mail, which is longer than most\n", "a" * 60 + "\n", "ab\n"])
def test_no_known_text_makes_it_slow(line: str) -> None:
    known = ["a" * 100_000, line * 2_000]

    parted = split(f"Yes.\n\n{ATTRIBUTIONS[0]}\n" + line * (SPLIT_MAX // len(line) - 10), known=known)

    assert parted.text == "Yes."


@pytest.mark.parametrize(
    "opening", ["On Friday I was at your shop", "Am Freitag war ich da", "On the other hand, it may come twice.", "At 10"]
)
@pytest.mark.parametrize("attribution", ATTRIBUTIONS)
@pytest.mark.parametrize("gap", ["\n", "\n\n", "\nand left\n\n"])
def test_own_words_that_begin_like_an_attribution_stay_above_it(opening: str, attribution: str, gap: str) -> None:
    parted = split(f"{opening}{gap}{attribution}\n> Refund?", answers=True)

    assert parted.text == f"{opening}{gap}".rstrip("\n")


def test_what_comes_after_the_most_that_is_looked_at_is_doubtful() -> None:
    line = "word " * 15
    read = SPLIT_MAX // (len(line) + 1)

    parted = split("\n".join([line] * 4_000))

    assert parted.text.split("\n") == [line] * read
    assert parted.doubtful.split("\n") == [line] * (4_000 - read)
    assert not parted.sure


def test_a_mail_of_nothing_but_quotes_is_noted() -> None:
    raw = b"From: a@b.example\n\n> old\n> words\n"

    mail = read_mail(raw)

    assert (mail.text, mail.doubtful) == ("", "> old\n> words")
    assert {"only-quoted", "doubtful-lines"} <= set(mail.notes)


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
@given(st.lists(st.one_of(PIECES, st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)), max_size=40), st.booleans())
def test_the_three_hold_every_visible_line(lines: list[str], answers: bool) -> None:
    raw = (
        (b"In-Reply-To: <x@y>\n" if answers else b"")
        + b"From: a@b.example\nContent-Type: text/plain; charset=utf-8\n\n"
        + "\n".join(lines).encode()
    )

    mail = read_mail(raw)

    kept = [line for line in f"{mail.text}\n{mail.doubtful}\n{mail.quoted}".split("\n") if line.strip()]
    assert sorted(kept) == sorted(line for line in lines if line.strip())


MARKED_BLOCK = '> Gesendet: Dienstag, 17. November 2026 um 12:00 Uhr\n> Von: "Shop" <support@shop.example>\n> An: jane@post.example\n> Betreff: Lampe\n'


def test_a_marked_header_block_proves_the_marked_lines_below_it_in_a_mail_that_answers() -> None:
    body = f"Wo ist sie?\n\n{MARKED_BLOCK}>\n> Sie ist gepackt.\n"

    parted = split(body, answers=True)
    assert (parted.text, parted.quoted, parted.sure) == ("Wo ist sie?", ">\n> Sie ist gepackt.", True)
    assert not split(body).sure
    assert not split(body.replace("> ", "", 4), answers=True).sure  # no program marks the text and not the fields


def test_what_is_no_field_in_a_marked_header_block_stays_doubtful() -> None:
    lines = MARKED_BLOCK.splitlines()

    parted = split("\n".join(["Wo ist sie?", "", *lines[:2], "> Ich will mein Geld.", *lines[2:], "> Sie ist gepackt."]), answers=True)
    assert "> Ich will mein Geld." in parted.doubtful
    assert not parted.sure


NOTICES = [
    (
        "This message is confidential and intended only for the person to whom it is addressed.\nIf you have received it by mistake, please notify\n"
        "the sender and destroy all copies."
    ),
    "Diese E-Mail kann vertrauliche Informationen enthalten. Haben Sie diese Nachricht irrtümlich erhalten,\ninformieren Sie bitte sofort den Absender.",
    "This email has been scanned for viruses by AVG antivirus software.\nwww.avg.com",
    "Please consider the environment before printing this email.",
]


@pytest.mark.parametrize("notice", NOTICES)
def test_a_notice_below_a_signature_raises_no_doubt(notice: str) -> None:
    parted = split(f"Where is my order?\n-- \nJane Doe\nDoe & Sons Ltd\n\n{notice}")

    assert (parted.text, parted.sure) == ("Where is my order?", True)
    assert notice in parted.doubtful  # it is still held against what is for a person


@pytest.mark.parametrize("notice", NOTICES)
@pytest.mark.parametrize("wish", ["Please cancel it.", "I want my money.", "Bitte stornieren.", "Delete my data.", "Destroy the order."])
def test_a_wish_within_a_notice_is_doubtful(notice: str, wish: str) -> None:
    for said in (f"{notice} {wish}", f"{wish} {notice}", notice.replace("\n", f"\n{wish}\n", 1) + f"\n{wish}"):
        assert not split(f"Where is my order?\n-- \nJane Doe\n\n{said}").sure
