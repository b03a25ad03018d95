"""Process plain text: extract files in uuencode and yEnc, and join wrapped lines."""

import binascii
import re
from collections.abc import Iterable

_UU_BEGIN = re.compile(rb"begin [0-7]{3,4} ([^\r\n]{1,255})\r?$")
_Y_BEGIN = re.compile(rb"=ybegin [^\r\n]{0,400}\bname=([^\r\n]{1,255})\r?$")
_FLOW_QUOTES = re.compile(">{0,400}")
_SIGNATURE = "-- "


def files_in(raw: bytes, notes: set[str]) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Return a text without the files that it contains, and the name and bytes of each file. Takes linear time.

    A file without an end, or in another format than its first line says, stays in the text. Adds `uuencode` or `yenc` to `notes`.
    """
    if b"begin " not in raw:
        return raw, []
    lines = raw.split(b"\n")
    ends = {mark: _places(lines, mark) for mark in (b"end", b"=yend")}
    text: list[bytes] = []
    files: list[tuple[str, bytes]] = []
    index = 0
    while index < len(lines):
        found = _UU_BEGIN.match(lines[index]) or _Y_BEGIN.match(lines[index])
        places = ends[b"=yend" if found and found[0].startswith(b"=") else b"end"]
        while places and places[-1] <= index:
            places.pop()
        within = (lines[place] for place in range(index + 1, places[-1] if places else 0))
        content = _file_of(within, is_yenc=found[0].startswith(b"=")) if found and places else None
        if found is None or content is None:
            text.append(lines[index])
            index += 1
            continue
        notes.add("yenc" if found[0].startswith(b"=") else "uuencode")
        files.append((found[1].decode("utf-8", "replace"), content))
        index = places[-1] + 1
    return b"\n".join(text), files


def _places(lines: list[bytes], mark: bytes) -> list[int]:
    """Return the positions of lines that begin with the end mark of a file, the last one first."""
    return [
        index
        for index in range(len(lines) - 1, -1, -1)
        if lines[index].startswith(mark) and not lines[index][len(mark) :].strip(b"\r")[:1].isalnum()
    ]


def _file_of(lines: Iterable[bytes], *, is_yenc: bool) -> bytes | None:
    """Return the bytes of a file; None if a line has another format."""
    if is_yenc:
        return _from_yenc(b"".join(line.rstrip(b"\r") for line in lines if not line.startswith(b"=ypart ")))
    out = []
    for line in lines:
        stripped = line.rstrip(b"\r\n")
        if stripped.strip(b" `"):
            characters = ((stripped[0] - 32) % 64 + 2) // 3 * 4  # as the line's first character says
            if not 0 <= len(stripped) - 1 - characters <= 1:  # one more may be a checksum
                return None
            try:
                out.append(binascii.a2b_uu(stripped[: characters + 1]))
            except binascii.Error:
                return None
    return b"".join(out) if out else None


def _from_yenc(raw: bytes) -> bytes:
    """Decode yEnc (http://www.yenc.org/yenc-draft.1.3.txt): each byte is raised by 42; critical bytes are escaped and raised by 64 more."""
    first, *escaped = raw.split(b"=")
    down = bytes((value - 42) % 256 for value in range(256))
    pieces = [bytes([(piece[0] - 64) % 256]) + piece[1:] for piece in escaped if piece]
    return b"".join([first, *pieces]).translate(down)


def unflowed(text: str, *, delsp: bool) -> str:
    """Join lines that were wrapped as format=flowed (RFC 3676 4), also quoted lines. `delsp` is the parameter of that name."""
    out: list[str] = []
    held: list[str] = []
    depth = 0
    for line in text.split("\n"):
        marks = _FLOW_QUOTES.match(line)
        quotes = marks.end() if marks else 0
        content = line[quotes:].removeprefix(" ")
        if held and (quotes != depth or content == _SIGNATURE):
            out.append(_marked(held, depth))
            held = []
        depth = quotes
        if content.endswith(" ") and content != _SIGNATURE:
            held.append(content[:-1] if delsp else content)
        else:
            out.append(_marked([*held, content], depth))
            held = []
    return "\n".join([*out, _marked(held, depth)] if held else out)


def _marked(pieces: list[str], depth: int) -> str:
    return ">" * depth + " " * bool(depth) + "".join(pieces)
