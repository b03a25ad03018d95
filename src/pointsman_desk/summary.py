"""A mail to the team about what waits: once a day, and when mails have waited so long that the desk reminds of them.

A summary is a case of a process of its own, so that it is sent once: its name, which is the day, is its start key and the idempotency key of its effect. It has
numbers of cases and reasons, and nothing that a customer wrote.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pointsman import (
    Busy,
    CaseQuery,
    Context,
    Delivery,
    Engine,
    Failure,
    Found,
    Idempotent,
    Order,
    Process,
    Reader,
    Reconcile,
    Retry,
    Safety,
    State,
    Status,
    finish,
    format_count,
    format_duration,
    otherwise,
    when,
)
from pointsman_desk.case import Letter, Outgoing, Receipt, Value
from pointsman_desk.config import DeskConfig, SummaryConfig
from pointsman_desk.errors import SummaryNotSent
from pointsman_desk.mail.compose import compose
from pointsman_desk.mail.transports.base import Transport
from pointsman_desk.places import cases_of
from pointsman_desk.standing import reasons
from pointsman_desk.steps import APPROVE, COUNTERSIGN, FOLLOW_UP, SORT, SUPPORT_MAIL

SUMMARY = "summary"
PARKED_MAX = 20  # named in a summary; the page has them all
PAGE_CASES = 1_000
GATHER_SECONDS = 600.0  # reminders of ten minutes make one mail; nobody acts on them by the minute
READING = Retry(attempts_max=8, first_seconds=1.0, factor=3.0, max_seconds=900.0)  # a locked or restarted database is back within the hour
SENDING = Retry(attempts_max=8, first_seconds=5.0, factor=3.0, max_seconds=900.0)  # as for a reply (greylisting, RFC 6647)
NOTHING = "nothing to say"
NOT_SENT = "not sent"

FOR: Mapping[str, str] = {
    APPROVE: "for a decision",
    COUNTERSIGN: "for a second approval",
    SORT: "to be sorted, because a machine may have sent them",
    FOLLOW_UP: "for the customer's answer",
}


class Group(Value):
    """Mails that wait at the same pause; `oldest` is since when, in Unix seconds."""

    pause: str
    mails: int
    oldest: float


class Parked(Value):
    """A parked case and the reason, in words that many cases share."""

    case: int
    why: str


class Waiting(Value):
    """What waits: mails, and parked cases, of which the last ones are named."""

    groups: tuple[Group, ...] = ()
    parked: tuple[Parked, ...] = ()
    parked_count: int = 0

    @property
    def mails(self) -> int:
        """The number of mails."""
        return sum(group.mails for group in self.groups)


class Summary(State):
    """A summary. Its `name` is the day, or says which reminders it gathers (`reminds`)."""

    name: str
    reminds: bool = False

    gathered: float | None = None
    waiting: Waiting | None = None
    outgoing: Outgoing | None = None
    receipt: Receipt | Failure | None = None


class Team:
    """How the team of a desk is reached, and what waits for it."""

    def __init__(self, config: DeskConfig, terms: SummaryConfig) -> None:
        self.config = config
        self.terms = terms

    async def waiting(self, now: float, *, reminds: bool) -> Waiting:
        """Return what waits `now`; if the desk `reminds`, the mails that have waited longer than it allows. Raises StoreError."""
        async with cases_of(self.config) as reader:
            longest = self._longest() if reminds else dict.fromkeys((APPROVE, COUNTERSIGN, SORT), 0.0)
            groups = [await _group(reader, pause, now - seconds) for pause, seconds in longest.items()]
            parked, count = ((), 0) if reminds else await _parked(reader)
        return Waiting(groups=tuple(group for group in groups if group.mails), parked=parked, parked_count=count)

    def _longest(self) -> dict[str, float]:
        """After how many seconds the desk reminds, by pause."""
        hours, days = self.config.approval.remind_hours, self.config.follow_up.remind_days
        decisions = {} if hours is None else dict.fromkeys((APPROVE, COUNTERSIGN), hours * 3_600.0)
        return decisions if days is None else decisions | {FOLLOW_UP: days * 86_400.0}


async def _group(reader: Reader, pause: str, before: float) -> Group:
    query = CaseQuery(process=SUPPORT_MAIL, pause=pause, waiting_before=before, order=Order.WAITING)
    mails, oldest, after = 0, before, ""
    while True:
        page = await reader.find(query, after=after, limit=PAGE_CASES)
        oldest = min([oldest, *(one.pause.opened_at for one in page.rows[:1] if one.pause is not None)])
        mails += len(page.rows)
        if page.cursor is None:
            return Group(pause=pause, mails=mails, oldest=oldest)
        after = page.cursor


async def _parked(reader: Reader) -> tuple[tuple[Parked, ...], int]:
    found = await reader.find(CaseQuery(process=SUPPORT_MAIL, status=Status.PARKED, order=Order.CHANGED), limit=PARKED_MAX)
    rows = [one.case for one in found.rows]
    entries = await reader.effects_of([row.id for row in rows])
    named = [Parked(case=row.id, why=reasons(row, [entry for entry in entries if entry.case == row.id])) for row in rows]
    count = sum(one.cases for one in await reader.count_places(process=SUPPORT_MAIL) if one.status is Status.PARKED)
    return tuple(named), max(count, len(named))


def summary_process(safety: Safety, *, send_seconds: float) -> Process[Summary]:
    """Return the process of the summaries. `safety` is the transport's policy for a send that a crash interrupted.

    A transport that recognises no repetition never sends a summary again: the next one says what still waits.
    """
    process = Process(SUMMARY, Summary)
    gather = process.sleep(writes="gathered", seconds=GATHER_SECONDS)
    look_ = process.node(look, writes="waiting", retry=READING)
    write_ = process.node(write, writes="outgoing", inline=True)
    once = safety if isinstance(safety, Idempotent) else Reconcile(count_as_sent, propagation_seconds=0.0)
    send_ = process.effect(
        send, writes="receipt", key=lambda name: name, safety=once, retry=SENDING, timeout_seconds=send_seconds, on_failure="record"
    )
    process.rules(
        when("more reminders may follow", lambda c: c.reminds and c.gathered is None, gather),
        when("nobody has looked", lambda c: c.waiting is None, look_),
        when("nothing waits", lambda c: c.waiting == Waiting(), finish(NOTHING)),
        when("it is not written", lambda c: c.outgoing is None, write_),
        when("it is not sent", lambda c: c.receipt is None, send_),
        when("it could not be sent", lambda c: isinstance(c.receipt, Failure), finish(NOT_SENT)),
        otherwise(finish("sent")),
    )
    return process


async def look(reminds: bool, *, team: Team, ctx: Context) -> Waiting:
    """Return what waits for the team."""
    return await team.waiting(ctx.now, reminds=reminds)


def write(name: str, reminds: bool, waiting: Waiting, *, team: Team, ctx: Context) -> Outgoing:
    """Compose every byte of the mail."""
    config, terms = team.config, team.terms
    named = hashlib.sha256(f"{ctx.incarnation}/{ctx.case}/{name}".encode()).hexdigest()[:32]
    letter = Letter(
        message_id=f"summary-{named}@{config.address.rpartition('@')[2]}",
        date=datetime.fromtimestamp(int(ctx.now), UTC),
        sender=config.address,
        sender_name=config.name,
        to=terms.to[0],
        cc=terms.to[1:],
        subject=_subject(waiting, reminds=reminds),
        body="\n".join([*_lines(waiting, terms, ctx.now, reminds=reminds), ""]),
        automatic=True,
    )
    raw = compose(letter, submitted="auto-generated")
    return Outgoing(**dict(letter), raw=raw.decode("ascii"), sha256=hashlib.sha256(raw).hexdigest())


def _subject(waiting: Waiting, *, reminds: bool) -> str:
    counted, one = format_count(waiting.mails, "mail"), waiting.mails == 1
    if reminds:
        return f"Mail desk: {counted} {'has' if one else 'have'} waited long"
    mails = f"{counted} {'waits' if one else 'wait'}"
    parked = f"{format_count(waiting.parked_count, 'case')} {'is' if waiting.parked_count == 1 else 'are'} parked"
    return f"Mail desk: {', '.join([*([mails] if waiting.mails else []), *([parked] if waiting.parked_count else [])])}"


def _lines(waiting: Waiting, terms: SummaryConfig, now: float, *, reminds: bool) -> Iterator[str]:
    page = terms.pages.rstrip("/")
    if waiting.groups:
        yield "These mails have waited long:" if reminds else "These mails wait:"
        for group in waiting.groups:
            at = datetime.fromtimestamp(group.oldest, ZoneInfo(terms.zone))
            yield f"- {group.mails:,} {FOR[group.pause]}, the oldest since {at:%Y-%m-%d %H:%M} ({format_duration(now - group.oldest)})"
        yield ""
    if waiting.parked_count:
        yield "These cases are parked, and stand still until somebody acts:"
        yield from (f"- case {one.case}: {one.why} - {page}/cases/{one.case}" for one in waiting.parked)
        if more := waiting.parked_count - len(waiting.parked):
            yield f"- and {more:,} more"
        yield ""
    yield f"The work list: {page}/"
    yield ""
    yield "The mail desk sent this by itself. Do not answer it: the desk would take your answer for a customer's mail."


async def send(outgoing: Outgoing, *, transport: Transport, ctx: Context) -> Receipt:
    """Send the mail."""
    return await transport.deliver(outgoing.raw.encode("ascii"), sender=outgoing.sender, to=outgoing.to, cc=outgoing.cc, key=ctx.key)


async def count_as_sent(outgoing: Outgoing, *, transport: Transport) -> Found:
    """Settle a summary of which nobody knows whether it was sent."""
    detail = "nobody knows whether it arrived; the next summary says what still waits"
    return Found(Receipt(provider_message_id=outgoing.message_id, transport=transport.name, detail=detail))


def due(terms: SummaryConfig, now: float) -> str | None:
    """Return the day whose summary is due `now` (Unix seconds), or None before its time of day."""
    here = datetime.fromtimestamp(now, ZoneInfo(terms.zone))
    return here.date().isoformat() if here.time() >= terms.at else None


class Summaries:
    """The summaries of a desk, and a subscriber that starts one when the desk reminds of mails; the reminders of ten minutes share one.

    `process` and `resources` are for the engine that runs them; `use` it once it is open. A day on which no desk runs has no summary.
    """

    name = "summary"

    def __init__(self, config: DeskConfig, terms: SummaryConfig, safety: Safety) -> None:
        self.process = summary_process(safety, send_seconds=config.send_seconds)
        self.resources: Mapping[str, object] = {"team": Team(config, terms)}
        self._terms = terms
        self._engine: asyncio.Future[Engine] = asyncio.get_running_loop().create_future()
        self._begun = ""

    def use(self, engine: Engine) -> None:
        """Start the summaries in this engine."""
        self._engine.set_result(engine)

    async def begin(self) -> None:
        """Start today's summary if it is due and has not been started. While the intake is paused, nothing is started. Raises StoreError."""
        engine = await self._engine
        day = due(self._terms, engine.clock.now())
        if day is None or day == self._begun:
            return
        with suppress(Busy):
            await engine.start(self.process, Summary(name=day), key=day)
            self._begun = day

    async def deliver(self, delivery: Delivery) -> None:
        """Start a summary for the reminders among these events. Raises Busy, StoreError."""
        engine = await self._engine
        reminded = [event for event in delivery.events if event.kind == "reminded"]
        rows = await delivery.reader.cases_of({event.case for event in reminded}) if reminded else []
        mails = {row.id for row in rows if row.process == SUPPORT_MAIL}
        for event in reminded:
            if event.case in mails:
                since = datetime.fromtimestamp(event.at // GATHER_SECONDS * GATHER_SECONDS, UTC)
                name = f"reminders {since:%Y-%m-%d %H:%M} UTC"
                await engine.start(self.process, Summary(name=name, reminds=True), key=name)


async def check_last(config: DeskConfig) -> None:
    """Raise SummaryNotSent if the last summary could not be sent. Raises StoreError."""
    async with cases_of(config) as reader:
        for found in (await reader.find(CaseQuery(process=SUMMARY, order=Order.NEWEST), limit=1)).rows:
            if found.case.outcome == NOT_SENT:
                fields = await reader.fields_of([found.case.id], ["name", "receipt"])
                name, receipt = (json.loads(field.text) for field in fields[found.case.id])
                raise SummaryNotSent(
                    f"the summary of {name} was not sent ({receipt['message'].rstrip('.')}); correct [summary], or what sends mails."
                )


def summaries_of(config: DeskConfig, safety: Safety) -> Summaries | None:
    """Return the summaries of a desk, if its settings name who gets them."""
    return None if config.summary is None else Summaries(config, config.summary, safety)
