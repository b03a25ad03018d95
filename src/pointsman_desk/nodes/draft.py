"""Propose a reply, and mend one that the checks object to."""

from typing import Literal

from pointsman import Failure, Peek
from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy, Reply, Risk, Verdict
from pointsman_desk.models.base import Brief, Model


async def draft(
    mail: Mail,
    intent: Intent,
    risk: Risk,
    grounds: Grounds,
    order: Order | NoOrder | Failure,
    policy: Policy | Failure,
    *,
    model: Model,
) -> tuple[Reply, Literal["pending"]]:
    """Have the model write a reply from the facts; from here on it is pending."""
    return await model.draft(_brief(mail, intent, risk, grounds, order, policy)), "pending"


async def repair(
    mail: Mail, intent: Intent, risk: Risk, grounds: Grounds, order: Order | NoOrder | Failure, policy: Policy | Failure,
    reply: Peek[Reply], verdict: Peek[Verdict], *, model: Model,
) -> tuple[Reply, Literal["pending"]]:  # fmt: skip
    """Have the model write the reply again, without what the checks found."""
    brief = _brief(mail, intent, risk, grounds, order, policy)
    return await model.repair(brief, reply, verdict.violations), "pending"


def _brief(
    mail: Mail, intent: Intent, risk: Risk, grounds: Grounds, order: Order | NoOrder | Failure, policy: Policy | Failure
) -> Brief:
    if isinstance(policy, Failure):
        raise TypeError("a rule parks the case before a reply is drafted without a policy")
    return Brief(mail=mail, intent=intent, risk=risk, grounds=grounds, order=order, policy=policy)
