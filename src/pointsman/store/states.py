"""Build the state of a case from the writes of its fields: the last whole write of each, and the items added since."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from pointsman.kernel.rows import FieldRow
from pointsman.store.base import WriteRow


def state_from(writes: Iterable[WriteRow]) -> tuple[FieldRow, ...]:
    """The fields that have a value, ordered by name.

    `writes` are ordered by field, then by revision. For each field they begin at its last whole write or earlier.
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
