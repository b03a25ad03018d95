"""How a PostgreSQL database stands."""

from pointsman.store.health import EngineHealth, StoreHealth
from pointsman.store.postgres import schema
from pointsman.store.postgres.connections import Connections, place_of
from pointsman.store.postgres.timeline import why_closed
from pointsman.store.statements import migrations

SETTINGS = ("fsync", "full_page_writes", "synchronous_commit", "isolation")


async def health_of(url: str) -> StoreHealth:
    """Look at a database as an engine would that opens it. Changes nothing. Raises StoreError with the fix, also for an unfit server."""
    connections = Connections(place_of(url))
    try:
        await connections.open()
        await schema.check(connections)
        server = dict(await connections.rows(connections.sql["look_at_server"]))
        settings = {name: server[name] for name in SETTINGS}
        missing, newest = await schema.missing(connections), migrations("postgres")[-1][0]
        if missing:
            return StoreHealth("PostgreSQL", server["shown"], missing[0] - 1, newest, settings, 0, 0, None, None, 0.0, ())
        [(now, highest, size)] = await connections.rows(connections.sql["look_at_health"])
        engines = [
            EngineHealth(f"engine {name}", until, alive) for name, until, alive in await connections.rows(connections.sql["list_engines"])
        ]
        closed = await why_closed(connections)
        return StoreHealth("PostgreSQL", server["shown"], newest, newest, settings, size, 0, None, now, highest, tuple(engines), closed)
    finally:
        await connections.close()
