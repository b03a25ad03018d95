"""A mail is classified, waits for a person, and is answered once: the whole idea on one page."""

import tempfile

from pydantic import BaseModel

from pointsman import Context, Idempotent, Process, State, finish, open_blocking, otherwise, when


class Approval(BaseModel):
    """What a person decides."""

    approved: bool


class Mail(State):
    """Everything that the process knows: one input, and what its steps fill in."""

    text: str
    topic: str | None = None
    reply: str | None = None
    approval: Approval | None = None
    receipt: str | None = None


mails = Process("mails", Mail)


@mails.node(writes="topic")
def classify(text: str) -> str:
    """A model would do this."""
    return "refund" if "refund" in text else "other"


@mails.node(writes="reply")
def draft(text: str, topic: str) -> str:
    """And this."""
    return f"Thank you for your mail about a {topic} ({len(text)} characters)."


approve = mails.pause(writes="approval", answer=Approval, shows=("text", "reply"))


@mails.effect(writes="receipt", safety=Idempotent())
def send(reply: str, *, ctx: Context, outbox: dict[str, str]) -> str:
    """The outbox keeps one mail a key, so a repeated call changes nothing."""
    outbox[ctx.key] = reply
    return "sent"


mails.rules(
    when("it is not classified", lambda m: m.topic is None, classify),
    when("there is no reply", lambda m: m.reply is None, draft),
    when("a refund needs a person", lambda m: m.topic == "refund" and m.approval is None, approve),
    when("it was refused", lambda m: m.approval is not None and not m.approval.approved, finish("refused")),
    when("it is not sent", lambda m: m.receipt is None, send),
    otherwise(finish("sent")),
)

db = f"{tempfile.mkdtemp()}/mails.db"  # a real program names a file that stays
outbox: dict[str, str] = {}
with open_blocking(db, [mails], resources={"outbox": outbox}) as engine:
    case = engine.start(mails, Mail(text="Can you refund shipping?"), key="mail-1").case
    print(engine.wait_until_resting(case).rule)

# The program may end here, for days: the case is a row in the file, and the next program goes on with it.
with open_blocking(db, [mails], resources={"outbox": outbox}) as engine:
    pending = engine.pending(case)
    print(pending.shown["reply"])
    engine.resume(pending.token, Approval(approved=True), by="anna")
    print(engine.wait_until_resting(case).outcome)
    print(engine.start(mails, Mail(text="Can you refund shipping?"), key="mail-1").duplicate, len(outbox))

# prints: a refund needs a person
# prints: Thank you for your mail about a refund (24 characters).
# prints: sent
# prints: True 1
