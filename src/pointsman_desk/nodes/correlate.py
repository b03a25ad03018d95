"""Find the conversation of a mail: try the signs from surest to weakest, then check that the sender may join it."""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, TypeVar

from pointsman import Engine, Status, format_count
from pointsman_desk.case import OURS, Case, Link, Risk
from pointsman_desk.mail.forms import Form
from pointsman_desk.mail.message import UNKNOWN_SENDER, Identity
from pointsman_desk.mail.sent_replies import SentReplies
from pointsman_desk.mail.signing import Claim, Signer, address_claims, id_claim, subject_claims
from pointsman_desk.mail.threads import Kind, Place, Threads, provider_name, shared

HOUR_SECONDS = 3_600.0
ENDED = frozenset({Status.DONE, Status.CANCELLED})
REPLIES_MAX = 3  # of a case, newest first: each quotes the one before
HISTORY_CHARACTERS_MAX = 20_000  # of each text; a reply quotes no more of a mail
_RISKS = tuple(Risk)  # lowest first

T = TypeVar("T")


class Belonging(NamedTuple):
    """The conversation of a mail, and the sign that led to it (None if the mail starts one).

    `case` is the case that the sign led to, and `is_open` whether it is open; the mail of an uninvolved sender starts a new
    conversation and still has them. `history` are the latest texts of that case: its sent replies and the mail that they answer.
    `machines_only` means that the sender is not part of the conversation; only a machine that answers our own mail may join.
    """

    conversation: str
    link: Link | None = None
    case: int | None = None
    is_open: bool = False
    risk: Risk = Risk.LOW
    history: tuple[str, ...] = ()
    machines_only: bool = False


class Conversations:
    """Finds cases by the identifiers in mails.

    It reads and writes files in the event loop: they are not flushed, so this takes less time than handing it to a thread. Tables that desks
    share are used in a thread.
    `own` is the desk's address; senders from a domain in `organisations` belong to the same customer. `flood` gives the number of mails
    of one sender within a number of seconds (at most an hour) that is more than a person writes. `forms` are the web forms that send
    mails for customers.
    """

    def __init__(
        self,
        engine: Engine,
        signer: Signer,
        threads: Threads,
        sent_replies: SentReplies,
        *,
        own: str,
        organisations: tuple[str, ...],
        forms: tuple[Form, ...] = (),
        flood: tuple[tuple[float, int], ...],
    ) -> None:
        self.engine = engine
        self.own = own
        self.threads = threads
        self.sent_replies = sent_replies
        self._signer = signer
        self.forms = forms
        self._flood = flood
        self._organisations = frozenset(organisations)

    async def belonging(self, identity: Identity) -> Belonging:
        """Return the conversation for the first sign that holds, whether or not the sender may join it."""
        own, signs = self.begun_by(identity), self._signs(identity)
        while (sign := await self.use(lambda: next(signs, None))) is not None:
            link, case, holds = sign
            row = await self.engine.reader.case(case)
            if row is None or row.correlation is None or not holds(row.correlation):
                continue
            state = await self.engine.state(case, Case)
            stranger = not self._may_join(identity, state)
            if stranger and not (link == "our own mail" or (identity.by_machine and link in OURS)):
                return Belonging(own, case=case)
            risk = max(state.risk or Risk.LOW, *(mail.risk_so_far for mail in state.mails), key=_RISKS.index)
            return Belonging(row.correlation, link, case, row.status not in ENDED, risk, _history(state), stranger)
        return Belonging(own)

    def begun_by(self, identity: Identity) -> str:
        """Return the conversation that a mail starts."""
        return hashlib.sha256(identity.key.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    async def use(self, call: Callable[[], T]) -> T:
        """Call something that uses the files, or in a thread, if it uses tables that desks share."""
        return call() if self.threads.shared is None else await asyncio.to_thread(call)

    async def known(self, key: str) -> Place | None:
        """Return the place of the mail with this identity, if the index has it; if not, the engine may still know it."""
        place = await self.use(lambda: self.threads.find("key", key))
        row = await self.engine.reader.case(place.case) if place is not None else None
        return place if place is not None and row is not None and row.correlation == place.conversation else None

    def noticed(self, identity: Identity, now: float) -> tuple[bool, str | None, Literal["", "taken", "answered"]]:
        """Return what is peculiar about an unknown mail: whether its Message-ID was used before, its `flood`, and what was `before`."""
        return self.threads.reused(identity.email_id, identity.key), self.flood(identity, now), self.before(identity)

    def before(self, identity: Identity) -> Literal["", "taken", "answered"]:
        """Return whether an unknown mail had been answered or taken in before the cases were lost or restored."""
        if self.sent_replies.earlier_reply(identity.key) is not None:
            return "answered"
        if self.threads.find("key", identity.key) is not None or self.sent_replies.has_copy(identity.email_id, identity.sender):
            return "taken"
        return ""

    def flood(self, identity: Identity, now: float) -> str | None:
        """Return a sentence if the sender has written more mails than a person does, counting this one; otherwise None."""
        if identity.sender == UNKNOWN_SENDER:
            return None
        times = self.threads.arrived(identity.sender, identity.key, now, now - HOUR_SECONDS)
        for seconds, most in self._flood:
            if (came := sum(now - at < seconds for at in times)) > most:
                return f"the sender wrote {format_count(came, 'mail')} within {seconds / 60:.0f} min"
        return None

    def add(self, identity: Identity, place: Place, earlier: int | None) -> None:
        """Index this mail, so that answers and related mails find its case; `earlier` is the case that it followed from."""
        names: list[tuple[Kind, str]] = [("key", identity.key), ("mail", identity.email_id)]
        if identity.sender != UNKNOWN_SENDER and not identity.by_machine:
            names += [("reference", shared(identity.sender, reference)) for reference in identity.answers]
        self.threads.add(place, names, identity.key)
        self.sent_replies.record_case(*place)
        if earlier is not None and earlier != place.case:
            self.threads.follows(earlier, place)

    def _signs(self, identity: Identity) -> Iterator[tuple[Link, int, Callable[[str], bool]]]:
        """Yield each sign, the case that it names, and a check of the conversation."""
        answers = dict.fromkeys(filter(None, (identity.reported, *identity.answers)))
        if (claimed := id_claim(identity.email_id)) is not None:
            yield "our own mail", claimed.case, self._made(claimed)
        for claim in address_claims(identity.recipients):
            yield "signed address", claim.case, self._made(claim)
        for message_id in answers:
            if (claimed := id_claim(message_id)) is not None:
                yield "answer to our mail", claimed.case, self._made(claimed)
            elif (place := self.threads.find("ours", provider_name(message_id))) is not None:
                yield "answer to our mail", place.case, place.conversation.__eq__
        for message_id in answers:
            if (place := self.threads.find("mail", message_id)) is not None:
                yield "answer to a mail of the conversation", place.case, place.conversation.__eq__
        if (place := self.threads.find("mail", identity.email_id)) is not None:
            yield "same Message-ID", place.case, place.conversation.__eq__
        for message_id in (identity.email_id, *answers):
            if (place := self.threads.find("reference", shared(identity.sender, message_id))) is not None:
                yield "shared reference", place.case, place.conversation.__eq__
        for claim in subject_claims(identity.subject):
            yield "signed subject", claim.case, self._made(claim)

    def _made(self, claim: Claim) -> Callable[[str], bool]:
        return lambda conversation: self._signer.made(claim, conversation)

    def _may_join(self, identity: Identity, state: Case) -> bool:
        """Return whether the sender takes part in the conversation."""
        participants = {state.customer_id, *(mail.sender for mail in state.mails)} - {UNKNOWN_SENDER}
        domain = identity.sender.rpartition("@")[2]
        colleagues = domain in self._organisations and any(one.rpartition("@")[2] == domain for one in participants)
        return identity.sender in participants or colleagues


def _history(state: Case) -> tuple[str, ...]:
    """Return what an answering customer quotes: the sent replies, newest first, and the mail that they answer."""
    replies = [one.body for one in reversed(state.sent)][:REPLIES_MAX]
    answered = [state.mail.said] if replies and state.mail is not None else []
    return tuple(text[:HISTORY_CHARACTERS_MAX] for text in (*replies, *answered))
