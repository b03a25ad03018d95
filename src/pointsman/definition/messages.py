"""Messages: the data that a process accepts from outside, and the case that each message belongs to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic.fields import FieldInfo

from pointsman.definition.signature import LOG, collection_of, marked
from pointsman.definition.state import State

T = TypeVar("T")

Log = Annotated[list[T], LOG]
"""`Log[T]` is a field that grows: each message of an `accept(..., while_open="append")` and each write of a step adds one item.

Nothing removes an item: a later write to a field that it was computed from does not clear it.
"""

WhileOpen = Literal["supersede", "append", "hold", "new_case"]


@dataclass(frozen=True, eq=False)
class Accept:
    """A kind of message that a process accepts; see `Process.accept`."""

    name: str
    message: Any
    writes: tuple[str, ...]
    correlate: Callable[[Any], str | None]
    while_open: WhileOpen
    key: Callable[[Any], str | None] | None
    order: Callable[[Any], Any] | None
    starts: Callable[[Any], Mapping[str, Any]] | bool

    def inputs(self, message: object) -> dict[str, Any]:
        """The inputs of a case that this message starts."""
        more = dict(self.starts(message)) if callable(self.starts) else {}
        return {self.writes[0]: [message] if self.while_open == "append" else message} | more


def logs_of(state: type[State]) -> dict[str, Any]:
    """The `Log` fields of a state, each with the type of its items."""
    return {name: _item(field) for name, field in state.model_fields.items() if is_log(field)}


def is_log(field: FieldInfo) -> bool:
    """Whether a field was declared as `Log[T]`, or as `Log[T] | None`."""
    return LOG in field.metadata or marked(field.annotation, LOG)


def _item(field: FieldInfo) -> Any:
    collection = collection_of(field.annotation)
    return Any if collection is None else collection.element
