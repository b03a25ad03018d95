"""Notice a database that may have gone back in time: it was restored from a backup, or a standby that lagged became the server.

PostgreSQL begins a new timeline when it is promoted, and when it is restored to a moment. A copy in another cluster has another identifier.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection, errors

from pointsman.errors import StoreError
from pointsman.store.postgres.connections import Connections, Place, rows_of

TIMELINE = "timeline"  # the name in the table `meta`
DOUBTED = "doubted"  # in place of a timeline: an engine misses commits that the database had confirmed
_UNKNOWN = (errors.InsufficientPrivilege, errors.FeatureNotSupported, errors.UndefinedFunction, errors.ObjectNotInPrerequisiteState)


async def recognise(connections: Connections, *, confirmed: bool) -> None:
    """Note the server's timeline. Raises StoreError if it is another one than that of the tables, and this is not `confirmed`."""
    async with connections.connection() as connection:
        now = connections.timeline = await timeline_of(connection, connections)
    async with connections.transaction() as connection:
        known = dict(await rows_of(connection, connections.sql["all_meta"])).get(TIMELINE)
        if known is None or confirmed or (known != now and _trusted(connections.place, known, now)):
            await rows_of(connection, connections.sql["set_meta"], {"name": TIMELINE, "value": now})
        elif why := _doubt(known, now):
            raise went_back(connections.place, why)


async def why_closed(connections: Connections) -> str:
    """Why no engine may open the database until an operator has confirmed it, with the fix; empty if one may. Changes nothing."""
    async with connections.connection() as connection:
        now = await timeline_of(connection, connections)
        known = dict(await rows_of(connection, connections.sql["all_meta"])).get(TIMELINE)
    why = "" if known is None or _trusted(connections.place, known, now) else _doubt(known, now)
    return str(went_back(connections.place, why)) if why else ""


async def check_still(connection: AsyncConnection[Any], connections: Connections, batch: Mapping[str, int]) -> None:
    """Check on a new connection that the server is still on its timeline, and has what an engine has committed before this batch.

    Raises StoreError otherwise; then no engine opens the database until an operator has confirmed it.
    """
    timeline, now, why = connections.timeline, await timeline_of(connection, connections), ""
    if now != timeline and not _trusted(connections.place, timeline, now):
        why = f"its timeline is {now or 'unknown'}, and was {timeline or 'unknown'}"
    for (last,) in await rows_of(connection, connections.sql["look_at_batch"], batch):
        if last < batch["number"] - 1:
            why = f"it had confirmed commit {batch['number'] - 1} of this engine, and has {last}"
    if why:
        await rows_of(connection, connections.sql["set_meta"], {"name": TIMELINE, "value": DOUBTED})
        raise went_back(connections.place, why)


async def timeline_of(connection: AsyncConnection[Any], connections: Connections) -> str:
    """The server's cluster and timeline, or "" if this role or this server does not say it."""
    try:
        [(timeline,)] = await rows_of(connection, connections.sql["look_at_timeline"])
    except _UNKNOWN:
        return ""
    return str(timeline)


def went_back(place: Place, why: str) -> StoreError:
    """The error that tells an operator what to do."""
    return StoreError(
        f"{place.shown} may have gone back in time ({why}), so it may not know effects that have been called, and nothing is called;"
        " find out what happened since, and then run `pointsman migrate URL --confirm-history`."
    )


def _doubt(known: str, now: str) -> str:
    if known == DOUBTED:
        return "an engine misses commits that it had confirmed"
    return "" if now in {known, ""} else f"its timeline is {now}, and its cases were last changed on {known}"


def _trusted(place: Place, known: str, now: str) -> bool:
    """Whether the operator has said that nothing is lost when this cluster changes its server."""
    return place.lossless and known.partition("/")[0] == now.partition("/")[0]
