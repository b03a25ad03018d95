"""The conformance suite, of logs: what is added costs its own bytes, and every state that was can be read."""

from collections.abc import Callable

from pointsman.kernel.rows import FieldRow, FieldWrite, MessageStatus, Post
from pointsman.kernel.snapshot import Status
from pointsman.store.base import Store, WriteRow
from pointsman.testing.scenarios import Scenario, next_of, start_of


class LogsConformance:
    """What every store promises of fields that grow."""

    def test_s9_a_log_is_its_last_whole_value_and_what_was_added_since(self, check: Callable[[Scenario], None]) -> None:
        """Now, and as of any revision; its writer is the last one."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
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

    def test_s9_a_dossier_has_each_addition_as_it_was_written(self, check: Callable[[Scenario], None]) -> None:
        """Which is all that it costs."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
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

    def test_s9_what_is_an_item_of_a_log_is_kept_there_only(self, check: Callable[[Scenario], None]) -> None:
        """A message that was logged keeps its key, by which it is recognised, and no body."""

        async def scenario(store: Store) -> None:
            case = await store.commit(start_of(store))
            [claimed] = await store.claim(["p"], now=20.0, limit=1)
            post = Post("p", "note", "n1", None, '"a note"', 20.0, case=case)
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

    def test_s5_a_claim_does_not_read_the_fields_that_are_known(self, check: Callable[[Scenario], None]) -> None:
        """Where the case is still at the revision as of which they are known."""

        async def scenario(store: Store) -> None:
            cases = [await store.commit(start_of(store)) for _ in range(2)]

            claimed = await store.claim(["p"], now=20.0, limit=2, known={cases[0]: 1, cases[1]: 7})

            assert {one.case.id: one.fields for one in claimed} == {
                cases[0]: None,
                cases[1]: (FieldRow("message", '"hello"', "", 1),),
            }

        check(scenario)
