"""The phrases and rules of lexicon.toml, and how to find them in a text."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import chain, pairwise, repeat
from typing import Any

from pointsman_desk.case import BY_HAND, Intent, Language, Risk
from pointsman_desk.models.words import fold, read_data

GAP_CHARACTERS_MAX = 40  # "money ~ back": further apart, the two words rarely belong together
SHOWN_CHARACTERS_MAX = 60  # longer than any phrase with its gap; fits on a line
WORDS_MAX = 4_096  # beginnings of words to remember: mails share most of theirs
SHORT_WORDS_MAX = 8  # "facture d il y a trois mois svp": the request and little else
COVER = "_"  # not in any folded text
INNOCENT = "innocent"  # the group of phrases that only look like others
_LANGUAGES = tuple(Language)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


@dataclass(frozen=True)
class Phrase:
    """A phrase of a language: `first`, and for a phrase with a gap, `second` after it.

    `opener` is the beginning of its first word, or None if anything may come before.
    """

    language: Language
    first: str
    second: str | None = None
    opener: str | None = None


class Index:
    """Phrases by their first words, so that only a few must be searched in a text.

    A phrase that begins with whole words is found by its first two, or by its only one and "". Others are found by the beginning of
    their first word. Only phrases without an opener are searched in every text.
    """

    def __init__(self, phrases: Sequence[Phrase]) -> None:
        self._unopened: dict[str, list[int]] = {}  # of each `first`, the numbers of the phrases that have it
        self._begun: dict[str, dict[str, list[int]]] = {}
        self._whole: dict[tuple[str, str], dict[str, list[int]]] = {}
        for number, phrase in enumerate(phrases):
            self._place(phrase).setdefault(phrase.first, []).append(number)
        sizes = {*map(len, self._begun)}
        self._shortest, self._longest = min(sizes, default=0), max(sizes, default=0)
        self._beginning = lru_cache(maxsize=WORDS_MAX)(self._opened_by)

    def _place(self, phrase: Phrase) -> dict[str, list[int]]:
        if phrase.opener is None:
            return self._unopened
        *whole, _ = phrase.first.split(" ")[1:]  # the last word is a beginning, or ""
        if not whole:
            return self._begun.setdefault(phrase.opener, {})
        return self._whole.setdefault((whole[0], "".join(whole[1:2])), {})

    def within(self, text: str) -> list[int]:
        """Return the numbers of the phrases whose `first` is in `text`, in order."""
        words = text.split()
        whole = self._whole.keys() & chain(pairwise(words), zip(words, repeat("")))
        places = chain(
            [self._unopened],
            map(self._whole.__getitem__, whole),
            chain.from_iterable(map(self._beginning, {word[: self._longest] for word in words})),
        )
        return sorted({number for place in places for first, numbers in place.items() if first in text for number in numbers})

    def _opened_by(self, word: str) -> tuple[dict[str, list[int]], ...]:
        sizes = range(self._shortest, min(len(word), self._longest) + 1)
        return tuple(place for size in sizes if (place := self._begun.get(word[:size])) is not None)


@dataclass(frozen=True)
class Rule:
    """An intent, for a mail of at most `words` words in which all groups occur within a number of sentences, and no group of `without`."""

    intent: Intent
    weight: int
    groups: tuple[str, ...]
    without: tuple[str, ...]
    sentences: int
    words: float


@dataclass(frozen=True)
class Lexicon:
    """The phrases of each group, the tokens that satisfy a group on their own, and the rules."""

    phrases: dict[str, tuple[Phrase, ...]]
    tokens: dict[str, frozenset[str]]
    rules: tuple[Rule, ...]
    risk: dict[Intent, Risk]
    marks: tuple[str, ...]

    @cached_property
    def numbered(self) -> Sequence[tuple[str, Phrase]]:
        """All phrases, each with its group, in the order of their openers; first those without one."""
        every = [(name, phrase) for name, group in self.phrases.items() for phrase in group]
        return sorted(every, key=lambda one: one[1].opener or "")

    @cached_property
    def index(self) -> Index:
        """The index of the numbered phrases."""
        return Index([phrase for _, phrase in self.numbered])

    @cached_property
    def selves(self) -> frozenset[str]:
        """The words with which a person speaks of himself or herself."""
        return frozenset(phrase.opener for phrase in self.phrases["self"] if phrase.opener is not None)

    @cached_property
    def risky(self) -> frozenset[str]:
        """The groups whose intents need a person; in these, innocent phrases are not covered."""
        return frozenset(name for rule in self.rules if rule.intent in BY_HAND for name in rule.groups)


@dataclass(frozen=True)
class Match:
    """A rule that holds, its language, and the words of the mail that satisfied it."""

    rule: Rule
    language: Language
    words: tuple[str, ...]


@cache
def lexicon() -> Lexicon:
    """Read lexicon.toml, once per process."""
    data = read_data("lexicon.toml")
    groups = data["phrases"]
    return Lexicon(
        phrases={name: tuple(_read(entries)) for name, entries in groups.items()} | {INNOCENT: tuple(_read(data["innocent"]))},
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
        words=entry.get("words", math.inf),
    )


def _read(entries: dict[str, list[str]]) -> Iterator[Phrase]:
    for code, texts in entries.items():
        spellings = {text for text in texts if not text.startswith("<")}
        if code == Language.GERMAN:
            spellings |= {text.translate(_UMLAUTS) for text in spellings}
        for text in sorted(spellings):
            first, _, second = text.partition("~")
            needle = _needle(first)
            opener = needle.split(" ")[1] if needle.startswith(" ") else None
            yield Phrase(Language(code), needle, _needle(second) if second else None, opener)


def _needle(text: str) -> str:
    words = text.strip()
    return ("" if words.startswith("*") else " ") + fold(words) + ("" if words.endswith("*") else " ")


class Findings:
    """The positions of the lexicon's phrases in a mail. The subject is sentence 0 and belongs to every other sentence.

    Each phrase is searched once in the whole text, so that the time grows only with the length of the text.
    """

    def __init__(self, parts: Sequence[tuple[str, bool]], *, numbered: bool, amount: bool = False) -> None:
        self._sentences = len(parts)
        self._text = "|".join(f" {words} " for words, _ in parts)
        known = lexicon()
        self._candidates: dict[str, list[Phrase]] = {}  # the phrases of each group that begin in the text
        for name, phrase in (known.numbered[number] for number in known.index.within(self._text)):
            self._candidates.setdefault(name, []).append(phrase)
        self._careful = self._covered()
        self._length = len(self._careful.replace("|", " ").split())  # the small print does not count towards the length
        self._starts: list[int] = []
        offset = 0
        for words, _ in parts:
            self._starts.append(offset)
            offset += len(words) + 3  # the two spaces and the bar
        self._tokens = {
            "<number>": range(len(parts)) if numbered else (),
            "<amount>": range(len(parts)) if amount else (),
            "<question>": [place for place, (_, asked) in enumerate(parts) if asked],
            "<short>": range(len(parts)) if self._length <= SHORT_WORDS_MAX else (),
        }
        self._found: dict[str, dict[Language, dict[int, str]]] = {}

    def group(self, name: str) -> dict[Language, dict[int, str]]:
        """Return, for each language in which the group occurs, the sentences that contain it, with the words found there."""
        if name not in self._found:
            places: dict[Language, dict[int, str]] = {}
            text = self._careful if name in lexicon().risky else self._text
            for phrase in self._candidates.get(name, ()):
                for start, end in self._spans(phrase, text):
                    places.setdefault(phrase.language, {}).setdefault(bisect_right(self._starts, start) - 1, self._shown(start, end))
            self._found[name] = places
        return self._found[name]

    def words(self, name: str) -> tuple[str, ...]:
        """Return the words found for a group in any language, each once."""
        return tuple(dict.fromkeys(words for places in self.group(name).values() for words in places.values()))

    def matches(self) -> list[Match]:
        """Return each rule that holds, once. All groups of a rule must be found in the same language."""
        begun = self._candidates.keys()
        rules = (rule for rule in lexicon().rules if self._length <= rule.words and not begun.isdisjoint(rule.groups))
        return [match for rule in rules for match in self._holding(rule)]

    def _holding(self, rule: Rule) -> Iterator[Match]:
        if not all(self.group(name) or self._extra(name) for name in rule.groups):
            return
        found, extras = [self.group(name) for name in rule.groups], [self._extra(name) for name in rule.groups]
        for language in _LANGUAGES:
            spoken = [places.get(language, {}) for places in found]
            if any(spoken) and all(places or extra for places, extra in zip(spoken, extras, strict=True)):
                match = self._match(rule, language, spoken, extras)
                if match is not None:
                    yield match

    def _extra(self, name: str) -> set[int]:
        """Return the sentences with a token of the group."""
        return {place for token in lexicon().tokens[name] for place in self._tokens[token]}

    def _match(self, rule: Rule, language: Language, spoken: list[dict[int, str]], extras: list[set[int]]) -> Match | None:
        wrong = {place for name in rule.without for places in self.group(name).values() for place in places}
        for place in sorted({start for places in spoken for at in places for start in (at, at - 1) if start >= 0}):
            window = (0, *range(place, min(place + rule.sentences, self._sentences)))
            here = all(any(at in places or at in extra for at in window) for places, extra in zip(spoken, extras, strict=True))
            if here and wrong.isdisjoint(window):
                words = dict.fromkeys(places[at] for places in spoken for at in window if at in places)
                return Match(rule, language, tuple(words))
        return None

    def _covered(self) -> str:
        """Return the text with innocent phrases covered; for a phrase with a gap, only its last words are covered.

        A sentence of a firm's small print is covered completely.
        """
        letters = list(self._text)
        for phrase in self._candidates.get("footer", ()):
            for start, _ in self._spans(phrase, self._text):
                first = self._text.rfind("|", 0, start + 1) + 1
                after = self._text.find("|", start)
                last = after if after >= 0 else len(letters)
                letters[first:last] = COVER * (last - first)
        for phrase in self._candidates.get(INNOCENT, ()):
            for start, end in self._spans(phrase, self._text):
                first = start + 1 if phrase.second is None else end + 1 - len(phrase.second)
                letters[first : end - 1] = COVER * (end - 1 - first)
        return "".join(letters)

    @staticmethod
    def _spans(phrase: Phrase, text: str) -> Iterator[tuple[int, int]]:
        start = text.find(phrase.first)
        while start >= 0:
            end = start + len(phrase.first)
            if phrase.second is None:
                yield start, end
            else:
                near = text[end - 1 : end + GAP_CHARACTERS_MAX + len(phrase.second)].partition("|")[0]
                gap = near.find(phrase.second)
                if gap >= 0:
                    yield start, end - 1 + gap + len(phrase.second)
            start = text.find(phrase.first, start + 1)

    def _shown(self, start: int, end: int) -> str:
        rest = self._text[end - 1 : end + SHOWN_CHARACTERS_MAX].partition(" ")[0] if self._text[end - 1] != " " else " "
        return (self._text[start : end - 1] + rest).strip()[:SHOWN_CHARACTERS_MAX]
