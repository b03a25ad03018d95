"""Processes that run on every store as they are, and what they use: the desk's mails with a scripted model, and the claims of the example.

What happens outside is counted in the folder that the variable OUTSIDE names: the provider of mails has a line for each delivery, the bank a file for
each payment. As `same_processes:processes`, they are what `pointsman restate serve` serves in the tests.
"""

import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from pointsman import ABSENT, Blob, Context, Found, Limit, Reconcile
from pointsman.models import Message, Scripted, Task
from pointsman_desk.case import Incoming, Outgoing, Receipt, sent_of
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.mail.compose import Letterhead
from pointsman_desk.mail.message import identify
from pointsman_desk.mail.sent_replies import SentReplies
from pointsman_desk.mail.signing import Signer
from pointsman_desk.mail.threads import Threads
from pointsman_desk.models.base import CANARY
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.models.replies import write_reply
from pointsman_desk.nodes.bounds import Bounds
from pointsman_desk.process import support_mail
from pointsman_desk.shop.guesses import Guesses
from pointsman_desk.shop.policy import PolicyFile
from pointsman_desk.shop.sqlite import SqliteOrders
from pointsman_desk.wiring import prepare

sys.path.append(str(Path(__file__).parents[2] / "examples"))

from insurance_claim import claims  # type: ignore[import-not-found]

NOON = 1_795_000_000.0  # any moment will do


class Provider:
    """A provider of mails outside: each delivery is a line of a file. It gives every second mail a name of its own."""

    name = "provider"

    def __init__(self, log: Path) -> None:
        self._log = log

    async def deliver(self, raw: bytes, *, sender: str, to: str, key: str, cc: Sequence[str] = ()) -> Receipt:
        with self._log.open("ab", buffering=0) as log:
            log.write(f"{key}\t{to}\n".encode())
        return self.receipt(to, message_from_bytes(raw)["Message-ID"].strip().strip("<>"))

    def receipt(self, to: str, message_id: str) -> Receipt:
        digest = hashlib.sha256(to.encode()).hexdigest()
        named = message_id if int(digest, 16) % 2 else f"{digest}@provider.example"
        return Receipt(provider_message_id=named, transport=self.name)

    def has(self, key: str) -> bool:
        return self._log.exists() and key in re.split(r"[\t\n]", self._log.read_text())


async def look_up(outgoing: Outgoing, *, transport: Provider, ctx: Context) -> object:
    """What the provider knows of a mail that was being sent when its program or the connection to it died."""
    if not transport.has(ctx.key):
        return ABSENT
    return Found((transport.receipt(outgoing.to, outgoing.message_id), "sent", sent_of(outgoing, ctx.now)))


mails = support_mail(Reconcile(look_up, propagation_seconds=1.0), models=2, limit=Limit("models", concurrency=4), counts_beside=True)
processes = [mails, claims]


def answer(task: Task, messages: Sequence[Message]) -> Mapping[str, Any]:
    """What the scripted model says: the rules' classification, and a template, of which every second one breaks a rule at first."""
    if task.name == "classify":
        found = OfflineModel().classify(task.inputs["mail"])
        said = found.grounds
        return {"intent": found.intent, "risk": found.risk, "language": said.language, "order_number": said.order_number}
    brief = task.inputs["brief"]
    written = write_reply(brief, author="scripted")
    breaks = len(brief.mail.said) % 2 == 1 and not task.inputs["violations"]
    return {"body": f"{CANARY} {written.body}" if breaks else written.body, "tone": written.tone, "language": written.language}


def resources_in(outside: Path) -> dict[str, Any]:
    """What the nodes of the mails use."""
    config, chance = DeskConfig(home=outside / "desk", mailbox=SAMPLE / "mails"), Random(7)
    prepare(config)
    return {
        "models": (Scripted(answer), OfflineModel()), "chance": chance, "transport": Provider(outside / "sent"),
        "orders": SqliteOrders(config.shop_file), "policies": PolicyFile(config.policy_file), "guesses": Guesses(config.guesses_file),
        "letterhead": Letterhead(config.address, config.name), "signer": Signer(b"a secret of the tests"), "authserv": config.exchanger,
        "bounds": Bounds(address_day=10_000, file=outside / "bounds.db"), "threads": Threads(config.threads_file),
        "sent_replies": SentReplies(config.sent_file, chance),
    }  # fmt: skip


def resources() -> dict[str, Any]:
    """What `pointsman restate serve` gives the nodes."""
    return resources_in(Path(os.environ["OUTSIDE"]))


@cache
def _samples() -> tuple[bytes, ...]:
    return tuple(file.read_bytes() for file in sorted((SAMPLE / "mails").iterdir()))


def letter(number: int) -> bytes:
    """A mail of the sample, as one of its own. The first few are of several kinds."""
    sample = _samples()[(7 * number + 8) % len(_samples())]
    raw = re.sub(rb"(?mi)^(Message-ID:\s*<)", rb"\g<1>%d." % number, sample, count=1)
    return b"X-Number: %d\r\n%s" % (number, raw)


def incoming(number: int, conversation: int) -> tuple[bytes, Incoming]:
    """A mail as it comes to the case of its conversation, and its bytes, which the caller stores first."""
    raw = letter(number)
    found = identify(raw)
    return raw, Incoming(
        email_id=found.email_id, sender=found.sender, key=found.key, conversation=f"conversation {conversation}", raw=Blob.of(raw), at=NOON
    )
