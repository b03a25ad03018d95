"""Handles of a PostgreSQL database for what a store keeps."""

import asyncio
from collections.abc import Awaitable, Callable

from pointsman.store.postgres import schema
from pointsman.store.postgres.connections import Connections, place_of
from pointsman.store.postgres.keeping import PostgresKeeping


class Handle(PostgresKeeping):
    """One engine's handle, for what the store keeps."""

    def __init__(self, url: str) -> None:
        self.connections = Connections(place_of(url))
        self.incarnation = "x"


def run(url: str, scenario: Callable[[list[Handle]], Awaitable[None]], count: int) -> None:
    """Run a scenario on some handles of one database."""

    async def whole() -> None:
        opened = [Handle(url) for _ in range(count)]
        try:
            for handle in opened:
                await handle.connections.open()
            await schema.prepare(opened[0].connections)
            await scenario(opened)
        finally:
            for handle in opened:
                await handle.connections.close()

    asyncio.run(whole())
