"""Propose a reply, and mend one that the checks object to."""

from typing import Literal

from pointsman import Peek
from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy, Reply, Risk, Trust, Verdict
from pointsman_desk.models.base import Brief, Model
from pointsman_desk.nodes.identity import disclosed
from pointsman_desk.slots import filled


async def draft(
    mail: Mail,
    intent: Intent,
    risk: Risk,
    grounds: Grounds,
    order: Order | NoOrder,
    trust: Trust,
    policy: Policy,
    *,
    model: Model,
) -> tuple[Reply, Literal["pending"]]:
    """Have the model write a reply from the facts; from here on it is pending."""
    brief = Brief(mail=mail, intent=intent, risk=risk, grounds=grounds, order=disclosed(order, trust), policy=policy, trust=trust)
    return filled(await model.draft(brief), brief.order, policy), "pending"


async def repair(
    mail: Mail, intent: Intent, risk: Risk, grounds: Grounds, order: Order | NoOrder, trust: Trust, policy: Policy,
    reply: Peek[Reply], verdict: Peek[Verdict], *, model: Model,
) -> tuple[Reply, Literal["pending"]]:  # fmt: skip
    """Have the model write the reply again, without what the checks found."""
    brief = Brief(mail=mail, intent=intent, risk=risk, grounds=grounds, order=disclosed(order, trust), policy=policy, trust=trust)
    return filled(await model.repair(brief, reply, verdict.violations), brief.order, policy), "pending"
