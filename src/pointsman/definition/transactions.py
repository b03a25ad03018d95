"""Transactions: nodes that write the author's own rows, in the very commit that writes the field and the events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from pointsman.definition.nodes import Node, P, R


class Database(Protocol):
    """What a transaction asks for as `*, db: Database`: the engine's own database, within the engine's own commit.

    It reads and writes the author's tables, and may make, alter and drop them. The engine's tables can be read and not changed,
    and the commit and the file are the engine's. It is good until the function returns.
    """

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and answer its rows.

        Raises what the database's driver raises, and DefinitionError where the statement would change what is the engine's.
        """


@dataclass(frozen=True, eq=False)
class Transaction(Node[P, R], Generic[P, R]):
    """A node whose rows, field and events are one commit: all of them are there, or none."""


AnyTransaction = Transaction[Any, Any]
