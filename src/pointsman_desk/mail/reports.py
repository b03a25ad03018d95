"""Read delivery reports: which mail of ours they are about, its recipients, and what happened to it."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pointsman_desk.case import Bounce
from pointsman_desk.mail.headers import addresses, header_text, ids
from pointsman_desk.mail.tree import Part, parse

_READ_MAX = 64 * 1024  # bytes of a report, of a returned mail's header and of a bounce's text: their facts are at the top
_GROUPS_MAX = 100  # recipients of one mail that a report is read for
_DIAGNOSTIC_MAX = 500  # characters; a server's answer has one to three lines
_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_ABUSE_TYPES = frozenset({"message/feedback-report"})
_RETURNED_TYPES = frozenset({"message/rfc822", "message/global", "text/rfc822-headers", "text/rfc822-header", "message/global-headers"})

_BLANK_LINES = re.compile(rb"\n[ \t\r]*\n\s*")
_STATUS = re.compile(r"(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?!\.?\d)")  # RFC 3463
_ID_LINE = re.compile(r"^[>\s]{0,20}(?:\*\*)?message-id:\s{0,20}<([^<>\s]{1,900})>", re.IGNORECASE | re.MULTILINE)
# A line with only the address, or with the address before a colon: so qmail, exim and others begin a failure.
_ADDRESS_LINE = re.compile(r"^[ \t]{0,8}<?([^\s<>@:;,()\"]{1,64}@[^\s<>@:;,()\"]{1,255}?)>?(?::.{0,400})?[ \t\r]*$", re.MULTILINE)
_LATER = re.compile(
    r"delay|warning: (?:could|message)|not yet been delivered|will be retried|still being retried|verz[öo]gert|retard[ée]|retrasad",
    re.IGNORECASE,
)

_Action = Literal["failed", "delayed", "delivered"]
_ACTIONS: dict[str, _Action] = {  # RFC 3464 2.3.3
    "failed": "failed",
    "delayed": "delayed",
    "delivered": "delivered",
    "relayed": "delivered",
    "expanded": "delivered",
}


def bounce_of(root: Part, subject: str, text: str) -> Bounce:
    """Read a delivery report by its fields (RFC 3464), or without them by its text and the returned copy.

    `text` is the visible text. Time and result are bounded; unknown fields stay empty.
    """
    groups = [group for part in _parts(root, _STATUS_TYPES) for group in _groups(part)]
    recipients = [address for group in groups for address in _recipient(group)]
    actions = [_ACTIONS[word] for group in groups if (word := _word(group, "action")) in _ACTIONS]
    statuses = [found[0] for group in groups if (found := _STATUS.search(group.field("status")))]
    said = [header_text(value, set()) for group in groups for value in group.fields("diagnostic-code")]
    beginning = text[:_READ_MAX]
    if not recipients:
        failed = root.fields("x-failed-recipients") or [f"<{found}>" for found in _ADDRESS_LINE.findall(beginning)]
        failed = failed or [value for header in _returned(root) for value in header.fields("to")]
        recipients = [address for _, address in addresses(failed, set())]
    if not statuses:
        statuses = _STATUS.findall(" ".join([*said, beginning]))
    return Bounce(
        action=_worst(actions) if actions else "delayed" if _LATER.search(subject) else "failed",
        recipients=tuple(dict.fromkeys(recipients))[:_GROUPS_MAX],
        status=next((status for status in statuses if status[0] != "2"), next(iter(statuses), None)),
        message_id=returned_id(root, text),
        diagnostic=next((line.partition(";")[2].strip() or line for line in said if line), "")[:_DIAGNOSTIC_MAX],
    )


def is_delivery_report(root: Part) -> bool:
    """Return whether the mail has a delivery status with a recipient and an action (RFC 3464 2.3.2, 2.3.3)."""
    return any(_recipient(group) and _word(group, "action") in _ACTIONS for part in _parts(root, _STATUS_TYPES) for group in _groups(part))


def returned_sender(root: Part) -> str:
    """Return the address in From of the mail that a report returns; "" for none."""
    found = [address for header in _returned(root) for _, address in addresses(header.fields("from"), set())]
    return found[0] if found else ""


def complaint_of(root: Part, text: str) -> Bounce:
    """Read an abuse report (RFC 5965): a mailbox provider says that a recipient reported a mail of ours as spam."""
    groups = [group for part in _parts(root, _ABUSE_TYPES) for group in _groups(part)]
    found = addresses([value for group in groups for value in group.fields("original-rcpt-to")], set())
    return Bounce(action="complained", recipients=tuple(address for _, address in found), message_id=returned_id(root, text))


def returned_id(root: Part, text: str) -> str | None:
    """Return the Message-ID of the reported mail, from the returned copy or from the report's text."""
    for header in _returned(root):
        if found := ids(header.fields("message-id"), set()):
            return found[0]
    quoted = _ID_LINE.search(text[:_READ_MAX])
    return quoted[1] if quoted else None


def _parts(part: Part, media_types: Iterable[str]) -> Iterator[Part]:
    if part.media_type in media_types:
        yield part
    for child in part.children:
        yield from _parts(child, media_types)


def _returned(root: Part) -> Iterator[Part]:
    """Yield the returned mails of a report, parsed up to the end of their headers."""
    return (parse(part.content(set())[:_READ_MAX], set()) for part in _parts(root, _RETURNED_TYPES))


def _groups(part: Part) -> list[Part]:
    """Return the groups of fields of a delivery status, each as a header: first the message's, then each recipient's."""
    raw = part.content(set())[:_READ_MAX].replace(b"\r\n", b"\n")
    return [parse(group, set()) for group in _BLANK_LINES.split(raw, _GROUPS_MAX)[:_GROUPS_MAX]]


def _recipient(group: Part) -> list[str]:
    """Return the address that a group is about: the final recipient, or without one the original recipient."""
    for name in ("final-recipient", "original-recipient"):
        found = addresses([value.partition(";")[2] or value for value in group.fields(name)], set())
        if found:
            return [found[0][1]]
    return []


def _worst(actions: list[_Action]) -> _Action:
    return next(action for action in ("failed", "delayed", "delivered") if action in actions)


def _word(group: Part, name: str) -> str:
    return next(iter(re.findall(r"[a-z]+", group.field(name).lower())), "")
