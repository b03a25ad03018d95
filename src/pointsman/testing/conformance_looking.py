"""What operators read from a store (S8, S16); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Callable

import pytest

from pointsman.errors import ValueRefused
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import (
    EventRow,
    EventWrite,
    FieldWrite,
    Intent,
    NewCase,
    PauseOpening,
    Settlement,
)
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.store.base import DefinitionRow, Engines, PrivateField, Store
from pointsman.testing.scenarios import Scenario, Scenarios, events_once, new_case, next_of


class LookingConformance(Scenarios):
    """Read all cases, definitions and events."""

    def test_s16_a_definition_is_registered_once(self, check: Callable[[Scenario], None]) -> None:
        """With the time at which it was first seen; another fingerprint is another definition."""

        async def scenario(store: Store) -> None:
            first, other = DefinitionRow("p", 1, "a", 10.0), DefinitionRow("p", 1, "b", 20.0)
            await store.register([first])

            await store.register([first._replace(seen_at=20.0), other])

            assert await store.definitions() == [first, other]

        check(scenario)

    def test_s16_a_field_that_is_registered_as_private_stays_so(self, check: Callable[[Scenario], None]) -> None:
        """Whatever is registered after it, and for its process only."""

        async def scenario(store: Store) -> None:
            letter, other = PrivateField("p", "letter"), PrivateField("q", 'a "name" of ~ one')
            await store.register([], [letter])

            await store.register([], [other, letter])
            await store.register([DefinitionRow("p", 2, "b", 20.0)])

            assert await store.private() == await store.reader.private() == [letter, other]

        check(scenario)

    def test_the_engine_that_runs_a_case_is_not_lost_while_it_has_the_store_open(self, check: Callable[[Scenario], None]) -> None:
        """A case that is not running has none."""

        async def scenario(store: Store) -> None:
            number = await new_case(store)

            before = await store.engines(number)
            await store.claim(["p"], now=20.0, limit=1)
            running = await store.engines(number)

            assert before == Engines(open=True)
            assert (running.open, running.lost) == (True, False)

        check(scenario)

    def test_open_cases_are_those_that_have_not_ended(self, check: Callable[[Scenario], None]) -> None:
        """In every status, a page at a time."""

        async def scenario(store: Store) -> None:
            numbers = [await new_case(store, status=status) for status in Status]

            pages = [await store.open_cases(limit=3), await store.open_cases(after=numbers[2], limit=3)]

            assert [row.id for row in pages[0] + pages[1]] == [
                number for number, status in zip(numbers, Status, strict=True) if status not in ENDED
            ]

        check(scenario)

    def test_cases_are_found_by_process_and_status(self, check: Callable[[Scenario], None]) -> None:
        """Ordered by number, a page at a time."""

        async def scenario(store: Store) -> None:
            ready = [await new_case(store) for _ in range(3)]
            waiting = await new_case(store, process="q", status=Status.WAITING)

            assert [row.id for row in await store.cases()] == [*ready, waiting]
            assert [row.id for row in await store.cases(after=ready[0], limit=2)] == ready[1:]
            assert [row.id for row in await store.cases(status=Status.WAITING)] == [waiting]
            assert [row.id for row in await store.cases(process="p")] == ready
            assert await store.counts() == {Status.READY: 3, Status.WAITING: 1}
            assert await store.case(999) is None

        check(scenario)

    def test_the_backlog_is_counted_by_process_and_tenant(self, check: Callable[[Scenario], None]) -> None:
        """The count includes ready and running cases and stops at `most`."""

        async def scenario(store: Store) -> None:
            for tenant, status in [("a", Status.READY)] * 3 + [("a", Status.RUNNING), ("b", Status.READY)] + [("a", Status.WAITING)] * 5:
                await new_case(store, status=status, new=NewCase("p", 1, None, tenant))

            assert [await store.backlog("p", tenant, most=99) for tenant in (None, "a", "b", "c")] == [5, 4, 1, 0]
            assert await store.backlog("p", None, most=2) == 2
            assert await store.backlog("q", None, most=99) == 0

        check(scenario)

    def test_s8_events_are_numbered_in_the_order_of_their_commits(self, check: Callable[[Scenario], None]) -> None:
        """And can be read from any event onwards."""

        async def scenario(store: Store) -> None:
            cases = await asyncio.gather(*(new_case(store) for _ in range(20)))
            for case in cases[:3]:
                await store.commit(
                    next_of(case, 1, 0, events=[EventWrite("decided", None, 0, "{}"), EventWrite("finished", None, 0, "{}")])
                )

            events = await events_once(store, 26)
            rest = await store.events(after=events[20].cursor)
            assert len({event.cursor for event in events}) == len(events)
            assert [event.kind for event in events[20:]] == ["decided", "finished"] * 3
            assert rest == events[21:]
            assert await store.events(after=events[-1].cursor) == []
            with pytest.raises(ValueRefused, match="'not a cursor' is not the cursor of an event"):
                await store.events(after="not a cursor")
            assert [event.kind for event in await store.events(case=cases[0])] == ["accepted", "decided", "finished"]

        check(scenario)

    def test_s8_events_are_read_once_each_whatever_the_limit(self, check: Callable[[Scenario], None]) -> None:
        """Also where a page ends within a transition, and where a case was moved without an event, or wrote many fields."""

        async def paged(store: Store, limit: int, case: int | None) -> list[EventRow]:
            found: list[EventRow] = []
            while page := await store.events(after=found[-1].cursor if found else "", case=case, limit=limit):
                assert len(page) <= limit
                found += page
            return found

        async def scenario(store: Store) -> None:
            cases = [await new_case(store) for _ in range(3)]
            for revision in (1, 2, 3):
                for case in cases:
                    fields = [FieldWrite(name, f'"{revision}"', "w") for name in ("a", "b", "c")]
                    events = [EventWrite("decided", f"step {n}", n, f'{{"n":{n}}}') for n in range(3)]
                    await store.commit(next_of(case, revision, 0, fields=fields, events=events if revision != 2 else []))
                await store.append(cases[1], [EventWrite("node.late", "b", 1, "{}"), EventWrite("node.late", "c", 1, "{}")], at=9.0)

            await events_once(store, 3 * 7 + 6)
            for which in (None, *cases):
                every = await store.events(case=which)
                assert [await paged(store, limit, which) for limit in (1, 2, 3, 7)] == [every] * 4
            assert len(await store.events()) == 3 * 7 + 6
            assert sorted(await store.events(), key=lambda event: event.case) == [
                row for case in cases for row in await store.events(case=case)
            ]

        check(scenario)

    def test_s8_the_newest_events_and_those_of_some_cases_are_read(self, check: Callable[[Scenario], None]) -> None:
        """Without the others, and in the order of the commits."""

        async def scenario(store: Store) -> None:
            cases = [await new_case(store) for _ in range(4)]
            for case in cases:
                fields = [FieldWrite(name, "1", "w") for name in ("a", "b", "c")]
                await store.commit(next_of(case, 1, 0, fields=fields, events=[EventWrite("decided", f"{n}", n, "{}") for n in range(3)]))

            every = await events_once(store, 16)

            assert await store.newest_events(limit=1_000) == every
            for limit in (1, 2, 5):
                newest = await store.newest_events(limit=limit)
                assert len(newest) <= limit
                assert newest == every[len(every) - len(newest) :]
            assert len(await store.newest_events(limit=5)) >= 1
            assert await store.events_of([cases[2], cases[0], 999]) == [event for event in every if event.case in {cases[0], cases[2]}]
            assert await store.events_of([]) == []

        check(scenario)

    def test_s9_many_cases_are_read_at_once(self, check: Callable[[Scenario], None]) -> None:
        """The rows, some fields and the ledger of several cases are what reading one case after the other returns."""

        async def scenario(store: Store) -> None:
            cases = [await new_case(store) for _ in range(4)]
            for case in cases[:3]:
                added = [FieldWrite("log", f"[{case}]", "w", appends=True), FieldWrite("a", "1", "w"), FieldWrite("b", "2", "w")]
                intent = Intent(f"key {case}", "send", "a", 99.0, again=False)
                await store.commit(next_of(case, 1, 0, fields=added, intent=intent))
                again = [FieldWrite("log", '["more"]', "w", appends=True), FieldWrite("a", "3", "w"), FieldWrite("b", None, "w")]
                await store.commit(next_of(case, 2, 0, fields=again, settlement=Settlement(f"key {case}", EffectStatus.DONE, "{}")))
            asked = [cases[3], cases[2], cases[0], cases[0], 999]
            there = sorted({*asked} - {999})

            assert await store.cases_of(asked) == [await store.case(case) for case in there]
            found = await store.fields_of(asked, ["log", "b", "a", "none"])
            assert found == {
                case: fields
                for case in there
                if (fields := tuple(field for field in await store.fields(case) if field.field in {"log", "a", "b"}))
            }
            assert [(row.field, row.text) for row in found[cases[0]]] == [("a", "3"), ("log", f'[{cases[0]},"more"]')]
            writes = await store.writes_of(asked)
            assert [*writes.items()] == [
                (case, rows) for case in there if (dossier := await store.dossier(case)) is not None and (rows := dossier.writes)
            ]
            assert [(row.revision, row.field, row.text, row.appends) for row in writes[cases[0]]][-2:] == [
                (3, "b", None, False),
                (3, "log", '["more"]', True),
            ]
            assert await store.effects_of(asked) == [row for case in there for row in await store.effects(case)]
            assert len(await store.effects_of(asked)) == 2
            assert (await store.cases_of([]), await store.fields_of([], ["a"]), await store.fields_of(cases, [])) == ([], {}, {})
            assert (await store.effects_of([]), await store.writes_of([])) == ([], {})

        check(scenario)

    def test_s29_what_waits_is_counted_by_when_it_opened(self, check: Callable[[Scenario], None]) -> None:
        """Without closed pauses and sleeps, and up to a bound."""

        async def scenario(store: Store) -> None:
            cases = []
            for number, opened_at in enumerate([10.0, 20.0, 20.0, 30.0, 40.0]):
                opening = PauseOpening("approve", f"t{number}", "d")
                cases.append(await new_case(store, status=Status.WAITING, at=opened_at, pause=opening))
            await store.commit(next_of(cases[-1], 1, 0, Status.DONE, leaves_pause=True, answered_by="ada"))
            await new_case(store, status=Status.WAITING, at=30.0, pause=PauseOpening("sleep", "t9", "d", asks=False))

            assert await store.count_waiting([0.0, 20.0, 30.0, 99.0], most=10) == [1, 2, 1]
            assert await store.count_waiting([0.0, 99.0], most=3) == [3]

        check(scenario)
