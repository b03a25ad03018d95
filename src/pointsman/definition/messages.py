"""Messages: what comes to a process from outside, which case it belongs to, and what a second one means."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

T = TypeVar("T")

Log = Annotated[list[T], "log"]
"""`Log[T]` is a field that grows: `accept(..., while_open="append")` adds each message to it."""

WhileOpen = Literal["supersede", "append", "hold", "new_case"]


@dataclass(frozen=True, eq=False)
class Accept:
    """A kind of message that a process takes; see `Process.accept`."""

    name: str
    message: Any
    writes: tuple[str, ...]
    correlate: Callable[[Any], str | None]
    while_open: WhileOpen
    key: Callable[[Any], str | None] | None
    order: Callable[[Any], Any] | None
    starts: Callable[[Any], Mapping[str, Any]] | bool

    def inputs(self, message: object) -> dict[str, Any]:
        """What a case that this message starts begins with."""
        more = dict(self.starts(message)) if callable(self.starts) else {}
        return {self.writes[0]: [message] if self.while_open == "append" else message} | more
