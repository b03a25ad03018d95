"""Run every check on a reply of a model or a person."""

import inspect
from collections.abc import Mapping
from typing import Any

from pointsman import Unsafe, Violation
from pointsman_desk.case import Grounds, Intent, Mail, NoOrder, Order, Policy, Reply, Trust, Verdict, proposed
from pointsman_desk.guards import CHECKS

READS = {check: tuple(inspect.signature(check).parameters) for check in CHECKS}
"""The fields that each check reads."""


def validate(
    reply: Reply | Unsafe[Reply], mail: Mail, intents: tuple[Intent, ...], grounds: Grounds, order: Order | NoOrder, policy: Policy,
    trust: Trust,
) -> Verdict:  # fmt: skip
    """Check `reply` against the customer's language, the facts of `order` that the sender may know, and the rules of `policy`."""
    written = proposed(reply)
    if written is None:
        return Verdict(violations=reply.violations if isinstance(reply, Unsafe) else ())
    fields = {"reply": written, "mail": mail, "intents": intents, "grounds": grounds, "order": order, "policy": policy, "trust": trust}
    return Verdict(violations=violations_of(fields))


def violations_of(fields: Mapping[str, Any]) -> tuple[Violation, ...]:
    """Return the violations of the reply in `fields`; each check gets the fields that its parameters name."""
    return tuple(
        Violation(check=check.__name__, message=message)
        for check in CHECKS
        for message in check(**{name: fields[name] for name in READS[check]})
    )
