"""Parse header fields as text, addresses, identifiers and dates."""

import binascii
import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import idna

from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.charsets import decode
from pointsman_desk.mail.tree import HEADER_MAX, Part

_ID_MAX = 900  # characters; with its field's name an id must fit a line of 998 (RFC 5322 2.1.1)
_DOMAIN_MAX = 253  # characters (RFC 1035 2.3.4)
RECIPIENTS_MAX = 100  # a question to a shop goes to fewer people

_FOLD = re.compile(r"[\r\n]+[ \t]*")
_ENCODED_WORD = re.compile(r"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,40})?\?([bBqQ])\?([^?]{0,4000})\?=")
_ID = re.compile(rf"<([^<>]{{1,{_ID_MAX}}})>")
_BARE_ID = re.compile(r"[^\s<>@]{1,400}@[^\s<>@]{1,400}")
_ADDRESS = re.compile(r"""(?:"[^"\\\s]{1,64}"|[^\s<>()\[\],;:"'@\\][^\s<>()\[\],;:"@\\]{0,127})@[^\s<>()\[\],;:"'@\\]{1,255}""")
# The pieces of an address list: an encoded word, a quoted string, an angle address, one separator, a run of anything else.
_PIECE = re.compile(
    r'=\?[^?\s]{1,60}\?[bBqQ]\?[^?]{0,500}\?=|"(?:[^"\\]|\\.){0,500}"|<[^<>]{0,998}>|[,;:()"<>]|[^",;:<>()\s]+',
    re.DOTALL,
)


def header_text(value: str, notes: set[str]) -> str:
    """Return a header value as one line of text: unfolded (RFC 5322 2.2.3), encoded words decoded (RFC 2047), cleaned."""
    if len(value) > HEADER_MAX:
        value = value[:HEADER_MAX]
        notes.add("header-truncated")
    if not value.isascii():
        value = decode(value.encode("utf-8", "surrogateescape"), None, notes)
        notes.add("8bit-header")
    if "\n" in value or "\r" in value:
        value = _FOLD.sub(" ", value)
    if "=?" in value:
        value = _words_read(value, notes)
    return clean(value, notes).replace("\n", " ").strip()


def _words_read(value: str, notes: set[str]) -> str:
    """Decode encoded words. Adjacent words of one charset are joined as bytes, because a sender may split a character."""
    runs: list[tuple[str | None, bytes, str]] = []
    end = 0
    for word in _ENCODED_WORD.finditer(value):
        between = value[end : word.start()]
        if between.strip() or not end:
            runs.append((None, b"", between))
        charset, content = word[1].lower(), _word_bytes(word[2].lower(), word[3])
        if runs[-1][0] == charset:
            content = runs.pop()[1] + content
        runs.append((charset, content, ""))
        end = word.end()
    runs.append((None, b"", value[end:]))
    return "".join(plain if charset is None else decode(content, charset, notes) for charset, content, plain in runs)


def _word_bytes(encoding: str, content: str) -> bytes:
    raw = content.encode("utf-8", "replace")
    if encoding == "q":
        return binascii.a2b_qp(raw.replace(b" ", b"_"), header=True)
    raw = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    raw = raw if len(raw) % 4 != 1 else raw[:-1]
    return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))


def addresses(values: Sequence[str], notes: set[str]) -> list[tuple[str, str]]:
    """Return (display name, lower-case address) of each mailbox in an address list (RFC 5322 3.4).

    Takes linear time, also for nested comments. A group gives its members. If a value has no valid mailbox but something like
    one, that is returned and `address-salvaged` is added to `notes`.
    """
    found: list[tuple[str, str]] = []
    for value in values:
        before = len(found)
        for words, comment, angle in _mailboxes(_whole_mailboxes(value, notes)):
            spoken = " ".join(word for word in words if not _ADDRESS.fullmatch(word)) if angle is None else " ".join(words)
            bare = next((word for word in words if _ADDRESS.fullmatch(word)), "")
            address = header_text(bare if angle is None else angle, notes).lower()
            if _ADDRESS.fullmatch(address):
                found.append((header_text(spoken or comment, notes), in_ascii(address)))
        if len(found) == before:
            salvaged = _ADDRESS.search(header_text(value, notes).lower())
            if salvaged:
                found.append(("", in_ascii(salvaged[0])))
                notes.add("address-salvaged")
    return list(dict.fromkeys(found))[:RECIPIENTS_MAX]


def mailboxes_of(part: Part, name: str, notes: set[str]) -> list[tuple[str, str]]:
    """Return the `addresses` in a header field, and keep them with the part: a mail is read more than once."""
    if name not in part.mailboxes:
        found: set[str] = set()
        part.mailboxes[name] = addresses(part.fields(name), found), frozenset(found)
    known, remarks = part.mailboxes[name]
    notes |= remarks
    return known


def in_ascii(address: str) -> str:
    """Return an address with its domain in ASCII (IDNA 2008, RFC 5891); an address without such a form stays unchanged.

    So both forms of a domain are one sender. A non-ASCII local part stays, because nothing else is the same mailbox (RFC 6531).
    """
    local, at, domain = address.rpartition("@")
    if domain.isascii() or len(domain) > _DOMAIN_MAX:
        return address
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode('ascii')}"
    except (idna.IDNAError, UnicodeError):
        return address


def _whole_mailboxes(value: str, notes: set[str]) -> str:
    """Cut a long list between two mailboxes, because a cut within an address would make another address."""
    if len(value) <= HEADER_MAX:
        return value
    notes.add("header-truncated")
    return value[:HEADER_MAX].rpartition(",")[0]


def single_address(values: Sequence[str]) -> str | None:
    """Return the lower-case address of a From that names exactly one address in plain ASCII; None for every other From.

    With two fields, two mailboxes, a name that is another address, an address in encoded words, or a non-ASCII letter whose lower
    case is ASCII, the server that checked the mail may see another sender than this code.
    """
    if len(values) != 1:
        return None
    notes: set[str] = set()
    found = {address for _, address in addresses(values, notes)}
    shown = {address.lower() for address in _ADDRESS.findall(header_text(values[0], notes))}
    if len(found) != 1 or shown != found or notes - {"8bit-header"}:
        return None
    [address] = found
    return address if address in values[0].lower() else None


def _mailboxes(value: str) -> list[tuple[list[str], str, str | None]]:
    """Split an address list into (words, comment, content of the angle brackets)."""
    out: list[tuple[list[str], str, str | None]] = []
    words: list[str] = []
    comment: list[str] = []
    angle: str | None = None
    depth = 0
    for piece in [*_PIECE.findall(value), ","]:
        if piece in "()":
            depth = max(0, depth + (1 if piece == "(" else -1))
        elif depth and piece != ",":
            comment.append(piece)
        elif piece in ",;":
            if words or angle is not None:
                out.append((words, " ".join(comment), angle))
            words, comment, angle = [], [], None
        elif piece == ":":
            words = []
        elif piece[0] == "<" and len(piece) > 1:
            angle = piece[1:-1].rpartition(":")[2].strip()
        elif piece[0] == '"' and len(piece) > 1:
            words.append(re.sub(r"\\(.)", r"\1", piece[1:-1]))
        elif piece not in '"<>':
            words.append(piece)
    return out


def ids(values: Sequence[str], notes: set[str]) -> tuple[str, ...]:
    """Return the message identifiers of header values without angle brackets, in order, each once.

    The content of the brackets is not checked, because real identifiers break the grammar of RFC 5322 3.6.4.
    """
    found = []
    for value in values:
        within = _ID.findall(value[:HEADER_MAX])
        found += within or ([bare[0]] if (bare := _BARE_ID.search(value[:HEADER_MAX])) else [])
    return tuple(dict.fromkeys(cleaned for one in found if (cleaned := "".join(header_text(one, notes).split()))))


def date_claimed(part: Part, notes: set[str]) -> str | None:
    """Return the Date header in ISO 8601; None without a readable one. It is only the sender's claim."""
    value = part.field("date")[:200]
    try:
        claimed = parsedate_to_datetime(header_text(value, notes))
        if not 1990 <= claimed.year < 2038:  # clocks that were never set show 1970, 1980 or 2038
            notes.add("odd-date")
        return claimed.isoformat()
    except (ValueError, TypeError, IndexError, OverflowError):
        notes.add("no-date")
        return None
