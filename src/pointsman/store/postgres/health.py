"""How a PostgreSQL database stands."""

from pointsman.store.health import EngineHealth, Room, Server, StoreHealth, Tables, Times
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
        found = dict(await connections.rows(connections.sql["look_at_server"]))
        server = Server("PostgreSQL", found["shown"], {name: found[name] for name in SETTINGS})
        missing, newest = await schema.missing(connections), migrations("postgres")[-1][0]
        if missing:
            return StoreHealth(server, Tables(missing[0] - 1, newest))
        [(now, highest, size)] = await connections.rows(connections.sql["look_at_health"])
        engines = [EngineHealth(f"engine {name}", *lease) for name, *lease in await connections.rows(connections.sql["list_engines"])]
        closed = await why_closed(connections)
        return StoreHealth(server, Tables(newest, newest), Room(size), Times(now, highest), tuple(engines), closed)
    finally:
        await connections.close()
