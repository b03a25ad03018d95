"""Words that differ from the lexicon's spelling, by typing errors or on purpose."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise

from pointsman_desk.models.words import fold, read_data, small_words

LETTERS_MIN = 5  # shorter words are too similar to others
SWAPPED_LETTERS_MIN = 6  # one changed letter turns "older" into "order"; longer words have fewer neighbours
WORDS_MAX = 4096  # cached words: nearly all that the mails of a week repeat
LETTERS_MAX = 40  # no word of the lexicon is longer
STEM_LETTERS_MIN = 4
_STRETCHED = re.compile(r"([a-z])\1{2,}")
_SPACED = re.compile(r"(?<![^\W_])(?:[^\W\d_][ \t._*\-\u00b7|/\\~+]{1,3}){3,}[^\W\d_](?![^\W_])")
_BETWEEN = re.compile(r"[\W_]+")
_CODED = re.compile(r"(?<!\S)(?=\S{0,40}[0-9@$!|\u20ac])(?!\S{0,60}@\S{0,60}\.)[\w@$!|\u20ac]{3,40}[^\W\d_]")
_LETTERS_FOR = tuple(str.maketrans(f"{one}034578@$!|\u20ac", f"{letter}oeastbasile") for one, letter in (("1", "i"), ("1", "l")))
SPACED_LETTERS_MIN = 8  # this many single letters in a row are a trick even if they form no known word


@dataclass(frozen=True)
class _Vocabulary:
    """The words to correct to, their shortened forms, and the words that are correct."""

    words: frozenset[str]
    shortened: Mapping[str, tuple[str, ...]]
    meant: frozenset[str]
    read: frozenset[str]
    stems: frozenset[str]


@cache
def _vocabulary() -> _Vocabulary:
    data = read_data("lexicon.toml")
    tables = dict(data["spelling"])
    meant = {word for line in tables.pop("meant") for word in fold(line).split()}
    words = {word for lines in tables.values() for line in lines for word in fold(line).split()}
    small = {word for lines in data["language"].values() for line in lines for word in fold(line).split()}
    phrases = [text for group in (*data["phrases"].values(), data["innocent"]) for texts in group.values() for text in texts]
    pieces = [piece for text in phrases if not text.startswith("<") for piece in text.split() if piece != "~"]
    shortened: dict[str, tuple[str, ...]] = {}
    for word in sorted(words):
        for form in {word, *_shorter(word)}:
            shortened[form] = (*shortened.get(form, ()), word)
    content = meant | words | {part for piece in pieces if "*" not in piece for part in fold(piece).split()}
    return _Vocabulary(
        words=frozenset(words),
        shortened=shortened,
        meant=frozenset(content | small),
        read=frozenset(content | small_words()),
        stems=frozenset(fold(piece) for piece in pieces if piece.endswith("*")),
    )


def is_known(word: str) -> bool:
    """Return whether the lexicon knows a folded word."""
    return word in _vocabulary().read or _begins_known(word)


def corrected(words: str) -> str:
    """Return folded `words` with each word that has one typing error corrected to a word of the lexicon's `[spelling]`.

    The typing errors are those of Damerau (Communications of the ACM 7(3), 1964): one letter too many, too few or wrong, or two
    swapped. Both words are looked up by their shortened forms, so that the time grows only with the text.
    """
    return " ".join(map(_corrected, words.split()))


def _corrected(word: str) -> str:
    if len(word) > LETTERS_MAX:
        word = _STRETCHED.sub(r"\1", word)
    return _mend(word) if len(word) <= LETTERS_MAX else word


@lru_cache(maxsize=WORDS_MAX)
def _mend(word: str) -> str:
    word = _STRETCHED.sub(r"\1", word)
    known = _vocabulary()
    if len(word) < LETTERS_MIN or word in known.meant or not word.isalpha() or _begins_known(word):
        return word
    for form in (word, *_shorter(word)):
        for candidate in known.shortened.get(form, ()):
            if len(candidate) >= LETTERS_MIN and _one_slip(word, candidate):
                return candidate
    return word


def _begins_known(word: str) -> bool:
    stems = _vocabulary().stems
    return any(word[:size] in stems for size in range(STEM_LETTERS_MIN, len(word) + 1))


def _shorter(word: str) -> Iterator[str]:
    return (word[:place] + word[place + 1 :] for place in range(len(word)))


def _one_slip(word: str, meant: str) -> bool:
    if word[0] != meant[0]:
        return False
    if len(word) != len(meant):
        return abs(len(word) - len(meant)) == 1
    wrong = [place for place, (one, other) in enumerate(zip(word, meant, strict=True)) if one != other]
    if len(wrong) == 1:
        return len(meant) >= SWAPPED_LETTERS_MIN
    return any(wrong == [place, after] and word[place] == meant[after] and word[after] == meant[place] for place, after in pairwise(wrong))


def undisguised(text: str) -> tuple[str, bool]:
    """Return `text` with "r e f u n d" and "r3fund" as plain words, and whether there was such a word."""
    found = False

    def reveal(written: re.Match[str]) -> str:
        nonlocal found
        plain = _joined(written.group()) or _decoded(written.group())
        found = found or plain is not None
        return f" {plain} " if plain else written.group()

    return _CODED.sub(reveal, _SPACED.sub(reveal, text)), found


def _joined(letters: str) -> str | None:
    plain = _BETWEEN.sub("", fold(letters))
    if " " not in fold(letters):
        return None
    for start in range(3):  # "a" and "I" are words
        if _is_known(plain[start:]):
            return f"{plain[:start]} {plain[start:]}"
    return plain if len(plain) >= SPACED_LETTERS_MIN else None


def _decoded(word: str) -> str | None:
    forms = (fold(word.lower().translate(letters)) for letters in _LETTERS_FOR)
    return next((form for form in forms if form != fold(word) and form.isalpha() and _is_known(form)), None)


def _is_known(word: str) -> bool:
    return word in _vocabulary().words or _begins_known(word)
