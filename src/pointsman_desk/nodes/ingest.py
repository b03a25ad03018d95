"""Take in a mail. The raw bytes are stored first, so that everything else can be read from them again."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from difflib import SequenceMatcher
from functools import partial
from typing import Literal, NamedTuple

from pointsman import Blob, Context, Engine, Log, Peek, Process
from pointsman_desk.case import Case, Incoming, Mail, Report, Sent, unanswered
from pointsman_desk.mail import apart
from pointsman_desk.mail.compose import Letterhead, bare_subject
from pointsman_desk.mail.forms import as_customers, form_of
from pointsman_desk.mail.message import UNKNOWN_SENDER, Identity
from pointsman_desk.mail.signing import address_claims, id_claim, subject_claims
from pointsman_desk.mail.threads import Place
from pointsman_desk.nodes.correlate import Belonging, Conversations
from pointsman_desk.nodes.machines import is_proved, judged, machine_wrote

EARLIER_MAX = 10  # earlier mails of the conversation that are read again
EARLIER_CHARACTERS_MAX = 20_000  # of each mail's text
SUBJECT_CHARACTERS_MAX = 200  # the comparison of two subjects takes quadratic time
ALIKE_MIN = 0.5  # similarity of two subjects: an answer's differs only in its prefixes

_ANSWER = "an answer"  # no Message-ID has a space

_HOW: dict[str, Literal["started", "duplicate"]] = {"started": "started", "duplicate": "duplicate"}


class Taken(NamedTuple):
    """What happened to a mail: it started a case, joined an open one, or was known."""

    case: int
    how: Literal["started", "joined", "duplicate"]


async def ingest(engine: Engine, process: Process[Case], raw: bytes, conversations: Conversations, *, now: float) -> Taken:
    """Store the bytes, and deliver the mail to the open case of its conversation or start a case; `now` is in Unix seconds.

    A mail that is delivered twice counts once: the engine recognises its identity in any case. What a machine certainly sent to an open
    case is stored there as a report and changes nothing else. A mail that only looks automatic is handled like others.
    """
    deliver = await look_up(engine, process, raw, await apart.first_look(raw), conversations, now=now)
    return await deliver()


def names_of(identity: Identity) -> frozenset[str]:
    """Return names of a mail: it shares one with each mail that may be the same mail, or of its conversation.

    All answers share a name, because two of them can name the same case in different ways.
    """
    signs = [*identity.answers, identity.reported, *address_claims(identity.recipients), *subject_claims(identity.subject)]
    answers = any(signs) or id_claim(identity.email_id) is not None
    names = (identity.key, identity.email_id, *identity.answers, identity.reported, _ANSWER if answers else None)
    return frozenset(filter(None, names))


async def look_up(
    engine: Engine, process: Process[Case], raw: bytes, identity: Identity, conversations: Conversations, *, now: float
) -> Callable[[], Awaitable[Taken]]:  # fmt: skip
    """Look up the conversation of a mail. Return a function that stores the mail and delivers it.

    A mail that has one of the `names_of` another must not be looked up before the other is delivered.
    """
    known = await conversations.known(identity.key)
    if known is not None:
        return partial(_is, Taken(known.case, "duplicate"))
    form, sent_by, said = form_of(conversations.forms, identity.sender), identity.sender, None
    belonging = await conversations.belonging(identity)
    if form is not None or belonging.link is not None:
        said = await apart.read(raw, "", conversations.own)
    if form is not None and said is not None:
        if machine_wrote(said, belonging.link):
            form = None
        else:
            identity = replace(identity, sender=form.customer(said) or UNKNOWN_SENDER, by_machine=False)
            belonging, said = await conversations.belonging(identity), None
    if said is not None and _is_report(said, belonging):
        blob = await engine.store_blob(raw)
        taken = await _reported(engine, process, _report(said, blob, identity, belonging, now)) if belonging.is_open else None
        if taken is not None:
            return partial(_indexed, engine, conversations, identity, taken, belonging)
        belonging = belonging._replace(conversation=conversations.begun_by(identity))
    elif belonging.machines_only:
        belonging = Belonging(conversations.begun_by(identity), case=belonging.case)
    reused, flood, before = await conversations.use(lambda: conversations.noticed(identity, now))
    incoming = _incoming(identity, Blob.of(raw), belonging, ("message-id-reused",) if reused else (), flood, now)
    incoming = incoming.model_copy(update={"before": before, "form": None if form is None else sent_by})

    async def deliver() -> Taken:
        await engine.store_blob(raw)
        sent = await engine.send(process, incoming, name="mails")
        assert sent.case is not None, "a message that no open case takes starts a case"
        return await _indexed(engine, conversations, identity, Taken(sent.case, _HOW.get(sent.how, "joined")), belonging)

    return deliver


async def _is(taken: Taken) -> Taken:
    return taken


async def _indexed(engine: Engine, conversations: Conversations, identity: Identity, taken: Taken, belonging: Belonging) -> Taken:
    conversation: str | None = belonging.conversation
    if taken.how == "duplicate":
        conversation = (await engine.case(taken.case)).correlation  # the index has lost it; None if it was erased
    if conversation is not None:
        place = Place(taken.case, conversation)
        await conversations.use(lambda: conversations.add(identity, place, belonging.case))
    return taken


async def _reported(engine: Engine, process: Process[Case], report: Report) -> Taken | None:
    """Deliver the report to its case; None if the case ended meanwhile."""
    delivered = await engine.send(process, report, name="reports")
    return Taken(delivered.case, _HOW.get(delivered.how, "joined")) if delivered.case is not None else None


def _is_report(said: Mail, belonging: Belonging) -> bool:
    """Return whether the mail is a report: a machine certainly sent it, or it is an automatic reply to a mail of an open case."""
    return is_proved(said, belonging.link) or (said.evidence == "automatic reply" and belonging.is_open)


def _incoming(identity: Identity, blob: Blob, belonging: Belonging, notes: tuple[str, ...], flood: str | None, now: float) -> Incoming:
    return Incoming(
        email_id=identity.email_id,
        sender=identity.sender,
        key=identity.key,
        conversation=belonging.conversation,
        raw=blob,
        at=now,
        link=belonging.link,
        related=belonging.case,
        risk_so_far=belonging.risk,
        history=belonging.history,
        notes=notes,
        flood=flood,
    )


def _report(said: Mail, blob: Blob, identity: Identity, belonging: Belonging, now: float) -> Report:
    assert belonging.link is not None, "a report belongs to a conversation"
    assert said.automatic is not None, "a report comes from a machine"
    return Report(
        key=identity.key,
        conversation=belonging.conversation,
        raw=blob,
        at=now,
        link=belonging.link,
        sender=identity.sender,
        subject=said.subject,
        automatic=said.automatic,
        bounce=said.bounce,
    )


async def read(
    mails: Log[Incoming], sent: Peek[Log[Sent]], *, authserv: str, letterhead: Letterhead, ctx: Context
) -> tuple[Mail, tuple[Mail, ...], tuple[Mail, ...]]:  # fmt: skip
    """Read the newest mail from its raw bytes, in limited time, and the earlier mails: the unanswered and the answered ones.

    The texts of the conversation, ours and the customer's, are passed to the parser, which recognises quotations of them.
    """
    known = [*(text for one in mails for text in one.history), *(one.body for one in reversed(sent))]
    before: list[Mail] = []
    for one in mails[-EARLIER_MAX - 1 :]:
        mail = await apart.read(await ctx.read(one.raw), authserv, letterhead.address, known)
        mail = judged(mail, one.link) if one.form is None else as_customers(mail, one.sender, one.form)
        known.append(mail.said[:EARLIER_CHARACTERS_MAX])
        before.append(mail)
    newest = before.pop()
    notes = {*newest.notes, *mails[-1].notes}
    if mails[-1].form is not None and mails[-1].sender == UNKNOWN_SENDER:
        notes.add("form-without-customer")
    if before and not _alike(before[-1].subject, newest.subject):
        notes.add("new-topic")
    waiting = {one.key for one in unanswered(mails[:-1], sent)}
    groups: dict[bool, list[Mail]] = {True: [], False: []}
    for one, mail in zip(mails[-EARLIER_MAX - 1 : -1], before, strict=True):
        groups[one.key in waiting].append(_shortened(mail))
    if len(groups[True]) < len(waiting) or any(len(mail.text) + len(mail.doubtful) > EARLIER_CHARACTERS_MAX for mail in before):
        notes.add("mails-unread")
    return newest.model_copy(update={"notes": tuple(sorted(notes))}), tuple(groups[True]), tuple(groups[False])


def _shortened(mail: Mail) -> Mail:
    text, doubtful = mail.text[:EARLIER_CHARACTERS_MAX], mail.doubtful[:EARLIER_CHARACTERS_MAX]
    return mail.model_copy(update={"text": text, "doubtful": doubtful, "quoted": ""})


def _alike(one: str, other: str) -> bool:
    before, after = (bare_subject(subject).lower()[:SUBJECT_CHARACTERS_MAX] for subject in (one, other))
    return SequenceMatcher(None, before, after, autojunk=False).ratio() >= ALIKE_MIN
