"""Transactions: nodes that write the author's own rows in the same commit as the field and the events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol

from pointsman.definition.nodes import Node, P, R


class Database(Protocol):
    """The engine's database inside the current commit; a transaction receives it as `*, db: Database`.

    It can read and write the author's tables, and create, alter and drop them. It can read the engine's tables but not change them,
    and it can neither end the commit nor change settings of the file. It is valid until the function returns.
    """

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows.

        Raises what the database's driver raises, and DefinitionError if the statement would change the engine's tables or transaction.
        """


@dataclass(frozen=True, eq=False)
class Transaction(Node[P, R], Generic[P, R]):
    """A node whose rows, field and events are written in one commit."""


AnyTransaction = Transaction[Any, Any]
