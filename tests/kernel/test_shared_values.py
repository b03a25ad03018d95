"""A function may change what it gets: the state shares no part with it that can be changed, and only such parts are copied."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from pointsman import Guard, Log, State, Unsafe, Violation
from pointsman.kernel.codec import codec_of
from pointsman.kernel.guarding import objections


class Mood(StrEnum):
    CALM = "calm"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Part(Frozen):
    name: str
    mood: Mood = Mood.CALM
    price: Decimal = Decimal("1.50")
    at: datetime | None = None


class Order(Frozen):
    kind: Literal["order"] = "order"
    parts: tuple[Part, ...] = ()
    tags: frozenset[str] = frozenset({"new"})


class Missing(Frozen):
    kind: Literal["missing"] = "missing"


class Mail(Frozen):
    subject: str
    size: int = 0
    sender: Missing = Missing()
    names: tuple[str, ...] = ()


class Checked(Frozen):
    name: str

    @field_validator("name", mode="before")
    @classmethod
    def stripped(cls, name: object) -> object:
        return name


class Table(Frozen):
    names: dict[str, str]
    lists: dict[str, list[int]] = {}
    more: list[int] | None = None
    listed: list[str] = Field(default_factory=list)


class Open(BaseModel):
    name: str
    tables: list[Table] = []


class Tree(BaseModel):
    inner: "list[Tree]" = []


class Hidden(Frozen):
    name: str
    _seen: list[str] = PrivateAttr(default_factory=lambda: ["a"])


class Keeping(Frozen):
    name: str

    @cached_property
    def letters(self) -> list[str]:
        return list(self.name)


class Extra(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Misfit(Frozen):
    names: tuple[str, ...] = []  # type: ignore[assignment]
    made: tuple[str, ...] = Field(default_factory=lambda: ["a"])  # type: ignore[arg-type]


class Rebuilt(Frozen):
    names: Annotated[tuple[str, ...], AfterValidator(list)] = ()


class Opened(Frozen):
    names: tuple[str, ...] = ()

    @model_validator(mode="after")
    def filled(self) -> "Opened":
        self.__dict__["names"] = ["a"]
        return self


class Initialised(Frozen):
    names: tuple[str, ...] = ()

    def model_post_init(self, _: Any) -> None:
        self.__dict__["names"] = ["a"]


@dataclass
class Point:
    names: list[str]


class Values(State):
    text: str | None = None
    flag: bool | None = None
    mail: Mail | None = None
    checked: Checked | None = None
    order: Order | Missing | None = None
    tagged: Annotated[Order | Missing, Field(discriminator="kind")] | None = None
    unsafe: Mail | Unsafe[Mail] | None = None
    pair: tuple[int, Mood] | None = None
    names: frozenset[str] | None = None

    numbers: list[int] | None = None
    unique: set[int] | None = None
    mails: Log[Mail] = Field(default_factory=list)
    nested: list[list[int]] | None = None
    table: Table | None = None
    tables: dict[str, Table] | None = None
    open: Open | None = None
    free: Any = None
    bare: list | None = None  # type: ignore[type-arg]
    in_tuple: tuple[list[int], ...] | None = None
    either: list[int] | dict[str, int] | None = None
    tree: Tree | None = None
    hidden: Hidden | None = None
    keeping: Keeping | None = None
    extra: Extra | None = None
    misfit: Misfit | None = None
    rebuilt: Rebuilt | None = None
    opened: Opened | None = None
    initialised: Initialised | None = None
    point: Point | None = None


CODEC = codec_of(Values)

SHARED: dict[str, object] = {
    "text": "hello",
    "flag": True,
    "mail": Mail(subject="hello", names=("a", "b")),
    "checked": Checked(name="a"),
    "order": Order(),
    "tagged": Missing(),
    "unsafe": Unsafe[Mail](value=Mail(subject="hello"), violations=(Violation(check="length", message="too long"),)),
    "pair": (1, Mood.CALM),
    "names": frozenset({"a"}),
}

COPIED: dict[str, object] = {
    "numbers": [1, 2],
    "unique": {1},
    "mails": [Mail(subject="one")],
    "nested": [[1], []],
    "table": Table(names={"a": "b"}, lists={"a": [1]}, more=[1], listed=["a"]),
    "tables": {"a": Table(names={})},
    "open": Open(name="a", tables=[Table(names={"a": "b"})]),
    "free": {"a": [1]},
    "bare": [[1]],
    "in_tuple": ([1],),
    "either": {"a": 1},
    "tree": Tree(inner=[Tree(), Tree(inner=[Tree()])]),
    "hidden": Hidden(name="a"),
    "keeping": Keeping(name="a"),
    "extra": Extra(names=["a"]),  # type: ignore[call-arg]
    "rebuilt": Rebuilt(names=("a",)),
    "opened": Opened(),
    "initialised": Initialised(),
    "point": Point(["a"]),
}


def changeable(value: object) -> Iterator[object]:
    """All parts of a value that can be changed."""
    if isinstance(value, BaseModel):
        parts: list[object] = [
            *value.__dict__.values(),
            *(value.__pydantic_extra__ or {}).values(),
            *(value.__pydantic_private__ or {}).values(),
        ]
        if not value.model_config.get("frozen"):
            yield value
    elif is_dataclass(value):
        parts = [getattr(value, field.name) for field in fields(value)]
        yield value
    elif isinstance(value, dict):
        parts = list(value.values())
        yield value
    elif isinstance(value, list | set):
        parts = list(value)
        yield value
    else:
        parts = list(value) if isinstance(value, tuple | frozenset) else []
    for part in parts:
        yield from changeable(part)


@pytest.mark.parametrize("field", SHARED)
def test_a_value_that_cannot_be_changed_is_given_as_it_is(field: str) -> None:
    cell = CODEC.encode(field, SHARED[field], "step")

    assert cell.value == SHARED[field]
    assert CODEC.fresh({field: cell}, field) is cell.value


@pytest.mark.parametrize("field", [*COPIED, "misfit"])
def test_no_part_that_can_be_changed_is_shared(field: str) -> None:
    cell = CODEC.encode(field, COPIED[field], "step") if field in COPIED else CODEC.decode(field, "{}", "step")

    given = CODEC.fresh({field: cell}, field)
    again = CODEC.fresh({field: cell}, field)

    assert given == again == cell.value
    assert type(given) is type(cell.value)
    parts = [part for value in (cell.value, given, again) for part in changeable(value)]
    assert len({id(part) for part in parts}) == len(parts)


def test_what_a_model_keeps_beside_its_fields_is_not_shared() -> None:
    cell = CODEC.encode("keeping", Keeping(name="a"), "step")

    CODEC.fresh({"keeping": cell}, "keeping").letters.append("b")

    assert CODEC.fresh({"keeping": cell}, "keeping").letters == ["a"]
    assert isinstance(cell.value, Keeping)
    assert cell.value.letters == ["a"]


def test_the_checks_of_a_guard_share_one_copy_of_each_field() -> None:
    def first(draft: str, mail: str) -> None: ...
    def second(mail: str) -> str:
        return f"{mail} is too short"

    copied: list[str] = []
    violations = objections(Guard(first, second), lambda field: copied.append(field) or field)

    assert copied == ["draft", "mail"]
    assert [one.message for one in violations] == ["mail is too short"]


def test_only_the_parts_of_a_model_that_can_be_changed_are_copied() -> None:
    cell = CODEC.encode("open", Open(name="a", tables=[Table(names={})]), "step")

    given = CODEC.fresh({"open": cell}, "open")

    assert isinstance(cell.value, Open)
    assert given.model_fields_set == cell.value.model_fields_set
    given.tables.append(Table(names={}))
    given.name = "b"
    assert cell.value == Open(name="a", tables=[Table(names={})])


def test_of_a_write_to_a_log_the_item_is_copied() -> None:
    cell = CODEC.write("mails", Mail(subject="one"), "step")

    assert CODEC.fresh({"mails": cell}, "mails") == Mail(subject="one")
