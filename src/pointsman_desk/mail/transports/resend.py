"""Replies handed to Resend, a mail provider, by its HTTP interface (https://resend.com/docs/api-reference/emails/send-email)."""

import os
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from typing import TYPE_CHECKING, Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pointsman import NotSent, Rejected, http_outcome, raise_for_outcome
from pointsman_desk.case import Receipt
from pointsman_desk.mail.access import is_loopback
from pointsman_desk.mail.message import read_mail
from pointsman_desk.mail.transports.relay import TIMEOUT_MAX_SECONDS

if TYPE_CHECKING:
    import httpx

KEY_TTL_SECONDS = 24 * 3600.0  # https://resend.com/docs/dashboard/emails/idempotency-keys
_REASON_MAX = 200  # characters of what the provider says that a person needs
_CARRIED = ("In-Reply-To", "References", "Auto-Submitted", "X-Auto-Response-Suppress")


class ResendAccount(BaseModel):
    """How to hand replies to Resend; `api_key_env` names the environment variable with the key, `url` is for tests and proxies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_key_env: str = "RESEND_API_KEY"
    url: str = "https://api.resend.com"
    timeout_seconds: Annotated[float, Field(gt=0, le=TIMEOUT_MAX_SECONDS)] = 30.0

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        url = urlsplit(self.url)
        if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname or "")):
            raise ValueError(f"url {self.url!r} would send mails unencrypted, or to no host; begin it with https://")
        return self

    @property
    def longest_seconds(self) -> float:
        """How long handing over one mail may take."""
        return self.timeout_seconds

    @property
    def variables(self) -> dict[str, str]:
        """The environment variable that holds the key, by the setting that names it."""
        return {"resend.api_key_env": self.api_key_env}


class ResendInDoubt(Exception):
    """The provider did not say whether it has taken the mail; with the same key it can be asked to take it again."""


class ResendTransport:
    """A provider that takes each key once within a day: a repetition gives the same mail's name, and sends nothing.

    It writes the mail anew from its parts, with a Message-ID of its own, so that what the customer gets differs from what was
    approved in its headers and its line breaks.
    """

    name = "resend"

    def __init__(self, account: ResendAccount) -> None:
        self._account = account

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        """Send the mail under the key; the receipt has the provider's name for it.

        Raises NotSent, Rejected, and where nobody knows ResendInDoubt or what httpx raises: call again with the same key.
        """
        import httpx  # noqa: PLC0415 - a desk with another way out does not need it

        api_key = os.environ.get(self._account.api_key_env)
        if not api_key:
            raise NotSent(f"the environment variable {self._account.api_key_env} is not set; set it to the key of Resend.")
        headers = {"Authorization": f"Bearer {api_key}", "Idempotency-Key": key}
        async with httpx.AsyncClient(timeout=self._account.timeout_seconds) as client:
            with http_outcome():
                answer = await client.post(f"{self._account.url}/emails", json=_parts(raw, sender, to, cc), headers=headers)
        try:
            raise_for_outcome(answer)
        except NotSent as error:
            raise NotSent(f"{error}: {_reason(answer)}", retry_after=error.retry_after) from None
        except Rejected as error:
            raise Rejected(f"{error}: {_reason(answer)}") from None
        except httpx.HTTPStatusError:
            problem = f"{answer.request.url.host} answered {answer.status_code}: {_reason(answer)}"
            raise ResendInDoubt(f"{problem}; the mail may have been sent.") from None
        named = _json(answer).get("id")
        mail_id = named if isinstance(named, str) and named else read_mail(raw).message_id  # it was taken, whatever it is called
        return Receipt(provider_message_id=mail_id, transport=self.name, detail=f"{answer.request.url.host}: {answer.status_code}")


def _parts(raw: bytes, sender: str, to: str, cc: Sequence[str]) -> dict[str, Any]:
    """Take a composed mail apart again."""
    mail, message = read_mail(raw), message_from_bytes(raw)
    quoted = mail.sender_name.replace("\\", r"\\").replace('"', r"\"")
    return {
        "from": f'"{quoted}" <{sender}>' if quoted else sender,
        "to": [to],
        **({"cc": [*cc]} if cc else {}),
        "subject": mail.subject,
        "text": _text(message),
        "headers": {name: " ".join(str(message[name]).split()) for name in _CARRIED if name in message},
    }


def _text(message: Message) -> str:
    content = message.get_payload(decode=True)
    assert isinstance(content, bytes), "a reply has one part"
    return content.decode("utf-8").replace("\r\n", "\n")


def _reason(answer: "httpx.Response") -> str:
    """What the provider says was wrong, as its documented errors do."""
    fields = _json(answer)
    words = " ".join(" ".join(str(fields[name]) for name in ("name", "message") if name in fields).split())
    return (words or "no reason was given")[:_REASON_MAX].rstrip(".")


def _json(answer: "httpx.Response") -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
