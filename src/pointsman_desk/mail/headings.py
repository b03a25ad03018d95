"""Find the headings of quoted mails: "On <date>, <name> wrote:", Outlook's header block, a line between dashes."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LINE_LOOKED_AT = 400  # characters of a line that a pattern reads, which bounds its time
_ATTRIBUTION_LINES = 5  # wrapped at 76 columns a long name and address make three; Polymail puts the address on lines of its own
_BLOCK_LINES = 12  # From, Sent, To, Cc, Reply-To, Importance, Subject, some of them wrapped or with a blank line between
_PROVED_WORDS_MAX = 16  # of a program's attribution: the date, a long name and "via" a group; a person's sentence is longer

_LANGUAGES: Mapping[str, Mapping[str, list[str]]] = tomllib.loads((Path(__file__).parent / "languages.toml").read_text(encoding="utf-8"))


def any_of(kind: str) -> str:
    """Return a pattern for the words of a kind in all languages, the longest first."""
    words = {word for language in _LANGUAGES.values() for word in language.get(kind, ())}
    return "|".join(re.escape(word).replace("…", ".{1,60}") for word in sorted(words, key=lambda word: (-len(word), word)))


def words_of(kind: str) -> frozenset[str]:
    """Return the single words of a kind in all languages."""
    return frozenset(word for language in _LANGUAGES.values() for line in language.get(kind, ()) for word in line.split())


_LEAD = r"\s{0,8}\*{0,2}"
_COLON = r"\s?\*{0,2}\s?[:\uff1a]\*{0,2}"
_OPENING = re.compile(rf"{_LEAD}(?:{any_of('opens')})(?:\b|(?<=[在於]))", re.IGNORECASE)
# A line that begins with a date: "2 Nov 2026", "Mon, 2 Nov", "02.11.2026", a year before its sign in East Asia.
_DATE_FIRST = re.compile(rf"{_LEAD}(?:[^\W\d_]{{2,12}}\.?,? )?\d{{1,4}}(?:[-./]|[.,]? [^\W\d_]{{3,12}}\b|年|년|\. )")
_DATED = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)|(?<!\d)\d{1,2}[./]\d{1,2}[./]\d{2}(?!\d)")
_TIMED = re.compile(r"(?<!\d)\d{1,2}[:.h]\d\d(?!\d)")
_WROTE = re.compile(rf"(?<![^\W_])(?:{any_of('wrote')})(?![^\W_])|(?:写道|寫道|작성)\s?[:\uff1a]", re.IGNORECASE)
_WROTE_LAST = re.compile(rf"(?<![^\W_])(?:{any_of('wrote')})\s?[:\uff1a]?$", re.IGNORECASE)
_COLONS = (":", "\uff1a")
_ADDRESS = re.compile(r"[^\s<>\"'(\[]{1,64}@[^\s<>)\]]{1,255}")
_ADDRESS_END = re.compile(r"@[^\s<>]{1,255}\s?[>)\]]{1,2}\s?[:\uff1a]$")
_BRACKETED = re.compile(r"[<(\[][^\s<>]{1,64}@[^\s<>]{1,255}[>)\]]")
# Gmail's former attribution, without a colon: "2026-11-02 14:20 GMT+01:00 Shop" or "2026/11/2 Shop <support@shop.example>".
_NUMBERS_FIRST = re.compile(
    rf"{_LEAD}\d{{4}}[-/]\d{{1,2}}[-/]\d{{1,2}} (?:\d{{1,2}}:\d\d GMT[+-]\d\d:\d\d [^:.!?<]{{1,120}}|[^:!?]{{1,120}}@[^\s<>]{{1,255}}>)"
)
_DASHES = re.compile(r"\s{0,8}[-*]{2,30}\s?(.{1,380}?)\s?[-*]{2,30}\s{0,8}")
_SENDER_LINE = re.compile(rf"{_LEAD}(?:{any_of('from')}){_COLON}\s?\S", re.IGNORECASE)
_FIELD_LINE = re.compile(rf"{_LEAD}({any_of('fields')}|{any_of('from')}){_COLON}", re.IGNORECASE)
_SEPARATOR = re.compile(rf"\s{{0,8}}(?:\*?-{{2,40}} ?(?:{any_of('original')}) ?-{{2,40}}\*?|(?:{any_of('begins')}))", re.IGNORECASE)
_RULER = re.compile(r"\s{0,8}[_\u2500\u2014-]{5,200}\s{0,8}")
_MORE_ADDRESSES = re.compile(r"\s{0,8}[^\s<>@]{1,64}@[^\s<>@]{1,255}[>\])]{0,2}[;,]?|[^@.!?]{0,60}<[^\s<>@]{1,64}@[^\s<>@]{1,255}>[;,]?")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a quoted mail, of `lines` lines.

    `sure`: it is no accident, so the text below is shown as older. `proves`: only a mail program writes it, with the day and the
    hour or an address and without a long sentence, so marked lines right below are history. `fields`: it is a header block, which
    may contain other lines (`is_field`).
    """

    lines: int
    sure: bool
    proves: bool
    fields: bool = False


def heading(lines: Sequence[str], index: int) -> Heading | None:
    """Return the heading that begins in this line, if any. Each line must have at most `LINE_LOOKED_AT` characters."""
    line = lines[index]
    if not line.strip():
        return None
    if _SEPARATOR.match(line):
        return Heading(1, sure=True, proves=False)
    block = _block(lines, index)
    if block is not None:
        return block
    return _attribution(lines, index)


def is_field(line: str) -> bool:
    """Return whether a line belongs to a header block, or contains only addresses that continue one."""
    return _FIELD_LINE.match(line) is not None or _MORE_ADDRESSES.fullmatch(line) is not None


def is_ruler(line: str) -> bool:
    """Return whether a line is a ruler, which some programs put above the heading."""
    return _RULER.fullmatch(line) is not None


def _block(lines: Sequence[str], index: int) -> Heading | None:
    """Return a header block, also a wrapped one or one with blank lines.

    It has a sender and two more fields in any order, or two fields of which one has a day and one an address. With both it proves.
    """
    if not _FIELD_LINE.match(lines[index]):
        return None
    names: set[str] = set()
    sender = dated = addressed = False
    last = index
    for place in range(index, min(index + _BLOCK_LINES, len(lines))):
        line = lines[place]
        found = _FIELD_LINE.match(line)
        if found:
            names.add(found[1].lower())
            sender = sender or _SENDER_LINE.match(line) is not None
            dated, addressed = dated or _DATED.search(line) is not None, addressed or "@" in line
            last = place
        elif place - last > 1 and not (line.strip() and "@" in lines[place - 1]):
            break
    whole, dated_and_addressed = sender and len(names) >= 3, dated and addressed and len(names) >= 2
    return Heading(last - index + 1, sure=True, proves=whole and dated_and_addressed, fields=True) if whole or dated_and_addressed else None


def _attribution(lines: Sequence[str], index: int) -> Heading | None:
    """Return an attribution such as "On <date>, <name> wrote:", on one or more lines."""
    first = lines[index]
    dashed = _DASHES.fullmatch(first)
    if dashed:
        return _judged(1, dashed[1]) if _WROTE.search(dashed[1]) else None
    if _NUMBERS_FIRST.fullmatch(first.rstrip()):
        return _judged(1, first)
    begins = _OPENING.match(first) is not None or _DATE_FIRST.match(first) is not None
    joined = ""
    for length in range(1, _ATTRIBUTION_LINES + 1):
        place = index + length - 1
        if place >= len(lines):
            return None
        part = lines[place].strip()
        if not part and not (begins and _goes_on(joined, lines[place + 1 : place + 2])):
            return None
        joined = f"{joined} {part}".strip()
        bare = joined.rstrip(" *")
        if length == 2 and begins and _NUMBERS_FIRST.fullmatch(bare):
            return _judged(2, bare)
        complete = begins and _OPENING.match(bare) and _ADDRESS.search(bare) and _WROTE_LAST.search(bare)  # with or without a colon
        if not part or not (complete or bare.endswith(_COLONS)):
            if length == 3 and not begins:
                return None
            continue
        if length > 1 and not (begins or _began_by_name(first)):
            return None
        if not (_WROTE.search(bare) or (_ADDRESS_END.search(bare) and _is_sure(bare)) or _is_complete(bare)):
            return None
        if length > 1 and _later_start(lines, index, length):
            return None
        return _judged(length, bare)
    return None


def _goes_on(joined: str, below: Sequence[str]) -> bool:
    """Return whether an attribution continues below a blank line, as Polymail's does before and after the bracket of its address."""
    return joined.endswith("<") or any(line.lstrip().startswith(("<", "mailto:")) for line in below)


def _began_by_name(first: str) -> bool:
    """Return whether the first of several lines begins "<name> <address> wrote on <date>:"."""
    return _WROTE.search(first) is not None and (_ADDRESS.search(first) is not None or _DATED.search(first) is not None)


def _later_start(lines: Sequence[str], index: int, length: int) -> bool:
    """Return whether a later line begins an attribution by itself, so that the lines before are a person's text."""
    for place in range(index + 1, index + length):
        joined = " ".join(line.strip() for line in lines[place : index + length]).rstrip(" *")
        opens = _OPENING.match(lines[place]) is not None and re.search(r"\d", lines[place]) is not None
        if (opens or _DATED.search(joined)) and (_WROTE.search(joined) or _ADDRESS_END.search(joined) or _is_complete(joined)):
            return True
    return False


def _judged(length: int, joined: str) -> Heading:
    dated, timed = _DATED.search(joined) is not None, _TIMED.search(joined) is not None
    addressed = _ADDRESS.search(joined) is not None
    words = _WORD.findall(_ADDRESS.sub(" ", joined))
    proves = dated and (timed or addressed) and len(words) <= _PROVED_WORDS_MAX
    return Heading(length, sure=_is_sure(joined), proves=proves)


def _is_sure(attribution: str) -> bool:
    """Return whether an attribution is no accident: it has a date, and begins like an attribution or has an address or an hour.

    Without a date, it is sure if it ends with "wrote" right after an address or after "<name> via <group>".
    """
    if _OPENING.match(attribution):
        return re.search(r"\d", attribution) is not None
    wrote_last = _WROTE_LAST.search(attribution) is not None
    if _DATED.search(attribution):
        return wrote_last or "@" in attribution or _TIMED.search(attribution) is not None
    return wrote_last and (_BRACKETED.search(attribution) is not None or " via " in attribution)


def _is_complete(attribution: str) -> bool:
    """Return whether a line has a day, an hour and an address in brackets, as attributions in any language do."""
    return all(pattern.search(attribution) for pattern in (_DATED, _TIMED, _BRACKETED))
