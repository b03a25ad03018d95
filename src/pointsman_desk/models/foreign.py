"""Find sentences that the lexicon cannot read: in another alphabet or an unknown language."""

import re
import unicodedata
from functools import lru_cache

from pointsman_desk.models.spelling import is_known
from pointsman_desk.models.words import fold

UNKNOWN_MIN = 3  # words; fewer may be names or typing errors
WORD_MAX = 50  # letters of a word to remember; longer ones are rare, and a stranger may send very long ones
KNOWN_MAX = 4_096  # words to remember: mails share most of theirs
UNKNOWN_SHARE = 0.79  # of a sentence's words: four of five; three of four may be typing errors and rare words

_ENDS = re.compile(r"[.!?\u2026\u061f\u3002\uff1f\n]+")
_LATIN = ("LATIN", "COMBINING", "MODIFIER", "FEMININE", "MASCULINE", "MICRO")  # beginnings of Unicode names; ª and º occur in addresses
_WORD = re.compile(r"(?<![^\W_])[^\W\d_]+(?![^\W_])")


def unread(text: str, name: str = "") -> str | None:
    """Return the first sentence of `text` in another alphabet or an unknown language, or None.

    `name` is the sender's. A line that contains only words of the name is a signature, even in two alphabets, if one word is Latin.
    Capitalised words within a sentence count as names and are ignored, like single letters.
    """
    signed = set(_WORD.findall(unicodedata.normalize("NFC", name)))
    for sentence in _ENDS.split(unicodedata.normalize("NFC", text)):
        words = _WORD.findall(sentence)
        if signed.issuperset(words) and any(map(_is_latin, words)):
            continue
        if not all(map(_is_latin, words)):
            return sentence.strip()
        said = [word for place, word in enumerate(words) if len(word) > 1 and (place == 0 or word[0].islower())]
        if len(said) < UNKNOWN_MIN:
            continue
        unknown = sum(not _knows(word) for word in said)
        if unknown >= UNKNOWN_MIN and unknown >= UNKNOWN_SHARE * len(said):
            return sentence.strip()
    return None


def _knows(word: str) -> bool:
    return _remembered(word) if len(word) <= WORD_MAX else is_known(fold(word))


@lru_cache(maxsize=KNOWN_MAX)
def _remembered(word: str) -> bool:
    return is_known(fold(word))


def _is_latin(word: str) -> bool:
    return word.isascii() or all(letter.isascii() or unicodedata.name(letter, "").startswith(_LATIN) for letter in word)
