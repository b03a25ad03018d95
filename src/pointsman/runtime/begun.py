"""Tell the store which running cases only wait for a thread: if the engine dies then, that is no interruption of the case.

The store is told when a call has to wait, and again when it begins. Each is one small update, which shares its commit with others.
"""

from pointsman.runtime.session import CaseSession
from pointsman.store.base import CaseStore


class Begun:
    """Tells the store whether all calls of a case wait for a thread."""

    def __init__(self, store: CaseStore) -> None:
        self._store = store

    async def waits(self, session: CaseSession) -> None:
        """Record that a call waits. If no call of the case runs, the engine's death does not count as an interruption."""
        if session.calling == 0 and session.counted:
            session.counted = False
            await self._store.mark_waiting(session.case.row.id, session.case.row.fence, True)

    async def begins(self, session: CaseSession) -> None:
        """Record that a call of the case is about to start."""
        if not session.counted:
            session.counted = True
            await self._store.mark_waiting(session.case.row.id, session.case.row.fence, False)
