"""The body of a mail: its blocks of text and the files that came with it."""

import hashlib
import re
from dataclasses import dataclass, field

from pointsman_desk.case import Attachment
from pointsman_desk.mail import markup
from pointsman_desk.mail.characters import clean, decode
from pointsman_desk.mail.headers import header_text
from pointsman_desk.mail.tree import CONTENT_TYPE_MAX, Part

_NAME_MAX = 120  # characters; a file name has at most 255 bytes on the usual file systems, and nobody reads more
# What a person has to open with another program, said so that nobody takes the mail for an empty one.
_TELLING = {
    "multipart/encrypted": "encrypted",
    "application/pkcs7-mime": "encrypted",
    "application/x-pkcs7-mime": "encrypted",
    "application/ms-tnef": "tnef",
}


@dataclass(frozen=True, slots=True)
class Block:
    """A text of the body as it was written: `html` or plain."""

    html: bool
    text: str


@dataclass(slots=True)
class Body:
    """What a walk over the parts finds: blocks in order, attachments, each media type that occurs."""

    blocks: list[Block] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    media_types: set[str] = field(default_factory=set)

    def text(self, notes: set[str]) -> str:
        """Return the blocks as one text, HTML converted."""
        texts = [markup.text_of(block.text, notes) if block.html else block.text for block in self.blocks]
        return "\n".join(clean(text, notes).rstrip("\n") for text in texts)


def read_body(root: Part, notes: set[str]) -> Body:
    """Walk over the parts of a mail.

    Of alternatives the plain text counts, the HTML when there is none (RFC 2046 5.1.4); texts beside each other all
    count. Everything else is described as an attachment.
    """
    body = Body()
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
        found = [block for child in part.children for block in _blocks(child, body, notes)]
        if media_type == "multipart/alternative" and any(not block.html and block.text.strip() for block in found):
            return [block for block in found if not block.html]
        return found
    if part.body is None:
        return []
    raw = part.content(notes)
    if media_type.startswith("multipart/"):
        notes.add("false-multipart")
        return [Block(html=False, text=decode(raw, None, notes))]
    of_type = part.parameters("content-type")
    disposition = header_text(part.field("content-disposition"), set()).partition(";")[0].strip().lower()
    name = part.parameters("content-disposition").get("filename") or of_type.get("name")
    if media_type in {"text/plain", "text/html"} and disposition != "attachment" and (is_root or not name):
        return [Block(html=media_type == "text/html", text=decode(raw, of_type.get("charset"), notes))]
    body.attachments.append(_described(name or "", media_type, raw))
    return []


def _described(name: str, media_type: str, raw: bytes) -> Attachment:
    return Attachment(
        name=_shown_name(header_text(name, set())),
        media_type=media_type,
        size=len(raw),
        sha256=hashlib.sha256(raw).hexdigest(),
    )


def _shown_name(name: str) -> str:
    """Return a file name for a person to read, never to open: no folders, nothing a shell or a screen takes amiss."""
    name = re.sub(r'[<>:"|?*\t]', "_", re.split(r"[/\\]", name)[-1]).strip(" .")
    if len(name) > _NAME_MAX:
        stem, dot, ending = name.rpartition(".")
        name = f"{stem[: _NAME_MAX - 12]}…{dot}{ending}" if dot and len(ending) <= 10 else name[: _NAME_MAX - 1] + "…"
    return name or "attachment"
