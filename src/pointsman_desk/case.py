"""What the desk knows of a mail while it travels: the state, field by field, and the values that fill it."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pointsman import Blob, Failure, Log, State, Unsafe, Violation


class Value(BaseModel):
    """A value in a field: frozen, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Intent(StrEnum):
    """What the customer wants. The enum is closed: what fits none of the others is `unclear`."""

    ORDER_STATUS = "order_status"
    OPENING_HOURS = "opening_hours"
    REFUND = "refund"
    COMPLAINT = "complaint"
    LEGAL = "legal"
    CANCEL_ORDER = "cancel_order"
    CHANGE_ADDRESS = "change_address"
    INVOICE = "invoice"
    UNCLEAR = "unclear"


class Risk(StrEnum):
    """What a wrong answer could cost."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Trust(StrEnum):
    """How sure the desk is that a mail comes from whom it names, the surest last.

    `none`: only the From line says so; `aligned`: our own mail server found that its domain sent it; `bound`: aligned, and
    the order was placed with this very address; `proved`: the sender has shown more than that, such as a signed link.
    """

    NONE = "none"
    ALIGNED = "aligned"
    BOUND = "bound"
    PROVED = "proved"

    @property
    def may_know_the_order(self) -> bool:
        """Whether a reply to this sender may state what the shop knows of the order."""
        return self in (Trust.BOUND, Trust.PROVED)


class Language(StrEnum):
    """The languages that the reviewed templates exist in (ISO 639-1)."""

    ENGLISH = "en"
    GERMAN = "de"
    FRENCH = "fr"
    SPANISH = "es"


class Tone(StrEnum):
    """How a reply speaks."""

    WARM = "warm"
    NEUTRAL = "neutral"
    FORMAL = "formal"


class Authentication(Value):
    """What those whose word counts found out about a mail's origin: whether From is `aligned`, and `why`, for a person.

    Whoever hands mails in with a verdict of its own that can be believed, such as a signed one, gives another of these.
    """

    aligned: bool = False
    why: str = "the desk's setting authserv names nobody whose word on a mail's origin counts"


class Attachment(Value):
    """A file that came with a mail: described, never opened. `size` is in bytes."""

    name: str
    media_type: str
    size: int
    sha256: str


class Bounce(Value):
    """What a report says of a mail that this desk sent; what it does not tell is empty.

    `action` is the worst that befell one of the `recipients` ("complained": somebody called the mail spam); `status` an
    enhanced status code such as "5.1.1" (RFC 3463), `message_id` the Message-ID of the mail that the report is about,
    without angle brackets, `diagnostic` the words of the server that refused it.
    """

    action: Literal["failed", "delayed", "delivered", "complained"]
    recipients: tuple[str, ...] = ()
    status: str | None = None
    message_id: str | None = None
    diagnostic: str = ""


Automatic = Literal[
    "abuse report", "read receipt", "bounce", "own address", "loop", "out of office", "mailing list", "automatic"
]  # fmt: skip
"""Why a machine seems to have sent a mail."""

Evidence = Literal[
    "report on a machine's mail", "delivery report", "feedback report", "receipt", "bounce in words", "automatic reply", "list post"
]  # fmt: skip
"""What the bytes of a mail show of the machine that sent it (mail/automatic.py)."""


class Mail(Value):
    """A mail as the desk reads it: a view that can be rebuilt from the raw bytes at any time.

    `text` is what the customer wrote now, `quoted` older text that is proved to be such, and `doubtful` what looks older or
    like a signature and is not proved; each line of the mail is in one of them. `automatic` says why a machine seems to
    have sent it, None for a person, `evidence` what its bytes show of that, and `proved` that it is certain; `bounce` is what it
    reports of a mail of ours. `cc` are others who got a copy. `notes` name what was odd about the bytes, `authentication` what is known of the sender.
    `message_id`, `in_reply_to` and `references` are without angle brackets.
    """

    message_id: str
    sender: str
    sender_name: str = ""
    reply_to: str | None = None
    to: tuple[str, ...] = ()
    cc: tuple[str, ...] = ()
    subject: str = ""
    date: str | None = None
    text: str = ""
    doubtful: str = ""
    quoted: str = ""
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    automatic: Automatic | None = None
    evidence: Evidence | None = None
    proved: bool = False
    bounce: Bounce | None = None
    notes: tuple[str, ...] = ()
    authentication: Authentication = Authentication()

    @property
    def said(self) -> str:
        """All that may be the customer's own words: what counts for intent and risk, and what a reply answers."""
        return "\n\n".join(filter(None, (self.text, self.doubtful)))


Link = Literal[
    "our own mail", "signed address", "answer to our mail", "answer to a mail of the conversation", "copy under one Message-ID",
    "reference in common", "signed subject",
]  # fmt: skip
"""What says that a mail belongs to a case, the first of these that holds."""

OURS: tuple[Link, ...] = ("signed address", "answer to our mail")
"""What only who got a mail of ours can name."""


class Incoming(Value):
    """A mail as it came, before it was read, and why it came to this case.

    `key` is its identity, `conversation` what the cases of one conversation have in common. `link` says why it is of that
    conversation, None where it begins one; `related` is the case that it came of. `risk_so_far` is the highest risk that
    the conversation has had before it, `history` what was written in it last, so that a quotation of it is known for one,
    `notes` what was odd about its coming, `flood` says why its sender writes too much for a machine to answer, `reopened` who brought
    it back from a case that had ended, and why, and `at` when it came, in Unix seconds. `before` says that it had been taken in, or
    answered, before the cases were lost or put back. `form` is the address of the web form that sent it for the `sender`.
    """

    email_id: str
    sender: str
    key: str
    conversation: str
    raw: Blob
    at: float
    link: Link | None = None
    related: int | None = None
    risk_so_far: Risk = Risk.LOW
    history: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    flood: str | None = None
    before: Literal["", "taken", "answered"] = ""
    reopened: str | None = None
    form: str | None = None


class Report(Value):
    """What a machine said to a conversation: a bounce, an answer of somebody who is away. `key` and the rest are as in `Incoming`."""

    key: str
    conversation: str
    raw: Blob
    at: float
    link: Link
    sender: str
    subject: str
    automatic: Automatic
    bounce: Bounce | None = None


class Grounds(Value):
    """Why a mail was classified as it was: shown to the person who approves.

    `phrases` are the words of the mail that speak for it, `order_number` the one that the customer names. Where several
    were asked, `opinions` tell who said what; `model` is the one that drafts. `signs` call for a person, whatever is said.
    """

    language: Language
    phrases: tuple[str, ...] = ()
    order_number: str | None = None
    model: str = ""
    opinions: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()


class Item(Value):
    """A line of an order."""

    name: str
    quantity: int
    price: Decimal


class Order(Value):
    """An order as the shop holds it. `email` is the address it was placed with; amounts are in `currency`."""

    number: str
    email: str
    customer: str
    status: Literal["placed", "packed", "shipped", "delivered", "cancelled"]
    items: tuple[Item, ...]
    shipping: Decimal
    total: Decimal
    currency: str
    placed_on: date
    due_on: date | None = None
    shipped_on: date | None = None
    delivered_on: date | None = None
    carrier: str | None = None
    tracking: str | None = None


class NoOrder(Value):
    """The shop holds no such order for this customer. `asked` is the number that was looked for."""

    asked: str | None = None
    reason: Literal[
        "no order with this number",
        "the order is another customer's",
        "no order from this address",
        "the sender is not verified",
        "the sender has named too many numbers of others",
    ]


class Policy(Value):
    """What the desk may promise and do by itself, as the policy file says it.

    `refund_days` counts from the delivery; `refund_max` is the highest amount that a reply may name, in `currency`;
    `automatic` names the intents that may be answered without a person; `opening_hours` is a text per language.
    What a reply may hold beside the signature and the hours: `links_allowed` (hosts, with or without a path),
    `contacts_allowed` (addresses, telephone numbers), `discount_codes`, percentages up to `discount_percent_max`, and the
    promise of an answer within `answer_days`. `phrases_forbidden` are texts per language that no reply may hold.
    """

    version: str
    currency: str
    refund_days: int
    refund_max: Decimal
    shipping_refunded_when_late: bool
    automatic: tuple[Intent, ...]
    approved_tones: tuple[Tone, ...]
    apology_required: tuple[Intent, ...]
    opening_hours: dict[Language, str]
    signature: dict[Language, str]
    links_allowed: tuple[str, ...] = ()
    contacts_allowed: tuple[str, ...] = ()
    discount_codes: tuple[str, ...] = ()
    discount_percent_max: int = 0
    answer_days: int | None = None
    reply_characters_max: int = 4000  # two printed pages; a customer reads no more
    phrases_forbidden: dict[Language, tuple[str, ...]] = {}


class Reply(Value):
    """A proposed reply. `author` is a person's or a model's name; `template` names the reviewed one that it is, letter by letter.

    `promises` says of a template whether it promises what a person then has to do; what is no template may promise anything.
    """

    subject: str
    body: str
    language: Language
    tone: Tone
    author: str
    template: str | None = None
    promises: bool = False


class Verdict(Value):
    """What the checks say of a reply: nothing, or each violation."""

    violations: tuple[Violation, ...] = ()


class Approval(Value):
    """What a person decided on the reply that was shown. An edit puts a new draft before the desk again.

    `sha256` is that of the composed mail that was approved: no other one leaves.
    """

    decision: Literal["approve", "edit", "reject"]
    by: str
    note: str = ""
    sha256: str | None = None
    despite_violations: bool = False


class Sorting(Value):
    """What a person found a mail to be that is probably automatic; a customer's is then answered, and never without a person."""

    found: Literal["automatic", "a customer's"]
    by: str


class Addressing(Value):
    """Whom a reply goes to: one address, and those who get a copy. `problem` says why nobody can be written to yet, for a person."""

    to: str
    cc: tuple[str, ...] = ()
    problem: str = ""


class Letter(Value):
    """What stands in a mail of ours.

    `date` has a time zone, `message_id`, `in_reply_to` and `references` are without angle brackets, `automatic` says that
    no person has seen it.
    """

    message_id: str
    date: datetime
    sender: str
    sender_name: str = ""
    to: str
    subject: str
    body: str
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()
    automatic: bool = False
    reply_to: str | None = None
    cc: tuple[str, ...] = ()


class Outgoing(Letter):
    """A letter with its bytes: composed before anybody approves it, so that what is approved is what each attempt sends.

    `raw` is the whole mail, ASCII with CRLF line ends, `sha256` that of its bytes. `answers` are the keys of the mails that it
    answers: those of the case that no reply had answered when it was composed.
    """

    raw: str
    sha256: str
    answers: tuple[str, ...] = ()


class Sent(Value):
    """A reply that left: what stood in it, to whom it went, and which mails it answers, by their keys. `at` is in Unix seconds."""

    message_id: str
    at: float
    to: str
    subject: str
    body: str
    answers: tuple[str, ...]


class Allowance(Value):
    """Whether the desk may answer a mail by itself, as far as it has not done so too often; `why` not, for a person."""

    granted: bool
    why: str = ""


class FollowedUp(Value):
    """How the wait for a customer's answer ended: none came in time, or a person closed the case."""

    how: Literal["no answer", "closed"]
    by: str = ""


class Receipt(Value):
    """What the transport answered. `provider_message_id` is the name under which it can be asked for again."""

    provider_message_id: str
    transport: str
    detail: str = ""


class Case(State):
    """A mail on its way from the mailbox to the sent reply.

    The first fields come from outside: those of the first mail, all `mails` in their order, and `reports`. `sent` holds each reply
    that left, and nothing that comes later clears it. Each other field is None until its node, effect or person has written it.
    `mail` is the last one, `earlier` are those before it that no reply has answered, `answered` those that one has: the first two
    count for the intents, the risk, the trust and the reply. `intents` is all that they ask, what is for a person first.
    """

    email_id: str
    customer_id: str
    raw_message: Blob
    status: Literal["received"] = "received"
    mails: Log[Incoming] = Field(default_factory=list)
    reports: Log[Report] = Field(default_factory=list)
    sent: Log[Sent] = Field(default_factory=list)

    mail: Mail | None = None
    earlier: tuple[Mail, ...] | None = None
    sorting: Sorting | None = None
    answered: tuple[Mail, ...] | None = None
    intents: tuple[Intent, ...] | None = None
    risk: Risk | None = None
    grounds: Grounds | None = None
    order: Order | NoOrder | None = None
    trust: Trust | None = None
    policy: Policy | None = None
    reply: Reply | Unsafe[Reply] | None = None
    verdict: Verdict | None = None
    approval: Approval | None = None
    addressing: Addressing | None = None
    outgoing: Outgoing | None = None
    send_status: Literal["pending", "sent"] | None = None
    receipt: Receipt | None = None
    noted: bool | Failure | None = None
    allowance: Allowance | None = None
    followed_up: FollowedUp | None = None

    @property
    def is_returned(self) -> bool:
        """Whether the mail says that a reply of ours did not reach the customer."""
        if self.mail is None or self.mail.bounce is None or not self.mail.proved or self.is_reopened:
            return False
        return self.mail.bounce.action == "failed" and self.mails[-1].related is not None

    @property
    def is_reopened(self) -> bool:
        """Whether a person brought a mail of the case back from one that had ended."""
        return any(mail.reopened is not None for mail in self.mails)

    @property
    def is_automatic(self) -> bool:
        """Whether a machine surely sent every mail that waits for an answer."""
        return self._are_machines("proved")

    @property
    def seems_automatic(self) -> bool:
        """Whether a machine seems to have sent every mail that waits for an answer, and no person has looked yet."""
        return self.sorting is None and self._are_machines("automatic")

    @property
    def perhaps_automatic(self) -> bool:
        """Whether the newest mail has signs of a machine, although it goes a customer's way."""
        return self.mail is not None and (self.mail.automatic is not None or "looks-automatic" in self.mail.notes)

    def _are_machines(self, sign: Literal["proved", "automatic"]) -> bool:
        if self.mail is None or self.is_reopened or "mails-unread" in self.mail.notes:
            return False
        return all(getattr(mail, sign) for mail in (self.mail, *(self.earlier or ())))

    @property
    def has_come_back(self) -> bool:
        """Whether a machine has said that the reply which was sent did not reach the customer."""
        outgoing = self.outgoing
        return outgoing is not None and any(
            report.bounce is not None and report.bounce.action == "failed" and report.bounce.message_id == outgoing.message_id
            for report in self.reports
        )

    @property
    def is_doubtful(self) -> bool:
        """Whether not every word of the mails is surely read, and surely the customer's or surely older."""
        return any(not DOUBTS.isdisjoint(mail.notes) for mail in (self.mail, *(self.earlier or ())) if mail is not None)

    @property
    def is_renamed(self) -> bool:
        """Whether the provider has put an identifier of its own into the reply in place of ours."""
        return self.receipt is not None and self.outgoing is not None and self.receipt.provider_message_id != self.outgoing.message_id

    @property
    def goes_elsewhere(self) -> bool:
        """Whether the reply goes to anybody else than the sender of the newest mail."""
        return self.addressing is not None and self.addressing != Addressing(to=self.mails[-1].sender)

    @property
    def is_flooded(self) -> bool:
        """Whether the sender writes more than a person does, to the desk or in this case."""
        newest = self.mails[-1]
        return newest.flood is not None or sum(newest.at - mail.at < 3_600.0 for mail in self.mails) > CASE_MAILS_AN_HOUR

    @property
    def is_bounded(self) -> bool:
        """Whether the desk has answered by itself too often to do so again."""
        return self.allowance is not None and not self.allowance.granted

    @property
    def approved(self) -> bool:
        """Whether a person has approved these very bytes; a reply that breaks a rule only if they said so knowingly."""
        if self.approval is None or self.approval.decision != "approve" or self.outgoing is None:
            return False
        if self.approval.sha256 != self.outgoing.sha256:
            return False
        return self.approval.despite_violations or not (self.verdict is not None and self.verdict.violations)

    @property
    def is_written(self) -> bool:
        """Whether there is a reply, whatever the checks say of it; where no model has come to one, a person writes it."""
        return proposed(self.reply) is not None

    @property
    def is_marked(self) -> bool:
        """Whether the composed mail says that a machine sent it."""
        return self.outgoing is not None and self.outgoing.automatic

    @property
    def is_template(self) -> bool:
        """Whether the reply is a reviewed template; what a model or a person wrote is none."""
        reply = proposed(self.reply)
        return reply is not None and reply.template is not None

    @property
    def has_promise(self) -> bool:
        """Whether the reply promises what a person has to do, so that one must know of it."""
        reply = proposed(self.reply)
        return reply is not None and reply.promises

    @property
    def needs_judgement(self) -> bool:
        """Whether the mails ask something that only a person answers."""
        return not BY_HAND.isdisjoint(self.intents or ())

    @property
    def asks_several(self) -> bool:
        """Whether the mails ask more than one thing: no reviewed template answers that."""
        return len(self.intents or ()) > 1

    @property
    def is_allowed(self) -> bool:
        """Whether the policy lets the desk answer by itself all that the mails ask."""
        return isinstance(self.policy, Policy) and set(self.intents or (Intent.UNCLEAR,)) <= set(self.policy.automatic)

    @property
    def is_known(self) -> bool:
        """Whether the sender is surely the order's customer: only then may the order be spoken of."""
        return self.trust is not None and self.trust.may_know_the_order


def unanswered(mails: Sequence[Incoming], sent: Sequence[Sent]) -> tuple[Incoming, ...]:
    """Return the mails that none of the replies answers, in their order."""
    answered = {key for one in sent for key in one.answers}
    return tuple(mail for mail in mails if mail.key not in answered)


def sent_of(outgoing: Outgoing, at: float) -> Sent:
    """Return what is kept of a reply that left at `at`, in Unix seconds."""
    return Sent(
        message_id=outgoing.message_id, at=at, to=outgoing.to, subject=outgoing.subject, body=outgoing.body, answers=outgoing.answers
    )


def ranked(intents: Iterable[Intent]) -> tuple[Intent, ...]:
    """Return each intent once: what is for a person first, the riskiest of it before the rest, then the others as they came."""
    once = dict.fromkeys(intents)
    return (*(intent for intent in RISKIEST_FIRST if intent in once), *(intent for intent in once if intent not in BY_HAND))


def proposed(reply: Reply | Unsafe[Reply] | None) -> Reply | None:
    """The reply as it is proposed, whatever the checks say of it; None where no model has come to any."""
    return reply.value if isinstance(reply, Unsafe) else reply


CASE_MAILS_AN_HOUR = 10  # in one case; who has more to say than that is in a talk with a machine, or is one
# A court may be next; then money leaves; then a customer does. Labels, drafts and lists all follow this one order.
RISKY = (Intent.LEGAL, Intent.REFUND, Intent.COMPLAINT)
RISKIEST_FIRST = (*RISKY, Intent.UNCLEAR)
BY_HAND = frozenset(RISKIEST_FIRST)
"""What always waits for a person, whatever the policy file says."""

DOUBTS = frozenset(
    {
        "alternatives-differ",
        "attached-mail",
        "bad-base64",
        "bad-signed",
        "bad-structure",
        "charset-guessed",
        "content-type-truncated",
        "doubtful-lines",
        "encrypted",
        "external-body",
        "form-without-customer",
        "header-truncated",
        "hidden-text",
        "html-long",
        "invitation",
        "long-text",
        "mail-truncated",
        "mails-unread",
        "partial",
        "parts-capped",
        "smuggled-characters",
        "text-outside-parts",
        "text-truncated",
        "tnef",
        "took-too-long",
        "undecodable",
        "unknown-charset",
        "unreadable",
    }
)
"""The notes of a mail of which not every word is surely read, and surely its sender's: no machine answers it."""
