"""A connection to an IMAP server (RFC 3501), which lists, fetches and listens, and changes nothing in the mailbox.

Its methods block, so call them in a thread. They raise MailboxRefused, or MailboxUnreachable, after which the connection is
unusable.
"""

import imaplib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from pointsman_desk.errors import DeskError, MailboxRefused, MailboxUnreachable
from pointsman_desk.mail.sources.account import Account
from pointsman_desk.mail.tree import MAIL_MAX_BYTES

_UID = re.compile(rb"\bUID (\d+)")
_SIZE = re.compile(rb"\bRFC822\.SIZE (\d+)")
_QUOTED = re.compile(rb'BODY\[\](?:<0>)? "((?:[^"\\]|\\.)*)"')  # how a short text may come
_LATER = re.compile(r"\[(UNAVAILABLE|SERVERBUG|INUSE|LIMIT)\]", re.IGNORECASE)  # RFC 5530: not the account's fault
_MESSAGE_MAX = 200  # characters of a server's message; enough for a person


@dataclass(frozen=True, slots=True)
class Listed:
    """A mail in the mailbox; `size` is in bytes."""

    uid: int
    size: int


class Connection:
    """A logged-in connection to one mailbox. Raises MailboxUnreachable, MailboxRefused, or DeskError without imap-tools."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lock = threading.Lock()  # one command at a time; closing waits for the last one
        secret = account.secret()
        with self._errors_named("cannot be reached"):
            self._box = _opened(account)
        self._socket: socket.socket = self._box.client.sock
        try:
            with self._errors_named("did not complete the login", self._refused_login):
                if account.password_env is None:
                    self._box.xoauth2(account.username, secret, initial_folder=None)
                elif secret.isascii() and account.username.isascii():
                    self._box.login(account.username, secret, initial_folder=None)
                else:
                    self._box.login_utf8(account.username, secret, initial_folder=None)
                self._abilities = _text(self._box.client.capability()[1]).upper().split()  # some servers list all only after the login
        except BaseException:
            self.cut()
            self.close()
            raise

    def look(self) -> int:
        """Open the mailbox again, read-only, and return its UIDVALIDITY."""
        with self._errors_named("did not open the folder", self._refused_folder):
            self._box.folder.set(self._account.folder, readonly=True)
            self._box.client.response("EXISTS")  # later ones announce new mails
            uidvalidity = self._box.client.response("UIDVALIDITY")[1][0]
            if uidvalidity is None:
                raise imaplib.IMAP4.error("the server sends no UIDVALIDITY")
            return int(uidvalidity)

    def beyond(self, uid: int, missed: Sequence[int] = ()) -> list[Listed]:
        """Return the mails with a higher UID, and those of `missed` that are still there, in order.

        A range that ends in `*` always contains the last mail, whatever its UID (RFC 3501, 6.4.8).
        """
        with self._errors_named("did not list its mails"):
            wanted = ",".join([*map(str, missed), f"{uid + 1}:*"])
            answers = [answer for answer in self._fetched(wanted, "(UID RFC822.SIZE)") if isinstance(answer, bytes)]
            found = [(_UID.search(answer), _SIZE.search(answer)) for answer in answers]
        listed = [Listed(int(number[1]), int(size[1])) for number, size in found if number and size]
        return sorted({mail for mail in listed if mail.uid > uid or mail.uid in missed}, key=lambda mail: mail.uid)

    def fetch(self, mails: Sequence[Listed]) -> dict[int, bytes | None]:
        """Return the bytes of mails by UID; None if the server returns no text. A deleted mail is left out.

        Of a mail that is too long for the parser, only the beginning is fetched, with one extra byte that shows this to the parser.
        """
        whole = [mail.uid for mail in mails if mail.size <= MAIL_MAX_BYTES]
        found: dict[int, bytes | None] = {}
        with self._errors_named("did not return its mails"):
            if whole:
                found |= _texts(self._fetched(",".join(map(str, whole)), "(UID BODY.PEEK[])"))
            for mail in mails:
                if mail.size > MAIL_MAX_BYTES:
                    found |= _texts(self._fetched(str(mail.uid), f"(UID BODY.PEEK[]<0.{MAIL_MAX_BYTES + 1}>)"))
        return {mail.uid: found[mail.uid] for mail in mails if mail.uid in found}

    def holds(self, message_id: str) -> bool:
        """Return whether a mail in the open mailbox has this Message-ID (without angle brackets)."""
        with self._errors_named("did not search its mails"):
            kind, answers = self._box.client.uid("SEARCH", "HEADER", "Message-ID", f'"<{message_id}>"')
            if kind != "OK":
                raise imaplib.IMAP4.error(_text(answers))
            return any(answers)

    @property
    def pushes(self) -> bool:
        """Whether the server announces new mails (IDLE)."""
        return "IDLE" in self._abilities

    def listen(self, seconds: float) -> None:
        """Return when the server announces something, or after `seconds` (RFC 2177). Then a silent server raises.

        Returns at once if another answer has announced a mail since the last `look`, because the server does not announce it again.
        """
        with self._errors_named("lost the connection"):
            if self._box.client.response("EXISTS")[1][0] is not None:
                return
            self._box.idle.start()
            if not self._read_ahead():
                self._box.idle.poll(seconds)
            self._box.idle.stop()

    def close(self) -> None:
        """Log out, if the server answers, and close the connection."""
        with self._lock:
            with suppress(Exception):  # the connection may be broken in any way
                self._box.logout()
            with suppress(Exception):
                self._box.client.shutdown()

    def cut(self) -> None:
        """Close the connection from another thread, even if its own thread is waiting."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _read_ahead(self) -> bool:
        """Return whether new data came together with the last answer: it is in the buffer, so the socket does not show it."""
        self._socket.settimeout(0.0)
        try:
            return bool(self._box.client.file.peek(1))
        except ssl.SSLWantReadError:
            return False
        finally:
            self._socket.settimeout(self._account.timeout_seconds)

    def _fetched(self, uids: str, what: str) -> list[Any]:
        kind, answers = self._box.client.uid("FETCH", uids, what)
        if kind != "OK":
            raise imaplib.IMAP4.error(_text(answers))
        return [answer for answer in answers if answer is not None]

    def _refused_login(self, said: str) -> DeskError:
        fix = "check the token" if self._account.password_env is None else f"check the user name and {self._account.password_env}"
        return MailboxRefused(
            f"mailbox {self._account.name}: {self._account.host} refuses the login of {self._account.username} ({said}); {fix}."
        )

    def _refused_folder(self, said: str) -> DeskError:
        return MailboxRefused(
            f"mailbox {self._account.name}: {self._account.host} has no folder {self._account.folder!r} to read ({said}); name another one."
        )

    @contextmanager
    def _errors_named(self, what: str, refusal: Callable[[str], DeskError] | None = None) -> Iterator[None]:
        """Turn errors into a DeskError of one sentence. If the server answers NO, `refusal` makes the error from its message."""
        where = f"mailbox {self._account.name}: {self._account.host}:{self._account.port_number}"
        try:
            with self._lock:
                yield
        except DeskError:
            raise
        except ssl.SSLCertVerificationError as error:
            raise MailboxRefused(f"{where} has an untrusted certificate ({error.verify_message}); fix the certificate.") from None
        except (OSError, imaplib.IMAP4.abort) as error:
            raise MailboxUnreachable(f"{where} {what} ({_said(error)}); the desk tries again.") from None
        except Exception as error:
            # imap-tools has an error for each command; no answer of a server may end the desk.
            said = _said(error)
            if refusal is not None and not _LATER.search(said):
                raise refusal(said) from None
            raise MailboxUnreachable(f"{where} {what} ({said}); the desk tries again.") from None


def _opened(account: Account) -> Any:
    try:
        import imap_tools  # noqa: PLC0415 - an extra, which a desk without mail servers does not need
    except ImportError:
        raise DeskError("mailboxes need imap-tools; install it with `pip install 'pointsman[imap]'`.") from None
    host, port, timeout = account.host, account.port_number, account.timeout_seconds
    if account.tls == "none":
        return imap_tools.MailBoxUnencrypted(host, port, timeout)
    trust = ssl.create_default_context()
    if account.tls == "starttls":
        return imap_tools.MailBoxStartTls(host, port, timeout, ssl_context=trust)
    return imap_tools.MailBox(host, port, timeout, ssl_context=trust)


def _texts(answers: Sequence[Any]) -> dict[int, bytes | None]:
    """Parse the answers to a FETCH: a text comes as a pair with the data before it; the data after it comes next."""
    found: dict[int, bytes | None] = {}
    text: bytes | None = None
    uid = None
    for answer in answers:
        if isinstance(answer, tuple):
            uid, text = _UID.search(answer[0]), answer[1]
            continue
        uid = uid or _UID.search(answer)
        quoted = _QUOTED.search(answer)
        if uid and (text is not None or b"BODY[]" in answer):
            found[int(uid[1])] = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted and text is None else text
        uid, text = None, None
    return found


def _text(answers: Sequence[Any]) -> str:
    return b" ".join(answer for answer in answers if isinstance(answer, bytes)).decode("utf-8", "replace")


def _said(error: Exception) -> str:
    """Return the message of the server or the system, on one line."""
    result = getattr(error, "command_result", None)
    said = _text(result[1]) if result else str(getattr(error, "strerror", None) or error)
    return " ".join(said.split())[:_MESSAGE_MAX] or type(error).__name__
