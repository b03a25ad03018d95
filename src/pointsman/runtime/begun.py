"""Attempts count calls: a case that waits for a permit or a thread when its engine dies has not been called.

The commit that chooses a step, or the claim, counts the attempt that is about to begin. Where the call has to wait first, that
is taken back, and counted again when the call begins. Both are one small update each, which shares its commit with others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pointsman.runtime.hold import Hold
from pointsman.store.base import Store


class Begun:
    """Keeps the count of attempts in the store true while calls wait."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def waits(self, hold: Hold) -> None:
        """A call of the case has to wait; where none of its calls is under way, its attempt does not count meanwhile."""
        if hold.calling == 0 and hold.counted:
            hold.counted = False
            await self._store.count_attempt(hold.snapshot.case, hold.fence, -1)

    async def begins(self, hold: Hold) -> None:
        """A call of the case is about to begin."""
        if not hold.counted:
            hold.counted = True
            await self._store.count_attempt(hold.snapshot.case, hold.fence, 1)

    @contextmanager
    def calling(self, hold: Hold) -> Iterator[None]:
        """A call of the case is under way."""
        hold.calling += 1
        try:
            yield
        finally:
            hold.calling -= 1
