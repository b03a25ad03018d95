"""What the desk never does, whatever its rules say. The conditions read fields, and none of the properties that the rules use."""

from pointsman_desk.case import RISKY, Case, Order, Trust

PROVED = (Trust.BOUND, Trust.PROVED)
TELLS_AN_ORDER = "order_disclosed_to_customer"
"""The name of the check that finds data of an order in a reply."""


def leaves_unapproved(case: Case) -> bool:
    """Whether a refund, complaint or legal reply has no approval of its very bytes."""
    return any(intent in RISKY for intent in case.intents or ()) and not _has_approval(case)


def closes_unproved(case: Case) -> bool:
    """Whether neither proof nor a person says that a machine sent each unanswered mail."""
    if case.sorting is not None and case.sorting.found == "automatic":
        return False
    return case.mail is None or not all(mail.proved for mail in (case.mail, *(case.earlier or ())))


def tells_an_order(case: Case) -> bool:
    """Whether a sender who is not proved to be the order's customer gets a reply that nobody approved, or that tells the order against a check.

    A person can approve such a reply despite the check.
    """
    if not isinstance(case.order, Order) or case.trust in PROVED:
        return False
    if not _has_approval(case):
        return True
    told = case.verdict is not None and any(violation.check == TELLS_AN_ORDER for violation in case.verdict.violations)
    return told and case.approval is not None and not case.approval.despite_violations


def _has_approval(case: Case) -> bool:
    """Whether a person approved exactly these bytes."""
    approval, outgoing = case.approval, case.outgoing
    return approval is not None and outgoing is not None and approval.decision == "approve" and approval.sha256 == outgoing.sha256
