"""Deliver messages (S10), inside the transaction of the caller."""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection

from pointsman.kernel.rows import Address, MessageStatus, Post, Transition
from pointsman.store.base import Posted, erased_key
from pointsman.store.postgres.connections import TryAgain, rows_of
from pointsman.store.postgres.delivery import deliver, insert
from pointsman.store.postgres.writes import Writing, correlation_key


async def post_message(
    connection: AsyncConnection[Any], writing: Writing, post: Post, start: Transition | None, released: int | None, *, full: bool
) -> Posted | None:  # fmt: skip
    """Deliver a message to its case, or to the case that `start` creates; else keep it for a later case. See the contract."""
    sql, to = writing.sql, post.to
    if to.correlation is not None:
        await rows_of(connection, sql["lock_correlation"], {"key": correlation_key(to.process, to.tenant, to.correlation)})
    if released is not None and not await rows_of(connection, sql["held_message"], {"id": released}):
        return Posted(None, MessageStatus.PASSED, duplicate=True)
    if post.key is not None and (known := await _known(connection, writing, post, released)) is not None:
        return known
    found = None if post.while_open == "new_case" else to.case or await _open_case(connection, sql, to)
    if found is not None and released is None:
        return await deliver(connection, sql, post, found)
    status = MessageStatus.HELD if found is not None else MessageStatus.UNMATCHED
    if found is None and start is not None:
        if full:
            return None
        [number] = await writing.apply(connection, [start])
        if isinstance(number, Exception):
            raise number
        found, status = number, MessageStatus.TAKEN
    if released is not None:
        await rows_of(connection, sql["release_message"], {"id": released, "case": found, "status": status})
    elif await insert(connection, sql, post, found, status) is None:
        raise TryAgain(f"the message {post.key!r} was sent twice at once")  # the second sender looks again
    return Posted(found, status, started=status is MessageStatus.TAKEN)


async def _known(connection: AsyncConnection[Any], writing: Writing, post: Post, released: int | None) -> Posted | None:
    """What became of an earlier message with this key, or None if there was none."""
    to = post.to
    asked = {"process": to.process, "tenant": to.tenant, "name": post.name, "key": post.key}
    rows = await rows_of(connection, writing.sql["message_by_key"], asked)
    if rows and released is None:
        return Posted(rows[0][0], MessageStatus(rows[0][1]), duplicate=True)
    digest = erased_key(writing.incarnation, to.process, post.name, post.key or "")
    erased = await rows_of(connection, writing.sql["erased_key"], {**asked, "digest": digest})
    return Posted(erased[0][0], MessageStatus.TAKEN, duplicate=True) if erased else None


async def _open_case(connection: AsyncConnection[Any], sql: Mapping[str, str], to: Address) -> int | None:
    if to.correlation is None:
        return None
    asked = {"process": to.process, "tenant": to.tenant, "correlation": to.correlation}
    rows = await rows_of(connection, sql["open_case_by_correlation"], asked)
    return rows[0][0] if rows else None
