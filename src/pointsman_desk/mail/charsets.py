"""Decode bytes, whatever charset they claim to have."""

import codecs
import re
from collections.abc import Iterator

from pointsman_desk.mail.japanese import from_iso_2022_jp

GUESSED_ON_BYTES = 4 * 1024  # a guess needs a few sentences; more makes it slower, not better

# The charset that senders mean by a name: mostly the superset that browsers use for it (WHATWG Encoding 4.2).
_ALIASES = {
    "ansi_x3.4-1968": "cp1252",
    "ascii": "cp1252",
    "big5": "big5hkscs",
    "big5-hkscs": "big5hkscs",
    "default_charset": "utf-8",
    "euc-kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso-8859-1": "cp1252",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-9": "cp1254",
    "iso-8859-11": "cp874",
    "ks_c_5601-1987": "cp949",
    "latin1": "cp1252",
    "shift_jis": "cp932",
    "tis-620": "cp874",
    "unicode-1-1-utf-7": "utf-7",
    "us-ascii": "cp1252",
    "utf8mb4": "utf-8",
    "windows-874": "cp874",
    "x-gbk": "gb18030",
    "x-mac-roman": "mac_roman",
    "x-sjis": "cp932",
    "x-windows-949": "cp949",
}
# Text encodings of Python that no mail uses; punycode takes quadratic time.
_NEVER = frozenset({"punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined"})
_CHARSET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+-]{0,39}")
_ASCII_NAMES = frozenset({"us-ascii", "ascii", "ansi_x3.4-1968"})
_LATIN = frozenset({"cp1252", "iso8859-15"})  # programs use these names without checking the text
_DOUBLE = frozenset({"big5hkscs", "cp950", "cp949", "euc_kr", "gb18030", "cp932", "euc_jp", "johab"})
_SELDOM_DOUBLE = re.compile(rb"[\x80-\xa0]")
# The charsets of mails without a declaration, for languages that cp1252 does not cover.
_GUESSES = [
    "cp1250", "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256", "cp874", "gb18030", "big5hkscs", "cp949", "euc_jp", "cp932",
]  # fmt: skip
# The commonest letters of these languages, because two guesses are often equally good.
_COMMON_LETTERS = frozenset(
    "оеаинтсрвлкмдпу" "αοιετσνηυρκπμλς" "יוהלאתרבשמ" "انليمتربعد" "านรอกเงคมยลวดทส" "のにはをたがでてとしれさいるかなま" "的一是不了我在有们您请款订单好們請訂單貨"
    "이다는을하요의가에고습니세"
)  # fmt: skip
# Charsets with Latin letters that cp1252 lacks, and the non-ASCII letters of each language: a text uses those of one language.
_OTHER_LATIN = ("iso8859-2", "cp1250", "cp1254")
_ALPHABETS = [
    frozenset(letters + letters.upper())
    for letters in ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "âăîşţ", "čćđšž", "âçîöûüğışİ")
]  # fmt: skip
_WESTERN = frozenset("àáâãäåæçèéêëìíîïñòóôõöøùúûüÿßœÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜŸŒªº")
# Symbols next to a letter, as wrong decoding produces them; after a word, squares, degrees and trade marks are normal.
_MARK_IN_WORD = re.compile(
    "[A-Za-z\u00c0-\u024f][\u00a1-\u00a8\u00ac\u00af\u00b1\u00b3-\u00b6\u00b8\u00b9\u00bc-\u00bf]|[\u00a1-\u00a6\u00a8-\u00aa\u00ac-\u00b6\u00b8-\u00ba\u00bc-\u00be][a-z\u00c0-\u024f]|[\x80-\x9f]"
)

_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_NO_LATIN = re.compile(rb"[\x80-\xff]{4}")  # no word in a Latin script has four accented letters in a row
_HIGH = bytes(range(0x80, 0x100))
_HIGH_MIN, _HIGH_SHARE = 8, 0.3  # of the bytes; in French 5% are above 127, in Big5 and Shift JIS half
_JAPANESE_ESCAPE = re.compile(rb"\x1b\$[@B]|\x1b\$\([DOPQ]|\x1b\([IJ]")
_KOREAN_ESCAPE = b"\x1b$)C"
_META = re.compile(rb"""<meta\s[^>]{0,300}?\bcharset\s{0,9}=\s{0,9}["']?\s{0,9}([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_META_WITHIN = 8 * 1024  # bytes; HTML says 1024, and mail programs put their styles first
_VENDORS_FAULTS = re.compile("[\uf8a0\uf8f0-\uf8f3]")  # how Python decodes bytes that are invalid in Shift JIS
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def in_charset_of_text(value: bytes, charset: str) -> str | None:
    """Decode a header value in the `charset` of the mail's text; None if it seems to have another charset."""
    notes: set[str] = set()
    of_latin = _ALIASES.get(charset.strip(" \"'").lower(), charset) in _LATIN
    text = decode(value, charset, notes) if of_latin is (_NO_LATIN.search(value) is None) else None
    return None if notes else text


def html_charset(raw: bytes) -> str | None:
    """Return the charset in the `meta` element of an HTML text (HTML 4.2.5.4), or None."""
    found = _META.search(raw[:_META_WITHIN])
    return found[1].decode("ascii") if found else None


def decode(raw: bytes, charset: str | None, notes: set[str], inner: str | None = None) -> str:
    """Decode bytes, whatever charset they claim to have. The result contains no surrogates.

    Escape sequences and a byte order mark count first. Then bytes above 127 that are valid UTF-8, apart from a few errors, are
    UTF-8, because wrong labels are common and such an accident is rare. Then `charset`, from the header, and `inner`, from the text
    itself, count, even with a few errors, which become U+FFFD. If nothing is declared, or Latin for text that is surely not Latin,
    charset-normalizer guesses from the beginning.

    Adds `unknown-charset`, `undecodable` (some characters are lost) or `charset-guessed` to `notes`.
    """
    declared = _codec(charset, notes) if charset else None
    text = _marked(raw, declared, charset, notes)
    if text is None and raw.isascii():
        text = None if declared is None or declared.startswith("utf-16") else _strictly(raw, declared)
        text = raw.decode("ascii") if text is None else text
    if text is None:
        text = next(filter(None, _readings(raw, declared, charset, _codec(inner, notes) if inner else None, notes)))
    text = _VENDORS_FAULTS.sub("\ufffd", text)
    if "\ufffd" in text and "\ufffd".encode() not in raw:
        notes.add("undecodable")
    return _SURROGATES.sub("", text)


def _marked(raw: bytes, declared: str | None, charset: str | None, notes: set[str]) -> str | None:
    """Decode bytes that show their charset themselves, by escapes or a byte order mark; None for others."""
    if _KOREAN_ESCAPE in raw[:_META_WITHIN]:
        return raw.decode("iso2022_kr", "replace")
    is_japanese = (charset or "").strip(" \"'").lower().startswith(("iso-2022-jp", "csiso2022jp"))
    if is_japanese and raw.isascii():
        return from_iso_2022_jp(raw)
    if _JAPANESE_ESCAPE.search(raw) and (raw.isascii() or is_japanese):
        notes.update(() if is_japanese else {"charset-guessed"})
        return from_iso_2022_jp(raw)
    if raw.startswith(_UTF_16_MARKS):
        return raw.decode("utf-16", "replace")
    beginning = raw[:GUESSED_ON_BYTES]
    even, odd = beginning[::2].count(0), beginning[1::2].count(0)
    is_wide = declared is not None and codecs.lookup(declared).name.startswith("utf-16")
    if (is_wide and even != odd) or 4 * max(even, odd) > len(beginning):  # in Latin letters every second byte is 0
        notes.update(() if is_wide else {"charset-guessed"})
        return raw.decode("utf-16-be" if even > odd else "utf-16-le", "replace")
    return None


def _readings(raw: bytes, declared: str | None, charset: str | None, inner: str | None, notes: set[str]) -> Iterator[str | None]:
    """Yield the possible readings of bytes above 127, the likeliest first; None for a reading that does not fit."""
    yield _strictly(raw, "utf-8")
    if declared is not None and declared != "utf-8":
        yield _by_lines(raw, declared)
    yield _nearly(raw, "utf-8", one_in=2 if declared == "utf-8" else 10)
    label = (charset or "").strip(" \"'").lower()
    no_latin = _surely_not_latin(raw)
    for name in (declared, inner):
        if name and label not in _ASCII_NAMES and not (no_latin and codecs.lookup(name).name in _LATIN):
            yield _strictly(raw, name)
            yield _nearly(raw, name, one_in=10)
    notes.add("charset-guessed")
    yield inner and _nearly(raw, inner, one_in=10)
    if no_latin:
        yield _guessed(raw)
    elif declared is None or declared == "utf-8" or label in _ASCII_NAMES:
        yield _other_latin(raw)
    yield raw.decode("cp1252" if declared in {None, "utf-8"} else declared, "replace")


def _surely_not_latin(raw: bytes) -> bool:
    high = len(raw[:GUESSED_ON_BYTES]) - len(raw[:GUESSED_ON_BYTES].translate(None, _HIGH))
    return _NO_LATIN.search(raw) is not None or high >= max(_HIGH_MIN, _HIGH_SHARE * len(raw[:GUESSED_ON_BYTES]))


def _strictly(raw: bytes, name: str) -> str | None:
    try:
        return raw.decode(name)
    except (UnicodeError, LookupError):
        return None


def _nearly(raw: bytes, name: str, *, one_in: int) -> str | None:
    """Decode bytes if at most one in `one_in` non-ASCII characters is invalid, or only one in total; otherwise return None."""
    text = raw.decode(name, "replace")
    faults, beyond = text.count("\ufffd"), len(_BEYOND_ASCII.findall(text))
    return text if faults * one_in <= beyond else None


def _by_lines(raw: bytes, declared: str) -> str | None:
    """Decode a text in a declared charset to which a relay added lines in UTF-8; None without such lines.

    In a two-byte charset a line may be valid in both. Then it is UTF-8 if it contains a byte that is rare in the other.
    """
    if codecs.lookup(declared).name.startswith("utf"):
        return None
    double = codecs.lookup(declared).name in _DOUBLE
    lines: list[str] = []
    used: set[str] = set()
    for line in raw.split(b"\n"):
        text, name = (_strictly(line, "utf-8") if not double or _SELDOM_DOUBLE.search(line) else None), "utf-8"
        if text is None:
            text, name = _strictly(line, declared), declared
        if text is None:
            return None
        used.update(() if line.isascii() else {name})
        lines.append(text)
    return "\n".join(lines) if len(used) == 2 else None


def _other_latin(raw: bytes) -> str | None:
    """Decode bytes in a charset of Central Europe or Turkey, if all letters belong to one of its languages and some are not in cp1252."""
    western = raw.decode("cp1252", "replace")
    if _letters_beyond(western) <= _WESTERN and not _MARK_IN_WORD.search(western):
        return None
    for name in _OTHER_LATIN:
        text = _strictly(raw, name)
        if text is not None and not _MARK_IN_WORD.search(text) and any(_letters_beyond(text) <= letters for letters in _ALPHABETS):
            return text
    return None


def _letters_beyond(text: str) -> set[str]:
    return {letter for letter in _BEYOND_ASCII.findall(text) if letter.isalpha()}


def _guessed(raw: bytes) -> str | None:
    """Let charset-normalizer guess, and choose the guess with the least chaos and the commonest letters."""
    from charset_normalizer import from_bytes  # noqa: PLC0415 - it takes a tenth of a second, and few mails need it

    found = from_bytes(raw[:GUESSED_ON_BYTES], cp_isolation=_GUESSES)
    best = max(found, key=lambda match: _common(str(match)) - match.chaos, default=None)
    return None if best is None else raw.decode(best.encoding, "replace")


def _common(text: str) -> float:
    return sum(letter in _COMMON_LETTERS for letter in text.lower()) / max(1, len(text))


def _codec(charset: str, notes: set[str]) -> str | None:
    """Return the codec for a declared charset; None for an unknown one."""
    name = charset.strip(" \t\r\n\"'").lower().partition("'")[0]
    name = _ALIASES.get(name, name)
    try:
        if _CHARSET_NAME.fullmatch(name) and codecs.lookup(name).name not in _NEVER:
            b"x".decode(name, "replace")  # raises for a codec that is not a charset, such as zlib
            return name
    except (LookupError, ValueError):
        pass
    notes.add("unknown-charset")
    return None
