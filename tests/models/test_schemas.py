"""A strict schema is closed, asks for every field, and is made of what every server knows."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel

from pointsman import DefinitionError
from pointsman.models.schemas import strict_schema

KEYWORDS = {"type", "enum", "const", "description", "anyOf", "items", "properties", "required", "additionalProperties", "$ref", "$defs"}


class Tone(StrEnum):
    WARM = "warm"
    FORMAL = "formal"


class Line(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=40, description="what it is")]
    price: Decimal = Decimal(1)


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Reply(BaseModel):
    """A reply to a mail."""

    body: str
    tone: Annotated[Tone, Field(description="how it speaks")] = Tone.WARM
    lines: list[Line] = []
    score: Annotated[int, Field(ge=0, le=5)] = 3
    when: date | None = None
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class Tree(BaseModel):
    branches: list["Tree"]


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema."""
    if isinstance(schema, dict):
        yield schema
        for key, value in schema.items():
            for inside in value.values() if key in {"properties", "$defs"} else value if key == "anyOf" else [value]:
                yield from nodes(inside)


@pytest.mark.parametrize("model", [Reply, Tree])
def test_every_object_is_closed_and_asks_for_each_of_its_fields(model: type[BaseModel]) -> None:
    objects = [node for node in nodes(strict_schema(model)) if node.get("type") == "object"]

    assert objects
    assert all(node["additionalProperties"] is False for node in objects)
    assert all(node["required"] == list(node["properties"]) for node in objects)


@pytest.mark.parametrize("model", [Reply, Tree])
def test_only_words_that_every_server_knows_are_in_it(model: type[BaseModel]) -> None:
    assert {key for node in nodes(strict_schema(model)) for key in node} <= KEYWORDS


@pytest.mark.parametrize("model", [Reply, Tree])
def test_a_reference_stands_alone_and_leads_to_a_definition(model: type[BaseModel]) -> None:
    schema = strict_schema(model)
    references = [node for node in nodes(schema) if "$ref" in node]

    assert references
    assert all(set(node) == {"$ref"} for node in references)
    assert all(node["$ref"].removeprefix("#/$defs/") in schema["$defs"] for node in references)


def test_what_the_schema_cannot_enforce_it_tells() -> None:
    schema = strict_schema(Reply)

    assert schema["$defs"]["Line"]["properties"]["name"] == {"type": "string", "description": "what it is (minLength 1, maxLength 40)"}
    assert schema["properties"]["score"] == {"type": "integer", "description": "minimum 0, maximum 5"}
    assert schema["properties"]["tone"] == {"description": "how it speaks", "anyOf": [{"$ref": "#/$defs/Tone"}]}
    assert schema["$defs"]["Tone"] == {"type": "string", "enum": ["warm", "formal"]}


class Mapped(BaseModel):
    words: dict[str, int]


class Anything(BaseModel):
    value: Any


class Loose(BaseModel):
    values: list[Any]


class Pair(BaseModel):
    pair: tuple[int, str]


class Inside(BaseModel):
    deep: list[Mapped]


@pytest.mark.parametrize(("model", "field"), [(Mapped, "words"), (Anything, "value"), (Loose, "values"), (Pair, "pair"), (Inside, "words")])
def test_a_field_that_a_strict_schema_cannot_say_is_refused_by_name(model: type[BaseModel], field: str) -> None:
    with pytest.raises(DefinitionError, match=f"field '{field}'.*json_mode"):
        strict_schema(model)


def test_an_answer_is_an_object() -> None:
    with pytest.raises(DefinitionError, match="not a JSON object"):
        strict_schema(RootModel[list[int]])
