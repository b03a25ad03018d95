"""Children: a case of another process that runs as one step of its parent, started once and cancelled with its parent."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from pointsman.definition.signature import Signature


class ChildEnd(BaseModel):
    """How a child ended: its number, whether it was `done` or `cancelled`, and the outcome or the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    case: int
    status: str
    outcome: str | None


@dataclass(frozen=True, eq=False)
class Child:
    """A step that is a case of another process; see `Process.child`."""

    name: str
    process: Any
    inputs: Callable[..., Mapping[str, Any]]
    writes: tuple[str, ...]
    signature: Signature
    result: str | None
    former_names: tuple[str, ...] = ()

    @property
    def first_name(self) -> str:
        """The name in the start keys of its cases: the oldest one, so that a renamed child is not started twice."""
        return self.former_names[0] if self.former_names else self.name

    @cached_property
    def depends(self) -> frozenset[str]:
        """The fields that its inputs depend on: a write to one of them cancels the child and starts another."""
        return frozenset(self.signature.reads) - self.signature.peeks
