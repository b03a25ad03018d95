"""The steps at which the desk asks somebody, and why it asks: names that commands and pages share with the process."""

from collections.abc import Callable

from pointsman_desk.case import Case, Risk

SUPPORT_MAIL = "support-mail"
"""The name of the process."""

APPROVE = "approve"
COUNTERSIGN = "countersign"
FOLLOW_UP = "follow_up"
SORT = "sort"
PROBABLY_AUTOMATIC = "it is probably automatic"
SECOND = "a second person must approve it"
MAY_ANSWER = "the customer may answer"
RETURNED = "a reply bounced; write to the customer in another way, then close the case"

FOR_A_PERSON: tuple[tuple[str, Callable[[Case], object]], ...] = (
    ("the reply has no valid recipient", lambda c: c.addressing is not None and c.addressing.problem),
    ("a person reopened it", lambda c: c.is_reopened),
    ("a machine may have sent it", lambda c: c.perhaps_automatic),
    ("refund, complaint, legal or unclear", lambda c: c.needs_judgement),
    ("the risk is not low", lambda c: c.risk is not Risk.LOW),
    ("the draft breaks a rule", lambda c: c.verdict is not None and c.verdict.violations),
    ("the policy requires a person for this question", lambda c: not c.is_allowed),
    ("it asks more than one question", lambda c: c.asks_several),
    ("the draft is not a reviewed template", lambda c: not c.is_template),
    ("it promises work that a person must do", lambda c: c.has_promise),
    ("the sender is not proved to be a customer", lambda c: not c.is_known),
    ("a person asked for this draft", lambda c: c.is_redrafted),
    ("a person is editing it", lambda c: c.approval is not None),
    ("some lines may not be the customer's own", lambda c: c.is_doubtful),
    ("it came before the cases were lost, and may have been answered", lambda c: c.mails[-1].before),
    ("another mail has the same Message-ID", lambda c: any("message-id-reused" in mail.notes for mail in c.mails)),
    ("the reply goes to someone other than the sender", lambda c: c.goes_elsewhere),
    ("its sender writes too many mails", lambda c: c.is_flooded),
)
"""Why a person must see a reply: the first reason that holds. The limit of automatic replies is checked after these."""
