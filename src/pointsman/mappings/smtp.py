"""What handing a mail to a server says of an effect (RFC 5321): each failure means something else in each phase.

Until the final dot is on its way, every failure is *not sent*, for a server drops what breaks off before it (RFC 5321
4.1.1.10), and a 5xx answer to an address or to DATA is *rejected*. The answer to the dot decides: 2xx is success, 4xx not
sent, 5xx rejected. No answer to it is *in doubt* (RFC 1047): SMTP has no keys, so a repetition would be another mail. With
its 250 the server is responsible (RFC 5321 6.1), so nothing that happens at QUIT matters. smtplib raises
SMTPServerDisconnected in every phase and does not tell in which; `smtp_send` goes through them one by one and knows.
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
_ANSWER_MAX = 200  # characters of a server's answer that are worth keeping


class SmtpInDoubt(PointsmanError):
    """The mail was handed over, and the server's answer to it never came: it may or may not have been taken."""


def smtp_send(
    connect: Callable[[], smtplib.SMTP], content: bytes, *, sender: str, to: Sequence[str], server: str = "The mail server"
) -> str:
    """Hand a mail to a server, and return its answer when it has taken the mail for all of `to`.

    Blocks, so call it in a plain function. `connect` gives a client that is connected, encrypted and logged in as far as
    that is wanted, and closes what it opened where it fails. `content` is the whole mail with CRLF line ends, `sender` and
    `to` are plain ASCII addresses, `server` is its name in errors. A mail that one recipient is refused for is sent to nobody.

    Raises NotSent for every failure before the final dot and for a 4xx answer to it, Rejected for a 5xx answer to MAIL,
    RCPT, DATA or the dot (RFC 5321 4.2.1) and for a mail above the size that the server announces (RFC 1870), SmtpInDoubt
    where the connection fails once the dot is on its way.
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
    """Map what smtplib's own `sendmail` and `send_message` raise in this block; put connecting and one mail into it.

    Raises NotSent and Rejected where the exception alone proves that nobody got the mail. A connection that broke proves
    nothing, because smtplib does not say in which phase it did: it passes as it is, in doubt. `smtp_send` can tell more of
    these apart. Where some recipients were refused, smtplib returns them, and the mail has gone to the others.
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
    """Name size, sender and recipients and ask to send; at a refusal take the offer back (RFC 5321 4.1.1.5)."""
    for address in (sender, *to):
        if not _PLAIN_ADDRESS.fullmatch(address):  # smtplib mends some of these in silence, into another address
            raise Rejected(f"{server} cannot be given the address {address!a}: it is no plain ASCII one (SMTPUTF8 is not spoken).")
    limit = client.esmtp_features.get("size", "")
    if limit.isdecimal() and 0 < int(limit) < size:
        raise Rejected(f"{server} takes no mail above {limit} bytes, and this one has {size}; shorten it.")
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
    """Write the content, its dots doubled (RFC 5321 4.5.2), up to the final dot."""
    doubled = _LINE_START_DOT.sub(b"..", content)
    client.send(doubled if doubled.endswith(b"\r\n") else doubled + b"\r\n")


def _end(client: smtplib.SMTP, server: str) -> str:
    """Write the final dot, and return the one answer that counts."""
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
    return SmtpInDoubt(f"{server} did not confirm the mail ({reason}): it may have been sent; look before it is sent again.")


def _reason(error: Exception) -> str:
    """Say why, without the server's words where they answer a login: they could repeat what was sent."""
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
