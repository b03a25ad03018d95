"""Fix the reply as it will leave, and send it once."""

import hashlib
from datetime import UTC, datetime
from typing import Literal

from pointsman import Context, Peek, Rejected
from pointsman_desk.case import Approval, Mail, Outgoing, Receipt, Reply
from pointsman_desk.mail.compose import compose as to_bytes
from pointsman_desk.mail.compose import reply_to
from pointsman_desk.mail.transports.base import Transport


def compose(mail: Mail, reply: Reply, customer_id: str, approval: Peek[Approval | None], *, desk_address: str, ctx: Context) -> Outgoing:
    """Fix every byte that matters, date and Message-ID included, so that each attempt sends the same mail.

    The reply goes to the address that wrote, never to a Reply-To: a forged one would send a customer's data elsewhere.
    """
    named = hashlib.sha256(reply.model_dump_json().encode()).hexdigest()[:12]
    domain = desk_address.rpartition("@")[2]
    outgoing = reply_to(
        mail,
        reply,
        sender=desk_address,
        to=customer_id,
        message_id=f"case-{ctx.case}.{named}.{ctx.incarnation[:8]}@{domain}",
        date=datetime.fromtimestamp(int(ctx.now), UTC),
        automatic=approval is None,
    )
    to_bytes(outgoing)  # what cannot be a mail is found here, where nothing has been sent yet
    return outgoing


async def send(outgoing: Outgoing, send_status: Peek[str], *, transport: Transport, ctx: Context) -> tuple[Receipt, Literal["sent"]]:
    """Send the composed reply if it is still pending; the receipt holds the name under which the provider knows it."""
    if send_status != "pending":
        raise Rejected(f"the reply is {send_status}, not pending")
    message_id = await transport.deliver(to_bytes(outgoing), sender=outgoing.sender, to=outgoing.to, key=ctx.key)
    return Receipt(provider_message_id=message_id, transport=transport.name), "sent"
