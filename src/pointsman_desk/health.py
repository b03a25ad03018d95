"""Check what the desk needs, without changing anything."""

import asyncio
import os
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pointsman import Gap, PointsmanError, format_count, migrate_url
from pointsman_desk.config import SAMPLE, DeskConfig
from pointsman_desk.errors import DeskError, PolicyInvalid, Undelivered, message_of
from pointsman_desk.folder import is_new
from pointsman_desk.mail.signing import secret_in
from pointsman_desk.mail.sources.claim import refuse_another
from pointsman_desk.mail.threads import Threads
from pointsman_desk.places import bookmark_of, cases_of, tables_for
from pointsman_desk.shop.guesses import Guesses
from pointsman_desk.shop.policy import PolicyFile
from pointsman_desk.shop.sqlite import SqliteOrders
from pointsman_desk.subscribing import check_telemetry, webhooks_of
from pointsman_desk.summary import check_last
from pointsman_desk.wiring import check, identity_of, models_of, recognise, source_of

FREE_MIN = 50_000_000  # bytes: the largest mail, its copy in the write-ahead log, and a reply


class Finding(NamedTuple):
    """What was checked, and its problem (None for no problem); `state` is shown if there is no problem."""

    what: str
    problem: str | None
    state: str = "ok"

    @property
    def level(self) -> str:
        """`ok`, or `fail` if there is a problem."""
        return "ok" if self.problem is None else "fail"


def findings(config: DeskConfig, now: float) -> Iterator[Finding]:
    """Check everything that the desk needs; `now` is in Unix seconds."""
    yield Finding("folder", None if _writable(config) else f"{config.home} cannot be written; make it writable or set another `home`.")
    yield Finding("disk", _full(config))
    if config.database is not None:
        url = config.database
        database = _looked("database", lambda: _check_database(config, url))
        yield database
        if database.problem is not None:
            return  # all that follows would say the same
    new = is_new(config)
    if new:
        yield Finding("cases", None, "none yet; the first `pointsman-desk run` creates them")
    if config.cases_file.exists() if config.database is None else not new:
        yield _looked("cases", lambda: asyncio.run(_open_and_close(config)))
    yield from _files(config)
    yield _looked("replies sent", lambda: recognise(config))
    if config.database is None:
        yield from _beside_the_cases(config)
    if new and config.policy is None:
        yield Finding("policy", None, "the first run copies the sample policy")
    else:
        yield _looked("policy", lambda: _check_policy(config))
    if new and config.shop is None:
        yield Finding("shop", None, "the first run creates the sample shop")
    else:
        yield _looked("shop", SqliteOrders(config.shop_file).check)
    yield _looked("models", lambda: models_of(config))
    yield _looked("sending", lambda: check(config, "sending"))
    if config.summary is not None and not new:
        yield _looked("summary", lambda: asyncio.run(check_last(config)))
    if config.telemetry is not None:
        yield _looked("telemetry", lambda: check_telemetry(config))
    if config.webhooks is not None:
        yield _looked("webhooks", lambda: _check_webhooks(config, new=new))
    if (mailbox := config.mailbox) is not None:
        yield _looked("mailbox", lambda: _mailbox(config, mailbox))
    with tables_for(config, create=False) as tables:
        bookmarks = [(account, bookmark_of(config, tables, account)) for account in config.mailboxes]
    for account, bookmark in bookmarks:
        late = bookmark.health(now, account.poll_seconds) == "late"
        problem = bookmark.error or (
            f"{account.name} has not been checked for a long time; start `pointsman-desk serve`." if late else None
        )
        yield Finding(f"mailbox {account.name}", problem)


def _check_database(config: DeskConfig, url: str) -> None:
    """Check that the server can be used, and that the desk's role may create the tables that are missing."""
    with tables_for(config, create=False) as tables:
        if tables is not None:
            tables.check()
    asyncio.run(migrate_url(url, dry_run=True))


def _beside_the_cases(config: DeskConfig) -> Iterator[Finding]:
    """Check the files that a desk without a database keeps."""
    if config.threads_file.exists():
        yield _looked("index", lambda: Threads(config.threads_file).close())
    if config.guesses_file.exists():
        yield _looked("guesses", lambda: _check_guesses(config.guesses_file))
    if config.secret_file.exists():
        yield _looked("secret", lambda: secret_in(config.secret_file))


def _files(config: DeskConfig) -> Iterator[Finding]:
    """Check that the desk can write its files; a run as root, for example, leaves files that it cannot write."""
    lock = config.cases_file.with_name(config.cases_file.name + ".lock")
    if lock.exists() and not (lock.is_file() and os.access(lock, os.R_OK | os.W_OK)):
        yield Finding("lock", f"{lock} is not a writable file; make it writable, or delete it while no desk is running.")
    if config.smtp is None and config.resend is None:
        folders = [
            folder
            for folder in (config.outbox, *(config.outbox / name for name in ("tmp", "new", "cur")))
            if folder.exists() or folder.is_symlink()
        ]
        wrong = next((folder for folder in folders if not (folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK))), None)
        problem = f"{wrong} is not a writable folder; make it one, so that replies can be written to it." if wrong is not None else None
        yield Finding("outbox", problem)


def _mailbox(config: DeskConfig, mailbox: Path) -> None:
    source_of(mailbox)
    if mailbox.is_dir():
        refuse_another(mailbox, identity_of(config))


def _check_policy(config: DeskConfig) -> None:
    PolicyFile(config.policy_file).current()
    if config.address != DeskConfig().address and config.policy_file.read_bytes() == (SAMPLE / "policy.toml").read_bytes():
        raise PolicyInvalid(f"{config.policy_file} is the sample policy; write your own signature and opening hours into it.")


def _check_guesses(file: Path) -> None:
    with closing(Guesses(file)) as guesses:
        guesses.check()


def _check_webhooks(config: DeskConfig, *, new: bool) -> None:
    webhooks_of(config)
    gaps = [] if new else asyncio.run(_gaps(config))
    if gaps:
        last = gaps[-1]
        raise Undelivered(
            f"{last.subscriber} has given up {format_count(sum(gap.messages for gap in gaps), 'message')} ({last.why.removesuffix('.')}); mend the"
            f" receiver, and send them again with `pointsman-desk redeliver {shlex.quote(last.subscriber)}`."
        )


async def _gaps(config: DeskConfig) -> list[Gap]:
    async with cases_of(config) as reader:
        return await reader.gaps()


async def _open_and_close(config: DeskConfig) -> None:
    async with cases_of(config):
        pass


def _looked(what: str, look: Callable[[], object]) -> Finding:
    try:
        look()
    except (DeskError, PointsmanError, OSError) as error:
        return Finding(what, message_of(error))
    return Finding(what, None)


def _full(config: DeskConfig) -> str | None:
    place = config.home if config.home.exists() else next(parent for parent in config.home.absolute().parents if parent.exists())
    free = shutil.disk_usage(place).free
    return f"only {free // 1_000_000} MB are free on the disk of {place}; free some space for new mails." if free < FREE_MIN else None


def _writable(config: DeskConfig) -> bool:
    return not config.home.exists() or os.access(config.home, os.W_OK | os.X_OK)
