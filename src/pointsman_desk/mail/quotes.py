"""What the customer wrote now, told from the history and the signature below it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pointsman_desk.mail.headings import LINE_LOOKED_AT, Heading, heading, is_ruler
from pointsman_desk.mail.known import Known
from pointsman_desk.mail.signatures import DELIMITERS, is_device_line, says_nothing

SPLIT_MAX = 256 * 1024  # characters that are looked at, in about a second; a longer mail is for a person
_QUOTED = re.compile(r" {0,3}>")
_MARKS = re.compile(r"[ >]{0,40}")
_SAYS = re.compile(r"[^\W_]")


class _Kind(Enum):
    """Whose a line is."""

    TEXT = "the customer's own, written now"
    DOUBTFUL = "perhaps the customer's own"
    QUOTED = "proved to be older"


@dataclass(frozen=True, slots=True)
class Split:
    """A body in three, which together hold every line that is not blank, in its order.

    `text` is the customer's own, `quoted` is proved to be older, and `doubtful` looks older, or like a signature, and is not
    proved: it counts as the customer's own. `sure` says that nothing doubtful is there but a signature that says nothing.
    """

    text: str
    doubtful: str
    quoted: str
    sure: bool


def split(body: str, *, answers: bool = False, known: Sequence[str] = ()) -> Split:
    r"""Tell new text from history, in time linear in the length of the body. Lines end with `\n`.

    History is proved in two ways. Lines that look older are `known`: they repeat a mail of ours, or an earlier one of the
    conversation. Or lines marked with `>` stand right below an attribution as a mail program writes it, in a mail that
    `answers` another one, as its In-Reply-To or References say. A heading goes with the history that it announces.

    Everything else that looks older is doubtful: marked lines without an attribution, all that stands unmarked below a
    heading, and what comes after `SPLIT_MAX` characters. An answer below or between marked lines is new text. Unmarked
    history with nothing above it stays in the text: a forwarded mail, or an answer at the bottom.
    """
    body, rest = _cut(body)
    lines = body.split("\n")
    page = _Page([line[:LINE_LOOKED_AT] for line in lines])
    page.mark_history(answers=answers)
    if known:
        page.mark_known(Known(known), lines)
    said_nothing = page.mark_signatures()
    doubtful = "\n".join(filter(None, [_joined(lines, page.kinds, _Kind.DOUBTFUL), rest]))
    sure = not rest and not any(page.says(place) for place in page.doubtful() if place not in said_nothing)
    return Split(_joined(lines, page.kinds, _Kind.TEXT), doubtful, _joined(lines, page.kinds, _Kind.QUOTED), sure)


def _cut(body: str) -> tuple[str, str]:
    """Cut a very long body below a line of its own."""
    if len(body) <= SPLIT_MAX:
        return body, ""
    end = body.rfind("\n", 0, SPLIT_MAX)
    end = SPLIT_MAX if end < 0 else end
    return body[:end], body[end:].strip("\n")


def _joined(lines: Sequence[str], kinds: Sequence[_Kind], wanted: _Kind) -> str:
    return "\n".join(line for line, kind in zip(lines, kinds, strict=True) if kind is wanted).strip("\n")


class _Page:
    """The lines of a body, each cut to what a pattern looks at, and whose each one is."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self.marked = [_QUOTED.match(line) is not None for line in lines]
        self.kinds = [_Kind.DOUBTFUL if marked else _Kind.TEXT for marked in self.marked]

    def says(self, place: int) -> bool:
        """Tell whether a line holds a letter or a digit."""
        return _SAYS.search(self.lines[place]) is not None

    def doubtful(self) -> Iterator[int]:
        """Give the places of the lines that are doubtful."""
        return (place for place, kind in enumerate(self.kinds) if kind is _Kind.DOUBTFUL)

    def mark_history(self, *, answers: bool) -> None:
        """Mark what looks older."""
        place = 0
        own_above = False
        while place < len(self.lines):
            found = None if self.marked[place] else heading(self.lines, place)
            if found is None:
                own_above = own_above or (not self.marked[place] and bool(self.lines[place].strip()))
                place += 1
                continue
            below = self._next_visible(place + found.lines)
            if below < len(self.lines) and self.marked[below]:
                end = self._end_of_marked(below)
                self._set(place, end, _Kind.QUOTED if answers and found.proves else _Kind.DOUBTFUL)
                place = end
            elif found.sure and own_above:
                self._set(self._ruler_above(place), len(self.lines), _Kind.DOUBTFUL)
                return
            else:
                self._set(place, place + found.lines, _Kind.TEXT)
                own_above = True
                place += found.lines

    def mark_known(self, known: Known, lines: Sequence[str]) -> None:
        """Mark the lines that look older and repeat what is known, and then the headings that announce them."""
        places = list(self.doubtful())
        repeated = [places[found] for found in known.repeated([lines[place] for place in places])]
        for place in repeated:
            self.kinds[place] = _Kind.QUOTED
        bare = [_MARKS.sub("", line, count=1) for line in self.lines] if repeated else []
        for place in range(len(bare) - 1, -1, -1):
            if self.kinds[place] is _Kind.DOUBTFUL and self.says(place):
                found = heading(bare, place)
                if found is not None and found.sure:
                    self._announce(found, place)

    def _announce(self, found: Heading, place: int) -> None:
        """Let a heading go with the older lines below it, where nothing else stands between."""
        below = place + found.lines
        while below < len(self.lines) and not self.says(below):
            below += 1
        if below < len(self.lines) and self.kinds[below] is _Kind.QUOTED:
            self._set(place, below, _Kind.QUOTED)

    def mark_signatures(self) -> set[int]:
        """Mark each signature as doubtful, from its delimiter to the next older line or the end, when it is short enough.

        Return the places of the lines of those that say nothing.
        """
        nothing: set[int] = set()
        end = len(self.lines)
        visible = 0
        for place in range(len(self.lines) - 1, -1, -1):
            line = self.lines[place]
            if self.kinds[place] is not _Kind.TEXT:
                end, visible = place, 0
            elif line in DELIMITERS and visible <= DELIMITERS[line]:
                if says_nothing(self.lines[place + 1 : end]):
                    nothing.update(range(place, end))
                self._set(place, end, _Kind.DOUBTFUL)
                end, visible = place, 0
            elif is_device_line(line):
                self.kinds[place] = _Kind.DOUBTFUL
                nothing.add(place)
                end = place if visible == 0 else end
            elif line.strip():
                visible += 1
        return nothing

    def _set(self, start: int, end: int, kind: _Kind) -> None:
        self.kinds[start:end] = [kind] * (end - start)

    def _next_visible(self, place: int) -> int:
        """Return the next line that is not blank, at most two blank ones away."""
        for below in range(place, min(place + 3, len(self.lines))):
            if self.lines[below].strip():
                return below
        return len(self.lines)

    def _end_of_marked(self, place: int) -> int:
        """Return the end of the marked lines that begin here, blank ones between them included."""
        end = place
        while place < len(self.lines) and (self.marked[place] or not self.lines[place].strip()):
            place += 1
            end = place if self.marked[place - 1] else end
        return end

    def _ruler_above(self, place: int) -> int:
        """Return where the history begins when a ruler stands above its heading."""
        for above in range(place - 1, max(place - 3, -1), -1):
            if self.lines[above].strip():
                return above if is_ruler(self.lines[above]) else place
        return place
