"""Find out whether a decision whose answer got lost was taken: the events of its case say who decided, and when."""

import json
from collections.abc import Mapping
from typing import Any

from pointsman.kernel.events import Kind
from pointsman.operations.history import History
from pointsman.store.base import Reader


async def last_event(reader: Reader, case: int) -> str:
    """Return the cursor of the last event of a case; "" if it has none. Raises StoreError."""
    after = ""
    while events := await reader.events(after=after, case=case):
        after = events[-1].cursor
    return after


async def decided_since(reader: Reader, case: int, by: str, after: str) -> bool:
    """Return whether this person has decided on the case since the event with the cursor `after`. Raises StoreError."""
    return any(json.loads(event.facts).get("by") == by for event in await reader.events(after=after, case=case))


def answered_alike(history: History, digest: str, by: str, answer: Any, edits: Mapping[str, Any]) -> bool:
    """Return whether this person gave this answer (JSON), with these edits, to the pause that showed `digest`.

    Members left out of the answer may have any value.
    """
    taken = answer_to(history, digest)
    if taken is None or taken["by"] != by:
        return False
    written, *rewritten = taken["fields"]
    return {*rewritten} == {*edits} and _fits({written: answer, **edits}, history.state)


def answer_to(history: History, digest: str) -> dict[str, Any] | None:
    """Return the facts of the last answer to the pause that showed `digest`; None if nobody has answered, or it is asked again."""
    shown, taken = False, None
    for event in history.events:
        facts = json.loads(event.facts)
        if event.kind == Kind.PAUSED:
            shown = facts["digest"] == digest
            taken = None if shown else taken
        elif event.kind == Kind.RESUMED and shown:
            taken = facts
    return taken


def _fits(given: Any, stored: Any) -> bool:
    if isinstance(given, dict) and isinstance(stored, dict):
        return all(name in stored and _fits(value, stored[name]) for name, value in given.items())
    return bool(given == stored)
