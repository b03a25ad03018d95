"""The promises of a store about limits (S17); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Callable

from pointsman.definition.limits import Limit
from pointsman.kernel.limits import GivePermit, TakePermit
from pointsman.store.base import Store
from pointsman.testing.scenarios import Scenario, Scenarios


class LimitConformance(Scenarios):
    """Permits that all engines share."""

    def test_s17_each_change_of_a_limit_sees_the_earlier_ones(self, check: Callable[[Scenario], None]) -> None:
        """Also concurrent ones."""

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

    def test_s17_a_permit_is_free_when_it_is_returned_or_has_expired(self, check: Callable[[Scenario], None]) -> None:
        """A call that was given up but still runs keeps its permit, and an engine vouches for its own calls."""

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
