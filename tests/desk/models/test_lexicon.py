"""The lexicon's index finds the phrases that a search for each of them finds."""

from importlib import resources

import pytest

from pointsman_desk.case import Language
from pointsman_desk.mail.message import read_mail
from pointsman_desk.models.lexicon import Index, Phrase, lexicon
from pointsman_desk.models.words import sentences

SAMPLES = sorted((resources.files("pointsman_desk") / "sample" / "mails").iterdir(), key=str)


def searched(text: str) -> list[int]:
    return [number for number, (_, phrase) in enumerate(lexicon().numbered) if phrase.first in text]


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_index_finds_the_phrases_of_a_mail(sample):
    mail = read_mail(sample.read_bytes())
    text = "|".join(f" {words} " for words, _ in sentences(f"{mail.subject}\n\n{mail.said}"))

    assert lexicon().index.within(text) == searched(text)


def test_the_index_finds_every_phrase_in_itself_and_at_the_edges_of_a_sentence():
    for number, (_, phrase) in enumerate(lexicon().numbered):
        text = f" x{phrase.first}" if phrase.first.startswith(" ") else f" {phrase.first}"
        assert number in lexicon().index.within(f" y |{text} "), phrase


@pytest.mark.parametrize(
    ("first", "opener", "text", "is_in"),
    [
        (" no puedo ", "no", " no puedo pagar ", True),
        (" no puedo ", "no", " no | puedo ", False),
        (" no puedo ", "no", " nota puedo ", False),
        (" no pue", "no", " no pueden ", True),
        (" no ", "no", " no ", True),
        (" no ", "no", " nota ", False),
        (" erstatt", "erstatt", " erstattung ", True),
        (" erstatt", "erstatt", " rueckerstattung ", False),
        ("erstatt", None, " rueckerstattung ", True),
    ],
)
def test_a_phrase_is_found_where_its_words_are(first, opener, text, is_in):
    assert Index([Phrase(Language.GERMAN, first, opener=opener)]).within(text) == ([0] if is_in else [])
