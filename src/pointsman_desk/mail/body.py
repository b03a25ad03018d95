"""Read the body of a mail: its blocks of text and its attachments."""

import hashlib
import re
from dataclasses import dataclass, field

from pointsman_desk.case import DOUBTS, Attachment
from pointsman_desk.mail import markup
from pointsman_desk.mail.alternatives import lines_only_in
from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.charsets import decode, html_charset
from pointsman_desk.mail.cms import NotReadable, salvaged_content, signed_content
from pointsman_desk.mail.headers import header_text
from pointsman_desk.mail.inline import files_in, unflowed
from pointsman_desk.mail.invitations import invitation_text
from pointsman_desk.mail.tree import CONTENT_TYPE_MAX, Part, parse

_NAME_MAX = 120  # characters; file systems allow 255 bytes, and nobody reads more than this
ATTACHED_DEPTH_MAX = 3  # levels of attached mails that are opened; a forwarded complaint about a certified mail has two
ATTACHED_MAX = 10  # attached mails and invitations of one mail; more is a whole mailbox, and gets a note
# Content that needs another program, as text, so that the mail does not seem empty.
_TELLING = {
    "multipart/encrypted": "encrypted",
    "application/ms-tnef": "tnef",
    "application/vnd.ms-tnef": "tnef",
    "message/partial": "partial",
    "message/external-body": "external-body",
}
_PKCS7 = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime"})
_SIGNATURES = frozenset({"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"})
_MAILS = frozenset({"message/rfc822", "message/global"})
_CALENDARS = frozenset({"text/calendar", "application/ics"})
_HTML = frozenset({"text/html", "text/x-amp-html", "application/xhtml+xml"})
# Text types that mail programs list as files. They show all others (RFC 2046 4.1.4).
_TEXT_FILES = frozenset({"text/calendar", "text/vcard", "text/x-vcard", "text/directory", "text/css", "text/csv", "text/javascript", "text/xml",
    "text/rfc822-headers", "text/rfc822-header"})  # fmt: skip
_TNEF_NAME = "winmail.dat"
_PGP_MESSAGE = "-----BEGIN PGP MESSAGE-----"
_MIME_NOTICE = re.compile(r"\bMIME\b|multi-?part", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """A text of the body: `html` or plain. The lines of a `flowed` text were wrapped (RFC 3676), with or without `delsp`."""

    html: bool
    text: str
    flowed: bool = False
    delsp: bool = False


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Two forms of one text: the plain text, which is read, and the HTML, which is not."""

    html: list[Block]
    plain: list[Block]


@dataclass(slots=True)
class Body:
    """The content of all parts.

    It has the blocks in order, HTML that has a plain alternative, texts before and after parts, texts of attached mails and invitations,
    attachments, and each media type. `depth` counts the mails around this one. The mail in a report (`reports`) is ours and is not
    opened; with `opens` false, no attached mail is.
    """

    blocks: list[Block] = field(default_factory=list)
    aside: list[Alternatives] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    attached: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    media_types: set[str] = field(default_factory=set)
    depth: int = 0
    reports: bool = False
    opens: bool = True

    def text(self, notes: set[str]) -> str:
        """Return the blocks as one text, with HTML converted.

        Text that is only in the HTML alternative follows (`alternatives-differ`, also for the reverse), and then text outside of
        the parts.
        """
        budget = markup.HTML_MAX
        texts: list[str] = []
        for block in self.blocks:
            texts.append(_shown(block, notes, budget))
            budget = max(0, budget - len(block.text) * block.html)
        if any(_PGP_MESSAGE in text for text in texts):
            notes.add("encrypted")
        for forms in self.aside:
            its_notes: set[str] = set()
            html = "\n".join(_shown(block, its_notes, budget) for block in forms.html)
            budget = max(0, budget - sum(len(block.text) for block in forms.html))
            more = lines_only_in(html, "\n".join(texts))
            if more or "hidden-text" in its_notes or lines_only_in("\n".join(_shown(block, set(), 0) for block in forms.plain), html):
                notes.update({"alternatives-differ"}, its_notes)
            texts += more
        texts += [clean(text, notes).strip("\n") for text in self.outside]
        return "\n".join(texts)


def _shown(block: Block, notes: set[str], budget: int) -> str:
    """Return a block as lines. In HTML, styles are read for the first `budget` characters."""
    if block.html:
        return clean(markup.text_of(block.text, notes, budget), notes).rstrip("\n")
    plain = clean(block.text, notes)
    return (unflowed(plain, delsp=block.delsp) if block.flowed else plain).rstrip("\n")


def read_body(root: Part, notes: set[str], depth: int = 0, *, opens: bool = True) -> Body:
    """Read the parts of a mail that is within `depth` other mails. With `opens`, attached mails are read too.

    Of two alternatives the plain text counts, or the HTML if there is no plain text (RFC 2046 5.1.4). All other texts count,
    including the content of an opaque signature. Attached mails and invitations are read as text. Everything else is described
    as an attachment.
    """
    body = Body(depth=depth, opens=opens)
    body.blocks = _blocks(root, body, notes, is_root=True)
    if body.blocks and all(block.html for block in body.blocks):
        notes.add("html-only")
    return body


def _blocks(part: Part, body: Body, notes: set[str], *, is_root: bool = False) -> list[Block]:
    media_type = part.media_type
    body.media_types.add(media_type)
    if len(part.field("content-type")) > CONTENT_TYPE_MAX:
        notes.add("content-type-truncated")
    if media_type in _TELLING:
        notes.add(_TELLING[media_type])
    if part.children:
        return _of_parts(part, body, notes)
    if part.body is None:
        return []
    raw = part.content(notes)
    if media_type.startswith("multipart/"):
        notes.add("false-multipart")
        return [Block(html=False, text=decode(raw, None, notes))]
    of_type = part.parameters("content-type")
    name = part.parameters("content-disposition").get("filename") or of_type.get("name")
    if media_type in _PKCS7 or (media_type == "application/octet-stream" and (name or "").lower().endswith(".p7m")):
        return _of_signed(raw, body, notes)
    disposition = header_text(part.field("content-disposition"), set()).partition(";")[0].strip().lower()
    shown = []
    if disposition != "attachment" and (media_type in _HTML or (media_type.startswith("text/") and media_type not in _TEXT_FILES)):
        shown = [_text_block(raw, media_type, of_type, body, notes)]
        if is_root or not name:
            return shown
    elif media_type in _CALENDARS:
        notes.add("invitation")
        _attach(invitation_text(decode(raw, of_type.get("charset"), notes)), body)
    elif media_type in _MAILS and body.opens and not body.reports:
        notes.add("attached-mail")
        _attach(_mail_text(raw, body, notes), body)
    body.attachments.append(_described(name or "", media_type, raw))
    if body.attachments[-1].name.lower() == _TNEF_NAME:
        notes.add("tnef")
    return shown


def _of_parts(part: Part, body: Body, notes: set[str]) -> list[Block]:
    _look_outside(part, body, notes)
    body.reports |= part.media_type == "multipart/report"
    children = part.children
    if part.media_type == "multipart/signed":  # nobody opens the signature as a file (RFC 1847 2.1)
        children = [child for place, child in enumerate(children) if place == 0 or child.media_type not in _SIGNATURES]
        body.media_types.update(child.media_type for child in part.children)
    found = [block for child in children for block in _blocks(child, body, notes)]
    if part.media_type == "multipart/alternative" and any(not block.html and block.text.strip() for block in found):
        plain, html = [block for block in found if not block.html], [block for block in found if block.html]
        body.aside += [Alternatives(html, plain)] if html else []
        return plain
    return found


def _of_signed(raw: bytes, body: Body, notes: set[str]) -> list[Block]:
    """Read the mail in an opaque signature, which is not verified; without one, the part is encrypted."""
    try:
        content: bytes | None = signed_content(raw)
    except NotReadable:
        content = salvaged_content(raw)
        notes.add("encrypted" if content is None else "bad-signed")
    if content is None or body.depth >= ATTACHED_DEPTH_MAX:
        body.attachments.append(_described("smime.p7m", "application/pkcs7-mime", raw))
        return []
    body.depth += 1
    found = _blocks(parse(content, notes), body, notes, is_root=True)
    body.depth -= 1
    return found


def _attach(text: str, body: Body) -> None:
    if text and text not in body.attached:
        body.attached.append(text)


def _mail_text(raw: bytes, body: Body, notes: set[str]) -> str:
    """Return an attached mail as text: sender, date, subject, text and file names."""
    if body.depth >= ATTACHED_DEPTH_MAX or len(body.attached) >= ATTACHED_MAX:
        notes.add("parts-capped")
        return ""
    its_notes: set[str] = set()
    root = parse(raw, its_notes)
    inner = read_body(root, its_notes, body.depth + 1)
    fields = [(name, header_text(root.field(name.lower()), its_notes)) for name in ("From", "To", "Date", "Subject")]
    files = ", ".join(file.name for file in inner.attachments)
    head = ["[attached mail]", *(f"{name}: {value}" for name, value in [*fields, ("Files", files)] if value)]
    text = inner.text(its_notes).strip("\n")
    notes |= its_notes & DOUBTS
    return "\n\n".join(filter(None, ["\n".join(head), text, *inner.attached]))


def _look_outside(part: Part, body: Body, notes: set[str]) -> None:
    """Keep text before the first and after the last part, which mail programs do not show, unless it is only about MIME."""
    for text in (part.preamble, part.epilogue):
        if text and re.search(r"\w", text) and not _MIME_NOTICE.search(text):
            body.outside.append(decode(text.encode("ascii", "surrogateescape"), None, notes))
            notes.add("text-outside-parts")


def _text_block(raw: bytes, media_type: str, of_type: dict[str, str], body: Body, notes: set[str]) -> Block:
    if media_type in _HTML:
        return Block(html=True, text=decode(raw, of_type.get("charset"), notes, html_charset(raw)))
    raw, files = files_in(raw, notes)
    body.attachments += [_described(name, "application/octet-stream", content) for name, content in files]
    flowed, delsp = of_type.get("format", "").lower() == "flowed", of_type.get("delsp", "").lower() == "yes"
    return Block(html=False, text=decode(raw, of_type.get("charset"), notes), flowed=flowed, delsp=delsp)


def _described(name: str, media_type: str, raw: bytes) -> Attachment:
    return Attachment(
        name=_shown_name(header_text(name, set())),
        media_type=media_type,
        size=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _shown_name(name: str) -> str:
    """Return a file name to show, not to open: without folders, and without characters that a shell or terminal would interpret."""
    name = re.sub(r'[<>:"|?*\t]', "_", re.split(r"[/\\]", name)[-1]).strip(" .")
    if len(name) > _NAME_MAX:
        stem, dot, ending = name.rpartition(".")
        name = f"{stem[: _NAME_MAX - 12]}…{dot}{ending}" if dot and len(ending) <= 10 else name[: _NAME_MAX - 1] + "…"
    return name or "attachment"
