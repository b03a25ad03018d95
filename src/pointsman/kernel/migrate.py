"""Migrate the stored fields of an older case to the version of the code. Nothing is written here."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from pointsman.definition.checks import inputs_of
from pointsman.definition.process import AnyProcess
from pointsman.errors import ValueRefused, VersionNotAccepted
from pointsman.kernel.codec import codec_of, message_of
from pointsman.kernel.hiding import hiding, leaves
from pointsman.kernel.snapshot import NULL

MIGRATION = "(migration)"
"""The writer of a result that a migration wrote before any step had: it depends on what the field's writers read."""

Texts = Mapping[str, tuple[str, str]]
"""Stored fields by name: the JSON of each, and the step that wrote it."""


class Migrated(NamedTuple):
    """A case's fields under version `to`, and those that differ from version `since`, where None clears a field."""

    since: int
    to: int
    fields: Texts
    changes: Mapping[str, tuple[str | None, str]]


def migrate(process: AnyProcess, version: int, fields: Texts) -> Migrated:
    """Run the process's migrations on the fields of a case of an older version.

    A migrated field keeps its writer, and nothing that was computed from it is cleared. Raises VersionNotAccepted if a
    migration raises, or returns values that are not JSON or do not fit.
    """
    values: dict[str, Any] = {name: json.loads(text) for name, (text, _) in fields.items()}
    if not process.private:
        return _migrated(process, version, fields, values)
    with hiding(partial(leaves, values)):  # of any field: an earlier version may have had private ones under other names
        return _migrated(process, version, fields, values)


def _migrated(process: AnyProcess, version: int, fields: Texts, values: dict[str, Any]) -> Migrated:
    for older in range(version, process.version):
        values = _step(process, older, values)
    after = dict(fields)
    changes: dict[str, tuple[str | None, str]] = {}
    for name in sorted(fields.keys() | values.keys()):
        before, writer = fields.get(name, (NULL, _writer(process, name)))
        text = _text(process, version, name, values.get(name), before)
        if text == before:
            continue
        changes[name] = (None if text == NULL else text, writer)
        after.pop(name, None)
        if text != NULL:
            after[name] = (text, writer)
    return Migrated(version, process.version, after, changes)


def _step(process: AnyProcess, older: int, values: dict[str, Any]) -> dict[str, Any]:
    migration = process.accepts[older]
    if migration is None:
        return values
    what = f"the migration of {process.name!r} from version {older}"
    try:
        given = migration(dict(values))
        after = dict(given)
        json.dumps(after, allow_nan=False)
    except Exception as error:
        raise VersionNotAccepted(f"{what} raised {type(error).__name__}: {message_of(error)}; correct it") from None
    known = process.state.model_fields
    strange = sorted(name for name in after.keys() - values.keys() if older + 1 == process.version and name not in known)
    if strange:
        raise VersionNotAccepted(f"{what} gives {strange[0]!r}, which is not a field of {process.state.__name__}; correct it")
    return after


def _writer(process: AnyProcess, field: str) -> str:
    return "" if field in inputs_of(process.state) else MIGRATION


def _text(process: AnyProcess, version: int, field: str, value: object, before: str) -> str:
    """The stored form of a field's value; its present form if the value has not changed."""
    if _dumped(value) == _dumped(json.loads(before)):
        return before
    codec = codec_of(process.state)
    if value is None or not codec.knows(field):
        return _dumped(value)
    try:
        return codec.encode(field, codec.decode(field, _dumped(value), "").value, "").text
    except ValueRefused as error:
        problem = f"version {version} of {process.name!r} cannot be migrated to version {process.version}"
        raise VersionNotAccepted(f"{problem}: after its migrations {error}; correct them") from None


def _dumped(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
