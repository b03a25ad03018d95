"""The adversarial set: mails that try to deceive the desk, as raw bytes."""

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
DATE = "Fri, 20 Nov 2026 09:00:00 +0000"  # the day that the sample shop's orders and mails are made for
_PADDING = "{padding}"


class Attached(BaseModel):
    """A text file attached to a mail."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    text: str


class Attack(BaseModel):
    """A mail of the adversarial set. `attack` is the kind of trick, `label` the true intent of the mail.

    `authentication` is the result of the desk's own mail server for the sender's domain. `headers` are added after its fields, even if
    they repeat one. `padding` is the number of lines for `{padding}` in the text. A reply that contains one of `must_not`, in any case,
    has followed the mail's instructions.
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
    """Return the mail as the desk's mail server would deliver it."""
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
        body.set_boundary(f"=_{attack.id}")  # the default is random, which would change the bytes each time
    return body
