"""The engine's lease on a shared store: renew it while the engine runs, and notice its end in time."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from pointsman.errors import LeaseLost, StoreError
from pointsman.runtime.clock import Clock, StoreClock
from pointsman.store.base import SharedStore

RENEWALS = 3  # renewals within one lease: two may fail or be late before it expires
READINGS = 5  # attempts to read the store's clock when the engine opens; the first prompt answer counts
NOTIFIED_SECONDS = 0.1  # the least time between two looks at what others did: busy engines commit thousands of times a second
CANCEL_SECONDS = 0.5  # before a task that goes on is cancelled again
LISTEN_SECONDS = 1.0  # the wait before listening again after an error; renewals go on meanwhile


class Lease:
    """An engine's lease. On a store without leases it is always held, and renewing does nothing."""

    def __init__(self, store: SharedStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._until = float("inf")
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def shared(self) -> bool:
        """Whether other engines may use the store too."""
        return self._store.lease_seconds is not None

    async def begin(self) -> None:
        """Renew the lease before the engine works, and read the store's clock. Raises StoreError."""
        if self._store.lease_seconds is None:
            return
        for _ in range(READINGS):
            if await self._renew():
                return
        raise StoreError("the store answers too slowly to set the engine's clock by it; check the network and the store's load.")

    def held(self) -> bool:
        """Return whether this engine certainly still owns its claims."""
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
        # The driver of a store may take a cancel for the end of a statement and go on; then the listener would go on for ever.
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=CANCEL_SECONDS)

    async def _keep(self, seconds: float, renewed: Callable[[], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
        never, looking = asyncio.Event(), None
        try:
            while True:
                await self._clock.wait(never, seconds / RENEWALS)
                over = looking is None or looking.done()
                if over and looking is not None and not looking.result():
                    return
                if not await self._tolerant(self._renew(), failed):
                    return
                if over:  # beside the renewals: with a busy store, a look may take longer than the lease can wait
                    looking = asyncio.create_task(self._tolerant(renewed(), failed), name="pointsman-look")
        finally:
            if looking is not None:
                looking.cancel()
                await asyncio.wait([looking])

    async def _tolerant(self, work: Awaitable[object], failed: Callable[[Exception], None]) -> bool:
        """Await this. Return False after an error, but not after one of the store while the lease is held."""
        try:
            await work
        except Exception as error:
            if isinstance(error, LeaseLost) or not isinstance(error, StoreError) or not self.held():
                failed(error)
                return False
        return True

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
        """Renew the lease. Return whether the answer was prompt enough to read the store's time."""
        asked = self._clock.monotonic()
        now = await self._store.renew()
        # Count from the request, and leave a margin for clocks that differ: the lease must end for this engine before it ends for the store.
        self._until = asked + (self._store.lease_seconds or 0.0) * (RENEWALS - 1) / RENEWALS
        return not isinstance(self._clock, StoreClock) or self._clock.heard(now, asked)
