"""Compose a reply. The same letter always gives the same bytes."""

import base64
import binascii
import re
import textwrap
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Literal

from pointsman_desk.case import Language, Letter, Mail, Reply
from pointsman_desk.errors import HeaderRefused
from pointsman_desk.mail.message import NO_ID_DOMAIN
from pointsman_desk.mail.signing import without_marks
from pointsman_desk.slots import name_of

REFERENCES_LAST = 20  # besides the first and the parent: enough for every mail program to find the thread
QUOTED_MAX = 20_000  # characters of the original below a reply; the customer has the rest
_ID_MAX = 900  # characters; with its field's name and brackets it stays under the 998 of RFC 5322 2.1.1
_LINE_MAX = 66  # with "Subject: " under the 76 of RFC 2047 2, and so under the 78 of RFC 5322 2.1.1
_WORD_BYTES = 39  # 52 characters of base64 and 12 around them: 64, which fits into such a line

_REPLY_PREFIX = re.compile(r"(?:re|aw|sv|vs|antw|odp|rif|rv|tr)(?: ?[\[(]\d{1,3}[\])])? ?[:\uff1a] ?", re.IGNORECASE)
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")  # an RFC 5322 phrase that needs no quotes
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDR_SPEC = re.compile(rf"(?=.{{3,254}}\Z){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*")
_MESSAGE_ID = re.compile(rf"[\x21-\x3b\x3d\x3f-\x7e]{{1,{_ID_MAX}}}")
_ATTRIBUTION = {  # with a date and without one
    Language.ENGLISH: ("On {date}, {name} wrote:", "{name} wrote:"),
    Language.GERMAN: ("Am {date} schrieb {name}:", "{name} schrieb:"),
    Language.FRENCH: ("Le {date}, {name} a écrit :", "{name} a écrit :"),
    Language.SPANISH: ("El {date}, {name} escribió:", "{name} escribió:"),
}


@dataclass(frozen=True, slots=True)
class Letterhead:
    """What all replies of a desk share: the sender's address and name, and whether they quote the customer's text.

    With `signs_addresses` and `signs_subjects`, a reply names its case in these places too, besides its Message-ID.
    """

    address: str
    name: str = ""
    quotes: bool = True
    signs_addresses: bool = False
    signs_subjects: bool = False


def reply_to(mail: Mail, reply: Reply, letterhead: Letterhead, *, to: str, message_id: str, date: datetime, automatic: bool) -> Letter:
    """Make the reply to a mail, threaded as RFC 5322 3.6.4 says, with the customer's text quoted below.

    References keep the first and the last `REFERENCES_LAST` before the parent, without identifiers that a header cannot contain. The
    customer's name, which may be any text, appears only above the quotation, and only if it looks like a name. Raises nothing:
    `compose` checks every value.
    """
    parent = mail.message_id if _MESSAGE_ID.fullmatch(mail.message_id) else None
    parent = None if parent is None or parent.endswith(f"@{NO_ID_DOMAIN}") else parent
    earlier = mail.references or ((mail.in_reply_to,) if mail.in_reply_to else ())
    known = [one for one in dict.fromkeys(earlier) if _MESSAGE_ID.fullmatch(one) and one != parent]
    if len(known) > REFERENCES_LAST + 1:
        known = [known[0], *known[-REFERENCES_LAST:]]
    quotation = _quotation(mail, reply.language) if letterhead.quotes else ""
    return Letter(
        message_id=message_id,
        date=date,
        sender=letterhead.address,
        sender_name=letterhead.name,
        to=to,
        subject=f"Re: {bare_subject(reply.subject.strip() or mail.subject)}".strip(),
        body=f"{reply.body.rstrip()}\n\n{quotation}".rstrip() + "\n",
        in_reply_to=parent,
        references=(*known, parent) if parent else tuple(known),
        automatic=automatic,
    )


def bare_subject(subject: str) -> str:
    """Return a subject without the prefixes of answers and the tags of cases."""
    subject = without_marks(subject)
    while prefix := _REPLY_PREFIX.match(subject):
        subject = subject[prefix.end() :]
    return subject


def _quotation(mail: Mail, language: Language) -> str:
    own = mail.text or mail.doubtful
    if not own:
        return ""
    text = own if len(own) <= QUOTED_MAX else own[:QUOTED_MAX] + "\n[…]"
    dated, undated = _ATTRIBUTION[language]
    said = (dated if mail.date else undated).format(date=(mail.date or "")[:10], name=name_of(mail.sender_name) or mail.sender)
    return "\n".join([" ".join(said.split()), *(f"> {line}".rstrip() for line in text.split("\n"))])


def compose(letter: Letter, *, submitted: Literal["auto-replied", "auto-generated"] = "auto-replied") -> bytes:
    """Return the bytes of a mail: ASCII with CRLF, always the same for the same letter.

    The standard library is not used, because it turns long identifiers into encoded words, which breaks threads. Subject and names
    are encoded by RFC 2047, the text by RFC 2045 6.7, and an automatic letter is marked as `submitted` (RFC 3834 5).

    Raises HeaderRefused if a value contains a control character, such as a line break, an address is not a single plain addr-spec,
    or an identifier is empty, too long or not ASCII.
    """
    fields = [
        ("From", _mailbox(letter.sender_name, _address("sender", letter.sender))),
        ("To", _address("recipient", letter.to)),
        ("Subject", _text(_checked("subject", letter.subject))),
        ("Date", format_datetime(letter.date)),
        ("Message-ID", _id(letter.message_id)),
    ]
    if letter.cc:
        fields.insert(2, ("Cc", ",\r\n ".join(_address("recipient of a copy", one) for one in letter.cc)))
    if letter.reply_to:
        fields.insert(1, ("Reply-To", _address("address for answers", letter.reply_to)))
    if letter.in_reply_to:
        fields.append(("In-Reply-To", _id(letter.in_reply_to)))
    if letter.references:
        fields.append(("References", "\r\n ".join(map(_id, letter.references))))
    if letter.automatic:
        fields += [("Auto-Submitted", submitted), ("X-Auto-Response-Suppress", "All")]
    fields += [
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "quoted-printable"),
    ]
    head = "".join(f"{name}: {value}\r\n" for name, value in fields)
    return head.encode("ascii") + b"\r\n" + _quoted_printable(letter.body)


def _checked(what: str, value: str) -> str:
    if _UNSAFE.search(value):
        raise HeaderRefused(f"The {what} {value[:80]!a} contains a control character or a line break; remove it.")
    return value


def is_address(value: str) -> bool:
    """Return whether `value` is a single plain addr-spec in ASCII (RFC 5322 3.4.1)."""
    return _ADDR_SPEC.fullmatch(value) is not None


def _address(what: str, value: str) -> str:
    if not _checked(what, value).isascii():
        raise HeaderRefused(
            f"The {what} {value[:80]!a} contains non-ASCII characters, and the desk does not support SMTPUTF8; answer in another way."
        )
    if not is_address(value):
        raise HeaderRefused(f"The {what} {value[:80]!a} is not a single plain address like name@shop.example; correct it.")
    return value


def _mailbox(name: str, address: str) -> str:
    """Return an address, with its name before it if there is one, each on its own line."""
    if not _checked("name", name):
        return address
    shown = name if _PLAIN_NAME.fullmatch(name) else '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    if not _is_plain(name) or len(shown) > _LINE_MAX:
        shown = _encoded(name)
    return f"{shown}\r\n <{address}>"


def _id(value: str) -> str:
    if not _MESSAGE_ID.fullmatch(_checked("message identifier", value)):
        raise HeaderRefused(
            f"The message identifier {value[:80]!a} is empty, has over {_ID_MAX} characters, or contains a space, an angle "
            "bracket or a non-ASCII character; leave it out."
        )
    return f"<{value}>"


def _is_plain(text: str) -> bool:
    """Return whether a header can contain a text unencoded: it is ASCII, and folding loses none of its spaces."""
    return text.isascii() and text == " ".join(text.split()) and "=?" not in text and max(map(len, text.split()), default=0) <= _LINE_MAX


def _text(text: str) -> str:
    """Return a plain text folded at its spaces, and any other text as encoded words."""
    if not _is_plain(text):
        return _encoded(text)
    return text if len(text) <= _LINE_MAX else "\r\n ".join(textwrap.wrap(text, _LINE_MAX, break_on_hyphens=False))


def _encoded(text: str) -> str:
    """Return a text as folded encoded words of whole characters."""
    words, chunk = [], b""
    for character in text:
        raw = character.encode()
        if len(chunk) + len(raw) > _WORD_BYTES:
            words.append(chunk)
            chunk = b""
        chunk += raw
    return "\r\n ".join(f"=?utf-8?b?{base64.b64encode(word).decode()}?=" for word in [*words, chunk])


def _quoted_printable(body: str) -> bytes:
    text = body.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    lines = [
        # the encoder adds its own soft breaks; a NUL is encoded, a lone surrogate becomes "?"
        binascii.b2a_qp(line.encode("utf-8", "replace"), istext=False).replace(b"=\n", b"=\r\n")
        for line in text.split("\n")
    ]
    return b"\r\n".join(lines) + b"\r\n"
