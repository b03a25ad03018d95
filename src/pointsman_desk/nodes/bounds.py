"""Limit automatic replies, so that a mail loop or a flood ends."""

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pointsman import Context, Database, Log
from pointsman_desk.case import Allowance, Incoming
from pointsman_desk.statements import transaction

HOUR_SECONDS, DAY_SECONDS = 3_600.0, 86_400.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits of automatic replies: per hour for a case, and per day to an address.

    `schema` has the table, if desks share it, and `file`, if the cases are in no database.
    """

    case_hour: int = 1
    address_day: int = 3
    schema: str = ""
    file: Path | None = None

    def sql(self, name: str) -> str:
        """Return a statement about the replies."""
        text = _sql(name)
        return text.replace("desk_machine_sent", f"{self.schema}.machine_sent") if self.schema else text


def allow(mails: Log[Incoming], *, bounds: Bounds, db: Database, ctx: Context) -> Allowance:
    """Return whether the newest mail may get an automatic reply, and count the reply in the same commit."""
    newest = mails[-1]
    address, this = _hash(newest.sender), (ctx.case, _hash(newest.key))
    if bounds.schema:
        db.execute(bounds.sql("lock"), (address,))
    else:
        db.execute(bounds.sql("table"))
        db.execute(bounds.sql("index"))
    db.execute(bounds.sql("forget"), (ctx.now - DAY_SECONDS,))  # for every address, so that no row stays for ever
    others = [(case, at) for case, mail, at in db.execute(bounds.sql("to"), (address,)) if (case, mail) != this]
    here = sum(case == ctx.case and ctx.now - at < HOUR_SECONDS for case, at in others)
    if here >= bounds.case_hour:
        return Allowance(granted=False, why=f"automatic replies in this case within an hour: {here}")
    if len(others) >= bounds.address_day:
        return Allowance(granted=False, why=f"automatic replies to this address within a day: {len(others)}")
    db.execute(bounds.sql("add"), (address, *this, ctx.now))
    return Allowance(granted=True)


def allow_beside(mails: Log[Incoming], *, bounds: Bounds, ctx: Context) -> Allowance:
    """Return what `allow` does, for a case that is in no database. A call that is repeated counts its reply once."""
    if bounds.file is None:
        raise ValueError("the process counts beside its cases, and `bounds` names no file; give the resource as Bounds(file=...).")
    with closing(sqlite3.connect(bounds.file, isolation_level=None)) as connection, transaction(connection):
        return allow(mails, bounds=bounds, db=_File(connection), ctx=ctx)


class _File:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


@cache
def _sql(name: str) -> str:
    return (resources.files(__package__) / "sql" / f"machine_sent_{name}.sql").read_text(encoding="utf-8")
