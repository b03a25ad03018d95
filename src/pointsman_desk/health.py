"""Look whether everything that the desk needs is there, and change nothing."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from pointsman import PointsmanError, open_reader
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import DeskError
from pointsman_desk.mail.sources.bookmark import Bookmark
from pointsman_desk.mail.threads import Threads
from pointsman_desk.shop.policy import PolicyFile
from pointsman_desk.shop.sqlite import SqliteOrders
from pointsman_desk.wiring import check, models_of, recognise, source_of


class Finding(NamedTuple):
    """What was looked at, and what is wrong with it; None where it is well."""

    what: str
    problem: str | None


def findings(config: DeskConfig, now: float) -> Iterator[Finding]:
    """Look at each thing that the desk needs; `now` is in Unix seconds."""
    yield Finding("folder", None if _writable(config) else f"{config.home} cannot be written; make it writable, or name another `home`.")
    if config.database.exists():
        yield _looked("cases", lambda: _open_and_close(config.database))
    yield _looked("what left", lambda: recognise(config))
    if config.threads_file.exists():
        yield _looked("index", lambda: Threads(config.threads_file).close())
    yield _looked("policy", PolicyFile(config.policy_file).current)
    yield _looked("shop", SqliteOrders(config.shop_file).check)
    yield _looked("models", lambda: models_of(config))
    yield _looked("way out", lambda: check(config, "sending"))
    if (mailbox := config.mailbox) is not None:
        yield _looked("mailbox", lambda: source_of(mailbox))
    for account in config.mailboxes:
        bookmark = Bookmark.read(config.bookmark_of(account), account.place)
        late = bookmark.health(now, account.poll_seconds) == "late"
        problem = bookmark.error or (
            f"nobody has looked into {account.name} for long; start `pointsman-desk run --watch`." if late else None
        )
        yield Finding(f"mailbox {account.name}", problem)


def _open_and_close(database: Path) -> None:
    with open_reader(database):
        pass


def _looked(what: str, look: Callable[[], object]) -> Finding:
    try:
        look()
    except (DeskError, PointsmanError, OSError) as error:
        return Finding(what, str(error))
    return Finding(what, None)


def _writable(config: DeskConfig) -> bool:
    return not config.home.exists() or os.access(config.home, os.W_OK | os.X_OK)
