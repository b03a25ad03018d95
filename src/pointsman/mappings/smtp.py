"""Maps the phases of an SMTP session to the outcome of an effect (RFC 5321).

Before the final dot, every failure means *not sent*, because a server drops an incomplete mail (RFC 5321 4.1.1.10); a 5xx reply to
an address or to DATA means *rejected*. The reply to the dot decides: 2xx is success, 4xx is not sent, and 5xx is rejected. If
no reply to the dot arrives, the effect is *in doubt* (RFC 1047): SMTP has no keys, so a second call would send a second mail.
After its 250 the server is responsible for the mail (RFC 5321 6.1), so errors at QUIT do not matter. smtplib raises
SMTPServerDisconnected in every phase and does not name the phase; `smtp_send` runs the phases one by one and knows it.
"""

import contextlib
import re
import smtplib
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from pointsman.errors import NotSent, PointsmanError, Rejected

_PLAIN_ADDRESS = re.compile(r"[\x21-\x3b\x3d\x3f-\x7e]+")
_LINE_START_DOT = re.compile(rb"^\.", re.MULTILINE)
_ANSWER_MAX = 200  # characters of a server's reply: enough to understand it


class SmtpInDoubt(PointsmanError):
    """The mail was sent, but the server's reply did not arrive: the server may or may not have accepted the mail."""


def smtp_send(
    connect: Callable[[], smtplib.SMTP], content: bytes, *, sender: str, to: Sequence[str], server: str = "The mail server"
) -> str:
    """Send a mail to a server, and return its reply when it has accepted the mail for all of `to`.

    It blocks, so call it in a plain function. `connect` returns a client that is connected and, if you need it, encrypted and
    logged in; it closes its connection if it fails. `content` is the whole mail with CRLF line ends. `sender` and `to` are
    plain ASCII addresses. `server` is the name of the server in errors. If the server refuses one recipient, the mail is
    sent to nobody.

    Raises NotSent for a failure before the final dot and for a 4xx reply to it. Raises Rejected for a 5xx reply to MAIL,
    RCPT, DATA or the dot (RFC 5321 4.2.1), and for a mail above the announced size (RFC 1870). Raises SmtpInDoubt if the
    connection fails after the dot.
    """
    with contextlib.ExitStack() as stack:
        try:
            client = connect()
            stack.callback(client.close)
            client.ehlo_or_helo_if_needed()
            _offer(client, len(content), sender, to, server)
            _write(client, content)
        except (smtplib.SMTPException, OSError) as error:
            raise NotSent(f"{server} could not be used ({_reason(error)}); nothing was sent.") from None
        answer = _end(client, server)
        with contextlib.suppress(smtplib.SMTPException, OSError):
            client.quit()
        return answer


@contextlib.contextmanager
def smtp_outcome() -> Iterator[None]:
    """Map the exceptions of smtplib's `sendmail` and `send_message` in this block. Connect and send one mail in it.

    Raises NotSent or Rejected if the exception alone proves that nobody got the mail. A broken connection proves nothing,
    because smtplib does not name the phase: its exception passes unchanged and leaves the effect in doubt. `smtp_send` can
    tell more. If only some recipients were refused, smtplib returns them, and the mail has gone to the others.
    """
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        kind = Rejected if codes and min(codes) >= 500 else NotSent
        answers = {_printable(code, text) for code, text in error.recipients.values()}
        raise kind(f"The mail server did not accept any recipient: {', '.join(sorted(answers))}.") from None
    except smtplib.SMTPSenderRefused as error:
        raise _refusal("The mail server", "the sender", error.smtp_code, _bytes(error.smtp_error)) from None
    except smtplib.SMTPDataError as error:
        if not 400 <= error.smtp_code <= 599:
            raise
        raise _refusal("The mail server", "the mail", error.smtp_code, _bytes(error.smtp_error)) from None
    except (
        smtplib.SMTPConnectError,
        smtplib.SMTPHeloError,
        smtplib.SMTPAuthenticationError,
        smtplib.SMTPNotSupportedError,
        ConnectionRefusedError,
        socket.gaierror,
    ) as error:
        raise NotSent(f"The mail server could not be used ({_reason(error)}); nothing was sent.") from None


def _offer(client: smtplib.SMTP, size: int, sender: str, to: Sequence[str], server: str) -> None:
    """Announce size, sender and recipients and ask to send. Reset the session after a refusal (RFC 5321 4.1.1.5)."""
    for address in (sender, *to):
        if not _PLAIN_ADDRESS.fullmatch(address):  # smtplib silently turns some of these into another address
            raise Rejected(f"{server} cannot take the address {address!a}, which is not plain ASCII; SMTPUTF8 is not supported.")
    limit = client.esmtp_features.get("size", "")
    if limit.isdecimal() and 0 < int(limit) < size:
        raise Rejected(f"{server} takes mails of at most {limit} bytes, and this one has {size}; shorten it.")
    options = [f"SIZE={size}"] if client.has_extn("size") else []
    steps: list[tuple[str, set[int], Callable[[], tuple[int, bytes]]]] = [
        ("the sender", {250}, partial(client.mail, sender, options)),
        *((f"the recipient {address!a}", {250, 251}, partial(client.rcpt, address)) for address in to),
        ("the mail", {354}, partial(client.docmd, "DATA")),
    ]
    for what, wanted, step in steps:
        code, text = step()
        if code not in wanted:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.rset()
            raise _refusal(server, what, code, text)


def _write(client: smtplib.SMTP, content: bytes) -> None:
    """Write the content up to the final dot, with leading dots doubled (RFC 5321 4.5.2)."""
    doubled = _LINE_START_DOT.sub(b"..", content)
    client.send(doubled if doubled.endswith(b"\r\n") else doubled + b"\r\n")


def _end(client: smtplib.SMTP, server: str) -> str:
    """Write the final dot, and return the reply to it."""
    try:
        client.send(b".\r\n")
        code, text = client.getreply()
    except (smtplib.SMTPException, OSError) as error:
        raise _in_doubt(server, _reason(error)) from None
    if 400 <= code <= 599:
        raise _refusal(server, "the mail", code, text)
    if not 200 <= code <= 299:
        raise _in_doubt(server, f"answer {code}")
    return _printable(code, text)


def _refusal(server: str, what: str, code: int, text: bytes) -> NotSent | Rejected:
    kind = Rejected if 500 <= code <= 599 else NotSent
    return kind(f"{server} did not accept {what}: {_printable(code, text)}.")


def _in_doubt(server: str, reason: str) -> SmtpInDoubt:
    return SmtpInDoubt(f"{server} did not confirm the mail ({reason}), so it may have been sent; check before you send it again.")


def _reason(error: Exception) -> str:
    """The reason, without the server's text for a failed login, which could repeat the password."""
    if isinstance(error, smtplib.SMTPAuthenticationError):
        return f"user name or password refused with {error.smtp_code}"
    if isinstance(error, smtplib.SMTPResponseException):
        return _printable(error.smtp_code, _bytes(error.smtp_error))
    return (str(error) or type(error).__name__).rstrip(".")


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode(errors="replace")


def _printable(code: int, text: bytes) -> str:
    words = re.sub(r"[^\x20-\x7e]+", " ", text.decode("ascii", "replace"))
    return f"{code} {words}".strip()[:_ANSWER_MAX].rstrip(".")
