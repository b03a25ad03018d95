"""The desk's process, on one page: what happens to a mail. Read this first.

read -> classify -> fetch_order + fetch_refund_policy -> identify -> draft -> validate -> compose -> (approve) -> send

- a mail starts a case, or comes to the open one of its conversation and voids what was made of the mails before it; all mails that no
  reply has answered count for what is asked, and one draft answers them; what a machine says to that is kept there, and a reply of ours
  that came back is parked for a person
- what a machine surely sent is closed; what it only seems to have sent waits for a person, who closes it or takes it for a customer's
- classify and draft ask a model, and what it says passes a guard before it is written: an answer that breaks a rule is repaired,
  then the next model is asked, and the last one is the rules and templates, which cost nothing
- a person must see it (refund, complaint, legal, unclear, a risk that is not low, no template, a doubtful line, not for the machine, still broken): approve,
  where an edit goes back to validate, and a rejection ends the case
- the mail is composed before it is approved: every byte that leaves was shown; one that nobody sees is marked as a machine's
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
    remind,
    when,
)
from pointsman_desk.case import Approval, Case, FollowedUp, Incoming, Report, Risk, Sorting
from pointsman_desk.guards import CHECKS
from pointsman_desk.nodes import bounds, classify, draft, facts, identity, ingest, send, validate

# A shop that restarts is back in seconds, and one that is mended within the hour and a quarter that this makes.
PATIENT = Retry(attempts_max=20, first_seconds=0.5, factor=3.0, max_seconds=300.0)
# A server that says "later" means a quarter of an hour (greylisting, RFC 6647).
GREYLISTED = Retry(attempts_max=8, first_seconds=5.0, factor=3.0, max_seconds=900.0)
ONLY_AFTER_A_CRASH = Retry(on=())  # what cannot be composed now never can
PARSE_SECONDS = 60.0  # far beyond the worst mail that was measured; what takes longer is for a person
FETCH_SECONDS = 10.0  # what a support desk can wait for a shop
ANSWER_SECONDS = 120.0  # a slow model on a small machine
ASKED_AGAIN = Retry(attempts_max=3, max_seconds=30.0)  # then the next model is asked
FOLLOW_UP = "follow_up"
SORT = "sort"
PROBABLY_AUTOMATIC = "it is probably automatic"
MAY_ANSWER = "the customer may answer"
RETURNED = "a reply of ours came back; write to the customer in another way, then close the case"
SEND_SECONDS = 60.0  # for an outbox on a slow disk; `support_mail` is told of a way out that takes longer

FOR_A_PERSON: tuple[tuple[str, Callable[[Case], object]], ...] = (
    ("its sender cannot be written to", lambda c: c.addressing is not None and c.addressing.problem),
    ("a person reopened it", lambda c: c.is_reopened),
    ("a machine may have sent it", lambda c: c.perhaps_automatic),
    ("refund, complaint, legal or unclear", lambda c: c.needs_judgement),
    ("the risk is not low", lambda c: c.risk is not Risk.LOW),
    ("the draft breaks a rule", lambda c: c.verdict is not None and c.verdict.violations),
    ("the policy leaves such a question to a person", lambda c: not c.is_allowed),
    ("it asks for more than one thing", lambda c: c.asks_several),
    ("the draft is not a reviewed template", lambda c: not c.is_template),
    ("it promises what a person has to do", lambda c: c.has_promise),
    ("the sender is not proved to be the order's customer", lambda c: not c.is_known),
    ("a person is editing it", lambda c: c.approval is not None),
    ("some lines may not be the customer's own", lambda c: c.is_doubtful),
    ("it came before the cases were lost, and may have been answered", lambda c: c.mails[-1].before),
    ("another mail has the same Message-ID", lambda c: any("message-id-reused" in mail.notes for mail in c.mails)),
    ("the reply goes to someone other than the sender", lambda c: c.goes_elsewhere),
    ("its sender writes too much", lambda c: c.is_flooded),
)
"""Why a person has to see a reply, the first reason that holds. Whether a machine has answered enough is asked after these."""


class FollowUp(NamedTuple):
    """How long a case waits for the customer's answer to a reply, and when the desk is reminded of it."""

    wait: timedelta
    remind: timedelta | None = None


def support_mail(
    safety: Safety, *, models: int = 1, limit: Limit | None = None, budget: Budget | None = None, follow_up: FollowUp | None = None,
    send_seconds: float = SEND_SECONDS, send_limit: Limit | None = None,
) -> Process[Case]:  # fmt: skip
    """Build the process; `safety` says what the transport makes of a send that a crash cut short.

    So many `models` are asked in turn, the last of which costs nothing; all calls of them share the `limit` and the `budget`.
    Without a `follow_up` a case ends when its reply is sent, which takes `send_seconds` at most and a permit of `send_limit`.
    """
    support = Process("support-mail", Case, budget=budget)
    _accept_mails(support)
    asking: dict[str, Any] = {"retry": ASKED_AGAIN, "timeout_seconds": ANSWER_SECONDS, "limit": limit}

    read = support.node(ingest.read, writes=("mail", "earlier", "answered"), timeout_seconds=PARSE_SECONDS)
    sort = support.pause(name=SORT, writes="sorting", answer=Sorting, shows=("mail",), beside=("mails", "reports"))
    guard = Guard(repairs_max=1, models=models, free_models=1)
    classify_ = support.node(classify.classify, writes=("intents", "risk", "grounds"), guard=guard, **asking)
    fetch_order = support.node(facts.fetch_order, writes="order", retry=PATIENT, timeout_seconds=FETCH_SECONDS)
    fetch_policy = support.node(facts.fetch_refund_policy, writes="policy", retry=PATIENT, timeout_seconds=FETCH_SECONDS)
    identify = support.node(identity.identify, writes="trust")
    guard = Guard(*CHECKS, repairs_max=2, models=models, free_models=1, escalate="unsafe")
    draft_ = support.node(draft.draft, writes="reply", guard=guard, **asking)
    validate_ = support.node(validate.validate, writes="verdict")
    approve = _approve(support)
    address = support.node(send.address, writes="addressing")
    compose = support.node(send.compose, writes=("outgoing", "send_status"), retry=ONLY_AFTER_A_CRASH)
    compose_unattended = support.node(send.compose_unattended, writes=("outgoing", "send_status"), retry=ONLY_AFTER_A_CRASH)
    send_ = support.effect(
        send.send, writes=("receipt", "send_status", "sent"), retry=GREYLISTED,
        timeout_seconds=send_seconds, safety=safety, limit=send_limit,
    )  # fmt: skip
    allow = support.transaction(writes="allowance")(bounds.allow)
    ask = partial(_asked_because, approve)

    support.rules(
        when("the mail has not been read", lambda c: c.mail is None, read),
        when("a reply of ours came back", lambda c: c.is_returned, park(RETURNED)),
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
        ask("a machine has answered enough", lambda c: c.is_bounded),
        when("nobody has seen it", lambda c: not c.approved and not c.is_marked, compose_unattended),
        when("it is not sent", lambda c: c.send_status == "pending", send_),
        *_after_it_left(support, follow_up),
        otherwise(finish("sent")),
    )
    return support


def _asked_because(approve: Pause, why: str, holds: Callable[[Case], object]) -> Rule[Case]:
    """A reason for which a person has to see the reply, unless one has approved it."""
    return when(why, lambda c: holds(c) and not c.approved, approve)


def _accept_mails(support: Process[Case]) -> None:
    """An answer joins its case, and voids what was made of the mail before it; what machines say is kept beside."""
    support.accept(
        Incoming, writes="mails", correlate=lambda mail: mail.conversation, key=lambda mail: mail.key, while_open="append",
        starts=lambda mail: {"email_id": mail.email_id, "customer_id": mail.sender, "raw_message": mail.raw},
    )  # fmt: skip
    support.accept(
        Report, writes="reports", correlate=lambda report: report.conversation, key=lambda report: report.key, while_open="append", starts=False
    )  # fmt: skip


def _approve(support: Process[Case]) -> Pause:
    """The wait for a person's decision on the draft, and on whom it goes to."""
    return support.pause(
        name="approve", writes="approval", answer=Approval, shows=("mail", "reply", "addressing"), edits=("reply", "addressing"),
        beside=("earlier", "intents", "risk", "grounds", "order", "policy", "verdict", "outgoing", "mails", "reports", "allowance"),
    )  # fmt: skip


def _after_it_left(support: Process[Case], follow_up: FollowUp | None) -> tuple[Rule[Case], ...]:
    """What is done once the reply is out."""
    # The reply is out, whatever becomes of this: a name that could not be noted for an hour leaves one sign less of where an answer belongs.
    note = support.node(send.note, writes="noted", retry=GREYLISTED, on_failure="record")
    waits = follow_up is not None
    wait = _wait(support, follow_up or FollowUp(timedelta(days=14)))
    return (
        when("its name at the provider is not noted", lambda c: c.is_renamed and c.noted is None, note),
        when("the reply that was sent has come back", lambda c: waits and c.has_come_back, park(RETURNED)),
        when(MAY_ANSWER, lambda c: waits and c.followed_up is None, wait),
    )


def _wait(support: Process[Case], terms: FollowUp) -> Pause:
    """The wait for the customer's answer, which ends by itself."""
    ladder = [remind(terms.remind)] if terms.remind else []
    return support.pause(
        name=FOLLOW_UP, writes="followed_up", answer=FollowedUp, shows=("outgoing", "receipt"), beside=("mails", "reports"),
        deadline=terms.wait, ladder=[*ladder, answer_with(FollowedUp(how="no answer"))],
    )  # fmt: skip


support = support_mail(Idempotent())
"""The process with the maildir outbox, which knows a reply that it has taken already by its key."""
