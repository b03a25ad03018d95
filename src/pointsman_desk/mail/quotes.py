"""Separate the customer's new text from history and signatures."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pointsman_desk.mail.headings import LINE_LOOKED_AT, Heading, heading, is_field, is_ruler
from pointsman_desk.mail.known import Known
from pointsman_desk.mail.signatures import is_device_line, lines_signed, says_nothing

SPLIT_MAX = 256 * 1024  # characters that are read, in about a second; a longer mail waits for a person
_WRAPPED_MIN = 60  # characters of a marked line that a program may have wrapped, with its end unmarked; programs wrap at 66 to 78
_QUOTED = re.compile(r" {0,3}>")
_MARKS = re.compile(r"[ >]{0,40}")
_SAYS = re.compile(r"[^\W_]")


class _Kind(Enum):
    """Who wrote a line, and when."""

    TEXT = "the customer's own, written now"
    DOUBTFUL = "perhaps the customer's own"
    QUOTED = "proved to be older"


@dataclass(frozen=True, slots=True)
class Split:
    """A body in three parts, which together contain every line that is not blank, in order.

    `text` is the customer's own, `quoted` is proved to be older, and `doubtful` looks older, or like a signature, without proof: it
    counts as the customer's own. `sure` says whether the only doubtful lines are headings of proved history and harmless signatures.
    """

    text: str
    doubtful: str
    quoted: str
    sure: bool


def split(body: str, *, answers: bool = False, known: Sequence[str] = ()) -> Split:
    r"""Separate new text from history, in linear time. Lines end with `\n`.

    History is proved in two ways. Lines that look older are history if they repeat a `known` text: a mail of ours, or an earlier mail
    of the conversation. If there is no known text, lines marked with `>` right below a mail program's attribution are history in a mail
    that `answers` another one by its In-Reply-To or References. With known texts this does not count, because people can write their
    answers between marked lines.

    Everything else that looks older is doubtful: marked lines without an attribution, unmarked lines below a heading, and text after
    `SPLIT_MAX` characters. A heading is also doubtful, but harmless above proved history. An answer below or between marked lines is
    new text. Unmarked history with nothing above it stays new text: a forwarded mail, or an answer at the bottom.
    """
    body, rest = _cut(body)
    lines = body.split("\n")
    page = _Page(lines)
    page.mark_history(believes_marks=answers and not known)
    page.mark_wrapped()
    if known:
        page.mark_known(Known(known))
    page.mark_signatures()
    doubtful = "\n".join(filter(None, [_joined(lines, page.kinds, _Kind.DOUBTFUL), rest]))
    sure = not rest and not any(page.says(place) for place in page.doubtful() if place not in page.harmless)
    return Split(_joined(lines, page.kinds, _Kind.TEXT), doubtful, _joined(lines, page.kinds, _Kind.QUOTED), sure)


def _cut(body: str) -> tuple[str, str]:
    """Cut a very long body at a line end."""
    if len(body) <= SPLIT_MAX:
        return body, ""
    end = body.rfind("\n", 0, SPLIT_MAX)
    end = SPLIT_MAX if end < 0 else end
    return body[:end], body[end:].strip("\n")


def _joined(lines: Sequence[str], kinds: Sequence[_Kind], wanted: _Kind) -> str:
    return "\n".join(line for line, kind in zip(lines, kinds, strict=True) if kind is wanted).strip("\n")


class _Page:
    """The lines of a body, each cut to the length that a pattern reads, and the kind of each."""

    def __init__(self, whole: Sequence[str]) -> None:
        self.whole = whole
        self.lines = lines = [line[:LINE_LOOKED_AT] for line in whole]
        self.bare = [_MARKS.sub("", line, count=1) for line in lines]
        self.harmless: set[int] = set()  # the doubtful lines without a message of their own: headings and signatures
        self.marked = [_QUOTED.match(line) is not None for line in lines]
        self.kinds = [_Kind.DOUBTFUL if marked else _Kind.TEXT for marked in self.marked]

    def says(self, place: int) -> bool:
        """Return whether a line contains a letter or a digit."""
        return _SAYS.search(self.whole[place]) is not None

    def doubtful(self) -> Iterator[int]:
        """Yield the positions of the doubtful lines."""
        return (place for place, kind in enumerate(self.kinds) if kind is _Kind.DOUBTFUL)

    def mark_history(self, *, believes_marks: bool) -> None:
        """Mark lines that look older; with `believes_marks`, marked lines below an attribution are history."""
        place = 0
        own_above = False
        while place < len(self.lines):
            if self.marked[place]:  # Apple Mail also marks the attribution
                place = self._mark_block(place, place, heading(self.bare, place), believes_marks)
                continue
            found = heading(self.lines, place)
            if found is None:
                own_above = own_above or bool(self.lines[place].strip())
                place += 1
                continue
            below = self._next_visible(place + found.lines)
            if below < len(self.lines) and self.marked[below]:
                place = self._mark_block(place, below, found, believes_marks)
            elif found.sure and own_above:
                self._set(self._ruler_above(place), len(self.lines), _Kind.DOUBTFUL)
                return
            else:
                self._set(place, place + found.lines, _Kind.TEXT)
                own_above = own_above or not found.sure
                place += found.lines

    def mark_wrapped(self) -> None:
        """Mark lines that may be the end of a wrapped marked line: they are between two marked lines."""
        for place in range(1, len(self.lines) - 1):
            if self.kinds[place] is _Kind.TEXT and self.marked[place - 1] and self.marked[place + 1] and self.lines[place].strip():
                wrapped = len(self.lines[place - 1]) >= _WRAPPED_MIN
                self.kinds[place] = _Kind.DOUBTFUL if wrapped else _Kind.TEXT

    def _mark_block(self, start: int, marked: int, found: Heading | None, believes_marks: bool) -> int:
        """Mark a heading and the marked lines below it, and return their end."""
        end = marked
        for place in range(marked, len(self.lines)):
            if self.marked[place]:
                end = place + 1
            elif self.lines[place].strip():
                break
        self._set(start, end, _Kind.DOUBTFUL)
        own_marks = found is not None and found.fields and start < marked  # no program marks the text but not the fields
        if found is not None and found.proves and believes_marks and not own_marks:
            self.harmless.update(self._lines_of(found, start))
            self._set(start + found.lines, end, _Kind.QUOTED)
        return end

    def mark_known(self, known: Known) -> None:
        """Mark lines that look older and repeat a known text as history, and their headings as harmless."""
        places = list(self.doubtful())
        repeated = [places[found] for found in known.repeated([self.whole[place] for place in places])]
        for place in repeated:
            self.kinds[place] = _Kind.QUOTED
        for place in reversed(places if repeated else []):
            found = heading(self.bare, place) if self.kinds[place] is _Kind.DOUBTFUL and self.says(place) else None
            if found is not None and found.sure and self._announces(found, place):
                self.harmless.update(self._lines_of(found, place))

    def _lines_of(self, found: Heading, start: int) -> Iterator[int]:
        """Yield the lines of a heading, without lines of a header block that are not its fields."""
        return (place for place in range(start, start + found.lines) if not found.fields or is_field(self.bare[place]))

    def _announces(self, found: Heading, place: int) -> bool:
        """Return whether the next line with text below a heading is history, or the heading of history."""
        below = place + found.lines
        while below < len(self.lines) and not self.says(below):
            below += 1
        return below < len(self.lines) and (self.kinds[below] is _Kind.QUOTED or below in self.harmless)

    def mark_signatures(self) -> None:
        """Mark each signature that is short enough as doubtful, from its delimiter to the next older line or the end."""
        end = len(self.lines)
        visible = 0
        for place in range(len(self.lines) - 1, -1, -1):
            line = self.lines[place]
            if self.kinds[place] is not _Kind.TEXT:
                end, visible = place, 0
            elif visible <= lines_signed(line):
                if says_nothing(self.lines[place + 1 : end]):
                    self.harmless.update(range(place, end))
                self._set(place, end, _Kind.DOUBTFUL)
                end, visible = place, 0
            elif is_device_line(line):
                self.kinds[place] = _Kind.DOUBTFUL
                self.harmless.add(place)
                end = end if visible else place
            elif line.strip():
                visible += 1

    def _set(self, start: int, end: int, kind: _Kind) -> None:
        self.kinds[start:end] = [kind] * (end - start)

    def _next_visible(self, place: int) -> int:
        """Return the next line that is not blank, after at most two blank lines."""
        for below in range(place, min(place + 3, len(self.lines))):
            if self.lines[below].strip():
                return below
        return len(self.lines)

    def _ruler_above(self, place: int) -> int:
        """Return the beginning of the history, which may be a ruler above its heading."""
        for above in range(place - 1, max(place - 3, -1), -1):
            if self.lines[above].strip():
                return above if is_ruler(self.lines[above]) else place
        return place
