"""Put messages into the inboxes of cases, inside the transaction of the caller."""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection

from pointsman.kernel.rows import MessageStatus, Post
from pointsman.store.base import Posted
from pointsman.store.postgres.connections import rows_of


async def deliver(connection: AsyncConnection[Any], sql: Mapping[str, str], post: Post, case: int | None) -> Posted:
    """Put a message into a case's inbox and wake the case, or hold it until the case has ended."""
    status = MessageStatus.HELD if post.while_open == "hold" else MessageStatus.PENDING
    message = await insert(connection, sql, post, case, status)
    if message is None:
        return Posted(case, status, duplicate=True)
    if status is MessageStatus.PENDING:
        wake = {"case": case, "urgent": post.while_open == "supersede", "at": post.at}
        if not await rows_of(connection, sql["wake_for_message"], wake):
            status = MessageStatus.PASSED  # the case has ended
            await rows_of(connection, sql["take_message"], {"status": status, "id": message})
    return Posted(case, status)


async def insert(
    connection: AsyncConnection[Any], sql: Mapping[str, str], post: Post, case: int | None, status: MessageStatus
) -> int | None:
    """Store a message and return its number, or None if one with its key is known."""
    to = post.to
    values = {
        "process": to.process, "tenant": to.tenant, "name": post.name, "key": post.key, "correlation": to.correlation, "case": case,
        "status": status, "body": post.body, "at": post.at,
    }  # fmt: skip
    rows = await rows_of(connection, sql["insert_message"], values)
    return rows[0][0] if rows else None
