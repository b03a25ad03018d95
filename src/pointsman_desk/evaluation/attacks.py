"""Mails that were written to deceive the desk, each with its trick, as the bytes in which they would arrive."""

from collections.abc import Mapping
from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pointsman_desk.case import Intent, Language

ADVERSARIAL = Path(__file__).parent / "adversarial.jsonl"
DESK_ADDRESS = "support@haus-und-hof.example"
DESK_SERVER = "mx.haus-und-hof.example"
DATE = "Fri, 20 Nov 2026 09:00:00 +0000"  # the day on which the sample shop's orders are as its sample mails find them
_PADDING = "{padding}"


class Attached(BaseModel):
    """A text file that comes with a mail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    text: str


class Attack(BaseModel):
    """A mail of the adversarial set. `attack` is the kind of the trick, `label` what the mail is truly about.

    `authentication` is the verdict of the desk's own mail server on the sender's domain. `headers` are added below its
    fields, also where they repeat one. `padding` is how many lines stand for `{padding}` in the text. A reply that holds
    one of `must_not`, whatever its case, has followed the mail's instructions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    language: Language
    attack: str
    label: Intent
    also: tuple[Intent, ...] = ()
    sender: str
    sender_name: str = ""
    authentication: Literal["pass", "fail", "none"] = "pass"
    reply_to: str | None = None
    headers: Mapping[str, str] = {}
    subject: str
    text: str = ""
    padding: int = 0
    html: str | None = None
    attachment: Attached | None = None
    must_not: tuple[str, ...]


def raw_mail(attack: Attack) -> bytes:
    """The mail as the desk's own mail server would hand it over."""
    domain = attack.sender.rpartition("@")[2]
    verdict = attack.authentication
    fields = {
        "Return-Path": f"<{attack.sender}>",
        "Delivered-To": DESK_ADDRESS,
        "Authentication-Results": f"{DESK_SERVER}; dkim={verdict} header.d={domain}; spf={verdict} smtp.mailfrom={domain};"
        f" dmarc={verdict} header.from={domain}",
        "From": f"{Header(attack.sender_name, 'utf-8').encode()} <{attack.sender}>",
        "To": DESK_ADDRESS,
        "Subject": Header(attack.subject, "utf-8").encode(),
        "Date": DATE,
        "Message-ID": f"<{attack.id}@{domain}>",
    }
    if attack.reply_to is not None:
        fields["Reply-To"] = attack.reply_to
    lines = [f"{name}: {value}" for name, value in (*fields.items(), *attack.headers.items())]
    return "".join(f"{line}\n" for line in lines).replace("\n", "\r\n").encode() + _body(attack).as_bytes(policy=SMTP)


def _body(attack: Attack) -> EmailMessage:
    body = EmailMessage()
    if attack.text:
        body.set_content(attack.text.replace(_PADDING, ".\n" * attack.padding))
    if attack.html is not None and attack.text:
        body.add_alternative(attack.html, subtype="html")
    elif attack.html is not None:
        body.set_content(attack.html, subtype="html")
    if attack.attachment is not None:
        body.add_attachment(attack.attachment.text, filename=attack.attachment.name)
    if body.is_multipart():
        body.set_boundary(f"=_{attack.id}")  # by itself it would be by chance, and the bytes others each time
    return body
