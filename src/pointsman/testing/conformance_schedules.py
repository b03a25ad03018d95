"""The promises of a store about schedules (S15) and the intake (S28); a part of the suite in conformance.py."""

from collections.abc import Callable

from pointsman.store.base import IntakePaused, ScheduleRow, Store
from pointsman.testing.scenarios import Scenario, Scenarios


class IntakeConformance(Scenarios):
    """Whether the intake is paused."""

    def test_s28_a_paused_intake_stays_paused_until_it_is_resumed(self, check: Callable[[Scenario], None]) -> None:
        """A later pause replaces an earlier one."""

        async def scenario(store: Store) -> None:
            found = [await store.intake_paused()]
            for paused in (IntakePaused("eve", "the shop moves", 10.0), IntakePaused("bob", "it still moves", 20.0), None, None):
                await store.pause_intake(paused)
                found.append(await store.intake_paused())

            assert found == [None, IntakePaused("eve", "the shop moves", 10.0), IntakePaused("bob", "it still moves", 20.0), None, None]

        check(scenario)


class ScheduleConformance(Scenarios):
    """Which ticks are over."""

    def test_s15_a_schedule_keeps_its_first_moment_and_never_goes_back(self, check: Callable[[Scenario], None]) -> None:
        """However often it is read, and however late a tick is recorded."""

        async def scenario(store: Store) -> None:
            first = await store.schedule("p", "nightly", now=10.0)
            await store.ticked("p", "nightly", 30.0)
            await store.ticked("p", "nightly", 20.0)

            again = await store.schedule("p", "nightly", now=99.0)
            other = await store.schedule("q", "nightly", now=99.0)

            assert first == ScheduleRow("p", "nightly", 10.0, 10.0)
            assert again == ScheduleRow("p", "nightly", 10.0, 30.0)
            assert other == ScheduleRow("q", "nightly", 99.0, 99.0)

        check(scenario)
