"""The promises of a store about its line and its limits (S17, S18); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Callable

from pointsman.definition.limits import Limit
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.limits import GivePermit, TakePermit
from pointsman.kernel.rows import Intent, NewCase, Settlement
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Store
from pointsman.testing.scenarios import Scenario, Scenarios, next_of, start_of


class LineConformance(Scenarios):
    """Who is next, and what is shared."""

    def test_s18_tenants_take_turns_and_a_higher_priority_goes_first(self, check: Callable[[Scenario], None]) -> None:
        """However many cases one of them has, and from one claim to the next."""

        async def scenario(store: Store) -> None:
            names: dict[int, str] = {}
            for tenant, priority, count in (("crowd", 0, 300), ("quiet", 0, 1), ("other", 0, 2), ("crowd", 5, 1), ("crowd", -5, 1)):
                for number in range(count):
                    new = NewCase("p", 1, None, tenant, priority)
                    case = await store.commit(start_of(store, wake_at=10.0 + number / 1_000, new=new))
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

    def test_s18_a_claim_keeps_to_the_room_of_each_limit(self, check: Callable[[Scenario], None]) -> None:
        """Cases that need a closed limit are left where they are, and are not what the engine wakes for."""

        async def scenario(store: Store) -> None:
            for number in range(300):
                await store.commit(start_of(store, wake_at=10.0 + number / 1_000, needs="llm"))
            for needs, wake_at in (("mail", 12.0), (None, 13.0), ("gone", 14.0), (None, 99.0)):
                await store.commit(start_of(store, wake_at=wake_at, needs=needs))

            woken = [await store.next_wake(["p"], closed=closed) for closed in ((), {"llm"}, {"llm", "mail"})]
            claimed = await store.claim(["p"], now=20.0, limit=99, room={"llm": 3, "mail": 0})
            again = await store.claim(["p"], now=20.0, limit=99, room={"llm": 0, "mail": 0})

            assert woken == [10.0, 12.0, 13.0]
            assert [one.case.needs for one in claimed] == ["llm", "llm", "llm", None, "gone"]
            assert again == []
            assert await store.next_wake(["p"], closed={"llm", "mail"}) == 99.0
            assert await store.next_wake(["q"]) is None

        check(scenario)

    def test_s17_changes_of_a_limit_see_each_other(self, check: Callable[[Scenario], None]) -> None:
        """Also those that are asked for at the same time."""

        async def scenario(store: Store) -> None:
            llm, mail = Limit("llm", concurrency=4), Limit("mail", concurrency=1)
            takes = [TakePermit(llm, str(number), 10.0, 99.0) for number in range(9)]

            taken = await asyncio.gather(*map(store.change_limit, takes))
            [alone] = await asyncio.gather(store.change_limit(TakePermit(mail, "one", 10.0, 99.0)))

            holders = [take.holder for take, answer in zip(takes, taken, strict=True) if answer.refused_until is None]
            assert len(holders) == 4
            assert sorted(answer.state.changes for answer in taken) == [1, 2, 3, 4, 4, 4, 4, 4, 4]
            states = await store.limits()
            assert {name: sorted(state.permits) for name, state in states.items()} == {"llm": sorted(holders), "mail": ["one"]}
            assert states["mail"] == alone.state

        check(scenario)

    def test_s17_a_permit_is_free_when_it_is_given_back_or_its_time_has_passed(self, check: Callable[[Scenario], None]) -> None:
        """A call that was given up and still runs keeps it, and an engine vouches for its own calls."""

        async def scenario(store: Store) -> None:
            limit = Limit("llm", concurrency=1)

            async def take(holder: str, now: float, *alive: str) -> float | None:
                return (await store.change_limit(TakePermit(limit, holder, now, now + 5.0, frozenset(alive)))).refused_until

            async def give(holder: str, *, keeps: bool = False) -> None:
                await store.change_limit(GivePermit(limit, holder, "well", 11.0, 1, keeps))

            assert await take("a", 10.0) is None
            await give("a", keeps=True)
            assert await take("b", 11.0) == 15.0
            await give("a")
            assert await take("c", 12.0) is None
            assert await take("d", 20.0, "c") is not None
            assert await take("e", 20.0) is None
            assert (await store.limits())["llm"].wins == 2

        check(scenario)

    def test_a_call_that_does_not_count_is_taken_off_the_attempts(self, check: Callable[[Scenario], None]) -> None:
        """And the next one counts again."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            attempts = []
            for revision, counts in ((1, True), (3, False), (5, True)):
                await store.commit(next_of(case, revision, 0, intent=Intent("k", "send", "a", 30.0, again=revision > 1)))
                settlement = Settlement("k", EffectStatus.NOT_SENT, None, "busy", counts)
                await store.commit(next_of(case, revision + 1, 0, settlement=settlement))
                effect = await store.effect("k")
                assert effect is not None
                attempts.append(effect.attempts)

            assert attempts == [1, 1, 2]

        check(scenario)

    def test_what_is_in_line_is_counted_by_process_and_tenant(self, check: Callable[[Scenario], None]) -> None:
        """Ready and running ones, no further than asked."""

        async def scenario(store: Store) -> None:
            for tenant, status in [("a", Status.READY)] * 3 + [("a", Status.RUNNING), ("b", Status.READY)] + [("a", Status.WAITING)] * 5:
                await store.commit(start_of(store, status=status, new=NewCase("p", 1, None, tenant)))

            assert [await store.in_line("p", tenant, most=99) for tenant in (None, "a", "b", "c")] == [5, 4, 1, 0]
            assert await store.in_line("p", None, most=2) == 2
            assert await store.in_line("q", None, most=99) == 0

        check(scenario)
