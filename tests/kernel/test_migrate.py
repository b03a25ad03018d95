"""Bringing the stored fields of an older case to the version of the code."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman import Process, State
from pointsman.errors import VersionNotAccepted
from pointsman.kernel.migrate import MIGRATION, migrate


class Case(State):
    message: str
    amount: float = 1.0
    draft: str | None = None
    answer: list[int] | None = None


def process(version: int, accepts: Any) -> Process[Case]:
    return Process("p", Case, version=version, accepts=accepts)


STORED = {"message": ('"hello"', ""), "draft": ('"A \\u00e9"', "write"), "gone": ("7", "old")}


def test_what_a_migration_does_not_touch_keeps_its_text_and_its_writer() -> None:
    migrated = migrate(process(2, {1: dict}), 1, STORED)

    assert migrated.fields == STORED
    assert migrated.changes == {}


def test_a_changed_field_keeps_its_writer_and_a_removed_one_is_cleared() -> None:
    migrated = migrate(process(2, {1: lambda c: {"message": c["message"].upper(), "draft": None}}), 1, STORED)

    assert migrated.changes == {"message": ('"HELLO"', ""), "draft": (None, "write"), "gone": (None, "old")}
    assert migrated.fields == {"message": ('"HELLO"', "")}


def test_a_new_input_is_an_input_and_a_new_result_is_the_migrations() -> None:
    migrated = migrate(process(2, {1: lambda c: {**c, "amount": 2, "answer": [1, 2]}}), 1, STORED)

    assert migrated.changes == {"amount": ("2.0", ""), "answer": ("[1,2]", MIGRATION)}


def test_migrations_run_in_their_order_and_those_before_the_case_do_not() -> None:
    def noting(version: int) -> Any:
        return lambda c: {**c, "message": f"{c['message']} {version}"}

    chain = {version: noting(version) for version in range(1, 5)}

    migrated = migrate(process(5, chain), 3, STORED)

    assert json.loads(migrated.fields["message"][0]) == "hello 3 4"
    assert (migrated.since, migrated.to) == (3, 5)


def test_a_field_that_only_versions_in_between_had_is_kept_without_being_looked_at() -> None:
    migrated = migrate(process(3, {1: lambda c: {**c, "between": 1}, 2: lambda c: {**c, "amount": c["between"] + 1}}), 1, STORED)

    assert migrated.changes == {"amount": ("2.0", ""), "between": ("1", MIGRATION)}


def test_a_migration_that_changes_what_it_was_given_changes_it_all_the_same() -> None:
    def in_place(fields: Any) -> Any:
        fields["answer"].append(3)
        return fields

    migrated = migrate(process(2, {1: in_place}), 1, {**STORED, "answer": ("[1,2]", "ask")})

    assert migrated.changes == {"answer": ("[1,2,3]", "ask")}


@pytest.mark.parametrize(
    ("migration", "told"),
    [
        (lambda c: c["massage"], "the migration of 'p' from version 1 raised KeyError: 'massage'; correct it"),
        (lambda c: None, "raised TypeError"),
        (lambda c: {**c, "draft": {1, 2}}, "raised TypeError"),
        (lambda c: {**c, "amount": float("inf")}, "raised ValueError"),
        (lambda c: {**c, "amount": "much"}, "after its migrations the stored value of field 'amount' no longer fits its type"),
        (lambda c: {**c, "mesage": "x"}, "gives 'mesage', which is not a field of Case; correct it"),
    ],
)
def test_a_migration_that_fails_says_which_and_why(migration: Any, told: str) -> None:
    with pytest.raises(VersionNotAccepted) as refused:
        migrate(process(2, {1: migration}), 1, STORED)

    assert told in str(refused.value)


VALUES = st.sampled_from([None, True, 0, 1, 1.0, 1.5, "", "é", [1], [1.0], {"a": None}, {"a": [1, {}]}])


@given(st.dictionaries(st.sampled_from(["gone", "other", "more"]), VALUES), st.dictionaries(st.sampled_from(["gone", "other"]), VALUES))
def test_the_changes_are_what_leads_from_the_old_fields_to_the_new_ones(before: dict[str, Any], after: dict[str, Any]) -> None:
    stored = {name: (json.dumps(value), "step") for name, value in before.items() if value is not None}
    known = {name: value for name, value in after.items() if name in stored}

    migrated = migrate(process(2, {1: lambda _: known}), 1, stored)

    applied: dict[str, Any] = dict(stored)
    for name, (text, writer) in migrated.changes.items():
        applied.pop(name, None)
        if text is not None:
            applied[name] = (text, writer)
    assert applied == migrated.fields
    assert {name: json.loads(text) for name, (text, _) in applied.items()} == {k: v for k, v in known.items() if v is not None}
