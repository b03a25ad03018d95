"""The private texts of a case at a moment: of its fields, of what comes to it, and of what it has not taken in yet."""

import json
from collections.abc import Callable, Container, Iterator, Mapping
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from pointsman.definition.guards import ModelResponse
from pointsman.definition.state import State
from pointsman.kernel.hiding import leaves
from pointsman.kernel.moment import Moment


def private_texts(at: Moment, came: object) -> Iterator[str]:
    """The texts that an error may hold although they are private. `came` is a happening, or the end of a branch's call."""
    private, case = at.process.private, at.case
    members = members_of(at.process.state) if private else None
    for name in private:
        if name in case.snapshot.cells:
            yield from leaves(json.loads(case.snapshot.cells[name].text), members)
    for row in case.branches.values():
        yield from _of_outcome(row.outcome, private, members)
    for message in case.messages:
        yield from leaves(json.loads(message.body), members)
    for given in (getattr(came, "cells", None), getattr(came, "fields", None)):
        if isinstance(given, Mapping):
            yield from _plain({name: getattr(value, "value", value) for name, value in given.items() if name in private}, members)
    end = getattr(came, "end", came)
    step = at.process.steps.get(case.row.step or "")
    if step is None or not private.isdisjoint(getattr(step, "writes", private)):
        for part in (getattr(end, "result", None), getattr(came, "found", None), getattr(came, "outcome", None)):
            yield from _plain((part.output, part.raw) if isinstance(part, ModelResponse) else part, members)


def _members(state: type[State]) -> frozenset[str] | None:
    """The names of the members of all values in a state; other keys are data. None if the types do not say which keys there are."""
    try:
        schemas = [state.model_json_schema(by_alias=by_alias) for by_alias in (True, False)]
    except Exception:  # a type of the author's may have no schema
        return None
    names, has_keys = {*state.model_fields}, False
    for part in _objects(schemas):
        names.update(part.get("properties", ()))
        has_keys = has_keys or isinstance(part.get("additionalProperties"), dict)
    return frozenset(names) if has_keys else None


members_of: Callable[[type[State]], frozenset[str] | None] = lru_cache(maxsize=256)(_members)  # as many state types as a program will have


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    if isinstance(schema, dict | list):
        for part in schema.values() if isinstance(schema, dict) else schema:
            yield from _objects(part)


def _of_outcome(text: str | None, private: frozenset[str], members: Container[str] | None) -> Iterator[str]:
    for name, value in (json.loads(text) if text else {}).items():
        if name in private and isinstance(value, str):
            yield from leaves(json.loads(value), members)


def _plain(value: Any, members: Container[str] | None) -> Iterator[str]:
    try:
        yield from leaves(json.loads(to_json(value, fallback=str, inf_nan_mode="strings")), members)
    except Exception:  # what cannot be written as JSON is not stored, and an author's `str` may raise anything
        return
