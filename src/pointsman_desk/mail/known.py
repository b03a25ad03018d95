"""Find lines that repeat known texts: only text that we have read or written before is surely history."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence

KNOWN_MAX = 200_000  # characters of all known texts; ten earlier mails of 20,000 each, as nodes/ingest.py reads them again
RUN_MIN = 20  # letters and digits at the beginning of a repetition; fewer occur in any mail by chance
LINES_JOINED = 6  # short lines that begin a repetition together: "Hello Jane," and the next lines
SEARCHES_MAX = 500  # lines that are searched in the whole known text; each search takes time for all of it


class Known:
    """Known texts. Each can be repeated once, from beginning to end, as mail programs quote.

    Quote marks, spaces, line breaks, case and punctuation do not count, so a rewrapped line is still known. A line that a
    customer writes again below the quotation is not known, because the repetition has passed it.
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
        """Yield the positions of lines that repeat a known text: each continues a repetition, or begins one with the next lines."""
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
    """Return the letters and digits of a text, folded: the same in every layout."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))
