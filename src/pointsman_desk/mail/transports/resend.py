"""Send replies by Resend, a mail provider, with its HTTP API (https://resend.com/docs/api-reference/emails/send-email)."""

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
_REASON_MAX = 200  # characters of the provider's message; enough for a person
_CARRIED = ("In-Reply-To", "References", "Auto-Submitted", "X-Auto-Response-Suppress")


class ResendAccount(BaseModel):
    """How to send replies by Resend. `api_key_env` names the environment variable with the key; `url` is for tests and proxies."""

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
        """The longest time for sending one mail."""
        return self.timeout_seconds

    @property
    def variables(self) -> dict[str, str]:
        """The environment variable with the key, by setting."""
        return {"resend.api_key_env": self.api_key_env}


class ResendInDoubt(Exception):
    """The provider did not say whether it accepted the mail; it can be sent again with the same key."""


class ResendTransport:
    """A provider that accepts each key once a day: a repetition returns the first mail's identifier, and sends nothing.

    It composes the mail again from its parts, with its own Message-ID, so the sent mail differs from the approved one in its headers
    and line breaks.
    """

    name = "resend"

    def __init__(self, account: ResendAccount) -> None:
        self._account = account

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        """Send the mail with the key; the receipt has the provider's identifier.

        Raises NotSent, Rejected and, if the outcome is unknown, ResendInDoubt or an error of httpx: call again with the same key.
        """
        import httpx  # noqa: PLC0415 - a desk with another transport does not need it

        api_key = os.environ.get(self._account.api_key_env)
        if not api_key:
            raise NotSent(f"the environment variable {self._account.api_key_env} is not set; set it to your Resend API key.")
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
        mail_id = named if isinstance(named, str) and named else read_mail(raw).message_id  # it was accepted, with or without an identifier
        return Receipt(provider_message_id=mail_id, transport=self.name, detail=f"{answer.request.url.host}: {answer.status_code}")


def _parts(raw: bytes, sender: str, to: str, cc: Sequence[str]) -> dict[str, Any]:
    """Return the parts of a composed mail as the API's fields."""
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
    """Return the provider's error message, from the documented fields."""
    fields = _json(answer)
    words = " ".join(" ".join(str(fields[name]) for name in ("name", "message") if name in fields).split())
    return (words or "no reason was given")[:_REASON_MAX].rstrip(".")


def _json(answer: "httpx.Response") -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
