"""Transactions: nodes that write an author's own rows in the commit of the field and the events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from pointsman.definition.nodes import Node, P, R


class Database(Protocol):
    """The engine's database inside the engine's commit. A transaction declares it as `*, db: Database`.

    It can read and write the author's tables, and create, alter and drop them. It can only read the engine's tables, and it
    cannot change the commit or the file. It works until the function returns.
    """

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows.

        Raises the exceptions of the database driver, and DefinitionError if the statement would change what belongs to the engine.
        """


@dataclass(frozen=True, eq=False)
class Transaction(Node[P, R], Generic[P, R]):
    """A node whose rows, field and events are written by one commit."""


AnyTransaction = Transaction[Any, Any]
