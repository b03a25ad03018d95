"""Exports a case: everything stored about it as plain JSON, and its blobs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pointsman.definition.state import Blob
from pointsman.errors import StoreForeign, UnknownCase
from pointsman.operations.history import without_token
from pointsman.store.base import Dossier, Reader
from pointsman.store.states import state_from

DIGEST_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Export:
    """Everything stored about a case. `blobs` still exist and `missing` do not, in the order of the first reference."""

    dossier: Dossier
    blobs: tuple[Blob, ...]
    missing: tuple[Blob, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain JSON values: the row and state of the case, each write of a field, events, effects, pauses, messages, branches, blobs.

        A write that `appends` has the items that it added to a log. A `logged` message has no body, because it is such an item.
        The `file` of a blob is its name in the folder of `write_blobs`, or None if the blob is missing. The export leaves out
        the tokens of pauses, because anybody with a token can answer.
        """
        d = self.dossier
        writes = [{**write._asdict(), "text": _value(write.text)} for write in d.writes]
        state = {field.field: _value(field.text) for field in state_from(sorted(d.writes, key=lambda write: (write.field, write.revision)))}
        return {
            "case": d.case._asdict(),
            "state": state,
            "fields": [{"value" if name == "text" else name: value for name, value in write.items()} for write in writes],
            "events": [{**event._asdict(), "facts": _value(event.facts)} for event in d.events],
            "effects": [{**effect._asdict(), "outcome": outcome_fields(effect.outcome)} for effect in d.effects],
            "pauses": [without_token(pause) for pause in d.pauses],
            "messages": [{**message._asdict(), "body": _value(message.body)} for message in d.messages],
            "branches": [
                {**branch._asdict(), "outcome": outcome_fields(branch.outcome), "guard": _value(branch.guard)} for branch in d.branches
            ],
            "blobs": [{**blob.model_dump(), "file": blob.sha256 if blob in self.blobs else None} for blob in (*self.blobs, *self.missing)],
        }


async def export_case(reader: Reader, case: int) -> Export:
    """Read everything stored about a case. Raises UnknownCase."""
    dossier = await reader.dossier(case)
    if dossier is None:
        raise UnknownCase(case)
    texts = [write.text for write in dossier.writes] + [message.body for message in dossier.messages]
    outcomes = [effect.outcome for effect in dossier.effects] + [branch.outcome for branch in dossier.branches]
    values = [*map(_value, texts), *map(outcome_fields, outcomes)]
    there: dict[Blob, bool] = {}
    for value in values:
        for blob in _blobs(value):
            if blob not in there:
                there[blob] = await reader.blob(blob) is not None
    return Export(dossier, tuple(blob for blob in there if there[blob]), tuple(blob for blob in there if not there[blob]))


async def write_blobs(reader: Reader, export: Export, folder: Path) -> None:
    """Write the content of each blob to a file in the folder, and create the folder if necessary. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - an operator's command, in which no other task waits
    for blob in export.blobs:
        content = await reader.blob(blob)
        if content is not None:
            (folder / blob.sha256).write_bytes(content)


def _value(text: str | None) -> Any:
    if text is None:
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise StoreForeign("the database is damaged (a stored value is not JSON); restore it from a backup.") from None


def outcome_fields(text: str | None) -> Any:
    """The stored outcome of an effect or a branch as plain JSON values, by field; None without an outcome."""
    outcome = _value(text)
    return {name: _value(value) if isinstance(value, str) else value for name, value in outcome.items()} if outcome else outcome


def _blobs(value: object) -> Iterator[Blob]:
    """Every reference to a blob in a JSON value."""
    if isinstance(value, dict):
        digest, size = value.get("sha256"), value.get("size")
        if value.keys() == {"sha256", "size"} and isinstance(digest, str) and len(digest) == DIGEST_DIGITS and isinstance(size, int):
            yield Blob(sha256=digest, size=size)
        for part in value.values():
            yield from _blobs(part)
    elif isinstance(value, list):
        for part in value:
            yield from _blobs(part)
