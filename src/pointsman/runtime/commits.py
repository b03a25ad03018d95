"""Commit plans, and notify those who wait for commits."""

from collections.abc import Callable

from pointsman.kernel.events import Event
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.machine import Plan
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.kernel.transitions import event_write, usage_writes
from pointsman.runtime.ports import Ports
from pointsman.runtime.recent import Recent
from pointsman.runtime.session import CaseSession
from pointsman.runtime.threads import Threads
from pointsman.store.base import CaseStore


class Commits:
    """Notes committed transitions and calls `committed` after each one. Commits events without a transition, and calls `appended`."""

    def __init__(
        self, ports: Ports, recent: Recent, threads: Threads, committed: Callable[[CaseSession, Plan], None], appended: Callable[[], None]
    ) -> None:
        self._recent = recent
        self._store: CaseStore = ports.store
        self._clock = ports.clock
        self._threads = threads
        self._committed = committed
        self._appended = appended

    async def append(self, case: int, event: Event) -> None:
        """Commit an event that does not change its case."""
        await self._store.append(case, [event_write(event)], at=self._clock.now(), usage=usage_writes((event,)))
        self._appended()

    def committed(self, session: CaseSession, plan: Plan) -> None:
        """Update the session after a plan's transition was committed."""
        t = plan.transition
        assert t is not None
        session.case, session.counted = plan.case, True
        if t.settlement is not None and t.settlement.status is EffectStatus.DONE:
            self._threads.forget(t.settlement.key)
        if t.status in ENDED:
            self._recent.forget(t.case)
        elif t.status is not Status.RUNNING and plan.case.whole:
            self._recent.keep(session.process, plan.case.snapshot)
        self._committed(session, plan)
