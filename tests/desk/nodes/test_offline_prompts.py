"""No prompt is written for the rules and templates, which read none."""

import asyncio
from random import Random

from pointsman_desk.case import NoOrder, Trust
from pointsman_desk.config import SAMPLE
from pointsman_desk.mail.message import read_mail
from pointsman_desk.models.base import Brief
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.nodes.classify import classified
from pointsman_desk.nodes.draft import drafted
from pointsman_desk.shop.policy import PolicyFile


class Unasked(Random):
    """Chance that nobody may ask; each prompt needs a boundary from it."""

    def getrandbits(self, k: int, /) -> int:
        raise AssertionError(f"{k} random bits for a prompt")


def test_the_offline_model_classifies_and_drafts_without_a_prompt():
    mail = read_mail((SAMPLE / "mails" / "02-status-en.eml").read_bytes())
    found = asyncio.run(classified(mail, OfflineModel(), Unasked())).output
    brief = Brief(
        mail=mail, earlier=(), answered=(), intents=found.intents, risk=found.risk, grounds=found.grounds,
        order=NoOrder(reason="the sender is not verified"), policy=PolicyFile(SAMPLE / "policy.toml").current(), trust=Trust.NONE,
    )  # fmt: skip
    reply = asyncio.run(drafted(brief, OfflineModel(), Unasked())).output

    assert reply.template is not None
