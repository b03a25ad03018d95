"""Values come back from JSON equal, or are refused with the path to what does not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints, TypeAdapter

from pointsman import State
from pointsman.errors import ValueRefused
from pointsman.kernel.codec import Codec, codec_of, digest, digest_of, may_hold_times
from pointsman.kernel.snapshot import Cell

NOT_A_NUMBER = float("nan")
INFINITY = float("inf")


class Mood(StrEnum):
    CALM = "calm"
    ANGRY = "angry"


class Item(BaseModel):
    name: str
    amount: Decimal
    tags: frozenset[str] = frozenset()
    notes: dict[str, float] = Field(default_factory=dict)


class Order(BaseModel):
    number: int
    placed: datetime
    day: date
    mood: Mood
    items: tuple[Item, ...]


@dataclass
class Point:
    label: str
    x: float = 0.0


class Loose(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")

    ratio: float


class Everything(State):
    free: Any = None
    text: str | None = None
    number: float | None = None
    order: Order | None = None
    point: Point | None = None
    raw: bytes | None = None
    loose: Loose | None = None
    counts: dict[int, str] | None = None
    short: str | None = Field(default=None, max_length=3)


CODEC = codec_of(Everything)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
numbers = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
items = st.builds(
    Item,
    name=texts,
    amount=st.decimals(allow_nan=False, allow_infinity=False),
    tags=st.frozensets(texts, max_size=3),
    notes=st.dictionaries(texts, numbers, max_size=3),
)
orders = st.builds(
    Order,
    number=st.integers(),
    placed=st.datetimes(timezones=st.just(UTC)),
    day=st.dates(),
    mood=st.sampled_from(Mood),
    items=st.lists(items, max_size=3).map(tuple),
)


def refusal(field: str, value: object) -> str:
    """What is said when a field refuses a value."""
    with pytest.raises(ValueRefused) as refused:
        CODEC.encode(field, value, "step")
    text = str(refused.value)
    assert "\n" not in text
    text.encode()
    return text


def same(a: object, b: object) -> bool:
    """Equality that tells True from 1, and 1 from 1.0."""
    return json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True)


# What comes back.


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_what_json_can_hold_comes_back_equal(value: object) -> None:
    cell = CODEC.encode("free", value, "step")

    back = CODEC.decode("free", cell.text, cell.writer)

    assert same(cell.value, value)
    assert same(back.value, value)
    assert (back.text, back.writer) == (cell.text, "step")


@settings(max_examples=100, deadline=None)
@given(orders)
def test_a_model_comes_back_equal_and_as_its_own_type(order: Order) -> None:
    cell = CODEC.encode("order", order, "step")

    back = CODEC.decode("order", cell.text, cell.writer)

    assert back.value == order
    assert type(back.value) is Order
    assert json.loads(cell.text)["number"] == order.number


@settings(max_examples=100, deadline=None)
@given(json_values)
def test_what_is_stored_is_stored_alike_when_it_is_read_and_written_again(value: object) -> None:
    cell = CODEC.encode("free", value, "step")

    again = CODEC.encode("free", CODEC.decode("free", cell.text, "step").value, "step")

    assert again.text == cell.text


def test_what_fits_after_validation_is_stored_as_the_type_of_the_field() -> None:
    cell = CODEC.encode("point", {"label": "here", "x": 1}, "step")

    assert cell.value == Point("here", 1.0)
    assert json.loads(cell.text) == {"label": "here", "x": 1.0}


def test_the_value_of_a_cell_is_no_part_of_what_the_step_holds() -> None:
    given_list = [1, 2]
    cell = CODEC.encode("free", given_list, "step")

    given_list.append(3)

    assert cell.value == [1, 2]


def test_a_field_keeps_the_limits_that_its_declaration_sets() -> None:
    CODEC.encode("short", "abc", "step")

    text = refusal("short", "abcd")

    assert "short" in text
    assert "at most 3" in text


def test_the_codec_of_a_state_is_built_once_and_knows_its_fields() -> None:
    assert codec_of(Everything) is codec_of(Everything)
    assert CODEC.knows("order")
    assert not Codec(Everything).knows("oder")


def test_a_stored_value_that_no_longer_fits_is_named() -> None:
    with pytest.raises(ValueRefused, match=r"the stored value of field 'order' no longer fits its type: number"):
        CODEC.decode("order", '{"number":"many"}', "step")


# What JSON, or a database's text, cannot hold.


@pytest.mark.parametrize("number", [NOT_A_NUMBER, INFINITY, -INFINITY], ids=str)
@pytest.mark.parametrize(
    ("field", "wrap", "path"),
    [
        ("number", lambda n: n, "number"),
        ("free", lambda n: n, "free"),
        ("free", lambda n: {"a": [1.0, n]}, "free['a'][1]"),
        ("free", lambda n: [[n]], "free[0][0]"),
        ("order", lambda n: _order(note=n), "order.items[0].notes['a']"),
        ("loose", lambda n: Loose(ratio=n), "loose.ratio"),
    ],
    ids=["field", "free", "dict", "list", "model", "model with constants"],
)
def test_a_number_that_json_cannot_hold_is_refused_with_its_path(
    number: float, field: str, wrap: Callable[[float], object], path: str
) -> None:
    text = refusal(field, wrap(number))

    assert text.startswith(f"{path}: ")
    assert str(number) in text
    assert "use None or a text" in text


@pytest.mark.parametrize(
    ("flaw", "told"),
    [
        ("a\0b", "a NUL at position 1"),
        ("a\ud800", "the lone surrogate U+D800 at position 1"),
        ("\udfff", "U+DFFF at position 0"),
    ],
    ids=["nul", "high surrogate", "low surrogate"],
)
@pytest.mark.parametrize(
    ("field", "wrap", "path"),
    [
        ("text", lambda t: t, "text"),
        ("free", lambda t: t, "free"),
        ("free", lambda t: {"a": {"b": [0, t]}}, "free['a']['b'][1]"),
        ("free", lambda t: [["x"], [t]], "free[1][0]"),
        ("order", lambda t: _order(0.0, name=t), "order.items[0].name"),
    ],
    ids=["field", "free", "dict", "list", "model"],
)
def test_a_text_that_no_database_holds_is_refused_with_its_path(
    flaw: str, told: str, field: str, wrap: Callable[[str], object], path: str
) -> None:
    text = refusal(field, wrap(flaw))

    assert text.startswith(f"{path}: ")
    assert told in text


@pytest.mark.parametrize("flaw", ["a\0b", "a\ud800"], ids=["nul", "surrogate"])
@pytest.mark.parametrize("wrap", [lambda k: {k: 1}, lambda k: {"in": [{k: 1}]}], ids=["plain", "nested"])
def test_a_key_that_no_database_holds_is_refused_with_its_path(flaw: str, wrap: Callable[[str], object]) -> None:
    text = refusal("free", wrap(flaw))

    assert text.startswith("free[")
    assert repr(flaw) in text
    assert "position 1" in text


def test_a_nul_in_a_dataclass_is_refused_with_its_path() -> None:
    text = refusal("point", Point("a\0b"))

    assert text.startswith("point.label: ")
    assert "a NUL at position 1" in text


def test_a_number_in_a_dataclass_that_json_does_not_have_is_refused_with_its_path() -> None:
    text = refusal("point", Point("a", NOT_A_NUMBER))

    assert text.startswith("point.x: ")


def test_a_nul_in_bytes_is_refused() -> None:
    text = refusal("raw", b"a\0b")

    assert text.startswith("raw")
    assert "NUL" in text


def test_bytes_that_are_no_text_are_refused() -> None:
    text = refusal("raw", b"\xff\xfe")

    assert text.startswith("raw: bytes")


@pytest.mark.parametrize(
    "value",
    ["\\u0000", "back\\slash", "\\\\u0000", ["\\u0000"], {"\\u0000": "\\ud800"}, "\u2028\x7f\x1b", "\U0001f600"],
    ids=ascii,
)
def test_a_text_that_only_looks_dangerous_comes_back_equal(value: object) -> None:
    cell = CODEC.encode("free", value, "step")

    assert CODEC.decode("free", cell.text, "step").value == value


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1, 2}, {1: "a"}, Decimal("1.5"), date(2026, 11, 22), b"raw", Point("a"), {"a": (1,)}, 1j, object()],
    ids=lambda v: type(v).__name__,
)
def test_a_type_that_does_not_come_back_equal_is_refused_with_field_and_type(value: object) -> None:
    text = refusal("free", value)

    assert text.startswith("free")
    assert type(value).__name__ in text


def test_a_key_that_is_no_text_comes_back_where_the_type_says_what_it_is() -> None:
    cell = CODEC.encode("counts", {1: "a"}, "step")

    assert CODEC.decode("counts", cell.text, "step").value == {1: "a"}


def test_a_value_that_does_not_fit_is_refused_with_the_path_inside_the_field() -> None:
    text = refusal("order", {"number": "many", "placed": "x", "day": "y", "mood": "z", "items": []})

    assert text.startswith("order: number")
    assert text.index("placed: ") < text.index("day: ") < text.index("mood: ")
    assert "more)" not in text


def test_of_many_misfits_the_first_five_are_told_and_the_others_counted() -> None:
    text = refusal("order", {"number": "many", "placed": "x", "day": "y", "mood": "z", "items": [1, 2, 3]})

    assert text.count(";") == 4
    assert "(and 2 more)" in text


def test_a_single_misfit_is_told_without_a_count() -> None:
    text = refusal("point", {"label": "here", "x": "far"})

    assert text.startswith("point: x: ")
    assert "more" not in text


def test_a_part_of_a_subclass_is_not_lost_in_silence() -> None:
    class Special(Order):
        secret: str

    special = Special(**_order(0.0).model_dump(), secret="s")

    text = refusal("order", special)

    assert text.startswith("order: Special does not come back equal")


def test_a_value_that_holds_itself_is_refused_and_not_followed_for_ever() -> None:
    circle: list[object] = []
    circle.append(circle)

    text = refusal("free", circle)

    assert text.startswith("free")


def test_a_value_that_is_nested_too_deep_is_refused() -> None:
    deep: object = 0
    for _ in range(5_000):
        deep = [deep]

    text = refusal("free", deep)

    assert text.startswith("free")


def _order(note: float, name: str = "n") -> Order:
    # model_construct lets a step hand in what validation would refuse, as a careless step does.
    item = Item.model_construct(name=name, amount=Decimal(1), tags=frozenset(), notes={"a": note})
    return Order.model_construct(number=1, placed=datetime(2026, 11, 22, tzinfo=UTC), day=date(2026, 11, 22), mood=Mood.CALM, items=(item,))


# Digests.


@settings(max_examples=300, deadline=None)
@given(st.lists(texts, max_size=5), st.lists(texts, max_size=5))
def test_two_lists_of_texts_have_one_digest_only_if_they_are_equal(a: list[str], b: list[str]) -> None:
    assert (digest(a) == digest(b)) == (a == b)


@pytest.mark.parametrize(
    ("a", "b"),
    [(["ab", "c"], ["a", "bc"]), (["a"], ["a", ""]), ([], [""]), (["1:a"], ["", "a"]), (["a1:b"], ["a", "b"])],
)
def test_digests_do_not_run_together(a: list[str], b: list[str]) -> None:
    assert digest(a) != digest(b)


def test_a_digest_of_fields_does_not_depend_on_their_order_or_their_writer() -> None:
    cells = {"a": Cell(1, "1", "x"), "b": Cell(2, "2", "y")}
    swapped = {"b": Cell(2, "2", "other"), "a": Cell(1, "1", "")}

    assert digest_of(cells, ["a", "b"]) == digest_of(swapped, ["b", "a"])


def test_a_digest_of_fields_tells_values_and_names_apart() -> None:
    cells = {"a": Cell(1, "1", ""), "b": Cell(2, "2", "")}

    assert digest_of(cells, ["a"]) != digest_of({"a": Cell(2, "2", "")}, ["a"])
    assert digest_of({"a": cells["a"]}, ["a"]) != digest_of({"b": cells["a"]}, ["b"])
    assert digest_of(cells, ["a"]) != digest_of(cells, ["a", "b"])


def test_a_field_without_a_value_counts_as_null_and_not_as_the_text_null() -> None:
    text_null = CODEC.encode("text", "null", "")

    assert digest_of({}, ["text"]) == digest_of({"text": Cell(None, "null", "")}, ["text"])
    assert digest_of({}, ["text"]) != digest_of({"text": text_null}, ["text"])


# Zones.


class At(BaseModel):
    at: datetime


@dataclass
class Slot:
    begins: time


class Appointments(State):
    at: datetime | None = None
    inside: list[At] | None = None
    slot: Slot | None = None
    named: dict[str, tuple[datetime, ...]] | None = None
    free: Any = None


BERLIN = ZoneInfo("Europe/Berlin")
SUMMER = datetime(2026, 7, 1, 12, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("at", SUMMER, "at"),
        ("inside", [At(at=SUMMER.astimezone(UTC)), At(at=SUMMER)], "inside[1].at"),
        ("slot", Slot(time(12, tzinfo=BERLIN)), "slot.begins"),
        ("named", {"x": (SUMMER,)}, "named['x'][0]"),
    ],
)
def test_a_zone_that_json_would_lose_is_refused_with_its_place(field: str, value: object, path: str) -> None:
    """As the offset of one moment it would be an hour wrong when the clocks are changed."""
    with pytest.raises(ValueRefused) as refused:
        codec_of(Appointments).encode(field, value, "step")

    assert str(refused.value).startswith(f"{path}: its zone Europe/Berlin would be lost")
    assert ".astimezone(datetime.UTC)" in str(refused.value)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=2)), ZoneInfo("UTC"), None])
def test_a_time_whose_offset_never_changes_comes_back(zone: Any) -> None:
    codec = codec_of(Appointments)
    at = datetime(2026, 7, 1, 12, tzinfo=zone)

    back = codec.decode("at", codec.encode("at", at, "step").text, "step").value

    assert back == at
    assert back.utcoffset() == at.utcoffset()
    assert codec.encode("at", back, "step").text == codec.encode("at", at, "step").text


def test_only_types_that_may_hold_a_time_are_searched_for_zones() -> None:
    class Tree(BaseModel):
        name: str
        parts: "list[Tree]" = []

    found = {
        kind: may_hold_times(TypeAdapter(kind)) for kind in (str, dict[str, list[int]], Tree, At, list[At], Slot, Any, datetime | None)
    }

    assert [kind for kind, holds in found.items() if not holds] == [str, dict[str, list[int]], Tree, Any]


def test_a_time_in_a_field_of_any_type_is_refused_because_it_would_come_back_as_a_text() -> None:
    class Anything(State):
        value: Any = None

    with pytest.raises(ValueRefused, match="does not come back equal"):
        codec_of(Anything).encode("value", [datetime(2026, 7, 1, 12)], "step")


def test_a_value_that_was_assigned_without_a_check_is_refused() -> None:
    class Inner(BaseModel):
        number: int

    class Outer(State):
        inner: Inner | None = None

    with pytest.raises(ValueRefused, match="inner"):
        codec_of(Outer).encode("inner", Inner.model_construct(number="many"), "step")
    with pytest.raises(ValueRefused, match="inner"):
        codec_of(Outer).encode("inner", Inner.model_construct(number="5"), "step")


class Texts(State):
    bounded: Annotated[str, StringConstraints(max_length=9)] | None = None
    lower: Annotated[str, StringConstraints(to_lower=True, max_length=9)] | None = None
    short: Annotated[str, PlainSerializer(lambda text: text[:3])] | None = None
    shown: Annotated[str | None, PlainSerializer(lambda text: text and text[:3])] = None
    dated: date | str | None = None


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9))
@settings(deadline=None)
def test_a_text_comes_back_from_its_json_as_it_was_checked(text: str) -> None:
    codec = codec_of(Texts)

    cell = codec.encode("bounded", text, "node")

    assert (cell.value, codec.decode("bounded", cell.text, "node").value) == (text, text)


def test_a_text_that_its_type_makes_too_long_to_read_again_is_refused() -> None:
    with pytest.raises(ValueRefused, match="at most 9 characters"):
        codec_of(Texts).encode("lower", "\u0130" * 9, "node")  # the lower case of this letter has two characters


@pytest.mark.parametrize(("field", "text"), [("short", "longer"), ("shown", "longer"), ("dated", "2026-01-02")])
def test_a_text_that_its_json_changes_is_refused(field: str, text: str) -> None:
    with pytest.raises(ValueRefused, match="does not come back equal"):
        codec_of(Texts).encode(field, text, "node")


def test_a_text_of_a_subclass_is_checked_and_kept_as_a_plain_text() -> None:
    assert type(codec_of(Texts).encode("bounded", Mood.CALM, "node").value) is str
