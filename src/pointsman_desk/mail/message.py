"""Parse a mail from its bytes, whatever they are."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from pointsman_desk.case import Bounce, Mail
from pointsman_desk.mail import quotes
from pointsman_desk.mail.authentication import authentication
from pointsman_desk.mail.automatic import Sign, automatic, plain, went_round
from pointsman_desk.mail.body import read_body
from pointsman_desk.mail.characters import clean
from pointsman_desk.mail.headers import RECIPIENTS_MAX, date_claimed, header_text, ids, mailboxes_of
from pointsman_desk.mail.reports import bounce_of, complaint_of
from pointsman_desk.mail.tree import Part, parse

UNKNOWN_SENDER = "unknown@unreadable.invalid"
UNREADABLE = "(unreadable mail)"
NO_ID_DOMAIN = "no-id.invalid"
UNREADABLE_NOTES = frozenset({"unreadable", "bad-structure"})
"""The notes on a mail at which the parser itself failed."""

ANSWERS_MAX = 50  # identifiers; mail programs shorten the list of a long conversation themselves
TEXT_MAX = 1024 * 1024  # characters of text and history in a case; the bytes of the mail have all of it
_RECIPIENT_FIELDS = ("to", "cc", "delivered-to", "x-original-to", "envelope-to")
_ONCE = ("from", "subject", "message-id", "date", "to", "reply-to", "in-reply-to")  # RFC 5322 3.6: at most one each


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity of a mail, and the identifiers that connect it with other mails.

    `key` is equal for two deliveries of one mail, and differs if a Message-ID was reused. `answers` are the identifiers that the
    mail answers, the nearest first; `reported` is the identifier of the mail that a report is about. `by_machine` says whether the
    bytes have evidence of any machine (mail/automatic.py).
    """

    email_id: str
    sender: str
    key: str
    subject: str = ""
    recipients: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    by_machine: bool = False
    reported: str | None = None


def identify(raw: bytes) -> Identity:
    """Identify a mail without a full parse. Never raises.

    `email_id` is the Message-ID without brackets; without one, it is the first 32 hex digits of the sha256 of the bytes at
    `no-id.invalid`. `sender` is the lower-case address in From. The key adds 16 hex digits of a sha256 over Date,
    From, Subject and the decoded text, which are equal in two deliveries of one mail; Received lines are not.
    """
    try:
        root = parse(raw, set())
        date, author, subject = (header_text(root.field(name), set()) for name in ("date", "from", "subject"))
        body = read_body(root, set(), opens=False)
        content = [date, author, subject, *(" ".join(block.text.split()) for block in body.blocks)]
        email_id, (sender_name, sender) = _message_id(root, raw, set()), _sender(root, set())
        digest = hashlib.sha256("\n".join(content).encode()).hexdigest()
        sent_by = automatic(root, body.media_types, sender, sender_name, subject)
        report = _report(root, sent_by, subject, lambda: body.text(set()))
        return Identity(
            email_id,
            sender,
            f"{email_id}/{digest[:16]}",
            subject=subject,
            recipients=_recipients(root, set()),
            answers=_answers(root),
            by_machine=sent_by is not None and sent_by.evidence is not None,
            reported=report.message_id if report is not None else None,
        )
    except Exception:  # a mail that cannot be read is still a mail, and becomes a case
        return unidentified(raw)


def unidentified(raw: bytes) -> Identity:
    """Return the identity of a mail of which only the bytes are known."""
    return Identity(_made_id(raw), UNKNOWN_SENDER, f"{_made_id(raw)}/{hashlib.sha256(raw).hexdigest()[:16]}")


def unreadable(raw: bytes, notes: Collection[str]) -> Mail:
    """Return a Mail for bytes that cannot be parsed; a person looks at the bytes."""
    return Mail(message_id=_made_id(raw), sender=UNKNOWN_SENDER, subject=UNREADABLE, notes=tuple(sorted({*notes, "unreadable"})))


def read_mail(raw: bytes, authserv: str = "", own: str = "", known: Sequence[str] = ()) -> Mail:
    """Parse a mail. Never raises: an unreadable mail has the subject "(unreadable mail)" and the note `unreadable`.

    No string contains invisible characters. `notes` name peculiarities: a guessed charset, a cut, hidden text, a repeated header
    field. `authserv` is the mail exchanger whose result about the sender counts (mail/authentication.py). `own` is the desk's
    address, to recognise its own mails. `known` are the texts of the conversation, ours and the customer's, to recognise quotations
    (mail/quotes.py).
    """
    notes: set[str] = set()
    try:
        return _read(raw, notes, authserv, own, known)
    except Exception:  # a mail that cannot be read is still a mail, and becomes a case
        return unreadable(raw, notes)


def _read(raw: bytes, notes: set[str], authserv: str, own: str, known: Sequence[str]) -> Mail:
    root = parse(raw, notes)
    sender_name, sender = _sender(root, notes)
    subject = header_text(root.field("subject"), notes)
    body = read_body(root, notes)
    text = body.text(notes)
    if len(text) > TEXT_MAX:
        text = text[:TEXT_MAX]
        notes.add("text-truncated")
    if len(text) > quotes.SPLIT_MAX:
        notes.add("long-text")
    in_reply_to, references = ids(root.fields("in-reply-to"), notes), ids(root.fields("references"), notes)
    parted = quotes.split(text, answers=bool(in_reply_to or references), known=known)
    if (parted.quoted or parted.doubtful) and not parted.text:
        notes.add("only-quoted")
    if not parted.sure:
        notes.add("doubtful-lines")
    doubtful = "\n\n".join(filter(None, [parted.doubtful, *(clean(one, notes) for one in body.attached)]))[:TEXT_MAX]
    if any(len(root.fields(name)) > 1 for name in _ONCE):
        notes.add("dup-header")
    reply_to = _reply_to(root, sender, notes)
    sent_by = went_round(root, sender, reply_to, own) or automatic(
        root, body.media_types, sender, sender_name, subject, reply_to=reply_to, own=own
    )
    return Mail(
        message_id=_message_id(root, raw, notes),
        sender=sender,
        sender_name=sender_name,
        reply_to=reply_to,
        to=_recipients(root, notes),
        cc=_copies(root, {sender, own.lower()}),
        subject=subject,
        date=date_claimed(root, notes),
        text=parted.text,
        doubtful=doubtful,
        quoted=parted.quoted,
        in_reply_to=next(iter(in_reply_to), None),
        references=references,
        attachments=tuple(body.attachments),
        automatic=sent_by.kind if sent_by is not None else None,
        evidence=sent_by.evidence if sent_by is not None else None,
        bounce=_report(root, sent_by, subject, lambda: text),
        notes=tuple(sorted(notes)),
        authentication=authentication(raw, root, sender, authserv),
    )


def _answers(root: Part) -> tuple[str, ...]:
    """Return the identifiers that a mail answers: its parent, then its references from last to first."""
    parents, references = (ids(root.fields(name), set()) for name in ("in-reply-to", "references"))
    return tuple(dict.fromkeys([*parents, *reversed(references)]))[:ANSWERS_MAX]


def _report(root: Part, sent_by: Sign | None, subject: str, text: Callable[[], str]) -> Bounce | None:
    """Return the report of a machine. Only then is the `text` of the mail made."""
    if sent_by is None or sent_by.kind not in {"bounce", "abuse report"}:
        return None
    return bounce_of(root, subject, text()) if sent_by.kind == "bounce" else complaint_of(root, text())


def _message_id(root: Part, raw: bytes, notes: set[str]) -> str:
    found = ids(root.fields("message-id"), notes)
    if not found:
        notes.add("no-message-id")
        return _made_id(raw)
    return found[0]


def _made_id(raw: bytes) -> str:
    return f"{hashlib.sha256(raw).hexdigest()[:32]}@{NO_ID_DOMAIN}"


def _sender(root: Part, notes: set[str]) -> tuple[str, str]:
    """Return the name and address of the first mailbox in From; several add the note `several-senders`."""
    found = mailboxes_of(root, "from", notes)
    if len({address for _, address in found}) > 1:
        notes.add("several-senders")
    if not found:
        notes.add("no-sender")
        return "", UNKNOWN_SENDER
    return found[0]


def _reply_to(root: Part, sender: str, notes: set[str]) -> str | None:
    """Return the address in Reply-To if there is exactly one; a list could send a reply to strangers."""
    found = {address for _, address in mailboxes_of(root, "reply-to", notes)}
    if len(found) != 1:
        notes.update({"reply-to-list"} if found else ())
        return None
    reply_to = found.pop()
    if reply_to.rpartition("@")[2] != sender.rpartition("@")[2]:
        notes.add("reply-to-elsewhere")
    return reply_to


def _copies(root: Part, known: Collection[str]) -> tuple[str, ...]:
    """Return the addresses in Cc, without the `known` ones."""
    found = (address for _, address in mailboxes_of(root, "cc", set()))
    return tuple(address for address in dict.fromkeys(found) if plain(address) not in set(map(plain, known)))


def _recipients(root: Part, notes: set[str]) -> tuple[str, ...]:
    """Return the recipients that the mail names, including the mailbox that it was delivered to."""
    found = [address for name in _RECIPIENT_FIELDS for _, address in mailboxes_of(root, name, notes)]
    return tuple(dict.fromkeys(found))[:RECIPIENTS_MAX]
