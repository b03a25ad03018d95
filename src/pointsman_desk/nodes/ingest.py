"""Take a mail in: the raw bytes are kept first, and everything else can be read from them again."""

import asyncio

from pointsman import Blob, Context, Engine, Process, Started
from pointsman_desk.case import Case, Mail
from pointsman_desk.mail.message import identify, read_mail


async def ingest(engine: Engine, process: Process[Case], raw: bytes) -> Started:
    """Keep the bytes and start a case for them; a mail that was delivered twice is one case."""
    blob = await engine.keep(raw)
    identity = await asyncio.to_thread(identify, raw)
    case = Case(email_id=identity.email_id, customer_id=identity.sender, raw_message=blob)
    return await engine.start(process, case, key=identity.key)


async def read(raw_message: Blob, *, authserv: str, ctx: Context) -> Mail:
    """Read the mail from its raw bytes, in a thread: a large one takes a while."""
    return await asyncio.to_thread(read_mail, await ctx.read(raw_message), authserv)
