"""The conformance suite of stores: subclass it, give it `open_store`, and pytest runs every promise of store/base.py against yours."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from pointsman.errors import Conflict, LeaseLost, ValueRefused
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import BranchRow, EventWrite, FieldWrite, Intent, NewCase, PauseOpening, Settlement
from pointsman.kernel.snapshot import ENDED, Status
from pointsman.store.base import DefinitionRow, ScheduleRow, Store
from pointsman.testing.conformance_keeping import KeepingConformance
from pointsman.testing.conformance_line import LineConformance
from pointsman.testing.conformance_logs import LogsConformance
from pointsman.testing.conformance_messages import MessagesConformance
from pointsman.testing.scenarios import OpenStore, Scenario, next_of, start_of

__all__ = ["LeaseConformance", "OpenHandles", "OpenStore", "StoreConformance", "next_of", "start_of"]


class StoreConformance(LineConformance, MessagesConformance, LogsConformance, KeepingConformance):
    """What every store promises. `open_store` answers the store; asked again, another handle on the same cases."""

    def test_s1_a_commit_is_whole(self, check: Callable[[Scenario], None]) -> None:
        """Everything that a transition holds is there after it."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))

            await store.commit(
                next_of(case, 1, 0, Status.WAITING, step="approve", rule="risky", fields=[FieldWrite("draft", '"x"', "write")],
                        events=[EventWrite("paused", "approve", 0, "{}")], pause=PauseOpening("approve", "token", "digest"),
                        branches=[BranchRow("b", 1, None, "{}")], intent=Intent("k", "send", "a", 30.0, again=False))
            )  # fmt: skip

            row = await store.case(case)
            pause = await store.pause(case)
            effect = await store.effect("k")
            assert row is not None
            assert (row.status, row.step, row.rule, row.revision) == (Status.WAITING, "approve", "risky", 2)
            assert {field.field: field.text for field in await store.fields(case)} == {
                "message": '"hello"',
                "draft": '"x"',
            }
            assert [event.kind for event in await store.events()] == ["accepted", "paused"]
            assert pause is not None
            assert (pause.token, pause.closed) == ("token", None)
            assert effect is not None
            assert (effect.status, effect.attempts, effect.case) == (EffectStatus.INTENDED, 1, case)
            assert await store.branches(case) == (BranchRow("b", 1, None, "{}"),)

        check(scenario)

    def test_s1_a_transition_that_is_refused_late_leaves_nothing_behind(self, check: Callable[[Scenario], None]) -> None:
        """An intent that the ledger refuses takes fields, events and status with it, also within a batch."""

        async def scenario(store: Store) -> None:
            first, second, third = [await store.commit(start_of(store)) for _ in range(3)]
            await store.commit(next_of(first, 1, 0, intent=Intent("k", "send", "a", 30.0, again=False)))
            refused = next_of(second, 1, 0, fields=[FieldWrite("draft", '"x"', "w")], events=[EventWrite("decided", None, 0, "{}")],
                              intent=Intent("k", "send", "a", 30.0, again=False))  # fmt: skip
            sound = next_of(third, 1, 0, fields=[FieldWrite("draft", '"y"', "w")])

            answers = await asyncio.gather(store.commit(refused), store.commit(sound), return_exceptions=True)

            row = await store.case(second)
            assert isinstance(answers[0], Conflict)
            assert answers[1] == third
            assert row is not None
            assert (row.status, row.revision) == (Status.READY, 1)
            assert [field.field for field in await store.fields(second)] == ["message"]
            assert [event.kind for event in await store.events(case=second)] == ["accepted"]
            assert {field.field for field in await store.fields(third)} == {"message", "draft"}

        check(scenario)

    def test_s3_a_commit_against_another_revision_or_fence_changes_nothing(self, check: Callable[[Scenario], None]) -> None:
        """Whoever has lost the case is told so, whichever way it was lost."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            await store.claim(["p"], now=20.0, limit=1)

            stale = [
                next_of(case, 0, 1),
                next_of(case, 2, 1),
                next_of(case, 1, 0),
                next_of(case, 1, 2),
                next_of(case + 1, 1, 1),
            ]
            answers = await asyncio.gather(*map(store.commit, stale), return_exceptions=True)

            row = await store.case(case)
            assert all(isinstance(answer, Conflict) for answer in answers)
            assert row is not None
            assert (row.status, row.revision, row.fence) == (Status.RUNNING, 1, 1)

        check(scenario)

    def test_s3_of_two_commits_at_one_revision_one_wins(self, check: Callable[[Scenario], None]) -> None:
        """Also when both arrive in one batch."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            rivals = [next_of(case, 1, 0, fields=[FieldWrite("answer", f'"{name}"', name)]) for name in ("anna", "bob")]

            answers = await asyncio.gather(*map(store.commit, rivals), return_exceptions=True)

            winners = [name for name, answer in zip(("anna", "bob"), answers, strict=True) if answer == case]
            fields = {field.field: field.text for field in await store.fields(case)}
            assert len(winners) == 1
            assert sum(isinstance(answer, Conflict) for answer in answers) == 1
            assert fields["answer"] == f'"{winners[0]}"'

        check(scenario)

    def test_s4_starts_with_one_key_make_one_case(self, check: Callable[[Scenario], None]) -> None:
        """Repeated, at the same time, and beside another process with the same key."""

        async def scenario(store: Store) -> None:
            answers = await asyncio.gather(*(store.commit(start_of(store, key="mail-1")) for _ in range(8)))
            again = await store.commit(start_of(store, key="mail-1"))
            other = await store.commit(start_of(store, key="mail-1", process="q"))

            found = await store.case_by_key("p", "mail-1")
            assert len({*answers, again}) == 1
            assert other not in answers
            assert found is not None
            assert found.id == again
            assert len(await store.cases()) == 2
            assert len(await store.events(case=again)) == 1

        check(scenario)

    def test_s5_a_due_case_is_claimed_once(self, check: Callable[[Scenario], None]) -> None:
        """By one of several claims at the same time; a case that is not due, or of another process, by none."""

        async def scenario(store: Store) -> None:
            due = [await store.commit(start_of(store)) for _ in range(5)]
            later = await store.commit(start_of(store, at=10.0, wake_at=99.0))
            await store.commit(start_of(store, process="q"))

            claims = await asyncio.gather(*(store.claim(["p"], now=20.0, limit=2) for _ in range(5)))

            claimed = [one for claim in claims for one in claim]
            assert sorted(one.case.id for one in claimed) == due
            assert all((one.case.status, one.case.fence, one.case.attempts) == (Status.RUNNING, 1, 1) for one in claimed)
            assert all([field.field for field in one.fields or ()] == ["message"] for one in claimed)
            assert await store.next_wake(["p"]) == 99.0
            assert [one.case.id for one in await store.claim(["p"], now=99.0, limit=9)] == [later]

        check(scenario)

    def test_s5_the_longest_due_is_claimed_first(self, check: Callable[[Scenario], None]) -> None:
        """So that nothing starves behind what is new."""

        async def scenario(store: Store) -> None:
            numbers = [await store.commit(start_of(store, at=10.0, wake_at=wake_at)) for wake_at in (15.0, 12.0, 18.0)]

            claimed = [(await store.claim(["p"], now=20.0, limit=1))[0].case.id for _ in range(3)]

            assert claimed == [numbers[1], numbers[0], numbers[2]]

        check(scenario)

    def test_s5_a_released_case_has_not_used_up_an_attempt(self, check: Callable[[Scenario], None]) -> None:
        """An orderly stop is no failure."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            await store.claim(["p"], now=20.0, limit=1)

            await store.release([case], now=21.0)

            row = await store.case(case)
            assert row is not None
            assert (row.status, row.attempts, row.wake_at) == (Status.READY, 0, 21.0)

        check(scenario)

    def test_s5_a_case_that_waits_is_released_with_exactly_its_attempts(self, check: Callable[[Scenario], None]) -> None:
        """Only the attempt that was under way is taken off, and not a second one for the mark."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store, attempts=1))
            [claimed] = await store.claim(["p"], now=20.0, limit=1)
            await store.mark_waiting(case, claimed.case.fence, True)

            await store.release([case], now=21.0)

            row = await store.case(case)
            assert row is not None
            assert (claimed.case.attempts, row.attempts, row.interruptions) == (2, 1, 0)

        check(scenario)

    def test_s5_a_transition_says_how_many_interruptions_are_kept(self, check: Callable[[Scenario], None]) -> None:
        """None, unless it says otherwise."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            kept = []
            for revision, number in enumerate([3, 0], start=1):
                await store.commit(next_of(case, revision, 0, interruptions=number))
                row = await store.case(case)
                assert row is not None
                kept.append(row.interruptions)

            assert kept == [3, 0]

        check(scenario)

    def test_s6_a_pause_is_open_until_its_case_moves(self, check: Callable[[Scenario], None]) -> None:
        """It is answered by one, and void when the case moves without an answer."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store, status=Status.WAITING, pause=PauseOpening("approve", "t1", "d1")))
            await store.commit(next_of(case, 1, 0, Status.WAITING, leaves_pause=True, pause=PauseOpening("approve", "t2", "d2")))

            await store.commit(next_of(case, 2, 0, Status.DONE, leaves_pause=True, answered_by="anna"))

            first, second = await store.pause_by_token("t1"), await store.pause_by_token("t2")
            assert first is not None
            assert (first.closed, first.closed_by) == ("void", None)
            assert second is not None
            assert (second.closed, second.closed_by, second.closed_at) == ("answered", "anna", 20.0)
            assert await store.pause(case) == second

        check(scenario)

    def test_s7_a_settled_effect_is_not_intended_again(self, check: Callable[[Scenario], None]) -> None:
        """Whatever asks for it; and an outcome, once recorded, stays."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            await store.commit(next_of(case, 1, 0, intent=Intent("k", "send", "a", 30.0, again=False)))
            await store.commit(next_of(case, 2, 0, settlement=Settlement("k", EffectStatus.DONE, '{"receipt":"1"}')))

            again = await asyncio.gather(
                store.commit(next_of(case, 3, 0, intent=Intent("k", "send", "a", 40.0, again=True))),
                return_exceptions=True,
            )
            await store.commit(next_of(case, 3, 0, settlement=Settlement("k", EffectStatus.FAILED, None, "late")))

            effect = await store.effect("k")
            assert isinstance(again[0], Conflict)
            assert effect is not None
            assert (effect.status, effect.outcome, effect.attempts) == (EffectStatus.DONE, '{"receipt":"1"}', 1)

        check(scenario)

    def test_s7_an_intent_is_taken_up_again_with_the_same_arguments_only(self, check: Callable[[Scenario], None]) -> None:
        """It counts the calls and remembers when the first was intended."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            await store.commit(next_of(case, 1, 0, intent=Intent("k", "send", "a", 30.0, again=False)))
            doubt = Settlement("k", EffectStatus.IN_DOUBT, None, "timeout")
            await store.commit(next_of(case, 2, 0, Status.PARKED, settlement=doubt))
            doubtful = await store.in_doubt()

            other = await asyncio.gather(
                store.commit(next_of(case, 3, 0, intent=Intent("k", "send", "b", 40.0, again=True))),
                return_exceptions=True,
            )
            await store.commit(next_of(case, 3, 0, intent=Intent("k", "send", "a", 50.0, again=True)))

            effect = await store.effect("k")
            assert [row.key for row in doubtful] == ["k"]
            assert isinstance(other[0], Conflict)
            assert effect is not None
            assert (effect.status, effect.attempts, effect.intended_at, effect.deadline) == (
                EffectStatus.INTENDED,
                2,
                20.0,
                50.0,
            )

        check(scenario)

    def test_s8_events_are_numbered_in_the_order_of_their_commits(self, check: Callable[[Scenario], None]) -> None:
        """And can be read from any event on."""

        async def scenario(store: Store) -> None:
            cases = await asyncio.gather(*(store.commit(start_of(store)) for _ in range(20)))
            for case in cases[:3]:
                await store.commit(
                    next_of(case, 1, 0, events=[EventWrite("decided", None, 0, "{}"), EventWrite("finished", None, 0, "{}")])
                )

            events = await store.events()
            rest = await store.events(after=events[20].cursor)
            assert len({event.cursor for event in events}) == len(events)
            assert [event.kind for event in events[20:]] == ["decided", "finished"] * 3
            assert rest == events[21:]
            assert await store.events(after=events[-1].cursor) == []
            with pytest.raises(ValueRefused, match="'not a cursor' is not the cursor of an event"):
                await store.events(after="not a cursor")
            assert [event.kind for event in await store.events(case=cases[0])] == ["accepted", "decided", "finished"]

        check(scenario)

    def test_s9_the_state_is_the_last_write_of_each_field(self, check: Callable[[Scenario], None]) -> None:
        """As it is now, and as it was at any revision."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            await store.commit(next_of(case, 1, 0, fields=[FieldWrite("draft", '"a"', "write"), FieldWrite("check", "true", "check")]))
            await store.commit(next_of(case, 2, 0, fields=[FieldWrite("draft", '"b"', "edit"), FieldWrite("check", None, "check")]))

            now = {field.field: (field.text, field.writer) for field in await store.fields(case)}
            before = {field.field: field.text for field in await store.fields(case, revision=2)}
            assert now == {"message": ('"hello"', ""), "draft": ('"b"', "edit")}
            assert before == {"message": '"hello"', "draft": '"a"', "check": "true"}

        check(scenario)

    def test_s15_a_schedule_keeps_its_first_moment_and_never_goes_back(self, check: Callable[[Scenario], None]) -> None:
        """Whoever asks again, and whatever is noted late."""

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

    def test_s16_a_definition_is_registered_once(self, check: Callable[[Scenario], None]) -> None:
        """With the time at which it was seen first; another fingerprint is another definition."""

        async def scenario(store: Store) -> None:
            first, other = DefinitionRow("p", 1, "a", 10.0), DefinitionRow("p", 1, "b", 20.0)
            await store.register([first])

            await store.register([first._replace(seen_at=20.0), other])

            assert await store.definitions() == [first, other]

        check(scenario)

    def test_a_migrated_case_has_its_new_version(self, check: Callable[[Scenario], None]) -> None:
        """From the commit that migrates it; until then it is found among those of the old one."""

        async def scenario(store: Store) -> None:
            old, older = [await store.commit(start_of(store, status=status)) for status in (Status.READY, Status.WAITING)]
            new = await store.commit(start_of(store, new=NewCase("p", 3, None)))
            await store.commit(start_of(store, process="q"))
            before = await store.versions("p"), [row.id for row in await store.cases_of_version("p", 1)]

            await store.commit(next_of(older, 1, 0, Status.READY, migrated=3, wake_at=20.0))
            await store.commit(next_of(old, 1, 0, Status.BLOCKED))

            row = await store.case(older)
            assert row is not None
            assert row.version == 3
            assert before == ([1, 3], [old, older])
            assert await store.versions("p") == [3]
            assert [row.id for row in await store.cases_of_version("p", 3)] == [older, new]
            assert [row.id for row in await store.cases(status=Status.BLOCKED)] == [old]

        check(scenario)

    def test_open_cases_are_those_that_have_not_ended(self, check: Callable[[Scenario], None]) -> None:
        """Wherever they stand, a page at a time."""

        async def scenario(store: Store) -> None:
            numbers = [await store.commit(start_of(store, status=status)) for status in Status]

            pages = [await store.open_cases(limit=3), await store.open_cases(after=numbers[2], limit=3)]

            assert [row.id for row in pages[0] + pages[1]] == [
                number for number, status in zip(numbers, Status, strict=True) if status not in ENDED
            ]

        check(scenario)

    def test_branches_are_kept_until_they_are_joined(self, check: Callable[[Scenario], None]) -> None:
        """Each as it was written last."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            await store.commit(next_of(case, 1, 0, branches=[BranchRow("a", 1, 30.0, None), BranchRow("b", 1, None, "{}")]))
            await store.commit(next_of(case, 2, 0, branches=[BranchRow("a", 2, None, "{}")]))
            kept = await store.branches(case)

            await store.commit(next_of(case, 3, 0, ends_branches=True))

            assert kept == (BranchRow("a", 2, None, "{}"), BranchRow("b", 1, None, "{}"))
            assert await store.branches(case) == ()

        check(scenario)

    def test_a_branch_keeps_how_it_failed_and_what_it_read(self, check: Callable[[Scenario], None]) -> None:
        """Many at once, beside those of another case."""

        async def scenario(store: Store) -> None:
            first, second = [await store.commit(start_of(store)) for _ in range(2)]
            failed = [BranchRow(f"b[{number:04}]", 3, None, None, '{"error":"E"}', "digest") for number in range(700)]

            await asyncio.gather(
                store.commit(next_of(first, 1, 0, branches=failed)),
                store.commit(next_of(second, 1, 0, branches=[BranchRow("b", 1, None, "{}", None, "other")])),
            )
            await store.commit(next_of(first, 2, 0, branches=[BranchRow("b[0001]", 0, None, None)]))

            kept = await store.branches(first)
            assert kept[0] == BranchRow("b[0000]", 3, None, None, '{"error":"E"}', "digest")
            assert kept[1] == BranchRow("b[0001]", 0, None, None)
            assert len(kept) == 700
            assert await store.branches(second) == (BranchRow("b", 1, None, "{}", None, "other"),)

        check(scenario)

    def test_s14_events_that_are_appended_change_nothing_else(self, check: Callable[[Scenario], None]) -> None:
        """Whoever has the case in hand commits as if they were not there; they stand under the revision that the case had."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            before = await store.case(case)

            await store.append(case, [EventWrite("node.late", "a", 1, "{}"), EventWrite("node.late", "b", 2, "{}")], at=30.0)
            untouched = await store.case(case)
            await store.commit(next_of(case, 1, 0, events=[EventWrite("decided", None, 0, "{}")]))

            events = await store.events(case=case)
            assert untouched == before
            assert [(event.kind, event.step, event.attempt, event.revision) for event in events] == [
                ("accepted", None, 0, 1),
                ("node.late", "a", 1, 1),
                ("node.late", "b", 2, 1),
                ("decided", None, 0, 2),
            ]
            assert events[1].at == 30.0

        check(scenario)

    def test_cases_are_found_by_process_and_status(self, check: Callable[[Scenario], None]) -> None:
        """In the order of their numbers, a page at a time."""

        async def scenario(store: Store) -> None:
            ready = [await store.commit(start_of(store)) for _ in range(3)]
            waiting = await store.commit(start_of(store, process="q", status=Status.WAITING))

            assert [row.id for row in await store.cases()] == [*ready, waiting]
            assert [row.id for row in await store.cases(after=ready[0], limit=2)] == ready[1:]
            assert [row.id for row in await store.cases(status=Status.WAITING)] == [waiting]
            assert [row.id for row in await store.cases(process="p")] == ready
            assert await store.counts() == {Status.READY: 3, Status.WAITING: 1}
            assert await store.case(999) is None

        check(scenario)

    def test_a_blob_is_kept_once_by_its_content(self, check: Callable[[Scenario], None]) -> None:
        """And comes back byte for byte."""

        async def scenario(store: Store) -> None:
            content = bytes(range(256)) * 4

            blob, again = await asyncio.gather(store.keep(content, now=1.0), store.keep(content, now=2.0))

            assert blob == again
            assert blob.size == 1024
            assert await store.blob(blob) == content

        check(scenario)


class Handles(Protocol):
    """A store with leases, as several engines see it."""

    async def another(self) -> Store:
        """A handle for another engine on the same cases; its lease begins now."""

    async def pass_seconds(self, seconds: float) -> None:
        """Let the store's own clock go on."""


OpenHandles = Callable[[], Awaitable[Handles]]


class LeaseConformance:
    """What a store promises that several engines share, beside `StoreConformance`. `open_handles` answers a fresh one."""

    @pytest.fixture
    def open_handles(self) -> OpenHandles:
        """How to open the store under test; a subclass says it."""
        raise AssertionError("a subclass gives the fixture open_handles")

    @pytest.fixture
    def check_handles(self, open_handles: OpenHandles) -> Callable[[Callable[[Handles], Awaitable[None]]], None]:
        """Run a scenario against a fresh store, in an event loop of its own."""

        def run(scenario: Callable[[Handles], Awaitable[None]]) -> None:
            async def main() -> None:
                await scenario(await open_handles())

            asyncio.run(main())

        return run

    def test_s19_a_case_is_taken_over_when_the_lease_on_it_has_passed(self, check_handles: Callable[..., None]) -> None:
        """And not before; its fence is raised and the attempt that was cut short is an interruption."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            seconds = _lease(second)
            claimed = await second.commit(start_of(second, at=0.0))
            await second.claim(["p"], now=1.0, limit=9)
            started = await second.commit(start_of(second, status=Status.RUNNING, attempts=1, claims=True))
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

    def test_s5_the_end_of_an_engine_interrupts_only_what_it_had_called(self, check_handles: Callable[..., None]) -> None:
        """A case whose calls all wait is not interrupted; the mark ends with the call, and a stale fence does not set it."""

        async def scenario(handles: Handles) -> None:
            engine = await handles.another()
            cases = [await engine.commit(start_of(engine, status=Status.RUNNING, attempts=1, claims=True)) for _ in range(4)]
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

    def test_s19_who_renews_keeps_what_it_has(self, check_handles: Callable[..., None]) -> None:
        """However long it works; and the others know when to look again."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            seconds = _lease(first)
            await first.commit(start_of(first, status=Status.RUNNING, attempts=1, claims=True))
            times = []
            for _ in range(4):
                await handles.pass_seconds(seconds * 0.7)
                times.append(await first.renew())
                await second.renew()

            found = await second.claim(["p"], now=1.0, limit=9)

            assert found == []
            assert times == sorted(set(times))
            assert await second.next_wake(["p"]) == pytest.approx(times[-1] + seconds)

        check_handles(scenario)

    def test_s20_a_lease_that_has_passed_is_over(self, check_handles: Callable[..., None]) -> None:
        """For renewing and for claiming, also when nobody has taken the cases over; and who lost a case commits nothing."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            case = await first.commit(start_of(first, status=Status.RUNNING, attempts=1, claims=True))
            await handles.pass_seconds(_lease(first) * 0.7)
            await second.renew()
            await handles.pass_seconds(_lease(first) * 0.7)

            late = await asyncio.gather(first.renew(), first.claim(["p"], now=1.0, limit=9), return_exceptions=True)
            await second.claim(["p"], now=1.0, limit=9)
            stale = await asyncio.gather(first.commit(next_of(case, 1, 1)), return_exceptions=True)

            assert [type(answer) for answer in late] == [LeaseLost, LeaseLost]
            assert isinstance(stale[0], Conflict)

        check_handles(scenario)

    def test_s21_an_engine_gives_back_only_what_it_has(self, check_handles: Callable[..., None]) -> None:
        """A case that was taken over stays with its new engine; what a closed handle had is free at once."""

        async def scenario(handles: Handles) -> None:
            first, second = await handles.another(), await handles.another()
            case = await first.commit(start_of(first, status=Status.RUNNING, attempts=1, claims=True))
            await handles.pass_seconds(_lease(first) * 0.7)
            await second.renew()
            await handles.pass_seconds(_lease(first) * 0.7)
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


def _lease(store: Store) -> float:
    assert store.lease_seconds is not None
    return store.lease_seconds
