"""Take a mail in: the raw bytes are kept first, and everything else can be read from them again."""

from pointsman import Blob, Context, Engine, Process, Started
from pointsman_desk.case import Case, Mail
from pointsman_desk.mail import apart
from pointsman_desk.mail.compose import Letterhead


async def ingest(engine: Engine, process: Process[Case], raw: bytes) -> Started:
    """Keep the bytes and start a case for them; a mail that was delivered twice is one case."""
    blob = await engine.keep(raw)
    identity = await apart.first_look(raw)
    case = Case(email_id=identity.email_id, customer_id=identity.sender, raw_message=blob)
    return await engine.start(process, case, key=identity.key)


async def read(raw_message: Blob, *, authserv: str, letterhead: Letterhead, ctx: Context) -> Mail:
    """Read the mail from its raw bytes, in limited time."""
    return await apart.read(await ctx.read(raw_message), authserv, letterhead.address)
