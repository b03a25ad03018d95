"""What a store says of itself to whoever looks after it."""

from collections.abc import Mapping
from typing import NamedTuple


class EngineHealth(NamedTuple):
    """An engine on a store: its `name`, the end of its lease (Unix seconds; None without leases), and whether it is `alive`."""

    name: str
    lease_until: float | None
    alive: bool


class StoreHealth(NamedTuple):
    """How a store stands.

    `kind` and `version` are those of the database, `tables` is the number of the last migration that ran, of `newest`. `settings` are those
    that decide whether a commit can be lost. `size`, `log` and `free` are bytes: of the database, of what is written ahead of it, and on its
    disk (None if that is another machine's). `now` is the store's time and `highest` that of its last commit (Unix seconds). `closed` says
    why no engine may open it, or is empty.
    """

    kind: str
    version: str
    tables: int
    newest: int
    settings: Mapping[str, str]
    size: int
    log: int
    free: int | None
    now: float | None
    highest: float
    engines: tuple[EngineHealth, ...]
    closed: str = ""
