"""A mail as it came: its HTML, made inert, and the bytes of its attachments."""

import hashlib

import nh3

from pointsman_desk.mail.charsets import decode
from pointsman_desk.mail.tree import parse

TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "center", "code", "col", "colgroup", "dd", "del", "div", "dl", "dt", "em", "font", "h1", "h2",
    "h3", "h4", "h5", "h6", "hr", "i", "ins", "li", "ol", "p", "pre", "s", "small", "span", "strike", "strong", "sub", "sup", "table", "tbody", "td",
    "tfoot", "th", "thead", "tr", "tt", "u", "ul",
}  # fmt: skip
"""What a mail may use: text and its shape. No image, so that nothing is fetched; no form, frame, script, style, link or meta."""
ATTRIBUTES = {
    "*": {"align", "dir", "lang", "title"},
    "td": {"colspan", "rowspan", "valign"},
    "th": {"colspan", "rowspan", "valign"},
    "ol": {"start"},
}
HTML_MAX = 2_000_000  # characters: more than any letter, few enough for a browser


def html_of(raw: bytes) -> str | None:
    """Return the HTML of a mail with only TAGS and ATTRIBUTES left, or None if it has none. Links lose their address: it may lie."""
    notes: set[str] = set()
    for part in parse(raw, notes).leaves():
        if part.media_type == "text/html" and not part.field("content-disposition").lower().startswith("attachment"):
            text = decode(part.content(notes), part.parameters("content-type").get("charset"), notes)
            return nh3.clean(text[:HTML_MAX], tags=TAGS, attributes=ATTRIBUTES, url_schemes=set(), link_rel=None, strip_comments=True)
    return None


def attachment_of(raw: bytes, sha256: str) -> bytes | None:
    """Return the bytes of the attachment with this digest, or None if the mail has none."""
    notes: set[str] = set()
    for part in parse(raw, notes).leaves():
        content = part.content(notes)
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    return None
