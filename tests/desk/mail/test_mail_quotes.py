"""New text told from history and signature, and no line lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.quotes import split

ATTRIBUTIONS = [
    "On Mon, 2 Nov 2026 at 10:00, Shop <support@shop.example> wrote:",
    "Am 02.11.2026 um 10:00 schrieb Shop <support@shop.example>:",
    "Le lun. 2 nov. 2026 à 10:00, Shop <support@shop.example> a écrit :",
    "El lun, 2 nov 2026 a las 10:00, Shop (<support@shop.example>) escribió:",
    "On Mon, 2 Nov 2026 at 10:00, a shop with a very long name\n<support@shop.example> wrote:",
]
HEADINGS = [
    "From: Shop <support@shop.example>\nSent: Monday, 2 November 2026\nTo: Jane\nSubject: Your order",
    "Von: Shop <support@shop.example>\nGesendet: Montag, 2. November 2026\nAn: Jane\nBetreff: Ihre Bestellung",
    "De : Shop <support@shop.example>\nEnvoyé : lundi 2 novembre 2026\nÀ : Jane\nObjet : Votre commande",
    "De: Shop <support@shop.example>\nEnviado el: lunes, 2 de noviembre\nPara: Jane\nAsunto: Su pedido",
    "*From:* Shop <support@shop.example>\n*Sent:* Monday\n*To:* Jane\n*Subject:* Your order",
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


@pytest.mark.parametrize("mark", ["-- ", "--", "Sent from my telephone", "Von meinem Telefon gesendet"])
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
    ],
)
def test_words_that_only_look_like_a_heading_stay_in_the_text(body: str) -> None:
    parted = split("Hello\n" + body)

    assert parted.text == "Hello\n" + body


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
