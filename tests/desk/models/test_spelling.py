"""A word is read as it was meant, by a slip of the keyboard or on purpose; a word that means itself stays."""

import pytest

from pointsman_desk.models.spelling import corrected, undisguised
from pointsman_desk.models.words import fold, tricked


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("refnud", "refund"),
        ("refuuuuund", "refund"),
        ("recieved", "received"),
        ("complaimt", "complaint"),
        ("oorder", "order"),
        ("laywer", "lawyer"),
        ("entäuscht", "enttauscht"),
        ("rückerstatung", "ruckerstattung"),
        ("rembousement", "remboursement"),
        ("reenbolso", "reembolso"),
        ("canselar", "cancelar"),
    ],
)
def test_a_word_one_slip_away_is_read_as_it_was_meant(written: str, meant: str) -> None:
    assert corrected(fold(f"a {written} b")) == f"a {meant} b"


@pytest.mark.parametrize(
    "word",
    [
        "older",
        "cancer",
        "monkey",
        "policy",
        "polite",
        "layer",
        "Gewicht",
        "Gesicht",
        "umgehend",
        "plante",
        "queda",
        "perdido",
        "Frau",
        "1001",
    ],
)
def test_a_word_that_means_itself_stays(word: str) -> None:
    assert corrected(fold(word)) == fold(word)


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("I want a r e f u n d now", "i want a refund now"),
        ("a r-e-f-u-n-d please", "a refund please"),
        ("r.e.f.u.n.d", "refund"),
        ("m y  l a w y e r", "my lawyer"),
        ("r3fund me", "refund me"),
        ("my l4wyer", "my lawyer"),
        ("p0l1ce", "police"),
        ("Ge1d zuruck und Anw@lt", "ge1d zuruck und anwalt"),
    ],
)
def test_a_disguised_word_is_read_and_told(written: str, plain: str) -> None:
    text, found = undisguised(written)

    assert (fold(text), found) == (plain, True)


@pytest.mark.parametrize(
    "text",
    [
        "z. B. i. d. R. nicht",
        "J. R. R. Taylor, U.S.A.",
        "Order A1001, 2pcs of 10x10 cm, NP4471001",
        "returns@shop.example!",
        "plan A B C D",
        "Sendungsnummer4711",
        "refund!",
        "y o a",
    ],
)
def test_honest_letters_and_figures_are_no_disguise(text: str) -> None:
    assert undisguised(text) == (text, False)


@pytest.mark.parametrize("text", ["r\u0435fund", "ｒｅｆｕｎｄ", "ⓡⓔⓕⓤⓝⓓ", "𝐫𝐞𝐟𝐮𝐧𝐝", "ʀᴇꜰᴜɴᴅ", "re\u200bfund"])
def test_letters_that_look_like_others_are_read_and_told(text: str) -> None:
    assert fold(text) == "refund"
    assert tricked(text)
