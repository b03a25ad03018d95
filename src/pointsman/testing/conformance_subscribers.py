"""The promise of a store about subscribers (S34); a part of the suite in conformance.py."""

from collections.abc import Callable

from pointsman.store.base import Store
from pointsman.store.gaps import Gap, with_gap, with_gap_changed
from pointsman.testing.scenarios import Scenario, Scenarios


class SubscriberConformance(Scenarios):
    """How far each subscriber has read."""

    def test_s34_a_subscriber_goes_on_where_it_was(self, check: Callable[[Scenario], None]) -> None:
        """Each has a cursor of its own, and where a new one would begin means nothing to one that is known."""

        async def scenario(store: Store) -> None:
            begun = [await store.take_turn("hooks", begin="7"), await store.take_turn("traces", begin="")]
            moved = await store.advance("hooks", "9")
            unknown = await store.advance("nobody", "9")

            assert begun == ["7", ""]
            assert (moved, unknown) == (True, False)
            assert [await store.take_turn(name, begin="8") for name in ("hooks", "traces")] == ["9", ""]

        check(scenario)

    def test_s34_a_gap_stays_until_it_is_changed(self, check: Callable[[Scenario], None]) -> None:
        """Each subscriber has gaps of its own; a gap without a change between is continued, and the same one is added once."""
        first = Gap("hooks", "7", "9", 1, 100.0, 100.0, "it refuses")
        second = Gap("hooks", "9", "12", 1, 200.0, 200.0, "it is away")
        other = Gap("traces", "", "3", 1, 50.0, 50.0, "it is full")

        async def scenario(store: Store) -> None:
            none = await store.gaps()
            for gap in (first, second, second, other):
                await store.change_gaps(gap.subscriber, lambda gaps, gap=gap: with_gap(gaps, gap))  # type: ignore[misc]
            found = await store.gaps()
            await store.change_gaps("hooks", lambda gaps: with_gap_changed(gaps, gaps[0], gaps[0]._replace(again=True)))
            again = await store.gaps()
            await store.change_gaps("hooks", lambda gaps: with_gap_changed(gaps, gaps[0], None))

            assert none == []
            assert found == [Gap("hooks", "7", "12", 2, 100.0, 200.0, "it is away"), other]
            assert again == [found[0]._replace(again=True), other]
            assert await store.gaps() == [other]

        check(scenario)
