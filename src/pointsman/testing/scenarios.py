"""Building blocks of the conformance suites: transitions, and a runner for scenarios against the store under test."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import EventRow, EventWrite, FieldWrite, Intent, NewCase, Settlement, Transition
from pointsman.kernel.snapshot import Status
from pointsman.store.base import CaseStore, Store

OpenStore = Callable[[], Awaitable[Store]]
Scenario = Callable[[Store], Awaitable[None]]

MOMENTS_SECONDS = 120.0  # far beyond what any store needs to show a commit, or to tell of it


async def start_of(
    store: CaseStore,
    *,
    key: str | None = None,
    process: str = "p",
    status: Status = Status.READY,
    at: float = 10.0,
    **more: Any,
) -> Transition:
    """A transition that starts a case with one field and one event."""
    wake_at = at if status is Status.READY else None
    fields = [FieldWrite("message", '"hello"', "")]
    events = [EventWrite("accepted", None, 0, '{"fields":["message"]}')]
    settings = {"wake_at": wake_at, "fields": fields, "events": events, "new": NewCase(process, 1, key), **more}
    [number] = await store.reserve(1)
    return Transition(number, 0, 0, at, status, **settings)


async def new_case(store: CaseStore, **how: Any) -> int:
    """Commit a start like `start_of`, and return the number of the case."""
    return await store.commit(await start_of(store, **how))


def next_of(case: int, revision: int, fence: int, status: Status = Status.RUNNING, **more: Any) -> Transition:
    """A transition of an existing case."""
    return Transition(case, revision, fence, 20.0, status, **more)


async def case_in_doubt(store: CaseStore, **how: Any) -> int:
    """Commit a case whose effect with the key "k" is in doubt, and return its number; `how` are further parts of the transition."""
    case = await new_case(store)
    await store.commit(next_of(case, 1, 0, intent=Intent("k", "send", "a", 30.0, again=False)))
    await store.commit(next_of(case, 2, 0, settlement=Settlement("k", EffectStatus.IN_DOUBT, None, "timeout"), **how))
    return case


async def events_once(store: Store, count: int, *, after: str = "") -> list[EventRow]:
    """The events behind the cursor `after` once there are `count` of them: a store may show the newest ones a little later (S8)."""
    async with asyncio.timeout(MOMENTS_SECONDS):
        while len(events := await store.events(after=after)) < count:  # noqa: ASYNC110 - a store does not tell
            await asyncio.sleep(0)
    return events


class Scenarios:
    """The fixtures that run a scenario against the store under test."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """A function that opens the store under test; a subclass defines it."""
        raise AssertionError("a subclass must define the fixture open_store")

    @pytest.fixture
    def check(self, open_store: OpenStore) -> Callable[[Scenario], None]:
        """A function that runs a scenario against a new store, in its own event loop."""

        def run(scenario: Scenario) -> None:
            async def main() -> None:
                store = await open_store()
                try:
                    await scenario(store)
                finally:
                    await store.close()

            asyncio.run(main())

        return run
