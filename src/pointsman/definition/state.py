"""The state of a process: a record of fields, and the two types of value that the library itself writes to fields."""

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter
from pydantic.fields import FieldInfo

from pointsman.definition.signature import PRIVATE, SEARCHED, marked
from pointsman.errors import DefinitionError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


T = TypeVar("T")

Searchable = Annotated[T, SEARCHED]
"""`Searchable[T]` is a field of a state by whose value `CaseQuery` finds its case: by each text and number in it, and by its words.

A field that is made searchable later finds the cases that write it from then on.
"""

Private = Annotated[T, PRIVATE]
"""`Private[T]` is a field of a state whose value only those see who may: it is left out of what others are shown, and of the texts of errors.

A field that was private once stays so in a database. `Private[Searchable[T]]` is both: its search terms are stored until its case is erased.
"""

STATES_MAX = 64  # states whose schema and inputs are cached: more than one program declares


class _StateType(ModelMetaclass):
    """The metaclass of states. It refuses a field that Pydantic does not support, with the name of the field and the fix."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **settings: Any) -> type:
        try:
            return super().__new__(cls, name, bases, namespace, **settings)
        except PydanticUserError as error:
            field = next((field for field, kind in namespace.get("__annotations__", {}).items() if not _is_known(kind)), None)
            if field is None:
                message = f"state {name!r}: {str(error).splitlines()[0]}"
            else:
                kind = namespace["__annotations__"][field]
                message = (
                    f"state {name!r}: field {field!r} is a {getattr(kind, '__name__', kind)}, which cannot be stored as JSON; "
                    "give it a type that Pydantic knows, or pass the object as a resource."
                )
        raise DefinitionError(message)


def _is_known(kind: Any) -> bool:
    try:
        TypeAdapter(kind)
    except PydanticUserError as error:
        return error.code != "schema-for-unknown-type"
    return True


class State(BaseModel, metaclass=_StateType):
    """The base class of states: everything that a process knows about a case. Subclass it and declare the fields.

    A field without a default, or with a default other than None, is an *input*, given to `start`. A field whose default
    is None is a *result*: it is None until a node, an effect or a pause writes it. Conditions may use properties
    of the subclass; the fields that a property reads are recorded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


def searchable_of(state: type[State]) -> frozenset[str]:
    """The fields of a state that are declared as `Searchable`."""
    return frozenset(name for name, field in state.model_fields.items() if _has_mark(field, SEARCHED))


def private_of(state: type[State]) -> frozenset[str]:
    """The fields of a state that are declared as `Private`."""
    return frozenset(name for name, field in state.model_fields.items() if _has_mark(field, PRIVATE))


def _has_mark(field: FieldInfo, mark: object) -> bool:
    return mark in field.metadata or marked(field.annotation, mark)


class Failure(BaseModel):
    """The value that a step which failed for good writes to its field (`on_failure="record"`).

    `step` is its name, `error` the type of the exception, `message` its text, and `attempts` the number of attempts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: str
    error: str
    message: str
    attempts: int


class Blob(BaseModel):
    """A large value, stored once by its content and passed by reference (Claim Check, Hohpe & Woolf).

    Made by `Engine.store_blob`, read back with `Context.read`. `size` is in bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size: int

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Describe `content` without storing it."""
        return cls(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def holds_blob(kind: Any) -> bool:
    """Whether values of a type may hold a blob."""
    return _holds_blob(kind, set())


def _holds_blob(kind: Any, seen: set[Any]) -> bool:
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)  # a type may refer to itself
        return kind is Blob or any(_holds_blob(field.annotation, seen) for field in kind.model_fields.values())
    return any(_holds_blob(part, seen) for part in get_args(kind))
