"""This engine's lease on a store that it shares with others: kept alive while it works, and known to be over in time."""

import asyncio
from collections.abc import Awaitable, Callable

from pointsman.errors import LeaseLost, StoreError
from pointsman.runtime.clock import Clock, StoreClock
from pointsman.store.base import Store

RENEWALS = 3  # in a lease: two may fail or be late before it passes
READINGS = 5  # of the store's clock at the opening; the first prompt one counts


class Lease:
    """Where the store has no leases it is always held, and renewing does nothing."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._until = float("inf")
        self._task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Renew before any work is done, and learn the store's time. Raises StoreError."""
        if self._store.lease_seconds is None:
            return
        for _ in range(READINGS):
            if await self._renew():
                return
        raise StoreError("the store is too slow to tell the time by; look at the network and at its load.")

    def held(self) -> bool:
        """Whether this engine still has what it claimed. What it is not sure of it has lost."""
        return self._clock.monotonic() < self._until

    def keep(self, renewed: Callable[[], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
        """Renew until `stop`, and call `renewed` each time; call `failed` once when the lease is lost."""
        if self._store.lease_seconds is not None:
            self._task = asyncio.create_task(self._keep(self._store.lease_seconds, renewed, failed), name="pointsman-lease")

    async def stop(self) -> None:
        """Renew no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self, seconds: float, renewed: Callable[[], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
        never = asyncio.Event()
        while True:
            await self._clock.wait(never, seconds / RENEWALS)
            try:
                await self._renew()
                await renewed()
            except Exception as error:
                if isinstance(error, LeaseLost) or not isinstance(error, StoreError) or not self.held():
                    failed(error)
                    return

    async def _renew(self) -> bool:
        """Renew, and answer whether the store's time could be read."""
        asked = self._clock.monotonic()
        now = await self._store.renew()
        # Counted from the question, and less what the two clocks may differ by: for this engine it ends before it does for the store.
        self._until = asked + (self._store.lease_seconds or 0.0) * (RENEWALS - 1) / RENEWALS
        return not isinstance(self._clock, StoreClock) or self._clock.heard(now, asked)
