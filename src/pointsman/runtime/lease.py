"""The engine's lease on a shared store: it is renewed while the engine works, and its end is noticed in time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from pointsman.errors import LeaseLost, StoreError
from pointsman.runtime.clock import Clock, StoreClock
from pointsman.store.base import SharedStore

RENEWALS = 3  # in a lease: two may fail or be late before it passes
READINGS = 5  # of the store's clock at the opening; the first prompt one counts
NOTIFIED_SECONDS = 0.1  # at least, between two looks at what others did: a busy fleet commits thousands of times a second
LISTEN_SECONDS = 1.0  # until notifications are asked for again after an error; renewals go on meanwhile


class Lease:
    """The lease. On a store without leases it is always held, and renewing does nothing."""

    def __init__(self, store: SharedStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._until = float("inf")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def shared(self) -> bool:
        """Whether other engines may use the store, too."""
        return self._store.lease_seconds is not None

    async def begin(self) -> None:
        """Renew before any work is done, and learn the store's time. Raises StoreError."""
        if self._store.lease_seconds is None:
            return
        for _ in range(READINGS):
            if await self._renew():
                return
        raise StoreError("the store is too slow to tell the time by; look at the network and at its load.")

    def held(self) -> bool:
        """Whether this engine still owns its claims; in doubt, it does not."""
        return self._clock.monotonic() < self._until

    def keep(
        self, renewed: Callable[[], Awaitable[None]], notified: Callable[[], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> None:  # fmt: skip
        """Renew until `stop`, and call `renewed` each time; call `failed` once when the lease is lost.

        `notified` is called soon after another engine has committed something.
        """
        if self._store.lease_seconds is not None:
            keeping, listening = self._keep(self._store.lease_seconds, renewed, failed), self._listen(notified, failed)
            self._tasks = [asyncio.create_task(keeping, name="pointsman-lease"), asyncio.create_task(listening, name="pointsman-listener")]

    async def stop(self) -> None:
        """Stop renewing."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

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

    async def _listen(self, notified: Callable[[], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
        never = asyncio.Event()
        while True:
            try:
                async with aclosing(self._store.notifications()) as notifications:
                    async for _ in notifications:
                        await notified()
                        await self._clock.wait(never, NOTIFIED_SECONDS)
                    return
            except StoreError:
                await self._clock.wait(never, LISTEN_SECONDS)
            except Exception as error:
                failed(error)
                return

    async def _renew(self) -> bool:
        """Renew, and return whether the store's time could be read."""
        asked = self._clock.monotonic()
        now = await self._store.renew()
        # Counted from the question, and less what the two clocks may differ by: for this engine it ends before it does for the store.
        self._until = asked + (self._store.lease_seconds or 0.0) * (RENEWALS - 1) / RENEWALS
        return not isinstance(self._clock, StoreClock) or self._clock.heard(now, asked)
