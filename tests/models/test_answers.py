"""An answer is read as a value of the schema, or told as what is wrong with it."""

import json
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from pointsman.models import read_answer
from pointsman.models.answers import VIOLATIONS_MAX, cleaned


class Risk(StrEnum):
    LOW = "low"
    HIGH = "high"


class Item(BaseModel):
    name: str
    size: Literal["S", "M"] = "M"


class Triage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    risk: Risk
    score: Annotated[int, Field(ge=0, le=5)]
    items: list[Item] = []
    note: Annotated[str, Field(max_length=10)] | None = None
    when: date | None = None

    @field_validator("score")
    @classmethod
    def _is_no_four(cls, score: int) -> int:
        if score == 4:
            raise ValueError("4 is an unlucky number")
        return score


def told(raw: str, schema: type[BaseModel] = Triage) -> list[str]:
    value, violations = read_answer(raw, schema)
    assert value is None
    assert {violation.check for violation in violations} == {"schema"}
    return [violation.message for violation in violations]


@pytest.mark.parametrize(
    "raw",
    [
        '{"risk": "low", "score": 2}',
        '\n  {"risk": "low", "score": 2}\n',
        '```json\n{"risk": "low", "score": 2}\n```',
        '```\n{"risk": "low", "score": 2}\n```',
        'Here it is:\n```json\n{"risk": "low", "score": 2}\n```\nI hope that it helps.',
    ],
)
def test_an_answer_that_fits_is_its_value(raw: str) -> None:
    assert read_answer(raw, Triage) == (Triage(risk=Risk.LOW, score=2), ())


def test_what_is_not_written_in_json_is_read_as_json_has_it() -> None:
    value, _ = read_answer('{"risk": "high", "score": 0, "when": "2026-02-03", "note": "``` a ```"}', Triage)

    assert value is not None
    assert (value.when, value.note) == (date(2026, 2, 3), "``` a ```")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ('{"risk": "odd", "score": 1}', "`risk` is \"odd\"; it must be 'low' or 'high'"),
        ('{"score": 1}', '`risk` is missing; it must be one of "low", "high"'),
        ('{"risk": "low"}', "`score` is missing; it must be a whole number"),
        ('{"risk": "low", "score": 9}', "`score` is 9: it should be less than or equal to 5"),
        ('{"risk": "low", "score": "many"}', '`score` is "many": it should be a valid integer, unable to parse string as an integer'),
        ('{"risk": "low", "score": 4}', "`score` is 4: 4 is an unlucky number"),
        ('{"risk": "low", "score": 1, "bcc": "x@y.example"}', "`bcc` is not in the schema; leave it out"),
        ('{"risk": "low", "score": 1, "items": [{"name": "a"}, {}]}', "`items[1].name` is missing; it must be a string"),
        ('{"risk": "low", "score": 1, "items": [{"name": "a", "size": "L"}]}', "`items[0].size` is \"L\"; it must be 'S' or 'M'"),
        ('{"risk": "low", "score": 1, "items": [7]}', "`items[0]` must be an object"),
        ("[1, 2]", "the answer must be an object"),
    ],
)
def test_what_does_not_fit_is_told_by_field_with_what_is_allowed(raw: str, message: str) -> None:
    assert told(raw) == [message]


def test_every_field_that_is_wrong_is_told_at_once() -> None:
    assert len(told('{"risk": "odd", "score": 7, "more": 1}')) == 3


@pytest.mark.parametrize("raw", ["", "  \n ", "```json\n```"])
def test_an_empty_answer_is_told(raw: str) -> None:
    assert told(raw) == ["the answer is empty; answer with one JSON object"]


@pytest.mark.parametrize(
    "raw",
    [
        "I am sorry, but no.",
        '{"risk": "low", "sc',
        '```json\n{"risk": "low", "sc',
        '{"risk": "low", "score": NaN}',
        '{"risk": "low", "score": Infinity}',
        '{"risk": "low", "score": 1e999}',
        '{"risk": "low", "score": 1}{"risk": "low", "score": 1}',
        "[" * 100_000,
        '{"risk": "low", "score": 1, "note": "\\ud800"}',
    ],
)
def test_what_is_no_json_that_a_case_can_hold_is_told(raw: str) -> None:
    (message,) = told(raw)

    assert "JSON" in message
    assert len(message) < 250


@pytest.mark.parametrize("nul", ["\\u0000", "\\\\\\u0000"])
def test_a_nul_is_told_because_no_store_holds_it(nul: str) -> None:
    raw = f'{{"risk": "low", "score": 1, "note": "{nul}"}}'

    assert told(raw) == ["the answer holds a NUL character (\\u0000); leave it out"]


def test_a_backslash_before_the_digits_of_a_nul_is_no_nul() -> None:
    value, _ = read_answer('{"risk": "low", "score": 1, "note": "\\\\u0000"}', Triage)

    assert value is not None
    assert value.note == "\\u0000"


def test_a_long_value_is_cut_short_and_many_violations_are_counted() -> None:
    class Numbers(BaseModel):
        numbers: list[int]

    messages = told(json.dumps({"numbers": ["x" * 5_000] * 50}), Numbers)

    assert len(messages) == VIOLATIONS_MAX + 1
    assert messages[-1] == "and 30 more like these"
    assert max(map(len, messages)) < 250


def test_the_members_of_a_union_are_not_named_to_the_model() -> None:
    class Answer(BaseModel):
        found: Item | int

    messages = told('{"found": {"size": "M"}}', Answer)

    assert messages[0] == "`found.name` is missing"
    assert messages[1].startswith("`found` is ")


def test_no_part_of_the_answer_is_taken_for_another() -> None:
    class Money(BaseModel):
        amount: Decimal

    value, _ = read_answer('{"amount": 0.1}', Money)

    assert value == Money(amount=Decimal("0.1"))


@pytest.mark.parametrize(("text", "clean"), [("a\ud800b", "a?b"), ("a\0b", "a?b"), ("grün 🌱", "grün 🌱")])
def test_a_text_is_cleaned_of_what_no_store_holds(text: str, clean: str) -> None:
    assert cleaned(text) == clean


def test_a_validator_of_several_fields_speaks_for_the_whole() -> None:
    class Range(BaseModel):
        low: int
        high: int

        @model_validator(mode="after")
        def _is_upright(self) -> Self:
            if self.low > self.high:
                raise ValueError("`low` is above `high`")
            return self

    assert told('{"low": 2, "high": 1}', Range) == ["the answer: `low` is above `high`"]
