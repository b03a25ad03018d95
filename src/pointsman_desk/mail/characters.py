"""Bytes to text that is safe to show, to store and to compare."""

import codecs
import re

# What senders write for what they mean. ISO-8859-1 and ASCII are read as cp1252, a superset that most of them use.
_ALIASES = {
    "ansi_x3.4-1968": "cp1252",
    "ascii": "cp1252",
    "default_charset": "utf-8",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso-2022-jp": "iso2022_jp_3",
    "iso-8859-1": "cp1252",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "ks_c_5601-1987": "cp949",
    "latin1": "cp1252",
    "shift_jis": "cp932",
    "unicode-1-1-utf-7": "utf-7",
    "us-ascii": "cp1252",
    "utf8mb4": "utf-8",
    "windows-874": "cp874",
    "x-gbk": "gb18030",
    "x-mac-roman": "mac_roman",
    "x-sjis": "cp932",
    "x-windows-949": "cp949",
}
# Python knows these as text encodings, no mail is written in them, and punycode takes quadratic time.
_NEVER = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined"})
_CHARSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}")

_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
# Each of these ends a line for str.splitlines(), so the rest of the desk may take "\n" as the only one.
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
# Bidi controls, zero-width and soft-hyphen characters, and the tag and variation blocks that can carry text nobody sees.
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e01ef]")

# Of those, what has no use but to deceive: tags but for the three flags, a reversed line, and gaps of no width within a Latin word.
_SMUGGLED = re.compile(
    "(?<![\U0001f3f4\U000e0020-\U000e007e])[\U000e0020-\U000e007e]|[\U000e0020-\U000e007e]{7}|\u202e|[A-Za-z][\u034f\u180e\u200b\u2060\ufeff]+[A-Za-z]"
)


def decode(raw: bytes, charset: str | None, notes: set[str]) -> str:
    """Read bytes as text, whatever their charset claims to be.

    Bytes above 127 that are UTF-8, with a fault here and there, are UTF-8, because a wrong label is common and an accident
    of this kind is rare; then the declared charset counts, then cp1252. Adds `unknown-charset` or `undecodable` to
    `notes`; the result holds no surrogates.
    """
    declared = _codec(charset, notes) if charset else None
    order = ["utf-8", declared, "cp1252"] if not raw.isascii() else [declared, "utf-8"]
    for name in order:
        if name is None:
            continue
        try:
            return _SURROGATES.sub("", raw.decode(name))
        except (UnicodeError, LookupError):
            if name == "utf-8" and (text := _nearly_utf8(raw, declared=name == declared)) is not None:
                notes.add("undecodable")
                return text
    notes.add("undecodable")
    return raw.decode("cp1252", "replace")


def _nearly_utf8(raw: bytes, *, declared: bool) -> str | None:
    """Return bytes as UTF-8 where a tenth at most of the characters beyond ASCII are faults, which show as U+FFFD.

    Where UTF-8 is `declared`, half of them may be.
    """
    text = raw.decode("utf-8", "replace")
    faults, beyond = text.count("\ufffd"), len(_BEYOND_ASCII.findall(text))
    return text if faults * (2 if declared else 10) <= beyond else None


def _codec(charset: str, notes: set[str]) -> str | None:
    """Return the codec for a declared charset, None for an unknown one."""
    name = charset.strip(" \t\r\n\"'").lower().partition("'")[0]
    name = _ALIASES.get(name, name)
    try:
        if _CHARSET_NAME.fullmatch(name) and codecs.lookup(name).name not in _NEVER:
            return name
    except (LookupError, ValueError):
        pass
    notes.add("unknown-charset")
    return None


def clean(text: str, notes: set[str]) -> str:
    r"""Make every line end a `\n` and leave out what nobody can see.

    Removed are NUL and the other C0 and C1 controls but `\n` and `\t`, lone surrogates, bidi controls, zero-width
    characters and tag characters (Unicode 15, categories Cc, Cf and Cs). Adds `control-characters`,
    `invisible-characters` and, where they can only deceive, `smuggled-characters` to `notes`.
    """
    text = _LINE_ENDS.sub("\n", text)
    if _SMUGGLED.search(text):
        notes.add("smuggled-characters")
    text, controls = _CONTROLS.subn("", _SURROGATES.sub("", text))
    text, invisible = _INVISIBLE.subn("", text)
    if controls:
        notes.add("control-characters")
    if invisible:
        notes.add("invisible-characters")
    return text
