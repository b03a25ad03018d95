"""The standing of a case: its replies in the ledger, what waits beside it, and why it does not continue."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from pointsman import CaseRow, EffectRow, Reader, Status, has_engine
from pointsman_desk.case import Bounce, Incoming, Mail, Outgoing
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import FileUnusable, IndexUnavailable
from pointsman_desk.mail import apart
from pointsman_desk.mail.forms import form_of
from pointsman_desk.mail.message import UNKNOWN_SENDER
from pointsman_desk.mail.threads import Place
from pointsman_desk.places import tables_for, threads_of
from pointsman_desk.steps import SORT, SUPPORT_MAIL

SEND = "send"
"""The name of the effect that sends a reply."""

EVENTS_MAX = 10_000  # of one case: more than its steps can produce

CASES_MAX = 1_000_000  # more than a desk answers in its life

INTERRUPTED = "sending was interrupted; the next `pointsman-desk run` settles it"
"""Why a case does not continue whose desk ended while it sent the reply."""

Standing = Literal["sent", "in doubt", "refused", "not sent", "being sent", "interrupted"]

_STANDING: dict[str, Standing] = {
    "done": "sent",
    "in_doubt": "in doubt",
    "failed": "refused",
    "not_sent": "not sent",
    "intended": "in doubt",
}


class Dispatch(NamedTuple):
    """A reply that was or is to be sent.

    `key` is its idempotency key, `at` the time of its intent (Unix seconds), `calls` the number of calls, `error` the last error.
    `outgoing` is the message; None if the case was erased.
    """

    key: str
    standing: Standing
    at: float
    calls: int
    error: str | None
    outgoing: Outgoing | None


async def dispatches(reader: Reader, row: CaseRow) -> list[Dispatch]:
    """Return the replies of a case that were to be sent, oldest first, each as it was at its intent."""
    entries = [entry for entry in await reader.effects(row.id) if entry.effect == SEND]
    if not entries:
        return []
    revisions: dict[str, int] = {}
    for event in await reader.events(case=row.id, limit=EVENTS_MAX):
        if event.kind == "effect.intended":
            revisions.setdefault(json.loads(event.facts)["key"], event.revision)
    found = []
    for entry in entries:
        outgoing = await _outgoing_at(reader, row.id, revisions.get(entry.key))
        found.append(Dispatch(entry.key, _standing(row, entry), entry.intended_at, entry.attempts, entry.error, outgoing))
    return found


def standing_of(row: CaseRow, entries: Iterable[EffectRow]) -> Standing | None:
    """Return the standing of the newest reply of a case from its ledger entries; None if there is no reply."""
    newest = next((entry for entry in reversed([*entries]) if entry.effect == SEND), None)
    return None if newest is None else _standing(row, newest)


def _standing(row: CaseRow, entry: EffectRow) -> Standing:
    return "being sent" if entry.status == "intended" and row.status is Status.RUNNING else _STANDING[entry.status]


async def is_interrupted(config: DeskConfig, reader: Reader, row: CaseRow) -> bool:
    """Return whether the desk ended while it sent the reply of this case, and no desk has been opened since."""
    if config.database is not None:
        return False  # another desk takes over when the lease of the one that died has ended
    if row.status is not Status.RUNNING or row.step != SEND or has_engine(config.cases_file):
        return False
    return await reader.case(row.id) == row  # otherwise the desk has just ended in order


async def _outgoing_at(reader: Reader, case: int, revision: int | None) -> Outgoing | None:
    if revision is None:
        return None
    texts = {field.field: field.text for field in await reader.fields(case, revision=revision)}
    try:
        return Outgoing.model_validate_json(texts["outgoing"])
    except (KeyError, ValidationError):  # erased, or written by an older version
        return None


class Later(NamedTuple):
    """A case that followed from another one: an answer after its end, a report, or a mail of another sender that refers to it."""

    case: int
    bounce: Bounce | None


class Beside(NamedTuple):
    """What belongs to a case but is not in its state.

    The replies to be sent, the mails that wait for a reply in doubt, the follow-up cases, why those are unknown (if they are), and a
    sentence about the web form of the newest mail ("" for none).
    """

    dispatches: Sequence[Dispatch] = ()
    waiting: Sequence[Mail] = ()
    later: Sequence[Later] = ()
    unknown: str = ""
    form: str = ""
    interrupted: bool = False


async def beside(config: DeskConfig, reader: Reader, row: CaseRow) -> Beside:
    """Read what belongs to a case outside its state."""
    waiting = []
    for message in await reader.messages(row.id):
        if message.name == "mails":
            raw = await reader.blob(Incoming.model_validate_json(message.body).raw)
            waiting += [] if raw is None else [await apart.read(raw, config.authserv or "", config.address)]
    unknown, later = "", []
    try:
        later = await _later_cases(config, reader, row.id)
    except (FileUnusable, IndexUnavailable) as error:
        unknown = str(error)
    replies = await dispatches(reader, row)
    interrupted = await is_interrupted(config, reader, row)
    if interrupted:
        replies = [one._replace(standing="interrupted") if one.standing == "being sent" else one for one in replies]
    return Beside(replies, waiting, later, unknown, await _form(config, reader, row.id), interrupted=interrupted)


async def _form(config: DeskConfig, reader: Reader, case: int) -> str:
    """Return a sentence about the form of the newest mail and, if the form names no customer, what was looked for."""
    mails: list[dict[str, Any]] = next((json.loads(field.text) for field in await reader.fields(case) if field.field == "mails"), [])
    sender = mails[-1].get("form") if mails else None
    if sender is None:
        return ""
    if mails[-1]["sender"] != UNKNOWN_SENDER:
        return f"by the form {sender}; anybody may type an address into a form"
    form = form_of(config.web_forms, sender)
    detail = "which is no longer configured" if form is None else f"in which the desk looked for {form.looked_for} and found none"
    return f"by the form {sender}, {detail}"


async def _later_cases(config: DeskConfig, reader: Reader, case: int) -> list[Later]:
    found = [(place, await reader.case(place.case)) for place in await asyncio.to_thread(_later_places, config, case)]
    rows = [row for place, row in found if row is not None and row.correlation == place.conversation]
    return [Later(row.id, await bounce_of(reader, row.id)) for row in rows]


def _later_places(config: DeskConfig, case: int) -> list[Place]:
    if config.database is None and not config.threads_file.exists():
        return []
    with tables_for(config) as tables, closing(threads_of(config, tables)) as threads:
        return threads.later(case)


async def bounce_of(reader: Reader, case: int) -> Bounce | None:
    """Return the bounce that the newest mail of a case reports, or None."""
    for field in await reader.fields(case):
        if field.field == "mail":
            bounce = Mail.model_validate_json(field.text).bounce
            return bounce if bounce is not None and bounce.action == "failed" else None
    return None


async def returned_to(reader: Reader, row: CaseRow) -> int | None:
    """Return the case whose reply bounced, if this case reports that, or None."""
    if await bounce_of(reader, row.id) is None:
        return None
    for field in await reader.fields(row.id):
        if field.field == "mails":
            related: int | None = json.loads(field.text)[-1].get("related")
            return related
    return None


def may_go_on(row: CaseRow, entries: Iterable[EffectRow]) -> bool:
    """Return whether a redrive can help a parked case once the cause is fixed."""
    return row.status is Status.PARKED and not parked_by_rule(row) and standing_of(row, entries) not in {"in doubt", "refused"}


def parked_by_rule(row: CaseRow) -> bool:
    """Return whether a rule parked the case; otherwise a failed step did."""
    return row.status is Status.PARKED and (row.step is None or row.step.startswith("park"))


def reasons(row: CaseRow, entries: Iterable[EffectRow]) -> str:
    """Return why a case has its status, in words that many cases share, for a list. `entries` are its ledger entries."""
    if row.status is Status.DONE:
        return row.outcome or ""
    if row.status in {Status.PARKED, Status.READY, Status.RUNNING} and row.step == SEND:
        detail = _SENDING.get((row.status, standing_of(row, entries)))
        newer = "; a newer mail waits beside it" if row.inbox else ""
        return f"{detail or row.rule or ''}{newer}"
    if row.status is Status.PARKED and not parked_by_rule(row):
        return f"{row.step} failed"
    return row.reason or row.rule or ""


async def probably_automatic(reader: Reader) -> list[CaseRow]:
    """Return the cases in which a person must say whether a machine sent the mails."""
    return [row for row in await reader.cases(process=SUPPORT_MAIL, status=Status.WAITING, limit=CASES_MAX) if row.step == SORT]


_SENDING: dict[tuple[Status, str | None], str] = {
    (Status.PARKED, "in doubt"): "nobody knows whether the reply was sent",
    (Status.PARKED, "refused"): "the reply was refused",
    (Status.PARKED, "not sent"): "the reply could not be sent",
    (Status.PARKED, "sent"): "the reply was sent, but the server's answer could not be stored",
    (Status.READY, "in doubt"): "it is not known yet whether the reply was sent",
    (Status.READY, "not sent"): "the reply could not be sent yet and will be retried",
    (Status.RUNNING, "being sent"): "the reply is being sent",
}
