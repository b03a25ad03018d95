"""Parse any bytes into the tree of a mail's parts, within limits."""

import binascii
import re
from collections.abc import Iterator, Sequence
from email.feedparser import BytesFeedParser
from email.message import Message
from email.parser import BytesParser
from email.policy import Compat32
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote_to_bytes

from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.charsets import decode, in_charset_of_text

MAIL_MAX_BYTES = 25 * 2**20  # what the large providers accept; of a longer mail, only the beginning is read
HEADER_MAX = 16 * 1024  # characters; ten times the longest normal header seen, a list of recipients
CONTENT_TYPE_MAX = 4 * 1024  # characters; bounds the time for a field of semicolons
PARTS_MAX = 500  # a mail of many photographs has fifty
DEPTH_MAX = 30  # forwarding adds two or three; each level costs a test on every line below it
FIELDS_MAX = 1_000  # a mail that passed many relays and filters has two hundred
KEPT_BYTES_MAX = 8 * 1024  # of a mail whose tree is kept until it is read again: most mails
KEPT_MAX = 128  # trees: a mail is read when it comes in and when its case begins, and a few dozen are between the two
LINES_MAX = 1_000_000  # three times the lines of an attachment of 25 MB; each line costs the parser a microsecond and 60 bytes

_MEDIA_TYPE = re.compile(r"\s*([a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100})(?![a-z0-9/])", re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([^\s=;"]{1,80})\s*=\s*("(?:[^"\\]|\\.){0,2000}"|[^;]*)', re.DOTALL)
_CLEAR_LINE = re.compile(rb"^(?:[^\r\n]{0,200}?[^\s][ \t]+[^\s]|(?:-{2,200}|[_=*~#]{3,200})[ \t]*\r?$)", re.MULTILINE)
_CLEAR_ABOVE_MAX = 200  # bytes of a footer before its first line that is surely not base64: a heading of a word or two
_BASE64_MIN = 40  # letters without a space; no line of text begins like this
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="


class _LimitReached(Exception):
    """The tree is too large or too deep; keep the parts so far."""


class _AsTheyCame(Compat32):
    """Unchanged header values, cut to a length that bounds the parser's time."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, _, value = sourcelines[0].partition(":")
        value = (value + "".join(sourcelines[1:])).strip(" \t\r\n")
        limit = CONTENT_TYPE_MAX if name.lower().startswith("content-") else HEADER_MAX
        return name, value[: limit + 1]

    def header_fetch_parse(self, name: str, value: str) -> str:  # noqa: ARG002 - the signature is the policy's
        return value


class Part(Message):
    """A part of a mail. Its text is ASCII, with surrogates for other bytes (PEP 383).

    It overrides the methods that the standard parser calls, because the standard ones can raise or take quadratic time. A
    contained message is an opaque leaf, so that its bytes stay unchanged.
    """

    def __init__(self, policy: Any = None) -> None:
        super().__init__(policy=policy or _AsTheyCame())
        self.body: str | None = None
        self.children: list[Part] = []
        self.top = self
        self.depth = 0
        self.count = 1  # this part and the parts below it
        self.field_count = 0
        self.mailboxes: dict[str, tuple[list[tuple[str, str]], frozenset[str]]] = {}  # see `headers.mailboxes_of`
        self._values: dict[str, list[str]] = {}  # of each field, by its name in lower case
        self._decoded: dict[str, Sequence[str]] = {}  # the same, as `fields` returned them
        self._media_type: str | None = None

    def fields(self, name: str) -> Sequence[str]:
        """Return the values of a header field, in order. `name` is in lower case.

        Bytes that are neither ASCII nor UTF-8 are decoded in the charset of the mail's text, which the mail program probably used.
        """
        decoded = self._decoded.get(name)
        if decoded is None:
            values = self._values.get(name, ())
            plain = name.startswith("content-") or all(map(str.isascii, values))
            decoded = self._decoded[name] = values if plain else [self.top.decoded(value) for value in values]
        return decoded

    def decoded(self, value: str) -> str:
        """Return a header value of this mail, with its non-ASCII bytes decoded in the charset of its text, if they fit it."""
        charset = next((name for part in self.leaves() if (name := part.parameters("content-type").get("charset"))), None)
        return (charset and in_charset_of_text(value.encode("utf-8", "surrogateescape"), charset)) or value

    def leaves(self) -> Iterator["Part"]:
        """Yield the parts without inner parts, in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def field(self, name: str) -> str:
        """Return the first value of a header field; "" without one. `name` is in lower case."""
        values = self.fields(name)
        return values[0] if values else ""

    @property
    def media_type(self) -> str:
        """The media type in lower case; text/plain if it is missing or invalid (RFC 2045 5.2)."""
        if self._media_type is None:
            value = self.field("content-type")
            found = _MEDIA_TYPE.match(value)
            self._media_type = found[1].lower() if found else "text/plain" if value else self.get_default_type()
        return self._media_type

    def parameters(self, name: str) -> dict[str, str]:
        """Return the parameters of a header field by lower-case name; continued and encoded ones are decoded (RFC 2231)."""
        return _parameters(self.field(name)[:CONTENT_TYPE_MAX])

    def content(self, notes: set[str]) -> bytes:
        """Return the decoded bytes of a leaf (RFC 2045 6). Adds `bad-base64` to `notes`."""
        raw = (self.body or "").encode("ascii", "surrogateescape")
        encoding = self.field("content-transfer-encoding").strip(" \t;\"'").lower()
        if encoding == "base64":
            return _from_base64(raw, notes)
        if encoding == "quoted-printable":
            return binascii.a2b_qp(raw)
        if encoding in {"x-uuencode", "uuencode", "x-uue", "uue"}:
            return _from_uuencode(raw)
        return raw

    def set_raw(self, name: str, value: str) -> None:
        """Called by the parser: store a header field, up to `FIELDS_MAX`."""
        self.field_count += 1
        if self.field_count <= FIELDS_MAX:
            super().set_raw(name, value)
            self._values.setdefault(name.lower(), []).append(value)
            self._decoded.pop(name.lower(), None)
            self._media_type = None

    def get_content_type(self) -> str:
        """Called by the parser: a contained message must not be opened."""
        return "application/octet-stream" if self.media_type.startswith("message/") else self.media_type

    def get_content_maintype(self) -> str:
        """Called by the parser: the part before the slash."""
        return self.get_content_type().partition("/")[0]

    def get_boundary(self, failobj: Any = None) -> Any:
        """Called by the parser: the boundary; `failobj` without one (RFC 2046 5.1.1)."""
        return self.parameters("content-type").get("boundary", "").rstrip() or failobj

    def set_payload(self, payload: Any, charset: Any = None) -> None:  # noqa: ARG002 - the signature is the parser's
        """Called by the parser: store the body."""
        self.body = payload

    def attach(self, payload: Any) -> None:
        """Called by the parser: store a child; raises at `PARTS_MAX` parts or `DEPTH_MAX` levels."""
        payload.top, payload.depth = self.top, self.depth + 1
        self.top.count += 1
        if self.top.count > PARTS_MAX or payload.depth > DEPTH_MAX:
            raise _LimitReached(self.top)
        self.children.append(payload)


def parse(raw: bytes, notes: set[str]) -> Part:
    """Build the tree of a mail. Never raises; adds cuts and repairs to `notes`."""
    if len(raw) > KEPT_BYTES_MAX:
        return _parsed(raw, notes)
    root, found = _kept(raw)
    notes |= found
    return root


@lru_cache(maxsize=KEPT_MAX)
def _kept(raw: bytes) -> tuple[Part, frozenset[str]]:
    notes: set[str] = set()
    return _parsed(raw, notes), frozenset(notes)


def _parsed(raw: bytes, notes: set[str]) -> Part:
    raw = _prepared(raw, notes)
    try:
        parser = BytesFeedParser(Part, policy=_AsTheyCame())
        parser.feed(raw)
        return cast("Part", parser.close())
    except _LimitReached as reached:
        notes.add("parts-capped")
        return cast("Part", reached.args[0])
    except Exception:  # an error of the parser must not lose a customer's mail
        notes.add("bad-structure")
        return cast("Part", BytesParser(Part, policy=_AsTheyCame()).parsebytes(raw, headersonly=True))


def _prepared(raw: bytes, notes: set[str]) -> bytes:
    """Return a copy that begins with the first header field and has line ends that the parser supports."""
    if len(raw) > MAIL_MAX_BYTES:
        raw = raw[:MAIL_MAX_BYTES]
        notes.add("mail-truncated")
    if b"\n" not in raw and b"\r" in raw:
        raw = raw.replace(b"\r", b"\n")
        notes.add("cr-only")
    raw = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if raw.startswith((b"From ", b">From ")):  # the separator line of an mbox file (RFC 4155)
        raw = raw.partition(b"\n")[2]
        notes.add("mbox-from")
    if raw.count(b"\n") > LINES_MAX:
        raw = raw[: -len(raw.split(b"\n", LINES_MAX)[-1])]
        notes.add("mail-truncated")
    return raw


def _parameters(value: str) -> dict[str, str]:
    plain: dict[str, str] = {}
    pieces: dict[str, list[tuple[int, bool, str]]] = {}
    for name, content in _PARAMETER.findall(value):
        text = re.sub(r"\\(.)", r"\1", content[1:-1]) if content[:1] == '"' == content[-1:] else content.strip(" \t\r\n\"'")
        base, star, rest = name.lower().partition("*")
        if not star:
            plain.setdefault(base, text)
            continue
        number = rest.rstrip("*")
        order = int(number) if number.isascii() and number.isdecimal() and len(number) <= 3 else 0
        pieces.setdefault(base, []).append((order, rest == "" or rest.endswith("*"), text))
    return plain | {base: _joined(sorted(found)) for base, found in pieces.items()}


def _joined(pieces: list[tuple[int, bool, str]]) -> str:
    charset, raw = "", b""
    for place, (_, encoded, text) in enumerate(pieces):
        piece = text.encode("utf-8", "surrogateescape")
        if encoded:
            if place == 0 and text.count("'") >= 2:
                charset = text.partition("'")[0]
                piece = piece.split(b"'", 2)[2]
            piece = unquote_to_bytes(piece)
        raw += piece
    return clean(decode(raw, charset or None, set()), set())


def _from_base64(raw: bytes, notes: set[str]) -> bytes:
    """Decode leniently: invalid characters are skipped; padding may be missing, or in the middle (of two joined texts).

    Unencoded text after the base64, such as the footer of a mailing list, stays unchanged.
    """
    clear = b""
    if raw.translate(None, _BASE64 + b"\r\n"):
        encoded, clear = _clear_text_behind(raw.lstrip())
        if clear and not _is_base64(encoded):
            notes.add("bad-base64")  # the label is wrong
            return raw
        raw = encoded
        notes.update({"clear-text-added"} if clear else ())
    if raw.translate(None, _BASE64 + b" \t\r\n\v\f"):
        notes.add("bad-base64")
    out = []
    for group in re.split(rb"=+", re.sub(rb"[^A-Za-z0-9+/=]+", b"", raw)):
        whole = group if len(group) % 4 != 1 else group[:-1]
        out.append(binascii.a2b_base64(whole + b"=" * (-len(whole) % 4)))
    return b"".join(out) + clear


def _is_base64(raw: bytes) -> bool:
    """Return whether this is surely base64 and not the beginning of a text: it is long, or complete to its last letter."""
    letters = b"".join(raw.split())
    return len(letters) >= _BASE64_MIN or (len(letters) % 4 == 0 and (letters.endswith(b"=") or len(letters) >= _BASE64_MIN // 2))


def _clear_text_behind(raw: bytes) -> tuple[bytes, bytes]:
    """Split base64 from unencoded text after it, which begins at the heading of its first line of words or ruler."""
    found = _CLEAR_LINE.search(raw)
    if found is None:
        return raw, b""
    start = found.start()
    blank = max(raw.rfind(b"\n\n", 0, start), raw.rfind(b"\r\n\r\n", 0, start))
    if blank > 0 and start - blank <= _CLEAR_ABOVE_MAX:
        start = blank
    return raw[:start], b"\n" + raw[start:].lstrip(b"\r\n")


def _from_uuencode(raw: bytes) -> bytes:
    out = []
    for line in raw.splitlines():
        if line.startswith(b"begin ") or line.strip() in {b"", b"end", b"`"}:
            continue
        try:
            out.append(binascii.a2b_uu(line))
        except binascii.Error:
            out.append(line + b"\n")
    return b"".join(out)
