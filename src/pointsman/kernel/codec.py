"""Convert values to JSON and back. A value that JSON would change is refused before the commit, with its path."""

import hashlib
import math
from collections.abc import Callable, Container, Iterable, Mapping
from copy import deepcopy
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from datetime import datetime, time, timezone, tzinfo
from functools import lru_cache
from typing import Annotated, Any, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import TzInfo

from pointsman.definition.messages import logs_of
from pointsman.definition.signature import accepts_none, collection_of
from pointsman.definition.state import State
from pointsman.errors import ValueRefused
from pointsman.kernel.copies import copy_of
from pointsman.kernel.hiding import CUT, hidden
from pointsman.kernel.snapshot import NULL, Cell, LogCell

UTC_NAMES = frozenset({"UTC", "Etc/UTC", "Zulu", "Etc/Zulu", "GMT", "Etc/GMT"})  # zones that never had another offset
# The schemas of pydantic_core that may read a time from JSON: these, and those with a function. `any` reads a time as text.
_TIMES = frozenset({"datetime", "time", "is-instance", "function-plain", "function-after", "function-wrap"})
_OF_A_TEXT = frozenset({"type", "min_length", "max_length", "strict", "metadata"})  # what the schema of a text has that changes no text
WHOLE_MAX = 2**63 - 1  # what a database keeps as an integer
FOUND_MAX = 5  # flaws of one value that a message names: as many as a person corrects at once
MESSAGE_MAX = 500  # characters of a foreign error text: enough to recognise it, too few to bloat a journal


class Codec:
    """Encodes and decodes the fields of one state type."""

    def __init__(self, state: type[State]) -> None:
        adapters = {name: _adapter(field) for name, field in state.model_fields.items()}
        self._coders = {name: _Coder(adapter) for name, adapter in adapters.items()}
        self._copies = {name: copy_of(adapter.core_schema) for name, adapter in adapters.items()}
        self._defaults = {
            name: field.get_default(call_default_factory=True) for name, field in state.model_fields.items() if not field.is_required()
        }
        self._logs = logs_of(state)
        self._required = tuple(
            name for name, field in state.model_fields.items() if field.is_required() and not accepts_none(field.annotation)
        )
        self._elements: dict[str, _Coder] = {}
        self._collections = {
            name: found for name, field in state.model_fields.items() if (found := collection_of(field.annotation)) is not None
        }

    def encode(self, field: str, value: object, writer: str) -> Cell:
        """Check `value` against the field's type and make the cell that a later reader will find.

        Raises ValueRefused, naming the field and the path inside it, where the value does not fit or JSON cannot hold it.
        """
        return self._whole(field, self._coders[field].encode(field, value, writer))

    def _whole(self, field: str, cell: Cell) -> Cell:
        if field in self._logs and isinstance(cell.value, list):
            return LogCell(cell.value, (cell.text,), cell.writer)
        return cell

    def encode_entry(self, field: str, place: str, value: object, writer: str) -> Cell:
        """The same for one entry of a list or dict field; `place` says which. Raises ValueRefused."""
        return self._element(field).encode(f"{field}[{place}]", value, writer)

    def write(self, field: str, value: object, writer: str) -> Cell:
        """Encode what a step writes to a field: one item if it is a log, otherwise the whole value. Raises ValueRefused."""
        if field not in self._logs:
            return self._coders[field].encode(field, value, writer)
        return _appending(self._element(field).encode(f"an item of {field}", value, writer))

    def written(self, field: str, text: str, writer: str) -> Cell:
        """Read back the stored form of what a step wrote. Raises ValueRefused if it no longer fits."""
        if field not in self._logs:
            return self.decode(field, text, writer)
        return _appending(self._element(field).decode(f"an item of {field!r}", text, writer))

    def decode(self, field: str, text: str, writer: str) -> Cell:
        """Read a stored value. Raises ValueRefused if it no longer fits the field's type."""
        return self._whole(field, self._coders[field].decode(f"field {field!r}", text, writer))

    def value(self, cells: Mapping[str, Cell], field: str) -> Any:
        """A field's value: the last write; without one, the default of an input that is newer than the case, else None."""
        cell = cells.get(field)
        return cell.value if cell is not None else self._defaults.get(field)

    def default(self, field: str) -> Any:
        """The value of a field that is not stored: its default if it is an input, else None."""
        return self._defaults.get(field)

    def fresh(self, cells: Mapping[str, Cell], field: str) -> Any:
        """A copy of a field's value, for a function that may change it."""
        cell = cells.get(field)
        if cell is None:
            return deepcopy(self._defaults.get(field))
        if cell.appends:
            return self.written(field, cell.text, cell.writer).value
        copy = self._copies[field]
        return self.decode(field, cell.text, cell.writer).value if copy is None else copy(cell.value)

    def missing(self, fields: Container[str]) -> str | None:
        """The first required input that a case does not have, because it is newer than the case."""
        return next((name for name in self._required if name not in fields), None)

    def _element(self, field: str) -> "_Coder":
        if field not in self._elements:
            self._elements[field] = _Coder(TypeAdapter(self._collections[field].element))
        return self._elements[field]

    def keyed(self, field: str) -> bool:
        """Whether the field is a dict of entries, not a list."""
        return self._collections[field].keys

    def knows(self, field: str) -> bool:
        """Whether the state still has this field."""
        return field in self._coders


_OTHERS: dict[type[State], Codec] = {}


def add_codec(state: type[State], codec: Codec) -> None:
    """Let `codec` read and write the fields of this state type."""
    _OTHERS[state] = codec


def _codec(state: type[State]) -> Codec:
    return _OTHERS[state] if state in _OTHERS else Codec(state)


codec_of: Callable[[type[State]], Codec] = lru_cache(maxsize=256)(_codec)  # as many state types as a program will have
"""The codec of a state type; building one compiles its validators, so it is kept."""


@lru_cache(maxsize=256)  # as many answer types as a program will have
def adapter_of(annotation: Any) -> TypeAdapter[Any]:
    """The validator of any other type, such as a pause's answer."""
    return TypeAdapter(annotation)


def encode_value(adapter: TypeAdapter[Any], what: str, value: object) -> str:
    """A value that is no field, as JSON. Raises ValueRefused, naming `what`, as `Codec.encode` does."""
    return _Coder(adapter).encode(what, value, "").text


def check_text(what: str, text: str | None) -> None:
    """Raise ValueRefused, naming `what`, if a database cannot hold the text."""
    if text is not None and not isinstance(cast("object", text), str):
        raise ValueRefused(f"{what}: {type(text).__name__} is not a text; give it a str.")
    flaw = _text_flaw(text) if text is not None else None
    if flaw:
        raise ValueRefused(f"{what}: {flaw}")


def check_name(what: str, name: str | None) -> None:
    """Raise ValueRefused, naming `what`, if the name of a person is blank or a database cannot hold it."""
    check_text(what, name)
    if name is None or not name.strip():
        raise ValueRefused(f"{what}: it is empty; name who does it, as the journal keeps it.")


def check_whole(what: str, number: object) -> None:
    """Raise ValueRefused, naming `what`, if a value is not an int or does not fit into 64 bits."""
    if isinstance(number, bool) or not isinstance(number, int) or not -WHOLE_MAX <= number <= WHOLE_MAX:
        raise ValueRefused(f"{what}: {number!r} is not an int of at most 64 bits; give it one.")


def message_of(error: BaseException) -> str:
    """An error's text as an event can keep it: short, without what a database cannot hold, and without private texts of the case."""
    try:
        text = str(error) or type(error).__name__
    except Exception:
        text = type(error).__name__
    return short(hidden(text))


def short(text: str) -> str:
    """A foreign text as an event can keep it."""
    text = storable(text)
    return text if len(text) <= MESSAGE_MAX else text[: MESSAGE_MAX - 1] + CUT


def storable(text: str) -> str:
    """A foreign text with a mark in place of each NUL and each lone surrogate, which a database cannot hold."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def digest(parts: Iterable[str]) -> str:
    """The SHA-256 of texts, each preceded by its length so that no two lists run together."""
    raws = [part.encode() for part in parts]
    return hashlib.sha256(b"".join([b"%d:%b" % (len(raw), raw) for raw in raws])).hexdigest()


def digest_of(cells: Mapping[str, Cell], fields: Iterable[str]) -> str:
    """The digest of some fields as they are stored; a field without a value counts as null."""
    parts: list[str] = []
    for name in sorted(fields):
        cell = cells.get(name)
        parts += (name, cell.identity if cell else NULL)
    return digest(parts)


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    annotation: Any = field.annotation
    for constraint in field.metadata:
        annotation = Annotated[annotation, constraint]
    return TypeAdapter(annotation)


class _Coder:
    """Checks, writes and reads the values of one type. It runs for each step, so it keeps what an adapter looks up at each call."""

    __slots__ = ("_check", "_is_text", "_may_hold_times", "_read", "_write")

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._check = adapter.validator.validate_python
        self._write = adapter.serializer.to_json
        self._read = adapter.validator.validate_json
        self._may_hold_times = may_hold_times(adapter)
        self._is_text = _is_text(adapter.core_schema)

    def encode(self, field: str, value: object, writer: str) -> Cell:
        try:
            checked = self._check(value)
            # A value that does not fit its type does not come back equal, so the warnings say nothing new. They cost a lock at each call.
            raw = self._write(checked, warnings=False)
            as_it_is = self._is_text and type(checked) is str
            back = checked if as_it_is else self._read(raw)
        except ValidationError as error:
            raise ValueRefused(_flaw(value, field) or f"{field}: {describe(error)}") from None
        except Exception as error:  # what cannot be written, and whatever a validator of the author's own raises
            problem = f"{field}: {type(value).__name__} cannot be held as JSON ({message_of(error)})"
            raise ValueRefused(_flaw(value, field) or problem) from None
        doubtful = b"\\u0000" in raw or (not as_it_is and (back != checked or b"Infinity" in raw or self._may_hold_times))
        if doubtful:
            flaw = _flaw(checked, field)
            if flaw or back != checked:
                raise ValueRefused(flaw or f"{field}: {type(value).__name__} does not come back equal from JSON; give it a type that does.")
        return Cell(back, raw.decode(), writer)

    def decode(self, what: str, text: str, writer: str) -> Cell:
        try:
            return Cell(self._read(text), text, writer)
        except ValidationError as error:
            problem = describe(error)
        except Exception as error:  # a validator of the author's own may raise anything
            problem = message_of(error)
        raise ValueRefused(f"the stored value of {what} no longer fits its type: {problem}")


def _is_text(schema: Any) -> bool:
    """Whether a `str` of this type always comes back from JSON as it is: the type is a text without rules that change it, or None beside it."""
    while schema["type"] == "nullable" and "serialization" not in schema:
        schema = schema["schema"]
    return bool(schema["type"] == "str" and schema.keys() <= _OF_A_TEXT)


def _appending(item: Cell) -> Cell:
    return Cell(item.value, item.text, item.writer, appends=True)


def _flaw(value: object, path: str) -> str | None:
    try:
        found = _find_flaw(value)
    except RecursionError:
        return f"{path}: it is nested too deep, or contains itself; give it a flatter shape."
    return None if found is None else f"{path}{found[0]}: {found[1]}"


def _find_flaw(value: object) -> tuple[str, str] | None:
    """Find the first thing that JSON, or a database's text, cannot hold: its place in the value, and what is wrong with it.

    Most values have none, so the place is put together only on the way back.
    """
    flaw = None
    if isinstance(value, str):
        flaw = _text_flaw(value)
    elif isinstance(value, BaseModel):
        return _flaw_within(iter(value), ".{}")
    elif isinstance(value, list | tuple | set | frozenset):
        return _flaw_within(enumerate(value), "[{}]")
    elif isinstance(value, Mapping):
        return _flaw_within([*((key, key) for key in value), *value.items()], "[{!r}]")
    elif is_dataclass(value):
        return _flaw_within(((f.name, getattr(value, f.name)) for f in dataclass_fields(value)), ".{}")
    elif isinstance(value, datetime | time):
        flaw = _zone_flaw(value.tzinfo)
    elif isinstance(value, float) and not math.isfinite(value):
        flaw = f"{value} is not a JSON number; use None or a text."
    elif isinstance(value, bytes) and b"\0" in value:
        flaw = f"it holds a NUL at position {value.index(0)}; keep it as a blob."
    return None if flaw is None else ("", flaw)


def _flaw_within(parts: Iterable[tuple[object, object]], place: str) -> tuple[str, str] | None:
    for name, part in parts:
        if (found := _find_flaw(part)) is not None:
            return place.format(name) + found[0], found[1]
    return None


def _zone_flaw(zone: tzinfo | None) -> str | None:
    """Say why JSON cannot keep a zone: it keeps only the offset of that moment, which may be an hour wrong half a year later."""
    if zone is None or isinstance(zone, timezone | TzInfo) or getattr(zone, "key", None) in UTC_NAMES:
        return None
    return (
        f"its zone {zone} would be lost, as JSON keeps the offset of one moment only; store .astimezone(datetime.UTC), "
        "and the name of the zone in a field beside it where it is needed."
    )


@lru_cache(maxsize=4096)  # as many fields and messages as a program will have
def may_hold_times(adapter: TypeAdapter[Any]) -> bool:
    """Whether reading this type from JSON may make a datetime or a time anywhere inside."""
    found: list[object] = [adapter.core_schema]
    seen: set[int] = set()
    while found:
        part = found.pop()
        if id(part) in seen or not isinstance(part, dict | list | tuple):
            continue
        seen.add(id(part))
        if isinstance(part, dict):
            if part.get("type") in _TIMES:
                return True
            part = [value for name, value in part.items() if name not in {"metadata", "default"}]
        found.extend(part)
    return False


def zone_flaw(adapter: TypeAdapter[Any], what: str, value: object) -> str | None:
    """What JSON loses of a value that still compares equal: the zone of a time."""
    return _flaw(value, what) if may_hold_times(adapter) else None


def _text_flaw(text: str) -> str | None:
    position = text.find("\0")
    if position >= 0:
        return f"it holds a NUL at position {position}; remove it."
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"it holds the lone surrogate U+{ord(text[error.start]):04X} at position {error.start}; decode the text properly."
    return None


def describe(error: ValidationError) -> str:
    """What a validation found first, each with its place, in a few words."""
    found = error.errors(include_url=False, include_input=False)
    more = f" (and {len(found) - FOUND_MAX} more)" if len(found) > FOUND_MAX else ""
    return "; ".join(_described(one["loc"], one["msg"]) for one in found[:FOUND_MAX]) + more


def place(parts: Iterable[int | str]) -> str:
    """Where something is in a value: `lines[2].price`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).removeprefix(".")


def _described(parts: tuple[int | str, ...], message: str) -> str:
    where = place(parts)
    return f"{where}: {message}" if where else message
