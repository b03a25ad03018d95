"""The phrases and rules of lexicon.toml, and what of them a text holds."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pointsman_desk.case import Intent, Language, Risk
from pointsman_desk.models.words import fold, read_data

GAP_CHARACTERS_MAX = 40  # "money ~ back": further apart, the two words seldom belong together
SHOWN_CHARACTERS_MAX = 60  # longer than any phrase with its gap; a person reads it in a line
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


@dataclass(frozen=True)
class Phrase:
    """A phrase of a language as it is searched for: `first`, and where it has a gap, `second` behind it."""

    language: Language
    first: str
    second: str | None = None


@dataclass(frozen=True)
class Rule:
    """An intent for a mail in which all groups stand within so many sentences, and none of `without`."""

    intent: Intent
    weight: int
    groups: tuple[str, ...]
    without: tuple[str, ...]
    sentences: int


@dataclass(frozen=True)
class Lexicon:
    """The phrases of each group, the tokens that make a group true by themselves, and the rules."""

    phrases: dict[str, tuple[Phrase, ...]]
    tokens: dict[str, frozenset[str]]
    rules: tuple[Rule, ...]
    risk: dict[Intent, Risk]
    marks: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """A rule that holds, in which language, and the words of the mail that made it hold."""

    rule: Rule
    language: Language
    words: tuple[str, ...]


@cache
def lexicon() -> Lexicon:
    """Read lexicon.toml, once a process."""
    data = read_data("lexicon.toml")
    groups = data["phrases"]
    return Lexicon(
        phrases={name: tuple(_phrases(entries)) for name, entries in groups.items()},
        tokens={
            name: frozenset(text for texts in entries.values() for text in texts if text.startswith("<"))
            for name, entries in groups.items()
        },
        rules=tuple(_rule(entry) for entry in data["rule"]),
        risk={intent: Risk(data["risk"][intent]) for intent in Intent},
        marks=tuple(data["marks"]["injection"]),
    )


def _rule(entry: dict[str, Any]) -> Rule:
    return Rule(
        intent=Intent(entry["intent"]),
        weight=entry["weight"],
        groups=tuple(entry["all"]),
        without=tuple(entry.get("not", ())),
        sentences=entry.get("sentences", 1),
    )


def _phrases(entries: dict[str, list[str]]) -> Iterator[Phrase]:
    for code, texts in entries.items():
        spellings = {text for text in texts if not text.startswith("<")}
        if code == Language.GERMAN:
            spellings |= {text.translate(_UMLAUTS) for text in spellings}
        for text in sorted(spellings):
            first, _, second = text.partition("~")
            yield Phrase(Language(code), _needle(first), _needle(second) if second else None)


def _needle(text: str) -> str:
    words = text.strip()
    return ("" if words.startswith("*") else " ") + fold(words) + ("" if words.endswith("*") else " ")


class Findings:
    """Where the phrases of the lexicon stand in a mail. The subject is the sentence 0 and belongs to each other one.

    Each phrase is searched once in the whole text, so that the time grows with the length of the text only.
    """

    def __init__(self, parts: Sequence[tuple[str, bool]], *, numbered: bool) -> None:
        self._sentences = len(parts)
        self._text = "|".join(f" {words} " for words, _ in parts)
        self._starts: list[int] = []
        offset = 0
        for words, _ in parts:
            self._starts.append(offset)
            offset += len(words) + 3  # the two spaces and the bar
        self._tokens = {
            "<number>": range(len(parts)) if numbered else (),
            "<question>": [place for place, (_, asked) in enumerate(parts) if asked],
        }
        self._found: dict[str, dict[Language, dict[int, str]]] = {}

    def group(self, name: str) -> dict[Language, dict[int, str]]:
        """Return for each language the sentences in which the group stands, with the words that were found there."""
        if name not in self._found:
            places: dict[Language, dict[int, str]] = {language: {} for language in Language}
            for phrase in lexicon().phrases.get(name, ()):
                for start, end in self._spans(phrase):
                    places[phrase.language].setdefault(bisect_right(self._starts, start) - 1, self._shown(start, end))
            self._found[name] = places
        return self._found[name]

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words that were found for a group in any language, each once."""
        return tuple(dict.fromkeys(words for places in self.group(name).values() for words in places.values()))

    def matches(self) -> list[Match]:
        """Return each rule that holds, once. The groups of a rule must be found in one and the same language."""
        holding = (self._match(rule, language) for rule in lexicon().rules for language in Language)
        return [match for match in holding if match]

    def _match(self, rule: Rule, language: Language) -> Match | None:
        spoken = [self.group(name)[language] for name in rule.groups]
        tokens = [{place for token in lexicon().tokens[name] for place in self._tokens[token]} for name in rule.groups]
        wrong = {place for name in rule.without for places in self.group(name).values() for place in places}
        for place in sorted({start for places in spoken for at in places for start in (at, at - 1) if start >= 0}):
            window = (0, *range(place, min(place + rule.sentences, self._sentences)))
            here = all(any(at in places or at in extra for at in window) for places, extra in zip(spoken, tokens, strict=True))
            if here and wrong.isdisjoint(window):
                words = dict.fromkeys(places[at] for places in spoken for at in window if at in places)
                return Match(rule, language, tuple(words))
        return None

    def _spans(self, phrase: Phrase) -> Iterator[tuple[int, int]]:
        start = self._text.find(phrase.first)
        while start >= 0:
            end = start + len(phrase.first)
            if phrase.second is None:
                yield start, end
            else:
                near = self._text[end - 1 : end + GAP_CHARACTERS_MAX + len(phrase.second)].partition("|")[0]
                gap = near.find(phrase.second)
                if gap >= 0:
                    yield start, end - 1 + gap + len(phrase.second)
            start = self._text.find(phrase.first, start + 1)

    def _shown(self, start: int, end: int) -> str:
        rest = self._text[end - 1 : end + SHOWN_CHARACTERS_MAX].partition(" ")[0] if self._text[end - 1] != " " else " "
        return (self._text[start : end - 1] + rest).strip()[:SHOWN_CHARACTERS_MAX]
