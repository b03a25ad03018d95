"""The engine's seams to the world, in one place: whoever holds them can hold the clock, choose the chance, and kill at any point."""

from dataclasses import dataclass
from random import Random

from pointsman.runtime.clock import Clock
from pointsman.runtime.lease import Lease
from pointsman.store.base import Failpoints, Store


@dataclass(frozen=True, slots=True)
class Ports:
    """The store and the lease on it, the clock, the source of chance (tokens, jitter), and the failpoints at which a test may kill."""

    store: Store
    clock: Clock
    random: Random
    failpoints: Failpoints
    lease: Lease
