"""What the customer wrote now, told from the history and the signature below it."""

import re
from dataclasses import dataclass

_LINE_LOOKED_AT = 400  # characters of a line that a pattern sees, so that no line costs more than another
_LINES_LOOKED_AT = 20_000  # what a person wrote now is in the first hundreds; everything after these goes with the last of them
_ATTRIBUTION_LINES = 3  # mailers wrap "On ... wrote:" at 76 columns; a long name and address make three lines
_HEADER_BLOCK_LINES = 7  # From, Sent, To, Cc, Reply-To, Importance, Subject
_SIGNATURE_LINES = {"-- ": 20, "--": 8}  # the delimiter of RFC 3676 4.3 is believed further than a bare dash

_QUOTED = re.compile(r" {0,3}>")
_OPENING = re.compile(r"\s{0,8}\*{0,2}(?:on|am|le|el)\b.*\d", re.IGNORECASE)
_CLOSING = re.compile(r"\b(?:wrote|writes|schrieb|a écrit|escribió)\b", re.IGNORECASE)
_SENDER_LINE = re.compile(r"\s{0,8}\*{0,2}(?:from|von|de)\s?\*{0,2}\s?:\*{0,2}\s?\S", re.IGNORECASE)
_FURTHER_LINE = re.compile(
    r"\s{0,8}\*{0,2}(sent|gesendet|envoyé|enviado(?: el)?|to|an|à|para|subject|betreff|objet|asunto|date|datum|fecha)"
    r"\s?\*{0,2}\s?:",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"\s{0,8}(?:-{2,20} ?(?:original message|forwarded message|ursprüngliche nachricht|originalnachricht"
    r"|weitergeleitete nachricht|message d'origine|message transféré|mensaje original|mensaje reenviado) ?-{2,20}"
    r"|begin forwarded message:|anfang der weitergeleiteten nachricht:|début du message réexpédié|inicio del mensaje reenviado:)",
    re.IGNORECASE,
)
_RULER = re.compile(r"\s{0,8}[_-]{5,200}\s{0,8}")
_PHONE_SIGNATURE = re.compile(
    r"\s{0,8}(?:sent from my |von meinem .{1,40} gesendet|gesendet von |envoyé de mon |envoyé depuis |enviado desde mi )",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Split:
    """A body in two: together they hold every line that is not blank."""

    text: str
    quoted: str


def split(body: str) -> Split:
    r"""Tell new text from history, in time linear in the length of the body. Lines end with `\n`.

    History is each line that begins with `>` with the attribution above it, and everything below an attribution or an
    Outlook header block (English, German, French, Spanish) where the old text is not marked. An answer between quoted
    lines is new text. A signature goes with the history. Unmarked history with nothing above it stays in the text,
    because nobody can tell where it ends: a forwarded mail, or an answer at the bottom.
    """
    lines = body.split("\n", _LINES_LOOKED_AT)
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
    return Split(_joined(lines, old, wanted=False), _joined(lines, old, wanted=True))


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
        if part[-1].rstrip(" *").endswith(":"):
            joined = " ".join(part)
            return length if _CLOSING.search(joined) and (length == 1 or _OPENING.match(joined)) else 0
    return 0


def _unmarked(lines: list[str], index: int, length: int) -> bool:
    """Tell whether the heading is sure enough to take everything below it for history."""
    joined = " ".join(lines[index : index + length])
    return not _attribution(lines, index) or _OPENING.match(joined) is not None


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
