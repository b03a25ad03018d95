"""The promises of a store about claims (S5, S18); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Callable

from pointsman.kernel.rows import (
    FieldRow,
    NewCase,
)
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Store
from pointsman.testing.scenarios import Scenario, Scenarios, new_case, next_of


class ClaimConformance(Scenarios):
    """Claim cases and give them back."""

    def test_s5_a_due_case_is_claimed_once(self, check: Callable[[Scenario], None]) -> None:
        """By one of several concurrent claims; a case that is not due, or of another process, is not claimed."""

        async def scenario(store: Store) -> None:
            due = [await new_case(store) for _ in range(5)]
            later = await new_case(store, at=10.0, wake_at=99.0)
            await new_case(store, process="q")

            claims = await asyncio.gather(*(store.claim(["p"], now=20.0, limit=2) for _ in range(5)))

            claimed = [one for claim in claims for one in claim]
            assert sorted(one.case.id for one in claimed) == due
            assert all((one.case.status, one.case.fence, one.case.attempts) == (Status.RUNNING, 1, 1) for one in claimed)
            assert all([field.field for field in one.fields or ()] == ["message"] for one in claimed)
            assert await store.next_wake(["p"]) == 99.0
            assert [one.case.id for one in await store.claim(["p"], now=99.0, limit=9)] == [later]

        check(scenario)

    def test_s5_the_case_that_is_due_longest_is_claimed_first(self, check: Callable[[Scenario], None]) -> None:
        """So that new cases cannot starve old ones."""

        async def scenario(store: Store) -> None:
            numbers = [await new_case(store, at=10.0, wake_at=wake_at) for wake_at in (15.0, 12.0, 18.0)]

            claimed = [(await store.claim(["p"], now=20.0, limit=1))[0].case.id for _ in range(3)]

            assert claimed == [numbers[1], numbers[0], numbers[2]]

        check(scenario)

    def test_s5_a_release_uses_no_attempt(self, check: Callable[[Scenario], None]) -> None:
        """An orderly stop is not a failed attempt."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            await store.claim(["p"], now=20.0, limit=1)

            await store.release([case], now=21.0)

            row = await store.case(case)
            assert row is not None
            assert (row.status, row.attempts, row.wake_at) == (Status.READY, 0, 21.0)

        check(scenario)

    def test_s5_the_release_of_a_waiting_case_uses_no_attempt(self, check: Callable[[Scenario], None]) -> None:
        """The release subtracts the current attempt only, and not a second one for the mark."""

        async def scenario(store: Store) -> None:
            case = await new_case(store, attempts=1)
            [claimed] = await store.claim(["p"], now=20.0, limit=1)
            await store.mark_waiting(case, claimed.case.fence, True)

            await store.release([case], now=21.0)

            row = await store.case(case)
            assert row is not None
            assert (claimed.case.attempts, row.attempts, row.interruptions) == (2, 1, 0)

        check(scenario)

    def test_s5_a_transition_sets_the_number_of_interruptions(self, check: Callable[[Scenario], None]) -> None:
        """None, unless the transition sets a number."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            kept = []
            for revision, number in enumerate([3, 0], start=1):
                await store.commit(next_of(case, revision, 0, interruptions=number))
                row = await store.case(case)
                assert row is not None
                kept.append(row.interruptions)

            assert kept == [3, 0]

        check(scenario)

    def test_s18_tenants_take_turns_and_a_higher_priority_goes_first(self, check: Callable[[Scenario], None]) -> None:
        """However many cases a tenant has, and across claims."""

        async def scenario(store: Store) -> None:
            names: dict[int, str] = {}
            for tenant, priority, count in (("crowd", 0, 300), ("quiet", 0, 1), ("other", 0, 2), ("crowd", 5, 1), ("crowd", -5, 1)):
                for number in range(count):
                    new = NewCase("p", 1, None, tenant, priority)
                    case = await new_case(store, wake_at=10.0 + number / 1_000, new=new)
                    names[case] = f"{tenant} {priority}"

            claims = [await store.claim(["p"], now=20.0, limit=2) for _ in range(4)]
            rest = await store.claim(["p"], now=20.0, limit=999)

            first = [names[one.case.id] for claim in claims for one in claim]
            assert first[0] == "crowd 5"
            assert sorted(first[1:4]) == ["crowd 0", "other 0", "quiet 0"]
            assert sorted(first[4:6]) == ["crowd 0", "other 0"]
            assert first[6:] == ["crowd 0"] * 2
            assert [names[one.case.id] for one in rest] == ["crowd 0"] * 296 + ["crowd -5"]
            assert [one.case.id for one in rest][:-1] == sorted(one.case.id for one in rest)[:-1]

        check(scenario)

    def test_s18_a_claim_takes_no_more_cases_than_each_limit_has_room_for(self, check: Callable[[Scenario], None]) -> None:
        """Cases that need a closed limit are not claimed, and `next_wake` ignores them."""

        async def scenario(store: Store) -> None:
            for number in range(300):
                await new_case(store, wake_at=10.0 + number / 1_000, needs="llm")
            for needs, wake_at in (("mail", 12.0), (None, 13.0), ("gone", 14.0), (None, 99.0)):
                await new_case(store, wake_at=wake_at, needs=needs)

            woken = [await store.next_wake(["p"], closed=closed) for closed in ((), {"llm"}, {"llm", "mail"})]
            claimed = await store.claim(["p"], now=20.0, limit=99, room={"llm": 3, "mail": 0})
            again = await store.claim(["p"], now=20.0, limit=99, room={"llm": 0, "mail": 0})

            assert woken == [10.0, 12.0, 13.0]
            assert [one.case.needs for one in claimed] == ["llm", "llm", "llm", None, "gone"]
            assert again == []
            assert await store.next_wake(["p"], closed={"llm", "mail"}) == 99.0
            assert await store.next_wake(["q"]) is None

        check(scenario)

    def test_s5_a_claim_does_not_read_fields_that_the_engine_has(self, check: Callable[[Scenario], None]) -> None:
        """If the case is still at the revision that the caller knows."""

        async def scenario(store: Store) -> None:
            cases = [await new_case(store) for _ in range(2)]

            claimed = await store.claim(["p"], now=20.0, limit=2, known={cases[0]: 1, cases[1]: 7})

            assert {one.case.id: one.fields for one in claimed} == {
                cases[0]: None,
                cases[1]: (FieldRow("message", '"hello"', "", 1),),
            }

        check(scenario)
