"""The engine's dependencies on the outside: tests replace them to control time, chance and crashes."""

from dataclasses import dataclass
from random import Random

from pointsman.runtime.clock import Clock
from pointsman.runtime.lease import Lease
from pointsman.store.base import Failpoints, Store


@dataclass(frozen=True, slots=True)
class Ports:
    """The store and its lease, the clock, the source of chance (tokens, jitter), and the failpoints."""

    store: Store
    clock: Clock
    random: Random
    failpoints: Failpoints
    lease: Lease
