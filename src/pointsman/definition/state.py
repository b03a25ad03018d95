"""The contract of a process: a record of fields, and the two values that the library itself puts into fields."""

import hashlib
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter

from pointsman.errors import DefinitionError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)


STATES_MAX = 64  # states whose schema and inputs are remembered: more than one program declares


class _StateType(ModelMetaclass):
    """Makes the classes of states: what Pydantic cannot hold is refused with the field and the mend, and not in Pydantic's words."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **settings: Any) -> type:
        try:
            return super().__new__(cls, name, bases, namespace, **settings)
        except PydanticUserError as error:
            field = next((field for field, kind in namespace.get("__annotations__", {}).items() if not _is_known(kind)), None)
            if field is None:
                told = f"state {name!r}: {str(error).splitlines()[0]}"
            else:
                kind = namespace["__annotations__"][field]
                told = (
                    f"state {name!r}: field {field!r} is a {getattr(kind, '__name__', kind)}, which cannot be held as JSON; "
                    "give it a type that Pydantic knows, or pass the object as a resource."
                )
        raise DefinitionError(told)


def _is_known(kind: Any) -> bool:
    try:
        TypeAdapter(kind)
    except PydanticUserError as error:
        return error.code != "schema-for-unknown-type"
    return True


class State(BaseModel, metaclass=_StateType):
    """Everything that a process knows of a case. Subclass it and name the fields.

    A field without a default, or with one that is not None, is an *input*: it comes with `start`. A field whose default
    is None is a *result*: it is None until a node, an effect or a pause has written it. Conditions may use properties
    that a subclass defines; what a property reads is recorded through it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)


class Failure(BaseModel):
    """A step that failed for good, as the value of the field that it would have written (`on_failure="record"`).

    `step` is its name, `error` the exception's type, `message` its text, `attempts` how often it was tried.
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
