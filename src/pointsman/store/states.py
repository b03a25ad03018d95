"""The state of a case from the writes of its fields: the last write of each, and what was added to it since."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter

from pointsman.kernel.rows import FieldRow, FieldWrite
from pointsman.store.base import WriteRow


def state_from(writes: Iterable[WriteRow]) -> tuple[FieldRow, ...]:
    """The fields that have a value, by name.

    `writes` are in the order of fields, then of revisions, and of each field begin with its last whole write, or earlier.
    """
    fields = (_value(list(rows)) for _, rows in groupby(writes, key=attrgetter("field")))
    return tuple(row for row in fields if row is not None)


def _value(writes: Sequence[WriteRow]) -> FieldRow | None:
    whole = next((place for place in range(len(writes) - 1, -1, -1) if not writes[place].appends), 0)
    last = writes[-1]
    if whole == len(writes) - 1:
        return None if last.text is None else FieldRow(last.field, last.text, last.writer, last.revision)
    items = (write.text[1:-1] for write in writes[whole:] if write.text not in {None, "[]"} and write.text is not None)
    return FieldRow(last.field, f"[{','.join(items)}]", last.writer, last.revision)


@dataclass(slots=True)
class Writes:
    """All writes of the fields of cases, in memory."""

    _of_case: dict[int, dict[str, list[WriteRow]]] = field(default_factory=dict)

    def add(self, case: int, revision: int, writes: Iterable[FieldWrite]) -> None:
        """Note what a transition has written."""
        for write in writes:
            row = WriteRow(revision, *write)
            self._of_case.setdefault(case, {}).setdefault(write.field, []).append(row)

    def state(self, case: int, revision: int | None) -> tuple[FieldRow, ...]:
        """The state of a case, now or as of `revision`."""
        fields = sorted(self._of_case.get(case, {}).items())
        return state_from(chain.from_iterable(_standing(writes, revision) for _, writes in fields))

    def of_case(self, case: int) -> tuple[WriteRow, ...]:
        """Every write of a case, in the order of revisions, then of fields."""
        return tuple(sorted(chain.from_iterable(self._of_case.get(case, {}).values())))

    def texts(self) -> Iterator[str]:
        """Everything that was ever written."""
        return (write.text for fields in self._of_case.values() for writes in fields.values() for write in writes if write.text is not None)

    def forget(self, case: int) -> None:
        """Let go of a case."""
        self._of_case.pop(case, None)


def _standing(writes: Sequence[WriteRow], revision: int | None) -> list[WriteRow]:
    """What a field's value is made of: back to its last whole write."""
    found: list[WriteRow] = []
    for write in reversed(writes):
        if revision is not None and write.revision > revision:
            continue
        found.append(write)
        if not write.appends:
            break
    return found[::-1]
