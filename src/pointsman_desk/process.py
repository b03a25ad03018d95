"""The desk's process on one page: what happens to a mail. Read this first.

read -> classify -> fetch_order + fetch_refund_policy -> identify -> draft -> validate -> compose -> (approve) -> send

- a mail starts a case or joins the open case of its conversation, where it clears the results for earlier mails; one draft answers
  all unanswered mails; reports of mail servers are kept with the case, and a bounced reply is parked for a person
- a mail that a machine certainly sent is closed; a probably automatic one waits for a person, who closes it or accepts it as a customer's
- classify and draft ask a model; a guard checks each answer; an answer that breaks a rule is repaired, then the next model is
  asked; the last model is the rules and templates, which cost nothing
- a person must approve if the mail is about a refund, a complaint or a legal matter, is unclear or has a risk above low, or if the
  draft is not a template or breaks a rule; an edit goes back to validate, an instruction to draft, and a rejection ends the case
- three invariants forbid, whatever the rules say, to send a risky reply unapproved, to close a mail unproved, and to tell a stranger an order
- the reply is composed before it is approved, so that the person sees every byte; an unattended reply is marked as automatic
"""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from pointsman import (
    Budget,
    Guard,
    Idempotent,
    Limit,
    Pause,
    Process,
    Retry,
    Rule,
    Safety,
    answer_with,
    finish,
    otherwise,
    parallel,
    park,
    reassign,
    remind,
    when,
)
from pointsman_desk import invariants
from pointsman_desk.case import Approval, Case, FollowedUp, Incoming, Intent, Report, Sorting
from pointsman_desk.config import SEND_SECONDS
from pointsman_desk.guards import CHECKS
from pointsman_desk.nodes import bounds, classify, draft, facts, identity, ingest, send, validate
from pointsman_desk.steps import (
    APPROVE,
    COUNTERSIGN,
    FOLLOW_UP,
    FOR_A_PERSON,
    MAY_ANSWER,
    PROBABLY_AUTOMATIC,
    RETURNED,
    SECOND,
    SORT,
    SUPPORT_MAIL,
)

# A restarted shop is back in seconds, a repaired one within this hour and a quarter.
PATIENT = Retry(attempts_max=20, first_seconds=0.5, factor=3.0, max_seconds=300.0)
# A server that says "later" means about a quarter of an hour (greylisting, RFC 6647).
GREYLISTED = Retry(attempts_max=8, first_seconds=5.0, factor=3.0, max_seconds=900.0)
ONLY_AFTER_A_CRASH = Retry(on=())  # composing has no temporary errors
PARSE_SECONDS = 60.0  # far more than the slowest mail that was measured
FETCH_SECONDS = 10.0  # a support desk can wait this long for a shop
ANSWER_SECONDS = 120.0  # a slow model on a small machine
ASKED_AGAIN = Retry(attempts_max=3, max_seconds=30.0)  # then the desk asks the next model

EDITED = ("reply", "addressing", "instructions")
SHOWN = ("mail", *EDITED)
"""What a person decides on."""

BESIDE = ("earlier", "intents", "risk", "grounds", "order", "policy", "verdict", "outgoing", "mails", "reports", "allowance")
"""What a person sees beside the draft."""


class FollowUp(NamedTuple):
    """How long a case waits for the customer's answer to a reply, and when it reminds the desk."""

    wait: timedelta
    remind: timedelta | None = None


class Lead(NamedTuple):
    """The person to whom a mail is escalated, and after which time it is escalated by itself."""

    name: str
    after: timedelta


def support_mail(
    safety: Safety, *, models: int = 1, limit: Limit | None = None, budget: Budget | None = None, follow_up: FollowUp | None = None,
    send_seconds: float = SEND_SECONDS, send_limit: Limit | None = None, four_eyes: frozenset[Intent] = frozenset(),
    lead: Lead | None = None, reminds: timedelta | None = None, counts_beside: bool = False,
) -> Process[Case]:  # fmt: skip
    """Build the process. `safety` is the transport's policy for a send that a crash interrupted.

    The desk asks `models` models in order; the last one costs nothing. All calls share the `limit` and the `budget`. Without a
    `follow_up`, a case ends when its reply is sent. Sending takes at most `send_seconds` and a permit of `send_limit`.
    A reply about one of the intents in `four_eyes` is sent when two different people have approved the same bytes. What waits for a person is
    passed on to the `lead`. The desk `reminds` of what has waited so long.
    Automatic replies are counted in the database of the cases; if there is none, as on Restate, the process `counts_beside` it.
    """
    support = Process(SUPPORT_MAIL, Case, budget=budget)
    _accept_mails(support)
    asking: dict[str, Any] = {"retry": ASKED_AGAIN, "timeout_seconds": ANSWER_SECONDS, "limit": limit}

    read = support.node(ingest.read, writes=("mail", "earlier", "answered"), timeout_seconds=PARSE_SECONDS)
    sort = support.pause(name=SORT, writes="sorting", answer=Sorting, shows=("mail",), beside=("mails", "reports"))
    guard = Guard(repairs_max=1, models=models, free_models=1)
    classify_ = support.node(classify.classify, writes=("intents", "risk", "grounds"), guard=guard, **asking)
    fetch_order = support.node(facts.fetch_order, writes="order", retry=PATIENT, timeout_seconds=FETCH_SECONDS)
    fetch_policy = support.node(facts.fetch_refund_policy, writes="policy", retry=PATIENT, inline=True)
    identify = support.node(identity.identify, writes="trust", inline=True)
    guard = Guard(*CHECKS, repairs_max=2, models=models, free_models=1, escalate="unsafe")
    draft_ = support.node(draft.draft, writes="reply", guard=guard, **asking)
    validate_ = support.node(validate.validate, writes="verdict", inline=True)
    ladder = _ladder(reminds, lead)
    approve = _approve(support, ladder)
    address = support.node(send.address, writes="addressing", inline=True)
    compose = support.node(send.compose, writes=("outgoing", "send_status"), retry=ONLY_AFTER_A_CRASH, inline=True)
    compose_unattended = support.node(send.compose_unattended, writes=("outgoing", "send_status"), retry=ONLY_AFTER_A_CRASH, inline=True)
    send_ = support.effect(
        send.send, writes=("receipt", "send_status", "sent"), retry=GREYLISTED,
        timeout_seconds=send_seconds, safety=safety, limit=send_limit,
    )  # fmt: skip
    allow = _allow(support, beside=counts_beside)
    ask = partial(_asked_because, approve)

    support.never("a mail is closed as automatic without proof", invariants.closes_unproved, ends="automatic")
    support.never("a refund, complaint or legal reply leaves without an approval of its bytes", invariants.leaves_unapproved, effect=send_)
    support.never("an order is told to a sender who is not proved to be its customer", invariants.tells_an_order, effect=send_)
    support.rules(
        when("the mail has not been read", lambda c: c.mail is None, read),
        when("a reply bounced", lambda c: c.is_returned, park(RETURNED)),
        when("a machine sent it", lambda c: c.is_automatic, finish("automatic")),
        when(PROBABLY_AUTOMATIC, lambda c: c.seems_automatic, sort),
        when("a person found it automatic", lambda c: c.sorting is not None and c.sorting.found == "automatic", finish("automatic")),
        when("it was answered before the cases were lost", lambda c: c.mails[-1].before == "answered", finish("answered before")),
        when("it is not classified", lambda c: c.intents is None, classify_),
        when("facts are missing", lambda c: c.order is None or c.policy is None, parallel(fetch_order, fetch_policy)),
        when("the sender is not identified", lambda c: c.trust is None, identify),
        when("there is no draft", lambda c: c.reply is None, draft_),
        when("the draft is not validated", lambda c: c.verdict is None, validate_),
        when("a person rejected it", lambda c: c.approval is not None and c.approval.decision == "reject", finish("rejected")),
        when("it is not addressed", lambda c: c.addressing is None, address),
        when("it is not composed", lambda c: c.is_written and c.outgoing is None, compose),
        *(ask(why, holds) for why, holds in FOR_A_PERSON),
        when("the limit of automatic replies is not checked yet", lambda c: c.allowance is None and not c.approved, allow),
        ask("the limit of automatic replies is reached", lambda c: c.is_bounded),
        *_countersigned(support, approve, four_eyes, ladder),
        when("no person has seen it", lambda c: not c.approved and not c.is_marked, compose_unattended),
        when("it is not sent", lambda c: c.send_status == "pending", send_),
        *_after_it_left(support, follow_up),
        otherwise(finish("sent")),
    )
    return support


def _allow(support: Process[Case], *, beside: bool) -> Any:
    """Return the step that counts an automatic reply."""
    if beside:
        return support.effect(bounds.allow_beside, writes="allowance", safety=Idempotent())
    return support.transaction(writes="allowance")(bounds.allow)


def _asked_because(approve: Pause, why: str, holds: Callable[[Case], object]) -> Rule[Case]:
    """Return the rule that asks a person for this reason, unless the reply is approved."""
    return when(why, lambda c: holds(c) and not c.approved, approve)


def _accept_mails(support: Process[Case]) -> None:
    """Let an answer join its case and clear the results for earlier mails; keep reports of mail servers beside it."""
    support.accept(
        Incoming, writes="mails", correlate=lambda mail: mail.conversation, key=lambda mail: mail.key, while_open="append",
        starts=lambda mail: {"email_id": mail.email_id, "customer_id": mail.sender, "raw_message": mail.raw},
    )  # fmt: skip
    support.accept(
        Report, writes="reports", correlate=lambda report: report.conversation, key=lambda report: report.key, while_open="append", starts=False
    )  # fmt: skip


def _approve(support: Process[Case], ladder: list[Any]) -> Pause:
    """Return the pause for a person's decision on the draft and its recipients."""
    return support.pause(
        name=APPROVE, writes="approval", answer=Approval, shows=SHOWN, edits=EDITED,
        beside=BESIDE, ladder=ladder,
    )  # fmt: skip


def _ladder(reminds: timedelta | None, lead: Lead | None) -> list[Any]:
    """Return the ladder of a decision: nothing decides it but a person."""
    return [*([] if reminds is None else [remind(reminds)]), *([] if lead is None else [reassign(lead.after, lead.name)])]


def _countersigned(support: Process[Case], approve: Pause, four_eyes: frozenset[Intent], ladder: list[Any]) -> tuple[Rule[Case], ...]:
    """Return the rules that let a second person decide on an approved reply about one of these intents."""
    second = support.pause(
        name=COUNTERSIGN, writes="second", answer=Approval, shows=SHOWN, edits=EDITED,
        beside=(*BESIDE, "approval"), ladder=ladder,
    )  # fmt: skip

    def needs_two(case: Case) -> bool:
        return case.send_status != "sent" and not four_eyes.isdisjoint(case.intents or ())

    return (
        _asked_because(approve, "two people must approve it", needs_two),
        when("a second person rejected it", lambda c: c.second is not None and c.second.decision == "reject", finish("rejected")),
        when(SECOND, lambda c: needs_two(c) and not c.is_countersigned, second),
    )


def _after_it_left(support: Process[Case], follow_up: FollowUp | None) -> tuple[Rule[Case], ...]:
    """Return the rules for the time after the reply was sent."""
    # The reply is already sent: if this fails, a later answer only has one sign less of its conversation.
    note = support.node(send.note, writes="noted", retry=GREYLISTED, on_failure="record")
    waits = follow_up is not None
    wait = _wait(support, follow_up or FollowUp(timedelta(days=14)))
    return (
        when("the provider's message ID is not recorded", lambda c: c.is_renamed and c.noted is None, note),
        when("the sent reply bounced", lambda c: waits and c.has_come_back, park(RETURNED)),
        when(MAY_ANSWER, lambda c: waits and c.followed_up is None, wait),
    )


def _wait(support: Process[Case], terms: FollowUp) -> Pause:
    """Return the pause for the customer's answer, which ends by itself."""
    ladder = [remind(terms.remind)] if terms.remind else []
    return support.pause(
        name=FOLLOW_UP, writes="followed_up", answer=FollowedUp, shows=("outgoing", "receipt"), beside=("mails", "reports"),
        deadline=terms.wait, ladder=[*ladder, answer_with(FollowedUp(how="no answer"))],
    )  # fmt: skip


support = support_mail(Idempotent())
"""The process with the maildir outbox, which recognises by its key a reply that it already holds."""
