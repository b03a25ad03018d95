"""Read the mail in an opaque S/MIME signature, application/pkcs7-mime (RFC 8551 3.5.2)."""

from typing import NamedTuple

DEPTH_MAX = 20  # levels of the structure; the content is on the sixth
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")  # RFC 5652 5.1
_SEQUENCE, _SET, _INTEGER, _OBJECT, _OCTETS, _CONTEXT_0 = 0x30, 0x31, 0x02, 0x06, 0x04, 0xA0
_CONSTRUCTED = 0x20
_HEADER_FIELD = b"content-type:"


class NotReadable(ValueError):
    """The bytes are not SignedData, or have no content."""


class _Element(NamedTuple):
    """The position of a value: its content is from `begin` to `end`, and the next value is at `after`."""

    tag: int
    begin: int
    end: int
    after: int


def signed_content(raw: bytes) -> bytes:
    """Return the content of SignedData (RFC 5652 5.1), in BER or DER. No signature is checked. Raises NotReadable.

    Reads only the path to the content, in linear time, and unpacks nothing.
    """
    info = _expected(raw, 0, len(raw), _SEQUENCE)
    kind = _expected(raw, info.begin, info.end, _OBJECT)
    if raw[kind.begin : kind.end] != _SIGNED_DATA:
        raise NotReadable("it is not SignedData")
    explicit = _expected(raw, kind.after, info.end, _CONTEXT_0)
    signed = _expected(raw, explicit.begin, explicit.end, _SEQUENCE)
    version = _expected(raw, signed.begin, signed.end, _INTEGER)
    algorithms = _expected(raw, version.after, signed.end, _SET)
    capsule = _expected(raw, algorithms.after, signed.end, _SEQUENCE)
    kind = _expected(raw, capsule.begin, capsule.end, _OBJECT)
    explicit = _expected(raw, kind.after, capsule.end, _CONTEXT_0)
    return _octets(raw, _element(raw, explicit.begin, explicit.end, 0), 0)


def salvaged_content(raw: bytes) -> bytes | None:
    """Return what looks like the header and text of a mail in bytes that are not SignedData, or None."""
    start = raw.lower().find(_HEADER_FIELD)
    return None if start < 0 else raw[start:]


def _octets(raw: bytes, element: _Element, depth: int) -> bytes:
    """Return the bytes of an octet string, which BER may split (X.690 8.7)."""
    if element.tag == _OCTETS:
        return raw[element.begin : element.end]
    if element.tag != _OCTETS | _CONSTRUCTED or depth > DEPTH_MAX:
        raise NotReadable("its content is not a string of bytes")
    pieces, at = [], element.begin
    while at < element.end:
        piece = _element(raw, at, element.end, depth)
        pieces.append(_octets(raw, piece, depth + 1))
        at = piece.after
    return b"".join(pieces)


def _expected(raw: bytes, at: int, end: int, tag: int) -> _Element:
    element = _element(raw, at, end, 0)
    if element.tag != tag:
        raise NotReadable(f"its structure is broken at byte {at}")
    return element


def _element(raw: bytes, at: int, end: int, depth: int) -> _Element:
    """Read the tag and the length of a value (X.690 8.1)."""
    if at + 2 > end or depth > DEPTH_MAX or raw[at] & 0x1F == 0x1F:
        raise NotReadable(f"its structure is broken at byte {at}")
    tag, length, begin = raw[at], raw[at + 1], at + 2
    if length == 0x80 and tag & _CONSTRUCTED:
        inner = begin
        while raw[inner : inner + 2] != b"\0\0":
            inner = _element(raw, inner, end, depth + 1).after
        return _Element(tag, begin, inner, inner + 2)
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(raw[at + 2 : begin][:8], "big") if length & 0x7F <= 8 else end
    if begin + length > end:
        raise NotReadable(f"its structure is broken at byte {at}")
    return _Element(tag, begin, begin + length, begin + length)
