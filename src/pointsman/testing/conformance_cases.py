"""The promises of a store about cases (S1 to S9, S14); a part of the suite in conformance.py."""

import asyncio
from collections.abc import Callable

from pointsman.errors import Conflict
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import (
    Address,
    BranchRow,
    EventWrite,
    FieldRow,
    FieldWrite,
    Intent,
    MessageStatus,
    NewCase,
    PauseOpening,
    Post,
    Settlement,
)
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Store, WriteRow
from pointsman.testing.scenarios import Scenario, Scenarios, case_in_doubt, events_once, new_case, next_of


class CaseConformance(Scenarios):
    """Start and move cases."""

    def test_s1_a_commit_is_atomic(self, check: Callable[[Scenario], None]) -> None:
        """A commit writes every part of a transition."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)

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
            assert [event.kind for event in await events_once(store, 2)] == ["accepted", "paused"]
            assert pause is not None
            assert (pause.token, pause.closed) == ("token", None)
            assert effect is not None
            assert (effect.status, effect.attempts, effect.case) == (EffectStatus.INTENDED, 1, case)
            assert await store.branches(case) == (BranchRow("b", 1, None, "{}"),)

        check(scenario)

    def test_s1_a_transition_that_is_refused_late_writes_nothing(self, check: Callable[[Scenario], None]) -> None:
        """If the ledger refuses an intent, fields, events and status are not written either, even within a batch."""

        async def scenario(store: Store) -> None:
            first, second, third = [await new_case(store) for _ in range(3)]
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

    def test_s3_a_commit_at_another_revision_or_fence_changes_nothing(self, check: Callable[[Scenario], None]) -> None:
        """Every way of losing a case raises Conflict."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
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
        """Even if both arrive in one batch."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            rivals = [next_of(case, 1, 0, fields=[FieldWrite("answer", f'"{name}"', name)]) for name in ("anna", "bob")]

            answers = await asyncio.gather(*map(store.commit, rivals), return_exceptions=True)

            winners = [name for name, answer in zip(("anna", "bob"), answers, strict=True) if answer == case]
            fields = {field.field: field.text for field in await store.fields(case)}
            assert len(winners) == 1
            assert sum(isinstance(answer, Conflict) for answer in answers) == 1
            assert fields["answer"] == f'"{winners[0]}"'

        check(scenario)

    def test_s4_starts_with_one_key_create_one_case(self, check: Callable[[Scenario], None]) -> None:
        """If they are repeated, concurrent, or beside another process with the same key."""

        async def scenario(store: Store) -> None:
            answers = await asyncio.gather(*(new_case(store, key="mail-1") for _ in range(8)))
            again = await new_case(store, key="mail-1")
            other = await new_case(store, key="mail-1", process="q")

            found = await store.case_by_key("p", "mail-1")
            assert len({*answers, again}) == 1
            assert other not in answers
            assert found is not None
            assert found.id == again
            assert len(await store.cases()) == 2
            assert len(await store.events(case=again)) == 1

        check(scenario)

    def test_s4_a_number_is_reserved_once(self, check: Callable[[Scenario], None]) -> None:
        """Concurrent reservations get different blocks; unused numbers leave gaps."""

        async def scenario(store: Store) -> None:
            await store.reserve(3)
            first = await new_case(store)
            blocks = await asyncio.gather(*(store.reserve(5) for _ in range(4)))
            last = await new_case(store)

            numbers = [number for block in blocks for number in block]
            assert len(set(numbers)) == 20
            assert first < min(numbers)
            assert max(numbers) < last
            assert [row.id for row in await store.cases()] == [first, last]

        check(scenario)

    def test_s6_a_pause_is_open_until_its_case_moves(self, check: Callable[[Scenario], None]) -> None:
        """It is answered once, or void if the case moves without an answer."""

        async def scenario(store: Store) -> None:
            case = await new_case(store, status=Status.WAITING, pause=PauseOpening("approve", "t1", "d1"))
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
        """Every such intent is a Conflict, and a recorded outcome never changes."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
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

    def test_s7_an_intent_is_renewed_only_with_the_same_arguments(self, check: Callable[[Scenario], None]) -> None:
        """The entry counts the calls and keeps the time of the first intent."""

        async def scenario(store: Store) -> None:
            case = await case_in_doubt(store, status=Status.PARKED)
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

    def test_s9_the_state_is_the_last_write_of_each_field(self, check: Callable[[Scenario], None]) -> None:
        """Now, and as of any revision."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            await store.commit(next_of(case, 1, 0, fields=[FieldWrite("draft", '"a"', "write"), FieldWrite("check", "true", "check")]))
            await store.commit(next_of(case, 2, 0, fields=[FieldWrite("draft", '"b"', "edit"), FieldWrite("check", None, "check")]))

            now = {field.field: (field.text, field.writer) for field in await store.fields(case)}
            before = {field.field: field.text for field in await store.fields(case, revision=2)}
            assert now == {"message": ('"hello"', ""), "draft": ('"b"', "edit")}
            assert before == {"message": '"hello"', "draft": '"a"', "check": "true"}

        check(scenario)

    def test_a_migrated_case_has_its_new_version(self, check: Callable[[Scenario], None]) -> None:
        """From the commit that migrates it; before that, it is listed under the old version."""

        async def scenario(store: Store) -> None:
            old, older = [await new_case(store, status=status) for status in (Status.READY, Status.WAITING)]
            new = await new_case(store, new=NewCase("p", 3, None))
            await new_case(store, process="q")
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

    def test_branches_are_stored_until_their_join(self, check: Callable[[Scenario], None]) -> None:
        """Each as it was last written."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            await store.commit(next_of(case, 1, 0, branches=[BranchRow("a", 1, 30.0, None), BranchRow("b", 1, None, "{}")]))
            await store.commit(next_of(case, 2, 0, branches=[BranchRow("a", 2, None, "{}")]))
            kept = await store.branches(case)

            await store.commit(next_of(case, 3, 0, ends_branches=True))

            assert kept == (BranchRow("a", 2, None, "{}"), BranchRow("b", 1, None, "{}"))
            assert await store.branches(case) == ()

        check(scenario)

    def test_a_branch_stores_its_failure_and_the_digest_of_what_it_read(self, check: Callable[[Scenario], None]) -> None:
        """Also with many branches at once, and beside those of another case."""

        async def scenario(store: Store) -> None:
            first, second = [await new_case(store) for _ in range(2)]
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

    def test_s14_appending_events_changes_nothing_else(self, check: Callable[[Scenario], None]) -> None:
        """The engine that runs the case can still commit, and the events have the case's revision."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
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

    def test_equal_blobs_are_stored_once(self, check: Callable[[Scenario], None]) -> None:
        """And is read back byte for byte."""

        async def scenario(store: Store) -> None:
            content = bytes(range(256)) * 4

            blob, again = await asyncio.gather(store.keep(content, now=1.0), store.keep(content, now=2.0))

            assert blob == again
            assert blob.size == 1024
            assert await store.blob(blob) == content

        check(scenario)

    def test_a_call_that_does_not_count_is_subtracted_from_the_attempts(self, check: Callable[[Scenario], None]) -> None:
        """And the next call counts again."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
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

    def test_s9_a_log_is_its_last_whole_write_and_the_items_added_since(self, check: Callable[[Scenario], None]) -> None:
        """Now, and as of any revision; its writer is the last writer."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            for revision, (text, appends) in enumerate(
                [('["a"]', False), ('["b","c"]', True), ("[]", True), ('["[,]"]', True), (None, False), ('["d"]', True), ("[]", False), ('["e"]', True)],
                start=1,
            ):  # fmt: skip
                write = FieldWrite("log", text, f"w{revision}", appends)
                await store.commit(next_of(case, revision, 0, Status.READY, wake_at=10.0, fields=[write]))

            states = [{row.field: row for row in await store.fields(case, revision=revision)}.get("log") for revision in range(1, 10)]
            assert states == [
                None,
                FieldRow("log", '["a"]', "w1", 2),
                FieldRow("log", '["a","b","c"]', "w2", 3),
                FieldRow("log", '["a","b","c"]', "w3", 4),
                FieldRow("log", '["a","b","c","[,]"]', "w4", 5),
                None,
                FieldRow("log", '["d"]', "w6", 7),
                FieldRow("log", "[]", "w7", 8),
                FieldRow("log", '["e"]', "w8", 9),
            ]
            assert [row for row in await store.fields(case) if row.field == "log"] == [states[-1]]
            [claimed] = await store.claim(["p"], now=20.0, limit=1)
            assert states[-1] in (claimed.fields or ())

        check(scenario)

    def test_s9_a_dossier_has_each_write_of_a_log_as_it_was_written(self, check: Callable[[Scenario], None]) -> None:
        """An addition stores its own items only."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            await store.commit(next_of(case, 1, 0, fields=[FieldWrite("log", '["a"]', "w", appends=True)]))
            await store.commit(next_of(case, 2, 0, fields=[FieldWrite("log", '["b"]', "w", appends=True)]))

            dossier = await store.dossier(case)
            assert dossier is not None
            assert dossier.writes == (
                WriteRow(1, "message", '"hello"', ""),
                WriteRow(2, "log", '["a"]', "w", appends=True),
                WriteRow(3, "log", '["b"]', "w", appends=True),
            )

        check(scenario)

    def test_s9_an_item_of_a_log_is_stored_only_in_the_log(self, check: Callable[[Scenario], None]) -> None:
        """A logged message keeps its key, to recognise duplicates, but not its body."""

        async def scenario(store: Store) -> None:
            case = await new_case(store)
            [claimed] = await store.claim(["p"], now=20.0, limit=1)
            post = Post(Address("p", case=case), "note", "n1", '"a note"', 20.0)
            await store.post(post)
            [message] = await store.messages(case)
            item = FieldWrite("log", '["a note"]', "note", appends=True)
            takes = [(message.id, MessageStatus.LOGGED)]
            await store.commit(next_of(case, 1, claimed.case.fence, Status.WAITING, inbox=1, takes=takes, fields=[item]))

            dossier = await store.dossier(case)
            assert dossier is not None
            assert [(row.status, row.body) for row in dossier.messages] == [(MessageStatus.LOGGED, "null")]
            assert (await store.post(post)) == (case, MessageStatus.LOGGED, True, False)

        check(scenario)
