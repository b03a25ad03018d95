"""Attempts count calls: a case that waits for a permit or a thread when its engine dies has not been called.

The commit that chooses a step, or the claim, counts the attempt that is about to begin. Where the call has to wait first, that
is taken back, and counted again when the call begins. Both are one small update each, which shares its commit with others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pointsman.runtime.session import CaseSession
from pointsman.store.base import Store


class Begun:
    """Keeps the count of attempts in the store true while calls wait."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def waits(self, session: CaseSession) -> None:
        """A call of the case has to wait; where none of its calls is under way, its attempt does not count meanwhile."""
        if session.calling == 0 and session.counted:
            session.counted = False
            await self._store.count_attempt(session.case.row.id, session.case.row.fence, -1)

    async def begins(self, session: CaseSession) -> None:
        """A call of the case is about to begin."""
        if not session.counted:
            session.counted = True
            await self._store.count_attempt(session.case.row.id, session.case.row.fence, 1)

    @contextmanager
    def calling(self, session: CaseSession) -> Iterator[None]:
        """A call of the case is under way."""
        session.calling += 1
        try:
            yield
        finally:
            session.calling -= 1
