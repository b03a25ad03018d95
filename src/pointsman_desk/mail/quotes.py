"""What the customer wrote now, told from the history and the signature below it."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SPLIT_MAX = 32 * 1024  # characters that are looked at; what a person wrote now is in the first of them
_LINE_LOOKED_AT = 400  # characters of a line that a pattern sees, so that no line costs more than another
_ATTRIBUTION_LINES = 3  # mailers wrap "On ... wrote:" at 76 columns; a long name and address make three lines
_HEADER_BLOCK_LINES = 7  # From, Sent, To, Cc, Reply-To, Importance, Subject
_SIGNATURE_LINES = {"-- ": 20, "--": 8}  # the delimiter of RFC 3676 4.3 is believed further than a bare dash

_LANGUAGES: Mapping[str, Mapping[str, list[str]]] = tomllib.loads((Path(__file__).parent / "languages.toml").read_text(encoding="utf-8"))


def _any_of(kind: str) -> str:
    """Return a pattern for the words of a kind in all languages, longer ones first."""
    words = {word for language in _LANGUAGES.values() for word in language.get(kind, ())}
    return "|".join(re.escape(word).replace("…", ".{1,40}") for word in sorted(words, key=lambda word: (-len(word), word)))


_QUOTED = re.compile(r" {0,3}>")
_OPENING = re.compile(rf"\s{{0,8}}\*{{0,2}}(?:{_any_of('opens')})(?:\b|(?<=[在於])).*\d", re.IGNORECASE)
# A line that begins with its date: "2 Nov 2026", "Mon, 2 Nov", "02.11.2026", a year before its sign in East Asia.
_DATE_FIRST = re.compile(r"\s{0,8}\*{0,2}(?:[^\W\d_]{2,12}\.?,? )?\d{1,4}(?:[-./]|[.,]? [^\W\d_]{3,12}\b|年|년|\. )")
_DATED = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)|(?<!\d)\d{1,2}[./]\d{1,2}[./]\d{2}(?!\d)")
_WROTE = re.compile(rf"(?<![^\W_])(?:{_any_of('wrote')})(?![^\W_])|(?:写道|寫道|작성)\s?[:\uff1a]", re.IGNORECASE)
_COLONS = (":", "\uff1a")
_ADDRESS_END = re.compile(r"@[^\s<>]{1,255}[>)\]]{1,2}\s?[:\uff1a]$")
_SENDER_LINE = re.compile(rf"\s{{0,8}}\*{{0,2}}(?:{_any_of('from')})\s?\*{{0,2}}\s?[:\uff1a]\*{{0,2}}\s?\S", re.IGNORECASE)
_FURTHER_LINE = re.compile(rf"\s{{0,8}}\*{{0,2}}({_any_of('fields')})\s?\*{{0,2}}\s?[:\uff1a]", re.IGNORECASE)
_SEPARATOR = re.compile(rf"\s{{0,8}}(?:-{{2,20}} ?(?:{_any_of('original')}) ?-{{2,20}}|(?:{_any_of('begins')}))", re.IGNORECASE)
_RULER = re.compile(r"\s{0,8}[_-]{5,200}\s{0,8}")
_PHONE_SIGNATURE = re.compile(rf"\s{{0,8}}(?:{_any_of('device')})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Split:
    """A body in two: together they hold every line that is not blank."""

    text: str
    quoted: str


def split(body: str) -> Split:
    r"""Tell new text from history, in time linear in the length of the body. Lines end with `\n`.

    History is each line that begins with `>` with the attribution above it, and everything below an attribution or an
    Outlook header block (languages.toml) where the old text is not marked. An answer between quoted lines is new text. A
    signature goes with the history. Unmarked history with nothing above it stays in the text, because nobody can tell
    where it ends: a forwarded mail, or an answer at the bottom. What comes after `SPLIT_MAX` characters is history.
    """
    body, rest = _cut(body)
    lines = body.split("\n")
    looked_at = [line[:_LINE_LOOKED_AT] for line in lines]
    old = [_QUOTED.match(line) is not None for line in looked_at]
    index = 0
    while index < len(lines):
        length = 0 if old[index] else _history_start(looked_at, index)
        if length == 0:
            index += 1
            continue
        below = _next_visible(looked_at, index + length)
        if below < len(lines) and old[below]:
            old[index:below] = [True] * (below - index)
        elif _unmarked(looked_at, index, length) and any(
            line.strip() and not was_old for line, was_old in zip(looked_at[:index], old, strict=False)
        ):
            start = _with_ruler(looked_at, index)
            old[start:] = [True] * (len(lines) - start)
            break
        index += length
    _mark_signatures(looked_at, old)
    quoted = "\n".join(filter(None, [_joined(lines, old, wanted=True), rest]))
    return Split(_joined(lines, old, wanted=False), quoted)


def _cut(body: str) -> tuple[str, str]:
    """Cut a very long body below a line of its own."""
    if len(body) <= SPLIT_MAX:
        return body, ""
    end = body.rfind("\n", 0, SPLIT_MAX)
    end = SPLIT_MAX if end < 0 else end
    return body[:end], body[end:].strip("\n")


def _history_start(lines: list[str], index: int) -> int:
    """Return how many lines the heading of an older mail takes here, 0 where there is none."""
    if _SEPARATOR.match(lines[index]):
        return 1
    if _SENDER_LINE.match(lines[index]):
        block = lines[index + 1 : index + _HEADER_BLOCK_LINES]
        further = {found[1].lower() for line in block if (found := _FURTHER_LINE.match(line))}
        if len(further) >= 2:
            return 1
    return _attribution(lines, index)


def _attribution(lines: list[str], index: int) -> int:
    """Return the number of lines of "On <date>, <name> wrote:", 0 where there is none."""
    for length in range(1, _ATTRIBUTION_LINES + 1):
        part = lines[index : index + length]
        if len(part) < length or not part[-1].strip():
            return 0
        if part[-1].rstrip(" *").endswith(_COLONS):
            joined = " ".join(part).rstrip(" *")
            if length > 1 and not (_OPENING.match(joined) or _DATE_FIRST.match(joined)):
                return 0
            return length if _WROTE.search(joined) or (_ADDRESS_END.search(joined) and _is_sure(joined)) else 0
    return 0


def _is_sure(attribution: str) -> bool:
    """Tell whether an attribution says when, and begins as one or names an address: then it is none by accident."""
    return _OPENING.match(attribution) is not None or (_DATED.search(attribution) is not None and "@" in attribution)


def _unmarked(lines: list[str], index: int, length: int) -> bool:
    """Tell whether the heading is sure enough to take everything below it for history."""
    return not _attribution(lines, index) or _is_sure(" ".join(lines[index : index + length]))


def _next_visible(lines: list[str], index: int) -> int:
    """Return the next line that is not blank, at most two blank ones away."""
    for place in range(index, min(index + 3, len(lines))):
        if lines[place].strip():
            return place
    return len(lines)


def _with_ruler(lines: list[str], index: int) -> int:
    """Return where the history begins when a ruler stands above its heading."""
    for place in range(index - 1, max(index - 3, -1), -1):
        if lines[place].strip():
            return place if _RULER.fullmatch(lines[place]) else index
    return index


def _mark_signatures(lines: list[str], old: list[bool]) -> None:
    """Mark each signature: from its delimiter to the next history, or to the end, when it is short enough."""
    ends = len(lines)
    visible = 0
    for index in range(len(lines) - 1, -1, -1):
        if old[index]:
            ends, visible = index, 0
            continue
        most = _SIGNATURE_LINES.get(lines[index], 2 if _PHONE_SIGNATURE.match(lines[index]) else -1)
        if visible <= most:
            old[index:ends] = [True] * (ends - index)
            ends, visible = index, 0
        elif lines[index].strip():
            visible += 1


def _joined(lines: list[str], old: list[bool], *, wanted: bool) -> str:
    return "\n".join(line for line, is_old in zip(lines, old, strict=True) if is_old is wanted).strip("\n")
