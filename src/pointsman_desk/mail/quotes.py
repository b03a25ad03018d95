"""What the customer wrote now, told from the history and the signature below it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pointsman_desk.mail.headings import LINE_LOOKED_AT, Heading, heading, is_field, is_ruler
from pointsman_desk.mail.known import Known
from pointsman_desk.mail.signatures import is_device_line, lines_signed, says_nothing

SPLIT_MAX = 256 * 1024  # characters that are looked at, in about a second; a longer mail is for a person
_WRAPPED_MIN = 60  # characters of a marked line that a program may have wrapped, leaving its end without a mark; they do at 66 to 78
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
    proved: it counts as the customer's own. `sure` says that nothing doubtful is there but headings of proved history and
    signatures that say nothing.
    """

    text: str
    doubtful: str
    quoted: str
    sure: bool


def split(body: str, *, answers: bool = False, known: Sequence[str] = ()) -> Split:
    r"""Tell new text from history, in time linear in the length of the body. Lines end with `\n`.

    History is proved in two ways. Lines that look older are `known`: they repeat a mail of ours, or an earlier one of the
    conversation. Where nothing is known, lines marked with `>` right below an attribution as a mail program writes it are
    history in a mail that `answers` another one, as its In-Reply-To or References say. Where something is, people may have
    written their answers between the marked lines of it, as some mail programs let them.

    Everything else that looks older is doubtful: marked lines without an attribution, all that stands unmarked below a
    heading, and what comes after `SPLIT_MAX` characters. So is a heading, which raises no doubt where it announces what is
    proved. An answer below or between marked lines is new text. Unmarked history with nothing above it stays in the text: a
    forwarded mail, or an answer at the bottom.
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
    """Cut a very long body below a line of its own."""
    if len(body) <= SPLIT_MAX:
        return body, ""
    end = body.rfind("\n", 0, SPLIT_MAX)
    end = SPLIT_MAX if end < 0 else end
    return body[:end], body[end:].strip("\n")


def _joined(lines: Sequence[str], kinds: Sequence[_Kind], wanted: _Kind) -> str:
    return "\n".join(line for line, kind in zip(lines, kinds, strict=True) if kind is wanted).strip("\n")


class _Page:
    """The lines of a body, `lines` each cut to what a pattern looks at, and whose each one is."""

    def __init__(self, whole: Sequence[str]) -> None:
        self.whole = whole
        self.lines = lines = [line[:LINE_LOOKED_AT] for line in whole]
        self.bare = [_MARKS.sub("", line, count=1) for line in lines]
        self.harmless: set[int] = set()  # the doubtful lines that say nothing by themselves: headings and signatures
        self.marked = [_QUOTED.match(line) is not None for line in lines]
        self.kinds = [_Kind.DOUBTFUL if marked else _Kind.TEXT for marked in self.marked]

    def says(self, place: int) -> bool:
        """Tell whether a line holds a letter or a digit."""
        return _SAYS.search(self.whole[place]) is not None

    def doubtful(self) -> Iterator[int]:
        """Give the places of the lines that are doubtful."""
        return (place for place, kind in enumerate(self.kinds) if kind is _Kind.DOUBTFUL)

    def mark_history(self, *, believes_marks: bool) -> None:
        """Mark what looks older; `believes_marks` takes marked lines for history that stand below an attribution."""
        place = 0
        own_above = False
        while place < len(self.lines):
            if self.marked[place]:  # Apple Mail marks the attribution, too
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
        """Mark what may be the end of a marked line that was wrapped: it stands right between that and another one."""
        for place in range(1, len(self.lines) - 1):
            if self.kinds[place] is _Kind.TEXT and self.marked[place - 1] and self.marked[place + 1] and self.lines[place].strip():
                wrapped = len(self.lines[place - 1]) >= _WRAPPED_MIN
                self.kinds[place] = _Kind.DOUBTFUL if wrapped else _Kind.TEXT

    def _mark_block(self, start: int, marked: int, found: Heading | None, believes_marks: bool) -> int:
        """Mark a heading and the marked lines below it, and return where they end."""
        end = marked
        for place in range(marked, len(self.lines)):
            if self.marked[place]:
                end = place + 1
            elif self.lines[place].strip():
                break
        self._set(start, end, _Kind.DOUBTFUL)
        own_marks = found is not None and found.fields and start < marked  # no program marks the text and not the fields
        if found is not None and found.proves and believes_marks and not own_marks:
            self.harmless.update(self._lines_of(found, start))
            self._set(start + found.lines, end, _Kind.QUOTED)
        return end

    def mark_known(self, known: Known) -> None:
        """Mark the lines that look older and repeat what is known, and take the headings that announce them for harmless."""
        places = list(self.doubtful())
        repeated = [places[found] for found in known.repeated([self.whole[place] for place in places])]
        for place in repeated:
            self.kinds[place] = _Kind.QUOTED
        for place in reversed(places if repeated else []):
            found = heading(self.bare, place) if self.kinds[place] is _Kind.DOUBTFUL and self.says(place) else None
            if found is not None and found.sure and self._announces(found, place):
                self.harmless.update(self._lines_of(found, place))

    def _lines_of(self, found: Heading, start: int) -> Iterator[int]:
        """Give the lines of a heading, without those in a header block that are none of its fields."""
        return (place for place in range(start, start + found.lines) if not found.fields or is_field(self.bare[place]))

    def _announces(self, found: Heading, place: int) -> bool:
        """Tell whether the next line below a heading that says anything is proved to be older, or a heading of such a one."""
        below = place + found.lines
        while below < len(self.lines) and not self.says(below):
            below += 1
        return below < len(self.lines) and (self.kinds[below] is _Kind.QUOTED or below in self.harmless)

    def mark_signatures(self) -> None:
        """Mark each signature as doubtful, from its delimiter to the next older line or the end, when it is short enough."""
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
        """Return the next line that is not blank, at most two blank ones away."""
        for below in range(place, min(place + 3, len(self.lines))):
            if self.lines[below].strip():
                return below
        return len(self.lines)

    def _ruler_above(self, place: int) -> int:
        """Return where the history begins when a ruler stands above its heading."""
        for above in range(place - 1, max(place - 3, -1), -1):
            if self.lines[above].strip():
                return above if is_ruler(self.lines[above]) else place
        return place
