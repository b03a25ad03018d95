"""What a store says of itself to whoever looks after it."""

from collections.abc import Mapping
from typing import NamedTuple


class Server(NamedTuple):
    """The database: its kind, its version, and the settings that decide whether a commit can be lost. A `mirror` has copies of cases on Restate."""

    kind: str
    version: str
    settings: Mapping[str, str]
    mirror: bool = False


class Tables(NamedTuple):
    """The number of the last migration that ran on a database, and of the newest that there is."""

    number: int
    newest: int


class Room(NamedTuple):
    """Bytes: of the database, of what is written ahead of it, and `free` on its disk (None if that is another machine's)."""

    size: int = 0
    log: int = 0
    free: int | None = None


class Times(NamedTuple):
    """Unix seconds: by the database's own clock (None if it has none), and of its last commit."""

    now: float | None = None
    highest: float = 0.0


class EngineHealth(NamedTuple):
    """An engine on a store: its `name`, the end of its lease (Unix seconds; None without leases), and whether it is `alive`."""

    name: str
    lease_until: float | None
    alive: bool


class StoreHealth(NamedTuple):
    """How a store stands. `closed` says why no engine may open it, or is empty."""

    server: Server
    tables: Tables
    room: Room = Room()
    times: Times = Times()
    engines: tuple[EngineHealth, ...] = ()
    closed: str = ""
