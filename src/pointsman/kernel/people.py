"""What only people may say: the answers at pauses, and the names that sign them."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.definition.signature import is_signed
from pointsman.kernel.snapshot import NULL, Cell


def pauses_of(process: AnyProcess) -> tuple[Pause, ...]:
    """The pauses of a process."""
    return tuple(step for step in process.steps.values() if isinstance(step, Pause))


def asks_a_person(process: AnyProcess, step: str) -> bool:
    """Whether a case that waits at this step waits for a person. The pauses of a body are not declared, and everything else that it waits at is."""
    declared = process.steps.get(process.called(step))
    return isinstance(declared, Pause) or (declared is None and not process.ordered_rules)


def asked_at(process: AnyProcess, field: str) -> str | None:
    """The pause whose answer is this field, or None."""
    return next((pause.name for pause in pauses_of(process) if field in pause.writes), None)


def withdrawn(process: AnyProcess, cells: Mapping[str, Cell], corrected: Collection[str]) -> dict[str, Cell]:
    """The writes that withdraw each answer for which one of the `corrected` fields was shown, so that the person is asked again.

    A message may rewrite what was shown for information only. A correction may not: an operator would change what people have approved.
    """
    writes: dict[str, Cell] = {}
    changed = set(corrected)
    while True:
        found = {
            pause.writes[0]: Cell(None, NULL, pause.name)
            for pause in pauses_of(process)
            if not changed.isdisjoint((*pause.shows, *pause.beside)) and pause.writes[0] not in {*changed, *process.logs}
        }
        answered = {field: cell for field, cell in found.items() if field in cells and cells[field].writer == cell.writer}
        if not answered:
            return writes
        writes |= answered
        changed |= answered.keys()


def other_signer(value: object, by: str) -> str | None:
    """What is wrong with a value that `by` gives, if a signed field in it names anybody else; otherwise None."""
    return next(
        (f"names {name!r} in {field!r}, but {by!r} gives it; name {by!r} there" for field, name in _signatures(value) if name != by), None
    )


def _signatures(value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            inside = getattr(value, name)
            if is_signed(field):
                yield name, inside
            else:
                yield from _signatures(inside)
    elif isinstance(value, Mapping):
        for inside in value.values():
            yield from _signatures(inside)
    elif isinstance(value, list | tuple | set | frozenset):
        for inside in value:
            yield from _signatures(inside)
