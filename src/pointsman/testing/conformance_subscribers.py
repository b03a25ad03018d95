"""The promise of a store about subscribers (S34); a part of the suite in conformance.py."""

from collections.abc import Callable

from pointsman.store.base import Store
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
