"""A function's signature says what it reads, what it uses and what it returns; types fit as a type checker would say."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Annotated, Any, Generic, Literal, NewType, Protocol, TypeVar, runtime_checkable

import pytest
from pydantic import BaseModel, Field

from pointsman import DefinitionError, Peek, Process, State
from pointsman.definition.signature import accepts_none, fits, show, signature_of

T = TypeVar("T")
Number = NewType("Number", int)


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str


class Box(BaseModel, Generic[T]):
    inside: T


class Named(Protocol):
    name: str


@runtime_checkable
class Speaks(Protocol):
    def speak(self) -> str: ...


class Parrot(BaseModel):
    def speak(self) -> str:
        return "hello"


class Colour(StrEnum):
    RED = "red"


class Plain(Enum):
    ONE = 1


def test_the_star_parts_fields_from_resources() -> None:
    def draft(message: str, order: Peek[int], *, model: dict[str, str]) -> str:
        return model.get(message, str(order))

    signature = signature_of(draft, "node 'draft'")

    assert signature.reads == {"message": str, "order": int}
    assert signature.peeks == {"order"}
    assert signature.uses == {"model": dict[str, str]}
    assert signature.returns is str


def test_a_peek_is_seen_wherever_it_stands_in_the_type() -> None:
    def draft(a: Peek[str] | None, b: Peek[str | None], c: Annotated[str, "note"]) -> str:
        return f"{a}{b}{c}"

    signature = signature_of(draft, "node 'draft'")

    assert signature.peeks == {"a", "b"}


def test_a_parameter_without_a_type_is_refused() -> None:
    def draft(message) -> str:  # type: ignore[no-untyped-def]
        return str(message)

    with pytest.raises(DefinitionError, match=r"node 'draft': parameter 'message' has no type; write `message: TheType`"):
        signature_of(draft, "node 'draft'")


def test_a_lambda_is_refused_in_favour_of_a_function() -> None:
    with pytest.raises(DefinitionError, match=r"'message' has no type; write a function with `message: TheType`, as a lambda has no types"):
        signature_of(lambda message: {"text": message}, "child 'parcel'")


def test_a_function_that_does_not_say_what_it_returns_is_refused() -> None:
    def draft(message: str):  # type: ignore[no-untyped-def]
        return message

    with pytest.raises(DefinitionError, match=r"node 'draft': it has no return type; write `-> TheType`"):
        signature_of(draft, "node 'draft'")


def test_arguments_without_names_are_refused() -> None:
    def all_of_them(*fields: str) -> str:
        return "".join(fields)

    def any_of_them(**fields: str) -> str:
        return "".join(fields)

    for function in (all_of_them, any_of_them):
        with pytest.raises(DefinitionError, match="fields names no field and no resource"):
            signature_of(function, "node")


def test_a_type_that_its_module_cannot_see_is_named() -> None:
    def draft(message: "Missing") -> str:  # type: ignore[name-defined]  # noqa: F821
        return str(message)

    with pytest.raises(DefinitionError, match="'Missing' is not defined; name only types that its module can see"):
        signature_of(draft, "node 'draft'")


def test_a_callable_without_a_name_is_refused_in_words() -> None:
    """A partial has none, and no type hints of its own."""

    class Note(State):
        text: str
        length: int | None = None

    def measure(text: str, *, extra: int) -> int:
        return len(text) + extra

    process = Process("note", Note)

    with pytest.raises(DefinitionError, match="name="):
        process.node(functools.partial(measure, extra=1), writes="length")


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        (str, str),
        (Dog, Animal),
        (str, str | None),
        (Dog | None, Animal | None),
        (Dog | str, Animal | str | None),
        (int, float),
        (bool, int),
        (list[int], Sequence[int]),
        (list[Dog], Iterable[Animal]),
        (dict[str, int], Mapping[str, float]),
        (list, list[int]),
        (tuple[int, int], tuple[int, ...]),
        (Box[int], Box[int]),
        (Box[int], Box),
        (Literal["a"], str),
        (Literal["a"], Literal["a", "b"]),
        (Colour, str),
        (Any, int),
        (int, Any),
        (int, object),
        (Animal, Named),
        (Parrot, Speaks),
        (Number, int),
        (T, int),
        (int, T),
        (Annotated[int, Field(gt=0)], int),
        (Annotated[int, "a"] | None, int | None),
    ],
    ids=str,
)
def test_a_type_fits_where_each_of_its_values_is_one_of_the_other(offered: Any, wanted: Any) -> None:
    assert fits(offered, wanted)


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        (str, int),
        (Animal, Dog),
        (str | None, str),
        (Dog | str, Animal),
        (float, int),
        (list[str], list[int]),
        (list[int], tuple[int, ...]),
        (dict[str, str], Mapping[str, int]),
        (list[Dog | None], list[Animal]),
        (str, Literal["a"]),
        (Literal["a", "c"], Literal["a", "b"]),
        (Literal[1], str),
        (Plain, str),
        (Animal, Speaks),
        (Annotated[str, "a"], int),
    ],
    ids=str,
)
def test_a_type_does_not_fit_where_one_of_its_values_is_none_of_the_other(offered: Any, wanted: Any) -> None:
    assert not fits(offered, wanted)


def test_none_is_left_out_of_account_where_it_is_asked_for() -> None:
    assert fits(str | None, str, ignore_none=True)
    assert not fits(str | int | None, str, ignore_none=True)


def test_two_fillings_of_one_generic_model_do_not_fit_each_other() -> None:
    assert not fits(Box[str], Box[int])


@pytest.mark.parametrize(
    ("annotation", "accepts"),
    [(str | None, True), (None, True), (Any, True), (object, True), (str, False), (Literal["a"], False)],
    ids=str,
)
def test_none_is_a_value_of_some_types(annotation: Any, accepts: bool) -> None:
    assert accepts_none(annotation) is accepts


def test_none_is_a_value_of_a_literal_that_names_it() -> None:
    assert accepts_none(Literal["a", None])


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (str | None, "str | None"),
        (Dog | list[int] | None, "Dog | list[int] | None"),
        (Literal["a"], "Literal['a']"),
        (Peek[int], "int"),
        (Any, "Any"),
    ],
    ids=str,
)
def test_a_type_is_shown_as_its_author_wrote_it(annotation: Any, text: str) -> None:
    assert show(annotation) == text
