"""The private texts of a case at a moment: of its fields, of what comes to it, and of what it has not taken in yet."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_json

from pointsman.definition.guards import ModelResponse
from pointsman.kernel.hiding import leaves
from pointsman.kernel.moment import Moment


def private_texts(at: Moment, came: object) -> Iterator[str]:
    """The texts that an error may hold although they are private. `came` is a happening, or the end of a branch's call."""
    private, case = at.process.private, at.case
    for name in private:
        if name in case.snapshot.cells:
            yield from leaves(json.loads(case.snapshot.cells[name].text))
    for row in case.branches.values():
        yield from _of_outcome(row.outcome, private)
    for message in case.messages:
        yield from leaves(json.loads(message.body))
    for given in (getattr(came, "cells", None), getattr(came, "fields", None)):
        if isinstance(given, Mapping):
            yield from _plain({name: getattr(value, "value", value) for name, value in given.items() if name in private})
    end = getattr(came, "end", came)
    step = at.process.steps.get(case.row.step or "")
    if step is None or not private.isdisjoint(getattr(step, "writes", private)):
        for part in (getattr(end, "result", None), getattr(came, "found", None), getattr(came, "outcome", None)):
            yield from _plain((part.output, part.raw) if isinstance(part, ModelResponse) else part)


def _of_outcome(text: str | None, private: frozenset[str]) -> Iterator[str]:
    for name, value in (json.loads(text) if text else {}).items():
        if name in private and isinstance(value, str):
            yield from leaves(json.loads(value))


def _plain(value: Any) -> Iterator[str]:
    try:
        yield from leaves(json.loads(to_json(value, fallback=str, inf_nan_mode="strings")))
    except Exception:  # what cannot be written as JSON is not stored, and an author's `str` may raise anything
        return
