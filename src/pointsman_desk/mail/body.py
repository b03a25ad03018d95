"""The body of a mail: its blocks of text and the files that came with it."""

import hashlib
import re
from dataclasses import dataclass, field

from pointsman_desk.case import Attachment
from pointsman_desk.mail import markup
from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.charsets import decode, html_charset
from pointsman_desk.mail.headers import header_text
from pointsman_desk.mail.inline import files_in, unflowed
from pointsman_desk.mail.tree import CONTENT_TYPE_MAX, Part

_NAME_MAX = 120  # characters; a file name has at most 255 bytes on the usual file systems, and nobody reads more
_UNTOLD_MIN = 20  # words of one alternative that the other does not have: more than a greeting or a footer
# What a person has to open with another program, said so that nobody takes the mail for an empty one.
_TELLING = {
    "multipart/encrypted": "encrypted",
    "application/pkcs7-mime": "encrypted",
    "application/x-pkcs7-mime": "encrypted",
    "application/ms-tnef": "tnef",
    "application/vnd.ms-tnef": "tnef",
    "message/partial": "partial",
    "message/external-body": "external-body",
}
_TNEF_NAME = "winmail.dat"
_PGP_MESSAGE = "-----BEGIN PGP MESSAGE-----"
_MIME_NOTICE = re.compile(r"\bMIME\b|multi-?part", re.IGNORECASE)
_WORD = re.compile(r"\w{3,}")


@dataclass(frozen=True, slots=True)
class Block:
    """A text of the body as it was written: `html` or plain; `flowed` lines were wrapped (RFC 3676), with `delsp` or not."""

    html: bool
    text: str
    flowed: bool = False
    delsp: bool = False


@dataclass(slots=True)
class Body:
    """What a walk over the parts finds.

    Blocks in order, the HTML left aside for a plain text, the texts before and after parts, attachments, each media type.
    """

    blocks: list[Block] = field(default_factory=list)
    aside: list[Block] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    media_types: set[str] = field(default_factory=set)

    def text(self, notes: set[str]) -> str:
        """Return the blocks as one text, HTML converted.

        Where HTML left aside says much else, that, too (`alternatives-differ`), and what stands outside of the parts.
        """
        texts: list[str] = []
        budget = markup.HTML_MAX
        for block in self.blocks:
            if block.html:
                texts.append(clean(markup.text_of(block.text, notes, budget), notes).rstrip("\n"))
                budget = max(0, budget - len(block.text))
            else:
                plain = clean(block.text, notes)
                texts.append((unflowed(plain, delsp=block.delsp) if block.flowed else plain).rstrip("\n"))
        if any(_PGP_MESSAGE in text for text in texts):
            notes.add("encrypted")
        for block in self.aside:
            its_notes: set[str] = set()
            other = clean(markup.text_of(block.text, its_notes, budget), its_notes)
            budget = max(0, budget - len(block.text))
            words = set(_WORD.findall(other.lower()))
            untold = words.difference(_WORD.findall("\n".join(texts).lower()))
            if len(untold) >= _UNTOLD_MIN and 2 * len(untold) > len(words):
                notes.update({"alternatives-differ"}, its_notes)
                texts.append(other)
        texts += [clean(text, notes).strip("\n") for text in self.outside]
        return "\n".join(texts)


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
        _look_outside(part, body, notes)
        found = [block for child in part.children for block in _blocks(child, body, notes)]
        if media_type == "multipart/alternative" and any(not block.html and block.text.strip() for block in found):
            body.aside += [block for block in found if block.html]
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
        return [_text_block(raw, media_type, of_type, body, notes)]
    body.attachments.append(_described(name or "", media_type, raw))
    if body.attachments[-1].name.lower() == _TNEF_NAME:
        notes.add("tnef")
    return []


def _look_outside(part: Part, body: Body, notes: set[str]) -> None:
    """Take the words before the first and after the last part, which mail programs do not show, unless they only speak of MIME."""
    for text in (part.preamble, part.epilogue):
        if text and re.search(r"\w", text) and not _MIME_NOTICE.search(text):
            body.outside.append(decode(text.encode("ascii", "surrogateescape"), None, notes))
            notes.add("text-outside-parts")


def _text_block(raw: bytes, media_type: str, of_type: dict[str, str], body: Body, notes: set[str]) -> Block:
    if media_type == "text/html":
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
    """Return a file name for a person to read, never to open: no folders, nothing a shell or a screen takes amiss."""
    name = re.sub(r'[<>:"|?*\t]', "_", re.split(r"[/\\]", name)[-1]).strip(" .")
    if len(name) > _NAME_MAX:
        stem, dot, ending = name.rpartition(".")
        name = f"{stem[: _NAME_MAX - 12]}…{dot}{ending}" if dot and len(ending) <= 10 else name[: _NAME_MAX - 1] + "…"
    return name or "attachment"
