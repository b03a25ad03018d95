"""A sentence that the lexicon cannot read is noticed, whatever stands around it."""

import pytest

from pointsman_desk.models.foreign import unread


@pytest.mark.parametrize(
    "sentence",
    [
        "Верните деньги",
        "Επιστρέψτε τα χρήματα",
        "返金してください",
        "Paramı iade edin",
        "Haluan rahani takaisin",
        "Kérem vissza a pénzemet",
        "Jag vill ha pengarna tillbaka",
        "Voglio indietro i miei soldi",
        "Chcę zwrotu pieniędzy",
    ],
)
@pytest.mark.parametrize("question", ["Where is my order A-1002?", "Wo ist meine Bestellung A-1003?"])
def test_a_sentence_in_another_language_is_found_within_a_mail(question: str, sentence: str) -> None:
    assert unread(f"Hello,\n\n{question} {sentence}.\n\nJohn Smith\n") == sentence


@pytest.mark.parametrize(
    "text",
    [
        "Hello,\n\nwhere is my order A-1002? Nothing arrived yet.\n\nKind regards\nJohn Smith\nSmith & Sons Ltd\n",
        "Servus, wo ist meine Bestellung A-1003?\n\nFreundliche Grüße\nSabine Lorenz\nStraße des 17. Juni 4\n",
        "Bonjour,\noù est ma commande A-1004 ?\nCordialement,\nClaire Dubois",
        "Hola, ¿dónde está mi pedido nº 1005? Vivo en el 2º B.\nUn abrazo, Lucía",
        "Where is my order? Thanks, Zoë Łukasiewicz-Ångström",
        "",
    ],
)
def test_names_slips_and_numbers_are_no_other_language(text: str) -> None:
    assert unread(text) is None


def test_a_name_that_is_signed_in_two_alphabets_is_no_other_language() -> None:
    assert unread("Where is my order A-1008?\n\nBest\nOmar Haddad · عمر حداد", "Omar Haddad عمر حداد") is None


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Omar Haddad · عمر حداد", "Omar Haddad"),  # nobody has said that this is a name
        ("Omar Haddad أعيدوا المال", "Omar Haddad عمر حداد"),
        ("Верните деньги", "Верните деньги"),  # a demand as the sender's whole name
    ],
)
def test_more_than_the_senders_name_is_another_language(line: str, name: str) -> None:
    assert unread(f"Where is my order A-1008?\n\nBest\n{line}", name) == line
