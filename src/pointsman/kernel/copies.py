"""Copy a field's value for an author's function, which may change what it gets.

What cannot be changed is handed out as it is: numbers, texts, enums, tuples of them, and frozen models of such parts. Of the rest only
the parts are copied that can be changed. How to copy a type is worked out once, from its Pydantic schema.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from pydantic_core import SchemaValidator, core_schema

Copy = Callable[[Any], Any]

_UNCHANGEABLE = frozenset({
    "bool", "bytes", "complex", "date", "datetime", "decimal", "enum", "float", "int", "literal", "multi-host-url", "none", "str", "time",
    "timedelta", "url", "uuid",
})  # fmt: skip
_EMPTY = (list, tuple, dict, set, frozenset)  # as the factories of defaults


def same(value: Any) -> Any:
    """The copy of a value that cannot be changed: the value."""
    return value


def copy_of(schema: Any) -> Copy | None:
    """How to copy a value that was read with this schema. None if only reading it again gives a safe copy."""
    return _Copies(schema.get("definitions", ())).of(schema["schema"] if schema["type"] == "definitions" else schema)


class _Copies:
    """Works out the copies for one type. `None` stands for every schema that may give a value which this does not know."""

    def __init__(self, definitions: Iterable[Any]) -> None:
        self._definitions = {definition["ref"]: definition for definition in definitions}
        self._open: set[str] = set()

    def of(self, schema: Any) -> Copy | None:
        kind = schema["type"]
        if kind in _UNCHANGEABLE:
            return same
        method: Callable[[Any], Copy | None] | None = getattr(self, f"_of_{kind.replace('-', '_')}", None)
        return None if method is None else method(schema)

    def _of_definition_ref(self, schema: Any) -> Copy | None:
        name = schema["schema_ref"]
        if name in self._open:  # a type that contains itself
            return None
        self._open.add(name)
        try:
            return self.of(self._definitions[name])
        finally:
            self._open.remove(name)

    def _of_nullable(self, schema: Any) -> Copy | None:
        copy = self.of(schema["schema"])
        return copy if copy is None or copy is same else lambda value: None if value is None else copy(value)

    def _of_default(self, schema: Any) -> Copy | None:
        """Pydantic does not check a default, so it may be of another type."""
        factory = schema.get("default_factory")
        if factory is not None and factory not in _EMPTY:
            return None
        default = schema["default"] if factory is None else factory()
        checked = core_schema.definitions_schema(schema["schema"], [*self._definitions.values()])
        return self.of(schema["schema"]) if SchemaValidator(checked).isinstance_python(default, strict=True) else None

    def _of_function_before(self, schema: Any) -> Copy | None:
        return self.of(schema["schema"])

    def _of_union(self, schema: Any) -> Copy | None:
        members = [self.of(choice[0] if isinstance(choice, tuple) else choice) for choice in schema["choices"]]
        return same if all(member is same for member in members) else None

    def _of_tagged_union(self, schema: Any) -> Copy | None:
        return same if all(self.of(choice) is same for choice in schema["choices"].values()) else None

    def _of_tuple(self, schema: Any) -> Copy | None:
        return same if all(self.of(item) is same for item in schema["items_schema"]) else None

    def _of_frozenset(self, schema: Any) -> Copy | None:
        return same if "items_schema" in schema and self.of(schema["items_schema"]) is same else None

    def _of_list(self, schema: Any) -> Copy | None:
        copy = self.of(schema["items_schema"]) if "items_schema" in schema else None
        if copy is None or copy is same:
            return None if copy is None else list.copy
        return lambda value: [copy(item) for item in value]

    def _of_set(self, schema: Any) -> Copy | None:
        return set.copy if "items_schema" in schema and self.of(schema["items_schema"]) is same else None

    def _of_dict(self, schema: Any) -> Copy | None:
        keys, copy = (self.of(schema[part]) if part in schema else None for part in ("keys_schema", "values_schema"))
        if copy is None or keys is not same:
            return None
        return dict.copy if copy is same else lambda value: {key: copy(part) for key, part in value.items()}

    def _of_model(self, schema: Any) -> Copy | None:
        kind: type[BaseModel] = schema["cls"]
        fields = schema["schema"]
        if fields["type"] != "model-fields" or schema.get("custom_init") or schema.get("post_init") or _keeps_more(kind):
            return None
        copies = {name: self.of(field["schema"]) for name, field in fields["fields"].items()}
        known = {name: copy for name, copy in copies.items() if copy is not None}
        if len(known) < len(copies):
            return None
        changeable = {name: copy for name, copy in known.items() if copy is not same}
        return same if kind.model_config.get("frozen") and not changeable else _model_copy(changeable)


def _model_copy(changeable: Mapping[str, Copy]) -> Copy:
    def copied(value: BaseModel) -> BaseModel:
        made = BaseModel.__copy__(value)
        parts = made.__dict__
        for name, copy in changeable.items():
            parts[name] = copy(parts[name])
        return made

    return copied


def _keeps_more(kind: type[BaseModel]) -> bool:
    """Whether a model can hold more than its fields: extra ones, private attributes or cached properties."""
    if kind.model_config.get("extra") == "allow" or kind.__private_attributes__:
        return True
    return any(isinstance(attribute, cached_property) for base in kind.__mro__ for attribute in vars(base).values())
