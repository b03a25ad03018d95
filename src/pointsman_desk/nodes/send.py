"""Fix the reply as it will leave, and send it once."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

from pointsman import UNKNOWN, Context, Found, Peek, Rejected, Unsafe
from pointsman_desk.case import Mail, Outgoing, Receipt, Reply, proposed
from pointsman_desk.mail.compose import Letterhead, reply_to
from pointsman_desk.mail.compose import compose as to_bytes
from pointsman_desk.mail.transports.base import Transport
from pointsman_desk.mail.transports.smtp import SmtpTransport


def compose(
    mail: Mail, reply: Reply | Unsafe[Reply], customer_id: str, *, letterhead: Letterhead, ctx: Context
) -> tuple[Outgoing, Literal["pending"]]:  # fmt: skip
    """Fix every byte of the reply, date and Message-ID included, before a person sees it: what is approved is what leaves.

    The reply goes to the address that wrote, never to a Reply-To: a forged one would send a customer's data elsewhere.
    """
    return _fixed(mail, reply, customer_id, letterhead, ctx, automatic=False), "pending"


def compose_unattended(
    mail: Mail, reply: Reply | Unsafe[Reply], customer_id: str, *, letterhead: Letterhead, ctx: Context
) -> tuple[Outgoing, Literal["pending"]]:  # fmt: skip
    """Fix the bytes of a reply that no person sees: it says that a machine sent it (RFC 3834)."""
    return _fixed(mail, reply, customer_id, letterhead, ctx, automatic=True), "pending"


def _fixed(mail: Mail, reply: Reply | Unsafe[Reply], to: str, letterhead: Letterhead, ctx: Context, *, automatic: bool) -> Outgoing:
    written = proposed(reply)
    if written is None:
        raise ValueError("there is no reply to compose; a person has to write one")
    # Nobody can guess the identifier from outside, so that a copy of a mail that bears it proves that it was sent.
    named = f"{ctx.incarnation}/{ctx.case}/{ctx.now}/{mail.message_id}/{written.model_dump_json()}"
    domain = letterhead.address.rpartition("@")[2]
    letter = reply_to(
        mail,
        written,
        letterhead,
        to=to,
        message_id=f"case-{ctx.case}.{hashlib.sha256(named.encode()).hexdigest()[:24]}@{domain}",
        date=datetime.fromtimestamp(int(ctx.now), UTC),
        automatic=automatic,
    )
    raw = to_bytes(letter)
    return Outgoing(**dict(letter), raw=raw.decode("ascii"), sha256=hashlib.sha256(raw).hexdigest())


async def send(outgoing: Outgoing, send_status: Peek[str], *, transport: Transport, ctx: Context) -> tuple[Receipt, Literal["sent"]]:
    """Send the composed reply if it is still pending; the receipt holds the name under which the provider knows it."""
    if send_status != "pending":
        raise Rejected(f"the reply is {send_status}, not pending")
    receipt = await transport.deliver(outgoing.raw.encode("ascii"), sender=outgoing.sender, to=outgoing.to, key=ctx.key)
    return receipt, "sent"


async def look_up(outgoing: Outgoing, *, transport: SmtpTransport) -> Any:
    """Ask whether a send in doubt happened: a copy in the archive proves it, and no copy proves nothing, for it may be late."""
    receipt = await transport.found(outgoing.message_id)
    return Found((receipt, "sent")) if receipt is not None else UNKNOWN
