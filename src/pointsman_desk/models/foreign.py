"""Sentences that the lexicon cannot read: in another alphabet, or in a language that it does not know."""

import re
import unicodedata

from pointsman_desk.models.spelling import is_known
from pointsman_desk.models.words import fold

UNKNOWN_MIN = 3  # words; fewer are names, or slips
UNKNOWN_SHARE = 0.79  # of a sentence's words: four of five, and no three of four, which slips and rare words are, too

_ENDS = re.compile(r"[.!?\u2026\u061f\u3002\uff1f\n]+")
_LATIN = ("LATIN", "COMBINING", "MODIFIER", "FEMININE", "MASCULINE", "MICRO")  # how Unicode names them; ª and º stand in addresses
_WORD = re.compile(r"(?<![^\W_])[^\W\d_]+(?![^\W_])")


def unread(text: str, name: str = "") -> str | None:
    """Return the first sentence of `text` that is in another alphabet or another language than the lexicon's, None for none.

    `name` is the sender's. A line that holds nothing but words of it is a signature, in two alphabets too, if one of its words is
    Latin. Words with capitals within a sentence are names, and do not count, nor do single letters.
    """
    signed = set(_WORD.findall(unicodedata.normalize("NFC", name)))
    for sentence in _ENDS.split(unicodedata.normalize("NFC", text)):
        words = _WORD.findall(sentence)
        if signed.issuperset(words) and any(map(_is_latin, words)):
            continue
        if any(not _is_latin(word) for word in words):
            return sentence.strip()
        said = [word for place, word in enumerate(words) if len(word) > 1 and (place == 0 or word[0].islower())]
        unknown = sum(not is_known(fold(word)) for word in said)
        if unknown >= UNKNOWN_MIN and unknown >= UNKNOWN_SHARE * len(said):
            return sentence.strip()
    return None


def _is_latin(word: str) -> bool:
    return all(letter.isascii() or unicodedata.name(letter, "").startswith(_LATIN) for letter in word)
