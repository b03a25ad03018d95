"""Find the phrases of wording.toml in a text, in any language, unless they are negated or reported."""

import re
import tomllib
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources

from pointsman_desk.case import Language
from pointsman_desk.models.words import fold

BEFORE_WORDS = 3  # "we are not able to refund": the distance of a negation before its phrase
AFTER_WORDS = 7  # "wir erstatten Ihnen die Kosten leider nicht": a German negation may follow
NEAR_CHARACTERS = 200  # no clause of a letter is longer; bounds the time for a text full of negations
SENTENCES_KEPT_MAX = 256  # as many as a long reply has; each group searches them again
_SENTENCE = re.compile(r"(?<=[.!?\u2026])\s|\n\s*\n")
_CLAUSE = re.compile(r"[,;:()\[\]]|\s[-\u2013\u2014]\s")


def says(text: str, group: str, *, without: str = "", language: Language | None = None) -> Iterator[str]:
    """Yield the first phrase of `group` in each sentence of `text`, folded, each once.

    A negated or reported phrase does not count, nor one after a phrase of the group `without` in its clause. With `language`, only the
    phrases of that language count: allowed statements are checked in one language, forbidden ones in all.
    """
    if not _pattern(group, language).search(_flow(text)):
        return  # as of most groups
    found = (_said(sentence, group, without, language) for sentence in sentences(text))
    yield from dict.fromkeys(phrase for phrase in found if phrase)


def holds(text: str, group: str) -> Iterator[str]:
    """Yield the first phrase of `group` in each sentence of `text`, even if it is negated or reported."""
    found = (_pattern(group, None).search(_words(sentence)) for sentence in sentences(text))
    yield from dict.fromkeys(match.group().strip(" ,") for match in found if match)


def sentences(text: str) -> list[str]:
    """Return the sentences of `text`. An empty line ends a sentence, a line break does not."""
    return [sentence for sentence in _SENTENCE.split(text) if sentence.strip()]


def _said(sentence: str, group: str, without: str, language: Language | None) -> str | None:
    words = _meant(sentence)
    match = _pattern(group, language).search(words)
    while match:
        before = _clause(words[max(0, match.start() - NEAR_CHARACTERS) : match.start()], -1)
        end = match.start() + len(match.group().rstrip(" ,"))
        behind = _clause(words[end : end + NEAR_CHARACTERS], 0)
        spared = _pattern("reported", None).search(before) or (without and _pattern(without, None).search(before))
        if not spared and not _denied(before, behind):
            return match.group().strip(" ,")
        match = _pattern(group, language).search(words, match.start() + 1)
    return None


def _clause(words: str, piece: int) -> str:
    """Return the last (-1) or first (0) clause of `words`."""
    return f" {_pattern('joint', None).sub(', ', words).split(', ')[piece]} "


def _denied(before: str, behind: str) -> bool:
    near = f" {' '.join(before.split()[-BEFORE_WORDS:])} "
    after = f" {' '.join(behind.split()[:AFTER_WORDS])} "
    return bool(_pattern("negation", None).search(near) or _pattern("negation", Language.GERMAN).search(after))


@lru_cache(maxsize=SENTENCES_KEPT_MAX)
def _flow(text: str) -> str:
    """Return the words of all sentences of `text`, a line each; no phrase goes beyond its line."""
    return "\n".join(map(_meant, sentences(text)))


@lru_cache(maxsize=SENTENCES_KEPT_MAX)
def _meant(sentence: str) -> str:
    """Return the words of `sentence` without each "not" that negates nothing."""
    return _pattern("no_negation", None).sub("", _words(sentence))


@lru_cache(maxsize=SENTENCES_KEPT_MAX)
def _words(text: str) -> str:
    """Return the folded words of `text`, with a space around each; a comma, a colon and a bracket become the word ","."""
    clauses = (fold(clause) for clause in _CLAUSE.split(text))
    return f" {' , '.join(clause for clause in clauses if clause)} "


@cache
def _groups() -> dict[str, dict[str, list[str]]]:
    data = tomllib.loads(resources.files("pointsman_desk.guards").joinpath("wording.toml").read_text(encoding="utf-8"))
    groups = {name: entries for name, entries in data.items() if name != "status"}
    return groups | {f"status.{name}": entries for name, entries in data["status"].items()}


@cache
def _pattern(group: str, language: Language | None) -> re.Pattern[str]:
    languages = [language] if language else list(Language)
    phrases = [phrase for code in languages for phrase in _groups()[group][code]]
    return re.compile(f"(?<= )(?:{'|'.join(map(_expression, phrases))})")


def _expression(phrase: str) -> str:
    return "".join(_part(token) for token in phrase.split())


def _part(written: str) -> str:
    if written == "~":
        return rf"(?:(?!{_NO} )[\w,]+ ){{0,4}}?"
    words = "|".join(_word(word) for word in written.removeprefix("?").split("/"))
    return f"(?:(?:{words}) (?:, )?)" + ("?" if written.startswith("?") else "")


def _word(word: str) -> str:
    return r"\w*" * word.startswith("*") + re.escape(fold(word.strip("*"))) + r"\w*" * word.endswith("*")


_NO = r"(?:not|never|cannot|nt|nicht|kein\w{0,2}|nie|niemals|ne|n|no|nunca)"  # negations within a gap, in any language
