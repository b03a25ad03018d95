"""The state of a case: its fields, and the types of their values."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pointsman import Blob, Failure, Log, Searchable, Signed, State, Unsafe, Violation

INSTRUCTION_MAX = 1_000  # characters; longer than this, a person writes the reply


class Value(BaseModel):
    """The base class of values in fields: frozen, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Intent(StrEnum):
    """What the customer wants. A mail that fits no other intent is `unclear`."""

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
    """How well the sender of a mail is proved, from weakest to strongest.

    `none`: only From names the sender. `aligned`: our mail server confirmed that the sender's domain sent the mail. `bound`: aligned,
    and the order was placed with this address. `proved`: the sender gave stronger proof, such as a signed link.
    """

    NONE = "none"
    ALIGNED = "aligned"
    BOUND = "bound"
    PROVED = "proved"

    @property
    def may_know_the_order(self) -> bool:
        """Whether a reply to this sender may contain data of the order."""
        return self in (Trust.BOUND, Trust.PROVED)


class Language(StrEnum):
    """The languages of the reviewed templates (ISO 639-1)."""

    ENGLISH = "en"
    GERMAN = "de"
    FRENCH = "fr"
    SPANISH = "es"


class Tone(StrEnum):
    """The tone of a reply."""

    WARM = "warm"
    NEUTRAL = "neutral"
    FORMAL = "formal"


class Authentication(Value):
    """What trusted parties found out about the origin of a mail: whether From is `aligned`, and `why`, for a person.

    A program that hands in mails with a trustworthy result of its own, such as a signed one, passes its own Authentication.
    """

    aligned: bool = False
    why: str = "the setting authserv is not set, so no server's result counts"


class Attachment(Value):
    """An attachment, described but never opened. `size` is in bytes."""

    name: str
    media_type: str
    size: int
    sha256: str


class Bounce(Value):
    """What a report says about a mail that this desk sent. A field without a value is empty.

    `action` is the worst result for one of the `recipients` ("complained": a recipient reported spam). `status` is an enhanced status
    code such as "5.1.1" (RFC 3463). `message_id` is the Message-ID of the reported mail, without angle brackets. `diagnostic` is the
    message of the server that refused the mail.
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
"""What the bytes of a mail show about the machine that sent it (mail/automatic.py)."""


class Mail(Value):
    """A parsed mail, which can be rebuilt from the raw bytes at any time.

    `text` is what the customer wrote now, `quoted` is proved to be older text, and `doubtful` looks like older text or a signature
    without proof; each line of the mail is in one of the three. `automatic` says why a machine seems to have sent the mail (None for a
    person), `evidence` what its bytes show of that, `proved` whether it is certain. `bounce` is its report about a mail of ours. `cc`
    are the other recipients. `notes` name the peculiarities of the bytes, `authentication` what is known about the sender.
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
        """All text that the customer may have written. It decides intent and risk, and the reply answers it."""
        return "\n\n".join(filter(None, (self.text, self.doubtful)))


Link = Literal[
    "our own mail", "signed address", "answer to our mail", "answer to a mail of the conversation", "same Message-ID",
    "shared reference", "signed subject",
]  # fmt: skip
"""Why a mail belongs to a case: the first of these that holds."""

OURS: tuple[Link, ...] = ("signed address", "answer to our mail")
"""The links that only a recipient of our mail can know."""


class Incoming(Value):
    """A received mail before it is read, and why it came to this case.

    `key` is its identity. Cases of one conversation share `conversation`. `link` says why the mail belongs to it (None if the mail
    starts it); `related` is the case that it followed from. `risk_so_far` is the highest earlier risk of the conversation, and
    `history` its latest texts, so that quotations of them are recognised. `notes` are peculiarities of its delivery. `flood` says why
    its sender writes too many mails for an automatic reply. `reopened` says who reopened an ended case with it, and why. `at` is when
    it came, in Unix seconds. `before` says whether it had been taken in or answered before the cases were lost or restored. `form` is
    the address of the web form that sent it for the `sender`.
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
    """What a machine reported to a conversation, such as a bounce or an out-of-office reply. The other fields are as in `Incoming`."""

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
    """Why a mail was classified as it was, shown to the person who approves.

    `phrases` are the words of the mail that support the intents, and `order_number` is the order that the customer names. If several
    models were asked, `opinions` tell which said what; `model` is the one that drafts. `signs` require a person, whatever the models
    say.
    """

    language: Language
    phrases: tuple[str, ...] = ()
    order_number: str | None = None
    model: str = ""
    opinions: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()


class Item(Value):
    """An item of an order."""

    name: str
    quantity: int
    price: Decimal


class Order(Value):
    """An order of the shop. `email` is the address that it was placed with; amounts are in `currency`."""

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
    """The shop has no such order for this customer. `asked` is the number that was looked up."""

    asked: str | None = None
    reason: Literal[
        "no order with this number",
        "the order is another customer's",
        "no order from this address",
        "the sender is not verified",
        "the sender has given too many order numbers of other customers",
    ]


class Policy(Value):
    """What the desk may promise and do without a person, from the policy file.

    `refund_days` counts from the delivery; `refund_max` is the highest amount that a reply may name, in `currency`; `automatic` lists
    the intents that need no approval; `opening_hours` has a text per language. Apart from the signature and the hours, a reply may
    contain `links_allowed` (hosts, with or without a path), `contacts_allowed` (addresses, telephone numbers), `discount_codes`,
    percentages up to `discount_percent_max`, and the promise of an answer within `answer_days`. `phrases_forbidden` are texts per
    language that no reply may contain.
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
    reply_characters_max: int = 4000  # two printed pages; customers do not read more
    phrases_forbidden: dict[Language, tuple[str, ...]] = {}

    def __hash__(self) -> int:
        return hash(self.version)  # its tables have no hash, and policies differ in their version


class Reply(Value):
    """A draft. `author` is the name of a person or model; `template` names the reviewed template that it equals exactly.

    For a template, `promises` says whether it promises work that a person must do. Any other text may promise anything.
    """

    subject: str
    body: str
    language: Language
    tone: Tone
    author: str
    template: str | None = None
    promises: bool = False


class Verdict(Value):
    """The result of the checks of a reply: its violations, if any."""

    violations: tuple[Violation, ...] = ()


class Approval(Value):
    """A person's decision on the reply that was shown. An edit brings a new draft before the desk, and so does "redraft", with an `Instruction`.

    `sha256` is the hash of the composed mail that was approved; only that mail is sent.
    """

    decision: Literal["approve", "edit", "redraft", "reject"]
    by: Signed[str]
    note: str = ""
    sha256: str | None = None
    despite_violations: bool = False


class Sorting(Value):
    """A person's decision on a probably automatic mail. A customer's mail is then answered, always with approval."""

    found: Literal["automatic", "a customer's"]
    by: Signed[str]


class Addressing(Value):
    """The recipients of a reply: one address, and the copies. `problem` says, for a person, why there is no valid recipient yet."""

    to: str
    cc: tuple[str, ...] = ()
    problem: str = ""


class Instruction(Value):
    """What a person (`by`) asks a new draft to be like.

    It counts for the mail with the Message-ID `about`, the newest one then. `draft` and `addressing` are what the person saw.
    """

    text: Annotated[str, Field(min_length=1, max_length=INSTRUCTION_MAX)]
    by: Signed[str]
    about: str
    draft: Reply | None = None
    addressing: Addressing | None = None


class Letter(Value):
    """The content of a mail of ours.

    `date` has a time zone; `message_id`, `in_reply_to` and `references` are without angle brackets; `automatic` says that no person has
    seen it.
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
    """A letter with its bytes. It is composed before approval, so that each attempt sends what was approved.

    `raw` is the whole mail, ASCII with CRLF line ends; `sha256` is the hash of its bytes. `answers` are the keys of the mails that it
    answers: those of the case without a reply when it was composed.
    """

    raw: str
    sha256: str
    answers: tuple[str, ...] = ()


class Sent(Value):
    """A sent reply: its content, its recipient, and the keys of the mails that it answers. `at` is in Unix seconds."""

    message_id: str
    at: float
    to: str
    subject: str
    body: str
    answers: tuple[str, ...]


class Allowance(Value):
    """Whether the desk may answer a mail without a person, given the limit of automatic replies; `why` not, for a person."""

    granted: bool
    why: str = ""


class FollowedUp(Value):
    """How the wait for a customer's answer ended: no answer came in time, or a person closed the case."""

    how: Literal["no answer", "closed"]
    by: Signed[str] = ""


class Receipt(Value):
    """The transport's answer. `provider_message_id` identifies the mail at the provider."""

    provider_message_id: str
    transport: str
    detail: str = ""


class Case(State):
    """A mail on its way from the mailbox to the sent reply.

    The first fields come from outside: the values of the first mail, all `mails` in order, and `reports`. `sent` holds each reply that
    was sent, and nothing clears it. Each other field is None until its node, effect or person has written it. `mail` is the newest
    mail, `earlier` the other unanswered ones, `answered` the answered ones: `mail` and `earlier` decide the intents, the risk, the
    trust and the reply. `intents` are all their intents, those that need a person first.
    """

    email_id: str
    customer_id: Searchable[str]
    raw_message: Blob
    status: Literal["received"] = "received"
    mails: Log[Incoming] = Field(default_factory=list)
    reports: Log[Report] = Field(default_factory=list)
    sent: Log[Sent] = Field(default_factory=list)

    mail: Searchable[Mail | None] = None
    earlier: tuple[Mail, ...] | None = None
    sorting: Sorting | None = None
    answered: tuple[Mail, ...] | None = None
    intents: tuple[Intent, ...] | None = None
    risk: Risk | None = None
    grounds: Grounds | None = None
    order: Searchable[Order | NoOrder | None] = None
    trust: Trust | None = None
    policy: Policy | None = None
    instructions: Log[Instruction] = Field(default_factory=list)
    reply: Reply | Unsafe[Reply] | None = None
    verdict: Verdict | None = None
    approval: Approval | None = None
    second: Approval | None = None
    addressing: Addressing | None = None
    outgoing: Outgoing | None = None
    send_status: Literal["pending", "sent"] | None = None
    receipt: Receipt | None = None
    noted: bool | Failure | None = None
    allowance: Allowance | None = None
    followed_up: FollowedUp | None = None

    @property
    def is_returned(self) -> bool:
        """Whether the mail reports that a reply of ours bounced."""
        if self.mail is None or self.mail.bounce is None or not self.mail.proved or self.is_reopened:
            return False
        return self.mail.bounce.action == "failed" and self.mails[-1].related is not None

    @property
    def is_reopened(self) -> bool:
        """Whether a person reopened an ended case with one of the mails."""
        return any(mail.reopened is not None for mail in self.mails)

    @property
    def is_automatic(self) -> bool:
        """Whether a machine certainly sent every unanswered mail."""
        return self._are_machines("proved")

    @property
    def seems_automatic(self) -> bool:
        """Whether a machine seems to have sent every unanswered mail, and no person has decided yet."""
        return self.sorting is None and self._are_machines("automatic")

    @property
    def perhaps_automatic(self) -> bool:
        """Whether the newest mail has signs of a machine but is treated as a customer's."""
        return self.mail is not None and (self.mail.automatic is not None or "looks-automatic" in self.mail.notes)

    def _are_machines(self, sign: Literal["proved", "automatic"]) -> bool:
        if self.mail is None or not getattr(self.mail, sign) or self.is_reopened or "mails-unread" in self.mail.notes:
            return False
        return all(getattr(mail, sign) for mail in self.earlier or ())

    @property
    def has_come_back(self) -> bool:
        """Whether a report says that the sent reply bounced."""
        outgoing = self.outgoing
        return outgoing is not None and any(
            report.bounce is not None and report.bounce.action == "failed" and report.bounce.message_id == outgoing.message_id
            for report in self.reports
        )

    @property
    def is_doubtful(self) -> bool:
        """Whether part of the mails may be misread, or may not be the customer's."""
        return any(not DOUBTS.isdisjoint(mail.notes) for mail in (self.mail, *(self.earlier or ())) if mail is not None)

    @property
    def is_renamed(self) -> bool:
        """Whether the provider replaced our Message-ID with its own."""
        return self.receipt is not None and self.outgoing is not None and self.receipt.provider_message_id != self.outgoing.message_id

    @property
    def goes_elsewhere(self) -> bool:
        """Whether the reply goes to anybody other than the sender of the newest mail."""
        return self.addressing is not None and self.addressing != Addressing(to=self.mails[-1].sender)

    @property
    def is_flooded(self) -> bool:
        """Whether the sender writes more mails than a person does, to the desk or in this case."""
        newest = self.mails[-1]
        return newest.flood is not None or sum(newest.at - mail.at < 3_600.0 for mail in self.mails) > CASE_MAILS_AN_HOUR

    @property
    def is_bounded(self) -> bool:
        """Whether the limit of automatic replies is reached."""
        return self.allowance is not None and not self.allowance.granted

    @property
    def approved(self) -> bool:
        """Whether a person approved exactly these bytes; for a reply that breaks a rule, whether they approved it despite that."""
        if self.approval is None or self.approval.decision != "approve" or self.outgoing is None:
            return False
        if self.approval.sha256 != self.outgoing.sha256:
            return False
        return self.approval.despite_violations or not (self.verdict is not None and self.verdict.violations)

    @property
    def is_countersigned(self) -> bool:
        """Whether a second, different person approved the same bytes."""
        first, second = self.approval, self.second
        if first is None or second is None or self.outgoing is None or second.decision != "approve":
            return False
        return second.by != first.by and second.sha256 == first.sha256 == self.outgoing.sha256

    @property
    def is_written(self) -> bool:
        """Whether there is a reply, with or without violations. If no model produced one, a person writes it."""
        return proposed(self.reply) is not None

    @property
    def is_marked(self) -> bool:
        """Whether the composed mail is marked as automatic."""
        return self.outgoing is not None and self.outgoing.automatic

    @property
    def is_template(self) -> bool:
        """Whether the reply is a reviewed template, unchanged."""
        reply = proposed(self.reply)
        return reply is not None and reply.template is not None

    @property
    def is_redrafted(self) -> bool:
        """Whether a person asked for a new draft, and said what to change."""
        return self.mail is not None and bool(instructions_about(self.mail, self.instructions))

    @property
    def has_promise(self) -> bool:
        """Whether the reply promises work that a person must do, so that a person must know about it."""
        reply = proposed(self.reply)
        return reply is not None and reply.promises

    @property
    def needs_judgement(self) -> bool:
        """Whether the mails have an intent that only a person may answer."""
        return not BY_HAND.isdisjoint(self.intents or ())

    @property
    def asks_several(self) -> bool:
        """Whether the mails have more than one intent, which no template answers."""
        return len(self.intents or ()) > 1

    @property
    def is_allowed(self) -> bool:
        """Whether the policy allows an automatic reply to all intents of the mails."""
        return isinstance(self.policy, Policy) and set(self.intents or (Intent.UNCLEAR,)) <= set(self.policy.automatic)

    @property
    def is_known(self) -> bool:
        """Whether the sender is proved to be the order's customer; only then may the reply contain data of the order."""
        return self.trust is not None and self.trust.may_know_the_order


def unanswered(mails: Sequence[Incoming], sent: Sequence[Sent]) -> tuple[Incoming, ...]:
    """Return the mails that no reply answers, in order."""
    answered = {key for one in sent for key in one.answers}
    return tuple(mail for mail in mails if mail.key not in answered)


def instructions_about(mail: Mail, instructions: Iterable[Instruction]) -> tuple[Instruction, ...]:
    """Return the instructions for the reply to this mail, in order. A newer mail voids those for earlier ones."""
    return tuple(one for one in instructions if one.about == mail.message_id)


def sent_of(outgoing: Outgoing, at: float) -> Sent:
    """Return the record of a reply that was sent at `at`, in Unix seconds."""
    return Sent(
        message_id=outgoing.message_id, at=at, to=outgoing.to, subject=outgoing.subject, body=outgoing.body, answers=outgoing.answers
    )


def ranked(intents: Iterable[Intent]) -> tuple[Intent, ...]:
    """Return each intent once: those that need a person first, riskiest first, then the others in their order."""
    once = dict.fromkeys(intents)
    return (*(intent for intent in RISKIEST_FIRST if intent in once), *(intent for intent in once if intent not in BY_HAND))


def proposed(reply: Reply | Unsafe[Reply] | None) -> Reply | None:
    """Return the draft, with or without violations; None if no model produced one."""
    return reply.value if isinstance(reply, Unsafe) else reply


CASE_MAILS_AN_HOUR = 10  # in one case; a person writes fewer
# Ordered by what is at stake: a lawsuit, money, a customer. Labels, drafts and lists use this order.
RISKY = (Intent.LEGAL, Intent.REFUND, Intent.COMPLAINT)
RISKIEST_FIRST = (*RISKY, Intent.UNCLEAR)
BY_HAND = frozenset(RISKIEST_FIRST)
"""The intents that always need a person, whatever the policy file says."""

DOUBTS = frozenset({
    "alternatives-differ", "attached-mail", "bad-base64", "bad-signed", "bad-structure", "charset-guessed", "content-type-truncated",
    "doubtful-lines", "encrypted", "external-body", "form-without-customer", "header-truncated", "hidden-text", "html-long", "invitation",
    "long-text", "mail-truncated", "mails-unread", "partial", "parts-capped", "smuggled-characters", "text-outside-parts", "text-truncated", "tnef",
    "took-too-long", "undecodable", "unknown-charset", "unreadable",
})  # fmt: skip
"""The notes of a mail that may be misread, or whose text may not be the sender's. It gets no automatic reply."""
