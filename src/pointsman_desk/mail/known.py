"""Texts that are known, and which lines repeat them: only what we have read or written before is surely history."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

KNOWN_MAX = 200_000  # characters of all known texts; ten earlier mails of 20,000 each, as nodes/ingest.py reads them again
RUN_MIN = 20  # letters and digits that may begin a repetition; fewer stand in any mail by chance
LINES_JOINED = 6  # short lines that begin one together: "Hello Jane," and what follows
SEARCHES_MAX = 500  # lines looked for in all of the known text; each costs up to its length


class Known:
    """Known texts, each repeated from its beginning to its end and only once, as mail programs quote.

    Quote marks, spaces, line breaks, case and punctuation do not count, so a line that was wrapped anew is still known.
    A line that a customer writes again below the quotation is not: it stands behind what was repeated already.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: list[str] = []
        left = KNOWN_MAX
        for text in texts:
            letters = letters_of(text[:left])
            left -= min(left, len(text))
            if letters:
                self._texts.append(letters)
        self._ends = [0] * len(self._texts)
        self._current = 0
        self._searches = SEARCHES_MAX

    def repeated(self, lines: Sequence[str]) -> Iterator[int]:
        """Give the places of the lines that repeat a known text: each goes on with one, or begins one together with those below."""
        letters = [letters_of(line) for line in lines]
        for place, own in enumerate(letters):
            if own and (self._goes_on(own) or self._begins(own, letters[place + 1 : place + LINES_JOINED])):
                yield place

    def _goes_on(self, letters: str) -> bool:
        if not self._texts:
            return False
        end = self._ends[self._current]
        if not end or not self._texts[self._current].startswith(letters, end):
            return False
        self._ends[self._current] = end + len(letters)
        return True

    def _begins(self, letters: str, below: Sequence[str]) -> bool:
        sought = letters
        for line in below:
            if len(sought) >= RUN_MIN:
                break
            sought += line
        if len(sought) < RUN_MIN or not self._searches:
            return False
        self._searches -= 1
        for number, text in enumerate(self._texts):
            place = text.find(sought, self._ends[number])
            if place >= 0:
                self._current, self._ends[number] = number, place + len(letters)
                return True
        return False


def letters_of(text: str) -> str:
    """Return the letters and digits of a text, folded: what is left of it in any layout."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
