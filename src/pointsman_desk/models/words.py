"""Text as the rules read it: folded letters, sentences, and the language of its small words."""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

from pointsman_desk.case import Language

TEXT_CHARACTERS_MAX = 32_000  # about ten printed pages; no question to a shop is longer
_INVISIBLE = "\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\U000e0000-\U000e007f"
_DROPPED = re.compile(f"[\u00ad\u0300-\u036f{_INVISIBLE}]")  # soft hyphens are normal typography
_NEGATION = re.compile(r"n['\u2019\u00b4`]t\b")
_GAP = re.compile(r"[\W_]+")
_ASCII_GAPS = bytes(code if chr(code).isalnum() else 32 for code in range(256))  # the same for ASCII, in a third of the time
_SENTENCE_END = re.compile(r"([.!?\u2026\u061f\u3002\uff1f]+)")
_FOREIGN = "\u0370-\u03ff\u0400-\u052f\u0530-\u058f"  # Greek, Cyrillic, Armenian
# Small capitals, letters in circles, wide ones, mathematical ones, letters in squares.
_STYLED = (
    "\u0262\u026a\u0274\u0280\u028f\u0299\u029c\u029f\u1d00-\u1d2b\ua730\ua731"
    "\u24b6-\u24e9\uff21-\uff5a\U0001d400-\U0001d7ff\U0001f130-\U0001f189"
)
_TRICK = re.compile(f"[a-z][{_INVISIBLE}]+[a-z]|[a-z][{_FOREIGN}]|[{_FOREIGN}][a-z]|[{_STYLED}]{{3}}")
# Letters of other alphabets that look like Latin ones: a word written with them reads the same to a person.
_LOOKALIKES = str.maketrans(
    "аеорсухівмтнкѕјԁԛԝһ" + "αεορυιντκ" + "ոօսցɡɑı" + "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢ",  # noqa: RUF001 - they are ambiguous on purpose
    "aeopcyxibmthksjdqwh" + "aeopuivtk" + "nouggai" + "abcdefghijklmnoprstuvwyz",
)


def fold(text: str) -> str:
    """Return `text` in lower case without accents and invisible characters; other characters than letters and digits become one space."""
    plain = text.casefold()
    if not plain.isascii():
        plain = _DROPPED.sub("", unicodedata.normalize("NFKD", plain)).translate(_LOOKALIKES)
    if plain.isalpha() and plain.isascii():
        return plain
    if not plain.isascii():
        return _GAP.sub(" ", _NEGATION.sub("nt", plain)).strip()
    if "'" in plain or "`" in plain:
        plain = _NEGATION.sub("nt", plain)
    return " ".join(plain.encode().translate(_ASCII_GAPS).decode().split())


def tricked(text: str) -> bool:
    """Return whether letters imitate others: a hidden character or a foreign letter inside a word."""
    return not text.isascii() and _TRICK.search(unicodedata.normalize("NFC", text.lower())) is not None


def sentences(text: str) -> list[tuple[str, bool]]:
    """Return the folded sentences of `text`, each with whether it ends with a question mark. An empty line also ends a sentence."""
    flowing = " ".join(line.strip() or "." for line in text.splitlines())
    pieces = [*_SENTENCE_END.split(flowing), ""]
    pairs = ((fold(piece), "?" in mark) for piece, mark in zip(pieces[::2], pieces[1::2], strict=False))
    return [(words, asked) for words, asked in pairs if words]


def read_data(name: str) -> dict[str, Any]:
    """Read the TOML file `name` from this folder."""
    return tomllib.loads(resources.files("pointsman_desk.models").joinpath(name).read_text(encoding="utf-8"))


@cache
def _small_words() -> Mapping[str, frozenset[str]]:
    """Return the languages of each small word, folded, by their names; not all of them are known ones."""
    languages: dict[str, set[str]] = {}
    for name, entries in read_data("lexicon.toml")["language"].items():
        for word in (word for entry in entries for word in fold(entry).split()):
            languages.setdefault(word, set()).add(name)
    return {word: frozenset(names) for word, names in languages.items()}


def small_words() -> frozenset[str]:
    """Return the small words of the known languages, folded: articles, pronouns, greetings."""
    return frozenset(word for word, names in _small_words().items() if not names.isdisjoint(Language))


def language_of(text: str, votes: Mapping[Language, int] | None = None) -> Language | None:
    """Return the language whose small words are most frequent in `text`, or None if no known language leads.

    `votes` adds other evidence for a language, such as phrases found. The result is also None if a language without templates leads.
    """
    return leading(fold(text[:TEXT_CHARACTERS_MAX]).split(), votes)


def leading(words: Iterable[str], votes: Mapping[Language, int] | None = None) -> Language | None:
    """Return the `language_of` a text of these folded words."""
    known = _small_words()
    counts = Counter(name for word in words if word in known for name in known[word])
    for language, number in (votes or {}).items():
        counts[language.value] += number
    best = max(counts.values(), default=0)
    leaders = [name for name, number in counts.items() if number == best]
    return Language(leaders[0]) if best and len(leaders) == 1 and leaders[0] in set(Language) else None
