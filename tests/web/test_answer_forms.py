"""Forms for answers: made from the JSON Schema of a type, and read back."""

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from pointsman.server.forms import Form
from pointsman.web.answer_forms import ROOT, Problems, compact
from pointsman.web.answer_parts import part_of


def read(type_: Any, sent: dict[str, str]) -> tuple[Any, dict[str, str]]:
    """What a form means for a type, after the browser has encoded it, and what is wrong with it."""
    pairs = parse_qsl(urlencode({f"{ROOT}{name}": text for name, text in sent.items()}), keep_blank_values=True)
    problems = Problems()
    value = part_of(TypeAdapter(type_).json_schema()).read(ROOT, compact(Form(pairs)), problems)
    return value, dict(problems)


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    street: str
    zip: str = Field(max_length=10)


class Refund(BaseModel):
    kind: Literal["refund"]
    amount: Decimal = Field(ge=0)


class Replace(BaseModel):
    kind: Literal["replace"]
    article: str


class Order(BaseModel):
    paid: bool
    note: str = ""
    reason: str | None = None
    count: int = Field(default=1, ge=1, le=9)
    colour: Colour | None = None
    due: date | None = None
    address: Address | None = None
    lines: list[int] = []
    tags: set[Literal["a", "b"]] = set()
    remedy: Annotated[Refund | Replace, Field(discriminator="kind")] | None = None
    more: dict[str, int] = {}


@pytest.mark.parametrize(
    ("type_", "sent", "value"),
    [
        (bool, {"": "true"}, True),
        (bool, {"": "false"}, False),
        (Literal["approve", "reject"], {"": "reject"}, "reject"),
        (Literal[1, 2], {"": "2"}, 2),
        (Colour, {"": "blue"}, "blue"),
        (int, {"": " 12 "}, 12),
        (float, {"": "1.5"}, 1.5),
        (Decimal, {"": "1.50"}, "1.50"),
        (str, {"": "two\r\nlines"}, "two\nlines"),
        (str | None, {"": ""}, None),
        (date, {"": "2026-11-28"}, "2026-11-28"),
        (list[str], {"[0]": "one", "[1]": " ", "[2]": "two"}, ["one", "two"]),
        (list[int], {"[10]": "10", "[9]": "9"}, [9, 10]),
        (dict[str, int], {"": '{"a": 1}'}, {"a": 1}),
        (int | list[str], {"": "[]"}, []),
    ],
)
def test_a_value_of_each_kind_is_read(type_: Any, sent: dict[str, str], value: Any) -> None:
    assert read(type_, sent) == (value, {})
    TypeAdapter(type_).validate_python(value)


def test_members_that_are_left_blank_are_left_out() -> None:
    sent = {
        ".paid": "true",
        ".note": "",
        ".reason": "",
        ".count": "",
        ".due": "",
        ".address.street": "",
        ".address.zip": " ",
        ".lines[0]": "",
        ".more": "",
    }

    value, problems = read(Order, sent)

    assert problems == {}
    assert Order.model_validate(value) == Order(paid=True)


def test_a_form_that_is_filled_in_is_the_whole_answer() -> None:
    sent = {
        ".paid": "false", ".note": "see there", ".reason": "old", ".count": "3", ".colour": "red", ".due": "2026-01-02", ".address.street": "Am Weg 1",
        ".address.zip": "04109", ".lines[0]": "1", ".lines[1]": "2", ".tags": "b", ".remedy.kind": "refund", ".remedy.refund.amount": "9.90", ".more": '{"x": 1}',
    }  # fmt: skip

    value, problems = read(Order, sent)

    assert problems == {}
    assert Order.model_validate(value) == Order(
        paid=False, note="see there", reason="old", count=3, colour=Colour.RED, due=date(2026, 1, 2), address=Address(street="Am Weg 1", zip="04109"),
        lines=[1, 2], tags={"b"}, remedy=Refund(kind="refund", amount=Decimal("9.90")), more={"x": 1},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("type_", "sent", "where", "words"),
    [
        (Order, {}, "answer.paid", "Fill this in"),
        (Order, {".paid": "perhaps"}, "answer.paid", "Choose one"),
        (Order, {".paid": "true", ".count": "1.5"}, "answer.count", "whole number"),
        (Order, {".paid": "true", ".address.street": "x"}, "answer.address.zip", "Fill this in"),
        (Order, {".paid": "true", ".lines[0]": "", ".lines[1]": "two"}, "answer.lines[0]", "whole number"),
        (Order, {".paid": "true", ".remedy.kind": "refund"}, "answer.remedy.refund.amount", "Fill this in"),
        (Order, {".paid": "true", ".more": '{"x": }'}, "answer.more", "not JSON"),
        (Order, {".paid": "true", ".more": '{"x": NaN}'}, "answer.more", "not JSON"),
        (datetime, {"": "tomorrow"}, "answer", "date and a time"),
    ],
)
def test_what_cannot_be_read_is_said_beside_its_field(type_: Any, sent: dict[str, str], where: str, words: str) -> None:
    _, problems = read(type_, sent)

    assert list(problems) == [where]
    assert words in problems[where]


def test_a_field_is_drawn_for_each_member() -> None:
    drawn = {field.name: field for field in part_of(Order.model_json_schema()).draw(ROOT, None).walk()}

    assert [drawn[f"answer.{name}"].kind for name in Order.model_fields] == [
        "radios", "area", "area", "input", "radios", "input", "group", "rows", "checks", "variants", "json",
    ]  # fmt: skip
    assert drawn["answer.paid"].required
    assert not drawn["answer.note"].required
    assert [option.label for option in drawn["answer.paid"].options] == ["Yes", "No"]
    assert not any(option.chosen for option in drawn["answer.paid"].options)
    assert drawn["answer.count"].text == "1"
    assert drawn["answer.count"].limits == {"type": "number", "step": 1, "min": 1, "max": 9}
    assert drawn["answer.due"].limits["type"] == "date"
    assert drawn["answer.remedy.refund.amount"].kind == "input"


def test_a_form_that_is_shown_again_has_what_was_entered() -> None:
    sent = compact(
        Form(
            [("answer.paid", "false"), ("answer.note", "my words"), ("answer.lines[3]", "7"), ("add", "answer.lines"), ("answer.tags", "a")]
        )
    )

    drawn = {field.name: field for field in part_of(Order.model_json_schema()).draw(ROOT, sent).walk()}

    assert [option.chosen for option in drawn["answer.paid"].options] == [False, True]
    assert drawn["answer.note"].text == "my words"
    assert [(row.name, row.text) for row in drawn["answer.lines"].inner] == [("answer.lines[0]", "7"), ("answer.lines[1]", "")]
    assert [option.chosen for option in drawn["answer.tags"].options] == [True, False]


def test_an_optional_choice_can_be_taken_back() -> None:
    part = part_of(Order.model_json_schema())
    drawn = {field.name: field for field in part.draw(ROOT, None).walk()}
    again = {field.name: field for field in part.draw(ROOT, Form([("answer.colour", "red")])).walk()}

    assert [(option.text, option.label, option.chosen) for option in drawn["answer.colour"].options][-1] == ("", "None", True)
    assert [(option.label, option.chosen) for option in again["answer.colour"].options] == [("Red", True), ("Blue", False), ("None", False)]
    assert [option.label for option in drawn["answer.remedy"].options] == ["Refund", "Replace", "None"]
    assert [option.label for option in drawn["answer.paid"].options] == ["Yes", "No"]
    value, problems = read(Order, {".paid": "true", ".colour": "", ".remedy.kind": ""})
    assert (Order.model_validate(value), problems) == (Order(paid=True), {})


class Tree(BaseModel):
    name: str
    below: "list[Tree]" = []


def test_a_type_that_holds_itself_ends_in_json() -> None:
    drawn = list(part_of(TypeAdapter(Tree).json_schema()).draw(ROOT, None).walk())

    assert [(field.name, field.kind) for field in drawn[1:]] == [("answer.name", "area"), ("answer.below", "json")]
