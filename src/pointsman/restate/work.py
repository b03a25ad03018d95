"""What the turns of one program share."""

import random as chance
from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.definition.process import AnyProcess
from pointsman.restate.offered import check_offered
from pointsman.runtime.clock import Clock
from pointsman.runtime.one_case import THREADS, Shared
from pointsman.store.base import Failpoints, no_failpoints
from pointsman.store.blob_folder import Blobs, NoCases


class Work(Shared):
    """What turns share, with the `blobs` that keep large values. Raises DefinitionError if a process needs what is missing."""

    def __init__(
        self, processes: Sequence[AnyProcess], resources: Mapping[str, Any] | None = None, *, threads: int = THREADS, blobs: Blobs | None = None,
        clock: Clock | None = None, random: chance.Random | None = None, failpoints: Failpoints = no_failpoints,
    ) -> None:  # fmt: skip
        super().__init__(processes, resources or {}, NoCases(blobs), threads=threads, clock=clock, random=random, failpoints=failpoints)
        check_offered([*self.registry], blobs=blobs is not None)
        self.blobs = blobs
