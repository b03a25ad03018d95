"""Decode ISO-2022-JP as mail programs write it, which is more than RFC 1468 allows and Python's codecs read."""

import re
from collections.abc import Callable, Iterator

_ESCAPE = re.compile(rb"\x1b(\$\([CDOPQ]|\$[@AB]|\([BHIJ])")
_UNENDED = re.compile(rb"\x1b[$][^\x1b\r\n]*[\r\n]")
_LINE_END = re.compile(rb"[\r\n]")
_SLOW_BYTES_MAX = 1024 * 1024  # text that no codec decodes is decoded byte by byte, which takes a second for this size


def from_iso_2022_jp(raw: bytes) -> str:
    r"""Decode ISO-2022-JP, with one U+FFFD for each invalid character. Takes linear time.

    Supports the sets of RFC 1468, 1554 and 2237, half-width katakana (`ESC ( I`), JIS X 0213, and the vendor characters that
    Windows writes into JIS X 0208, such as circled numbers. A set ends with its line, as RFC 1468 says, even without the escape.
    """
    try:
        if not _UNENDED.search(raw):
            return raw.decode("iso2022_jp_ext")
    except UnicodeDecodeError:
        pass
    return "".join(_pieces(raw[:_SLOW_BYTES_MAX])) + raw[_SLOW_BYTES_MAX:].decode("iso2022_jp_ext", "replace")


def _pieces(raw: bytes) -> Iterator[str]:
    ascii_, *rest = _ESCAPE.split(raw)
    yield ascii_.decode("ascii", "replace")
    for escape, content in zip(rest[::2], rest[1::2], strict=True):
        end = found.start() if (found := _LINE_END.search(content)) else len(content)
        read = _SETS.get(escape, _ascii)
        yield read(content[:end]) + content[end:].decode("ascii", "replace")


def _ascii(content: bytes) -> str:
    return content.decode("ascii", "replace")


def _katakana(content: bytes) -> str:
    return bytes(byte | 0x80 for byte in content).decode("cp932", "replace")


def _pairs(content: bytes, written: Callable[[int, int], bytes], codec: str) -> str:
    """Decode characters of two bytes, which `written` converts to another charset; a byte that begins no character is one error."""
    out, place = [], 0
    while place < len(content):
        pair = content[place : place + 2]
        whole = len(pair) == 2 and all(0x21 <= byte <= 0x7E for byte in pair)
        if whole:
            character = written(*pair).decode(codec, "replace")
            out.append(character if len(character) == 1 else "\ufffd")
        else:
            out.append(" " if pair[:1] in {b" ", b"\t"} else "\ufffd")
        place += 2 if whole else 1
    return "".join(out)


def _shifted(first: int, second: int) -> bytes:
    """Return a character of JIS X 0208 in Shift JIS."""
    lead = (first - 0x21) // 2 + (0x81 if first < 0x5F else 0xC1)
    trail = second + (0x7E if first % 2 == 0 else 0x1F if second < 0x60 else 0x20)
    return bytes([lead, trail])


def _high(first: int, second: int) -> bytes:
    return bytes([first | 0x80, second | 0x80])


def _third(first: int, second: int) -> bytes:
    return b"\x8f" + _high(first, second)


_SETS: dict[bytes, Callable[[bytes], str]] = {
    b"$B": lambda content: _pairs(content, _shifted, "cp932"),
    b"$@": lambda content: _pairs(content, _shifted, "cp932"),
    b"$A": lambda content: _pairs(content, _high, "gb2312"),
    b"$(C": lambda content: _pairs(content, _high, "euc_kr"),
    b"$(D": lambda content: _pairs(content, _third, "euc_jp"),
    b"$(O": lambda content: _pairs(content, _high, "euc_jis_2004"),
    b"$(Q": lambda content: _pairs(content, _high, "euc_jis_2004"),
    b"$(P": lambda content: _pairs(content, _third, "euc_jis_2004"),
    b"(I": _katakana,
}
