"""Compose the reply and send it once."""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from pointsman import UNKNOWN, Context, Found, Log, NotSent, Peek, Rejected, Unsafe
from pointsman_desk.case import (
    Addressing,
    Incoming,
    Instruction,
    Mail,
    Outgoing,
    Receipt,
    Reply,
    Sent,
    instructions_about,
    proposed,
    sent_of,
    unanswered,
)
from pointsman_desk.errors import IndexUnavailable
from pointsman_desk.mail.automatic import names_another
from pointsman_desk.mail.compose import Letterhead, is_address, reply_to
from pointsman_desk.mail.compose import compose as to_bytes
from pointsman_desk.mail.message import UNKNOWN_SENDER
from pointsman_desk.mail.sent_replies import SentReplies, SentReply
from pointsman_desk.mail.signing import Signer
from pointsman_desk.mail.threads import Place, Threads, provider_name
from pointsman_desk.mail.transports.base import Transport
from pointsman_desk.mail.transports.smtp import SmtpTransport


def address(mail: Mail, mails: Log[Incoming], instructions: Log[Instruction], *, letterhead: Letterhead) -> Addressing:
    """Choose the recipient: the address in From, because a forged Reply-To would send a customer's data elsewhere.

    If From is the desk's own address or one that nobody reads, choose Reply-To: a form or a group forwards a customer's mail. A person
    must approve such a reply, and can choose another recipient and copies, which stay when the person asks for a new draft.
    """
    asked = instructions_about(mail, instructions)
    if asked and asked[-1].addressing is not None:
        return asked[-1].addressing
    proposes = mail.reply_to is not None and names_another(mail.sender, mail.reply_to, letterhead.address)
    to = mail.reply_to if proposes and mail.reply_to is not None else mails[-1].sender
    if is_address(to):
        return Addressing(to=to)
    return Addressing(to=UNKNOWN_SENDER, problem=f"{to} has characters before the @ that need a mail server with SMTPUTF8 (RFC 6531)")


def compose(
    mail: Mail, reply: Reply | Unsafe[Reply], addressing: Addressing, mails: Log[Incoming], sent: Peek[Log[Sent]],
    *, letterhead: Letterhead, signer: Signer, ctx: Context,
) -> tuple[Outgoing, Literal["pending"]]:  # fmt: skip
    """Compose every byte of the reply, including recipients, date and Message-ID, before a person sees it."""
    return _fixed(mail, reply, addressing, unanswered(mails, sent), letterhead, signer, ctx, automatic=False), "pending"


def compose_unattended(
    mail: Mail, reply: Reply | Unsafe[Reply], addressing: Addressing, mails: Log[Incoming], sent: Peek[Log[Sent]],
    *, letterhead: Letterhead, signer: Signer, ctx: Context,
) -> tuple[Outgoing, Literal["pending"]]:  # fmt: skip
    """Compose a reply that no person sees, marked as automatic (RFC 3834)."""
    return _fixed(mail, reply, addressing, unanswered(mails, sent), letterhead, signer, ctx, automatic=True), "pending"


def _fixed(
    mail: Mail, reply: Reply | Unsafe[Reply], addressing: Addressing, waiting: Sequence[Incoming], letterhead: Letterhead, signer: Signer,
    ctx: Context, *, automatic: bool,
) -> Outgoing:  # fmt: skip
    written = proposed(reply)
    if written is None:
        raise ValueError("there is no reply to compose; a person must write one")
    # Nobody else can guess the identifier, so a copy with it proves that the mail was sent, and a mail that names it is an answer.
    named = f"{ctx.incarnation}/{ctx.case}/{ctx.now}/{mail.message_id}/{written.model_dump_json()}/{addressing.model_dump_json()}"
    incoming = waiting[-1]
    place = (ctx.case, incoming.conversation)
    letter = reply_to(
        mail,
        written,
        letterhead,
        to=addressing.to,
        message_id=signer.message_id(*place, named, letterhead.address.rpartition("@")[2]),
        date=datetime.fromtimestamp(int(ctx.now), UTC),
        automatic=automatic,
    )
    letter = letter.model_copy(update={"cc": addressing.cc})
    if letterhead.signs_addresses:
        letter = letter.model_copy(update={"reply_to": signer.address(letterhead.address, *place)})
    if letterhead.signs_subjects:
        letter = letter.model_copy(update={"subject": f"{letter.subject} {signer.subject_mark(*place)}"})
    raw = to_bytes(letter)
    answers = tuple(one.key for one in waiting)
    return Outgoing(**dict(letter), raw=raw.decode("ascii"), sha256=hashlib.sha256(raw).hexdigest(), answers=answers)


async def send(
    outgoing: Outgoing, send_status: Peek[str], mails: Peek[Log[Incoming]], *, transport: Transport, sent_replies: SentReplies, ctx: Context
) -> tuple[Receipt, Literal["sent"], Sent]:  # fmt: skip
    """Send the composed reply if it is still pending. The receipt contains the provider's identifier.

    Nothing follows the delivery here: an error after it would leave the outcome unknown.
    """
    if send_status != "pending":
        raise Rejected(f"the reply is {send_status}, not pending")
    await asyncio.to_thread(_record, SentReply(ctx.key, ctx.case, mails[-1].conversation, ctx.now), outgoing.answers, sent_replies)
    receipt = await transport.deliver(outgoing.raw.encode("ascii"), sender=outgoing.sender, to=outgoing.to, cc=outgoing.cc, key=ctx.key)
    return receipt, "sent", sent_of(outgoing, ctx.now)


async def note(outgoing: Outgoing, receipt: Receipt, mails: Peek[Log[Incoming]], *, threads: Threads, ctx: Context) -> bool:
    """Record the identifier that the provider gave the reply instead of ours, because the customer's answer will name it.

    Raises IndexUnavailable.
    """
    place = Place(ctx.case, mails[-1].conversation)
    await asyncio.to_thread(threads.add, place, [("ours", provider_name(receipt.provider_message_id))], outgoing.message_id)
    return True


def _record(reply: SentReply, answers: Sequence[str], sent_replies: SentReplies) -> None:
    """Record that the reply is about to be sent. Raises Rejected if one was sent before the cases were restored, and NotSent."""
    try:
        if (earlier := next(filter(None, map(sent_replies.earlier_reply, answers)), None)) is not None:
            at = datetime.fromtimestamp(earlier.at, UTC).strftime("%Y-%m-%d %H:%M")
            raise Rejected(
                f"a reply to this mail was sent at {at} UTC, in case {earlier.case}, before the cases were restored; "
                f"say that it is to be sent again, or close case {reply.case}"
            )
        sent_replies.record(reply, answers)
    except IndexUnavailable as error:
        raise NotSent(str(error)) from None


async def look_up(outgoing: Outgoing, *, transport: SmtpTransport, ctx: Context) -> Any:
    """Look up a send in doubt: a copy in the archive proves it; a missing copy proves nothing, because it may come late."""
    receipt = await transport.found(outgoing.message_id)
    return Found((receipt, "sent", sent_of(outgoing, ctx.now))) if receipt is not None else UNKNOWN
