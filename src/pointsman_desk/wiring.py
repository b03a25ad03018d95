"""Build the desk from its parts. The only module that knows every other one; the end-to-end tests use it too."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, product
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from pointsman import (
    AtMostOnce,
    Budget,
    Clock,
    DefinitionError,
    Engine,
    Idempotent,
    Limit,
    ModelResponse,
    NotSent,
    Process,
    Reconcile,
    Safety,
    Started,
    SystemClock,
)
from pointsman.models import Message, Model, OpenAICompatible, Price, PydanticAI, Task
from pointsman_desk.case import Case
from pointsman_desk.commands import Needs
from pointsman_desk.config import SAMPLE, DeskConfig, ModelConfig
from pointsman_desk.errors import AnotherDesk, ConfigInvalid, DeskError, FileUnusable
from pointsman_desk.folder import is_new, look_for_cases, was_here
from pointsman_desk.mail.compose import Letterhead
from pointsman_desk.mail.message import identify
from pointsman_desk.mail.sent_replies import SentReplies, cases_lost, missing_from
from pointsman_desk.mail.signing import Signer
from pointsman_desk.mail.sources.base import Found, Source
from pointsman_desk.mail.sources.claim import claim, give_up, outbox_mark
from pointsman_desk.mail.sources.mailbox import Mailbox
from pointsman_desk.mail.sources.maildir import open_folder
from pointsman_desk.mail.sources.mbox import MboxSource
from pointsman_desk.mail.sources.turns import LEASE_SECONDS, Turn
from pointsman_desk.mail.threads import Threads
from pointsman_desk.mail.transports.archive import copies
from pointsman_desk.mail.transports.base import Transport
from pointsman_desk.mail.transports.maildir import MaildirOutbox
from pointsman_desk.mail.transports.resend import KEY_TTL_SECONDS, ResendTransport
from pointsman_desk.mail.transports.smtp import SmtpTransport
from pointsman_desk.models.offline import OfflineModel
from pointsman_desk.nodes.bounds import Bounds
from pointsman_desk.nodes.correlate import Conversations
from pointsman_desk.nodes.send import look_up
from pointsman_desk.places import cases_of, sent_replies_of, signing_secret_of, tables_for, tables_of, threads_of
from pointsman_desk.process import FollowUp, Lead, support_mail
from pointsman_desk.shop.guesses import Guesses
from pointsman_desk.shop.policy import PolicyFile
from pointsman_desk.shop.sqlite import SqliteOrders, create_sample_shop
from pointsman_desk.summary import Summaries, summaries_of

if TYPE_CHECKING:  # it needs psycopg
    from pointsman_desk.shared import SharedTables

ASKED_AT_ONCE = 8  # the smallest account of a hosted model takes as many; the other calls wait for a permit

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Desk:
    """An open desk. `stays_open` says whether it goes on after a command, so that the command need not wait for what follows.

    `turn` is its turn at the folder or mbox file, if desks share it. `summaries` are the mails to its team, if it sends any.
    """

    engine: Engine
    process: Process[Case]
    config: DeskConfig
    models: tuple[Model, ...]
    transport: str
    safety: Safety
    conversations: Conversations
    clock: Clock
    turn: Turn | None = None
    stays_open: bool = False
    summaries: Summaries | None = None

    def mails(self) -> Iterator[Found]:
        """Yield the mails of the folder or mbox file, if one is configured. Raises MailboxMissing, at any mail."""
        if self.config.mailbox is not None:
            yield from source_of(self.config.mailbox).mails()

    async def may_read(self) -> bool:
        """Return whether this desk, and not another one, reads the folder or mbox file now. Raises IndexUnavailable."""
        return self.turn is None or await self.turn.take()


def source_of(mailbox: Path) -> Source:
    """Return the source for an mbox file, a maildir or a folder of .eml files. Raises MailboxMissing."""
    return MboxSource(mailbox) if mailbox.is_file() else open_folder(mailbox)


def prepare(config: DeskConfig) -> None:
    """Create the desk's folder, with the sample policy and the sample shop unless others are configured.

    Raises FileUnusable, or ShopUnavailable if the sample shop cannot be written.
    """
    try:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)  # it contains what customers wrote
        begins = not was_here(config)  # later, a missing file was the shop's own, so the sample must not replace it
        if begins and config.policy is None and not config.policy_file.exists():
            _copy_whole(SAMPLE / "policy.toml", config.policy_file)
    except OSError as error:
        raise FileUnusable(f"the desk's folder {config.home} cannot be written ({error.strerror}); set another one with `home`.") from None
    if begins and config.shop is None:
        create_sample_shop(config.shop_file)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy a file completely or not at all, because half a policy would look like the shop's own. Raises OSError."""
    written = target.with_name(f"{target.name}.new")
    try:
        shutil.copyfile(source, written)
        written.replace(target)
    finally:
        written.unlink(missing_ok=True)


def check(config: DeskConfig, needs: Needs = "everything") -> None:
    """Raise ConfigInvalid, PolicyInvalid or ShopUnavailable if something that the work needs is missing."""
    if needs == "nothing":
        return
    way_out = config.smtp or config.resend
    missing = {name: variable for name, variable in (way_out.variables if way_out else {}).items() if not os.environ.get(variable)}
    if missing:
        names = ", ".join(f"{name} names {variable}" for name, variable in missing.items())
        raise ConfigInvalid(f"{names}, which is not set in the environment; set it, then try again.")
    if needs == "everything":
        PolicyFile(config.policy_file).current()
        SqliteOrders(config.shop_file).check()


async def _recognised(config: DeskConfig, tables: "SharedTables | None", chance: Random) -> SentReplies:
    """Open the record of sent replies after checking that the cases match it. Raises CasesLost, and what `SentReplies` raises."""
    if tables is None and not _holds_something(config.sent_file) and was_here(config):
        raise cases_lost(f"{config.sent_file}, the record of sent replies, is missing or empty", config.cases_shown)
    sent_replies = sent_replies_of(config, tables, chance)
    try:
        if sent_replies.cases is not None:
            await _compare(sent_replies, config)
    except BaseException:
        sent_replies.close()
        raise
    return sent_replies


async def _compare(sent_replies: SentReplies, config: DeskConfig) -> None:
    newest = sent_replies.newest(config.concurrency)  # read first: a case commits a reply before this file records it
    if config.database is None and not config.cases_file.is_file():
        raise cases_lost("it is missing", config.cases_shown)
    async with cases_of(config) as reader:
        if reader.incarnation != sent_replies.cases:
            raise cases_lost("it is another database", config.cases_shown)
        if (missing := await missing_from(reader, *newest)) is not None:
            raise cases_lost(missing, config.cases_shown)


def identity_of(config: DeskConfig) -> str | None:
    """Return the name of this desk at its mailbox, which desks on one database share; None for a new desk. Raises IndexUnavailable, FileUnusable."""
    if is_new(config) if config.database is not None else not _holds_something(config.sent_file):
        return None
    with tables_for(config) as tables, closing(sent_replies_of(config, tables, SystemRandom())) as sent_replies:
        return str(sent_replies.identity)


def recognise(config: DeskConfig) -> None:
    """Raise CasesLost if the cases are not the ones that this desk has used. Does nothing for a new desk."""
    if not is_new(config) if config.database is not None else config.sent_file.exists() or was_here(config):
        with tables_for(config) as tables:
            asyncio.run(_recognised(config, tables, SystemRandom())).close()


def _holds_something(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0  # SQLite treats an emptied file as a new one


def after_restore(config: DeskConfig) -> None:
    """Accept that the cases were lost or restored, and start again with the cases that exist.

    The record of sent replies is kept, and extended by the copies of replies in the outbox and the archive, so that no mail is answered
    twice. The mailboxes are read again from the beginning. After a crash in between, the desk refuses to work until this is called
    again.
    Raises FileUnusable, MailboxMissing, MailboxUnreachable, MailboxRefused, OSError.
    """
    prepare(config)
    archive = config.smtp.archive_mailbox if config.smtp is not None else None
    places = [place for place in (config.outbox if config.outbox.exists() else None, archive) if place is not None]
    with tables_for(config) as tables, closing(sent_replies_of(config, tables, SystemRandom())) as sent_replies:
        for copy in chain.from_iterable(copies(place) for place in places):
            reply = identify(copy)
            if reply.sender == config.address.lower():
                for email_id, to in product(reply.answers[:1], reply.recipients):
                    sent_replies.record_copy(email_id, to)
        if tables is not None:
            tables.begin_anew()
        for account in config.mailboxes:
            config.bookmark_of(account).unlink(missing_ok=True)
        if config.mailbox is not None and config.mailbox.is_dir():
            give_up(config.mailbox)
        sent_replies.forget_cases()


def mailboxes_of(
    config: DeskConfig, report: Callable[[str], None], *, clock: Clock | None = None, random: Random | None = None
) -> list[Mailbox]:
    """Return the mailboxes on mail servers, not opened yet. `report` is called with each problem; `clock` and `random` are for tests.

    Raises what `prepare` raises.
    """
    prepare(config)
    clock, random = clock or SystemClock(), random or SystemRandom()
    return [
        Mailbox(
            account, turn_of(config, account.place, clock, random) or config.bookmark_of(account), clock=clock, random=random, report=report
        )
        for account in config.mailboxes
    ]


def turn_of(config: DeskConfig, mailbox: str, clock: Clock, random: Random, *, seconds: float = LEASE_SECONDS) -> Turn | None:
    """Return this desk's turn at a mailbox that desks share; None if it is the desk's alone."""
    if config.database is None:
        return None

    def tables() -> "SharedTables":
        opened = tables_of(config)
        assert opened is not None, "desks share the tables of a database"
        return opened

    return Turn(tables, mailbox, random.randbytes(16).hex(), clock, seconds=seconds)


@asynccontextmanager
async def serving(config: DeskConfig, hand_over: Callable[[Sequence[Found]], Awaitable[Sequence[Started | None]]]) -> AsyncIterator[None]:
    """Take mails by HTTP while the block runs, if `http` is configured. Raises ConfigInvalid, DeskError."""
    if config.http is None:
        yield
        return
    from pointsman_desk.mail.sources import http  # noqa: PLC0415 - needs an extra

    async with http.served(http.intake(hand_over, config.http.secret, SystemClock()), config.http.host, config.http.port):
        yield


def transport_of(config: DeskConfig) -> tuple[Transport, Safety]:
    """Return the transport, and its safety policy for an interrupted send.

    The maildir recognises a repeated reply by its key, and so does Resend for a day. SMTP cannot (RFC 1047): a copy in the archive
    proves that the mail was sent; without one, a person must find out.
    """
    if config.resend is not None:
        return ResendTransport(config.resend), Idempotent(key_ttl_seconds=KEY_TTL_SECONDS)
    if config.smtp is None:
        return MaildirOutbox(config.outbox), Idempotent()
    if config.smtp.archive_mailbox is None:
        return SmtpTransport(config.smtp), AtMostOnce()
    return SmtpTransport(config.smtp), Reconcile(look_up, propagation_seconds=config.smtp.propagation_seconds)


def process_of(config: DeskConfig, *, models: int | None = None, safety: Safety | None = None) -> Process[Case]:
    """Return the process for this configuration. `models` counts the rules and templates; the default is the configured number."""
    count = len(config.models) + 1 if models is None else models
    limit = Limit("models", concurrency=ASKED_AT_ONCE) if count > 1 else None
    budget = Budget(**dict(config.budget))
    # If a server delays each reply by minutes, half of the slots remain for other cases.
    send_limit = Limit("sending", concurrency=max(1, config.concurrency // 2)) if config.smtp or config.resend else None
    return support_mail(
        safety or transport_of(config)[1], models=count, limit=limit, budget=budget, follow_up=_follow_up(config),
        send_seconds=config.send_seconds, send_limit=send_limit, four_eyes=frozenset(config.approval.four_eyes),
        lead=_lead(config), reminds=None if config.approval.remind_hours is None else timedelta(hours=config.approval.remind_hours),
    )  # fmt: skip


def _lead(config: DeskConfig) -> Lead | None:
    terms = config.approval
    return None if terms.lead is None else Lead(terms.lead, timedelta(hours=terms.lead_hours))


def _follow_up(config: DeskConfig) -> FollowUp | None:
    wait, remind = config.follow_up.wait_days, config.follow_up.remind_days
    return FollowUp(timedelta(days=wait), timedelta(days=remind) if remind else None) if wait else None


def models_of(config: DeskConfig, *, stand_ins: bool = False) -> tuple[Model, ...]:
    """Return the language models in order; none if the desk works offline.

    Raises ConfigInvalid with every problem. With `stand_ins`, a model that cannot be built is replaced by one whose calls fail as
    temporary.
    """
    models: list[Model] = []
    problems = []
    for number, asked in enumerate(config.models):
        try:
            models.append(_language_model(asked))
        except DefinitionError as error:
            models.append(_Absent(asked.model, str(error)))
            problems.append(f"models.{number}: {error}")
    if problems and not stand_ins:
        raise ConfigInvalid(" ".join(problems))
    return tuple(models)


def models_named(config: DeskConfig) -> str:
    """Return the names of the models in order, as one text."""
    return ", then ".join(model.name for model in (*models_of(config, stand_ins=True), OfflineModel()))


class _Absent:
    """A model that cannot be asked here. Its cases are retried, as when a model is busy."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[T]) -> ModelResponse[T]:  # noqa: ARG002 - of the protocol
        raise NotSent(self._why)


def _language_model(asked: ModelConfig) -> Model:
    price = Price(asked.price.input, asked.price.output) if asked.price else Price(0, 0)
    if asked.kind == "pydantic-ai":
        return PydanticAI(asked.model, price=price, timeout_seconds=asked.timeout_seconds, max_tokens=asked.max_tokens)
    settings: dict[str, Any] = {"base_url": asked.base_url} if asked.base_url else {}
    if asked.reasoning:  # a reasoning model takes no temperature, and its reasoning counts as output
        settings |= {"temperature": None, "max_tokens": None, "extra": {"max_completion_tokens": asked.max_tokens} | asked.extra}
    else:
        settings |= {"max_tokens": asked.max_tokens, "extra": asked.extra}
    return OpenAICompatible(
        asked.model,
        api_key_env=asked.api_key_env,
        timeout_seconds=asked.timeout_seconds,
        price=price,
        json_mode=asked.json_mode,
        **settings,
    )


def _conversations(config: DeskConfig, engine: Engine, kept: "_Kept") -> Conversations:
    limits = config.limits
    flood = ((60.0, limits.mails_minute), (300.0, limits.mails_five_minutes), (3_600.0, limits.mails_hour))
    organisations = config.conversations.organisations
    return Conversations(
        engine,
        kept.signer,
        kept.threads,
        kept.sent_replies,
        own=config.address,
        organisations=organisations,
        flood=flood,
        forms=config.web_forms,
    )


@asynccontextmanager
async def open_desk(
    config: DeskConfig,
    *,
    needs: Needs = "everything",
    transport: Transport | None = None,
    safety: Safety | None = None,
    models: Sequence[Model] | None = None,
    lease_seconds: float = LEASE_SECONDS,
    **engine_settings: Any,
) -> AsyncIterator[Desk]:
    """Open the desk. `transport`, `safety`, `models`, `lease_seconds` and the engine's settings are for tests and other front ends.

    The rules and templates are the last model, after the configured ones. What a desk that has died was doing waits `lease_seconds` for another
    desk on the same database. Raises what `check` raises for `needs`, and NoCases or CasesLost if there is nothing to decide, before any mail is
    taken in.
    """
    if needs != "everything":
        look_for_cases(config)
    prepare(config)
    check(config, needs)
    configured, its_safety = transport_of(config)
    asked = (*(models_of(config, stand_ins=needs != "everything") if models is None else models), OfflineModel())
    process = process_of(config, models=len(asked), safety=safety or its_safety)
    settings: dict[str, Any] = {"concurrency": config.concurrency, "clock": SystemClock()}
    settings |= {"grace_seconds": config.send_seconds}
    stays_open = config.database is not None and needs == "nothing"
    if stays_open:
        settings["concurrency"] = 0  # other desks go on with the cases: they have what that needs
    elif config.database is not None:
        settings["lease_seconds"] = lease_seconds
    settings |= engine_settings
    processes: list[Process[Any]] = [process]
    resources: dict[str, Any] = {"models": asked, "transport": transport or configured}
    if (summaries := summaries_of(config, safety or its_safety)) is not None:
        processes.append(summaries.process)
        resources |= summaries.resources
        settings["subscribers"] = [*settings.get("subscribers", ()), *([summaries] if needs == "everything" else [])]
    async with _kept(config, needs, SystemRandom()) as kept:  # closed after the engine: its last sends may write to them
        settings["resources"] = kept.resources | resources
        async with Engine.open(config.cases, processes, **settings) as engine:
            if summaries is not None:
                summaries.use(engine)
            kept.sent_replies.record_cases(engine.reader.incarnation)
            conversations = _conversations(config, engine, kept)
            used = (transport or configured).name
            turn = turn_of(config, f"folder {config.mailbox}", settings["clock"], SystemRandom(), seconds=lease_seconds)
            try:
                yield Desk(
                    engine,
                    process,
                    config,
                    asked,
                    used,
                    safety or its_safety,
                    conversations,
                    settings["clock"],
                    turn,
                    stays_open,
                    summaries,
                )
            finally:
                await _left(turn)


async def _left(turn: Turn | None) -> None:
    if turn is not None:
        with suppress(DeskError):  # then it ends by itself
            await turn.leave()


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a desk keeps beside its cases, and the resources of its process, without the models and the transport."""

    signer: Signer
    threads: Threads
    sent_replies: SentReplies
    resources: dict[str, Any]


@asynccontextmanager
async def _kept(config: DeskConfig, needs: Needs, chance: Random) -> AsyncIterator[_Kept]:
    """Open what a desk keeps beside its cases, for the time of a block."""
    with ExitStack() as stack:
        tables = stack.enter_context(tables_for(config))
        sent_replies = stack.enter_context(closing(await _recognised(config, tables, chance)))
        if needs == "everything" and config.mailbox not in {None, SAMPLE / "mails"} and config.mailbox.is_dir():
            claim(config.mailbox, sent_replies.identity, config.home)
        if tables is not None and config.smtp is None and config.resend is None:
            _refuse_another_outbox(config, tables, chance)
        signer = Signer(signing_secret_of(config, tables, chance))
        threads, guesses = (
            stack.enter_context(closing(threads_of(config, tables))),
            stack.enter_context(closing(Guesses(tables or config.guesses_file))),
        )
        if needs == "everything":
            guesses.check()
        talk, limits = config.conversations, config.limits
        resources = {
            "chance": chance,
            "orders": SqliteOrders(config.shop_file),
            "guesses": guesses,
            "policies": PolicyFile(config.policy_file),
            "letterhead": Letterhead(config.address, config.name, config.quotes, talk.signs_addresses, talk.signs_subjects),
            "signer": signer,
            "bounds": Bounds(limits.machine_case_hour, limits.machine_address_day, "" if tables is None else tables.schema),
            "threads": threads,
            "sent_replies": sent_replies,
            "authserv": config.exchanger,
        }
        yield _Kept(signer, threads, sent_replies, resources)


def _refuse_another_outbox(config: DeskConfig, tables: "SharedTables", chance: Random) -> None:
    """Raise AnotherDesk for an outbox that the other desks on the database do not have."""
    mark = outbox_mark(config.outbox, chance)
    if tables.fact("outbox", mark) != mark:
        raise AnotherDesk(
            f"{config.outbox} is not the outbox of the other desks on {tables.shown}, and a reply that is sent again would be in both; "
            "give all of them one `home` on a shared disk, or send by [smtp] or [resend]. If that outbox was lost, use "
            "`pointsman-desk run --after-restore`."
        )
