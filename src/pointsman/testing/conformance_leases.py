"""The promises of a store that several engines share (S19 to S21, S27, S33, S34); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from pointsman.errors import Conflict, LeaseLost
from pointsman.kernel.rows import NewCase
from pointsman.kernel.snapshot import Status
from pointsman.store.base import SharedStore, Store
from pointsman.testing.scenarios import MOMENTS_SECONDS, new_case, next_of


class Handles(Protocol):
    """A store with leases that several engines share."""

    async def another(self) -> Store:
        """Open a handle for another engine on the same cases; its lease begins now."""

    async def pass_seconds(self, seconds: float) -> None:
        """Advance the store's own clock."""

    async def close(self) -> None:
        """Close the handles that are still open."""


OpenHandles = Callable[[], Awaitable[Handles]]


class LeaseConformance:
    """Tests of a store that several engines share, in addition to `StoreConformance`. `open_handles` returns a new one."""

    @pytest.fixture
    def open_handles(self) -> OpenHandles:
        """A function that opens the store under test; a subclass defines it."""
        raise AssertionError("a subclass must define the fixture open_handles")

    @pytest.fixture
    def check_handles(self, open_handles: OpenHandles) -> Callable[[Callable[[Handles], Awaitable[None]]], None]:
        """A function that runs a scenario against a new store, in its own event loop."""

        def run(scenario: Callable[[Handles], Awaitable[None]]) -> None:
            async def main() -> None:
                handles = await open_handles()
                try:
                    await scenario(handles)
                finally:
                    await handles.close()

            asyncio.run(main())

        return run

    def test_s19_a_running_case_is_claimed_when_its_engines_lease_has_expired(self, check_handles: Callable[..., None]) -> None:
        """And not before. The claim raises the fence, and the attempt that was cut short counts as an interruption."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            seconds = _lease(second)
            claimed = await new_case(second, at=0.0)
            await second.claim(["p"], now=1.0, limit=9)
            started = await new_case(second, status=Status.RUNNING, attempts=1, claims=True)
            await handles.pass_seconds(seconds / 2)
            await first.renew()
            early = await first.claim(["p"], now=1.0, limit=9)

            await handles.pass_seconds(seconds / 2)
            taken = await first.claim(["p"], now=1.0, limit=9)

            assert early == []
            assert sorted((one.case.id, one.case.fence, one.case.attempts) for one in taken) == [(claimed, 2, 1), (started, 2, 1)]
            assert [one.case.interruptions for one in taken] == [1, 1]
            assert await first.next_wake(["p"]) is None

        check_handles(scenario)

    def test_s5_a_crash_interrupts_only_cases_with_a_running_call(self, check_handles: Callable[..., None]) -> None:
        """A case whose calls are all waiting is not interrupted. The mark ends with the call, and a stale fence does not set it."""

        async def scenario(handles: Handles) -> None:
            engine = await handles.another()
            cases = [await new_case(engine, status=Status.RUNNING, attempts=1, claims=True) for _ in range(4)]
            waits, begun, stale, _ = cases
            await engine.mark_waiting(waits, 1, True)
            await engine.mark_waiting(begun, 1, True)
            await engine.mark_waiting(begun, 1, False)
            await engine.mark_waiting(stale, 0, True)
            await handles.pass_seconds(_lease(engine))

            taken = await (await handles.another()).claim(["p"], now=1.0, limit=9)

            found = {one.case.id: (one.case.attempts, one.case.interruptions) for one in taken}
            assert found == dict(zip(cases, [(1, 0), (1, 1), (1, 1), (1, 1)], strict=True))

        check_handles(scenario)

    def test_s19_an_engine_that_renews_its_lease_keeps_its_cases(self, check_handles: Callable[..., None]) -> None:
        """However long it works; and `next_wake` tells the others when to look again."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            seconds = _lease(first)
            await new_case(first, status=Status.RUNNING, attempts=1, claims=True)
            times = []
            for _ in range(4):
                await handles.pass_seconds(seconds * 0.7)
                times.append(await first.renew())
                await second.renew()

            found = await second.claim(["p"], now=1.0, limit=9)

            assert found == []
            assert times == sorted(set(times))
            assert await second.next_wake(["p"]) == pytest.approx(times[-1] + seconds, rel=0, abs=0.001)

        check_handles(scenario)

    def test_s27_a_commit_notifies_the_other_engines(self, check_handles: Callable[..., None]) -> None:
        """Also of several commits; an engine is not notified of its own commits."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            own, others = first.notifications(), second.notifications()
            silent = asyncio.ensure_future(anext(own))

            for _ in range(2):
                notified = asyncio.ensure_future(anext(others))
                async with asyncio.timeout(MOMENTS_SECONDS):
                    while not notified.done():  # a server may take a moment to notify
                        await new_case(first)
                        await asyncio.sleep(0)

            assert not silent.done()
            silent.cancel()
            await asyncio.wait([silent])
            await asyncio.gather(own.aclose(), others.aclose())

        check_handles(scenario)

    def test_s33_an_engine_claims_only_the_versions_that_it_has_announced(self, check_handles: Callable[..., None]) -> None:
        """However many other cases are due before them; and it is not told when those are due."""

        async def scenario(handles: Handles) -> None:
            older, newer = await handles.another(), await handles.another()
            await older.announce({"p": {1}, "q": {1}})
            await newer.announce({"p": {2, 3}})
            for number in range(300):
                await new_case(newer, new=NewCase("p", 2, str(number)), wake_at=1.0)
            first, last = [await new_case(newer, new=NewCase("p", version, None), wake_at=9.0) for version in (1, 3)]

            woken = await older.next_wake(["p", "q"])
            claimed = await older.claim(["p", "q"], now=20.0, limit=9)
            left = await newer.claim(["p"], now=20.0, limit=999)

            assert woken == 9.0
            assert [one.case.id for one in claimed] == [first]
            assert (len(left), left[-1].case.id) == (301, last)

        check_handles(scenario)

    def test_s33_what_an_engine_accepts_is_known_to_the_others_while_it_lives(self, check_handles: Callable[..., None]) -> None:
        """It counts until its lease ends."""

        async def scenario(handles: Handles) -> None:
            first, second, third = await handles.another(), await handles.another(), await handles.another()
            await first.announce({"p": {1, 2}, "a q": {7}})
            await second.announce({"p": {2, 3}})
            known = set(await third.announced())
            await second.close()
            without = set(await third.announced())
            await _outlive(handles, first, third)

            assert known == {("p", 1), ("p", 2), ("p", 3), ("a q", 7)}
            assert without == {("p", 1), ("p", 2), ("a q", 7)}
            assert set(await third.announced()) == set()

        check_handles(scenario)

    def test_s20_an_expired_lease_is_not_renewed(self, check_handles: Callable[..., None]) -> None:
        """It can be neither renewed nor used to claim, even if no engine has taken over; and an engine that lost a case cannot commit to it."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            case = await new_case(first, status=Status.RUNNING, attempts=1, claims=True)
            await _outlive(handles, first, second)

            late = await asyncio.gather(first.renew(), first.claim(["p"], now=1.0, limit=9), return_exceptions=True)
            await second.claim(["p"], now=1.0, limit=9)
            stale = await asyncio.gather(first.commit(next_of(case, 1, 1)), return_exceptions=True)

            assert [type(answer) for answer in late] == [LeaseLost, LeaseLost]
            assert isinstance(stale[0], Conflict)

        check_handles(scenario)

    def test_s21_an_engine_releases_only_its_own_cases(self, check_handles: Callable[..., None]) -> None:
        """A case that was taken over stays with its new engine; the cases of a closed handle are free at once."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            case = await new_case(first, status=Status.RUNNING, attempts=1, claims=True)
            await _outlive(handles, first, second)
            await second.claim(["p"], now=1.0, limit=9)

            await first.release([case], now=1.0)
            kept = await second.case(case)
            await second.close()
            third = await handles.another()
            taken = await third.claim(["p"], now=1.0, limit=9)

            assert kept is not None
            assert kept.status is Status.RUNNING
            assert [one.case.id for one in taken] == [case]

        check_handles(scenario)

    def test_s34_one_engine_reads_for_a_subscriber(self, check_handles: Callable[..., None]) -> None:
        """Until its lease ends; then another one goes on where it was."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            seconds = _lease(first)
            taken = await first.take_turn("hooks", begin="7")
            refused = [await second.take_turn("hooks", begin="7"), await second.advance("hooks", "8")]
            kept = await first.advance("hooks", "9")
            await handles.pass_seconds(seconds / 2)
            await second.renew()
            await handles.pass_seconds(seconds / 2)

            over = await second.take_turn("hooks", begin="7")

            assert (taken, refused, kept, over) == ("7", [None, False], True, "9")
            assert not await first.advance("hooks", "10")
            await second.close()
            assert await (await handles.another()).take_turn("hooks", begin="") == "9"

        check_handles(scenario)


async def _outlive(handles: Handles, first: SharedStore, second: SharedStore) -> None:
    """Let the lease of the first handle expire, while the second handle renews its own."""
    await handles.pass_seconds(_lease(first) * 0.7)
    await second.renew()
    await handles.pass_seconds(_lease(first) * 0.7)


def _lease(store: SharedStore) -> float:
    assert store.lease_seconds is not None
    return store.lease_seconds
