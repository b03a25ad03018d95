"""What the turns of one program share: its processes, the calls of their functions, and the clock."""

import random as chance
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pointsman.definition.process import AnyProcess
from pointsman.restate.offered import check_offered
from pointsman.runtime.begun import Begun
from pointsman.runtime.calls import Calls
from pointsman.runtime.clock import Clock, SystemClock
from pointsman.runtime.lease import Lease
from pointsman.runtime.ports import Ports
from pointsman.runtime.registry import Registry
from pointsman.runtime.resources import check_resources
from pointsman.runtime.threads import Threads
from pointsman.runtime.watchdog import Watchdog
from pointsman.store.base import Failpoints, no_failpoints
from pointsman.store.blob_folder import Blobs, NoCases

THREADS = 16  # plain functions that run at once, as many as an engine has


class Work:
    """Calls the functions of some processes. Raises DefinitionError if a process needs what is missing.

    `resources` are what the functions name, `threads` how many plain functions run at once, and `blobs` keep large values. Make it anywhere, and use it in one event loop.
    """

    def __init__(
        self, processes: Sequence[AnyProcess], resources: Mapping[str, Any] | None = None, *, threads: int = THREADS,
        blobs: Blobs | None = None, clock: Clock | None = None, random: chance.Random | None = None, failpoints: Failpoints = no_failpoints,
    ) -> None:  # fmt: skip
        self.registry = Registry(processes)
        self._resources = resources or {}
        self.blobs = blobs
        check_offered([*self.registry], blobs=blobs is not None)
        check_resources([*self.registry], self._resources)
        self.limited = [process for process in self.registry if any(node.limit is not None for node in process.nodes())]
        self.limits = {node.limit.name: node.limit for process in self.limited for node in process.nodes() if node.limit is not None}
        self.clock: Clock = clock or SystemClock()
        self.random = random or chance.SystemRandom()
        # The calls read blobs in a store, and tell it of waits for a thread and of late results. It has no cases: those are on Restate.
        nothing = NoCases(blobs)
        self.ports = Ports(nothing, self.clock, self.random, failpoints, Lease(nothing, self.clock))
        self._threads = Threads(threads, self.clock)

    @cached_property
    def calls(self) -> Calls:
        """The calls of functions, in the event loop that first asks for them."""
        return Calls(self.ports, self._resources, self._threads, Begun(self.ports.store), Watchdog(self.clock, self.registry))

    def close(self) -> None:
        """End the threads of plain functions: each with its call."""
        self._threads.close()
