"""The parts of a form for a JSON Schema, as Pydantic writes them (JSON Schema 2020-12)."""

from collections.abc import Mapping
from typing import Any

from pointsman.web.answer_forms import (
    ABSENT,
    NESTED_MAX,
    SHORT_MAX,
    Checks,
    Choice,
    Constant,
    Group,
    Json,
    Moment,
    Number,
    Part,
    Rows,
    Schema,
    Text,
    Variants,
)

_INPUTS = {"date": "date", "time": "time", "email": "email", "uri": "url"}
_BOUNDS = {"minimum": "min", "maximum": "max", "multipleOf": "step"}
_LENGTHS = {"minLength": "minlength", "maxLength": "maxlength", "pattern": "pattern"}
SIMPLE = (Text, Number, Choice)  # what a row of a list can be


def part_of(schema: Schema, label: str = "Answer") -> Part:
    """Return the part for the answer that `schema` describes."""
    return _part(schema, schema.get("$defs", {}), label, True, 0)


def _part(given: Schema, definitions: Mapping[str, Schema], key: str, required: bool, depth: int) -> Part:
    schema, nullable = _without_null(_resolved(given, definitions), definitions)
    own = given.get("title") if "$ref" not in given and depth else None
    about: dict[str, Any] = {
        "label": str(own or spoken(key)),
        "help": str(given.get("description") or schema.get("description") or "") if depth else "",
        "required": required,
        "nullable": nullable,
        "default": given.get("default", ABSENT),
    }
    found = _choice(schema, definitions, about) or _scalar(schema, about) or _compound(schema, definitions, about, depth)
    return found or Json(**about)


def spoken(key: str) -> str:
    """Return a name from code as a label: `tax_rate` as "Tax rate"."""
    words = key.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Return a schema in the place of its reference; what stands beside the reference counts more."""
    while True:
        inner = schema.get("$ref") or (schema["allOf"][0].get("$ref") if len(schema.get("allOf", ())) == 1 else None)
        if inner is None:
            return schema
        rest = {name: value for name, value in schema.items() if name not in {"$ref", "allOf"}}
        schema = {**definitions.get(str(inner).rpartition("/")[2], {}), **rest}


def _without_null(schema: Schema, definitions: Mapping[str, Schema]) -> tuple[Schema, bool]:
    """Return what a value that may be null is otherwise, and whether it may be null."""
    if "anyOf" not in schema:
        return schema, False
    others = [one for one in schema["anyOf"] if one.get("type") != "null"]
    nullable = len(others) < len(schema["anyOf"])
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "title"}}
    kinds = {one.get("type") for one in others}
    if len(others) == 1:
        return _resolved({**others[0], **rest}, definitions), nullable
    if len(others) == 2 and kinds == {"number", "string"}:  # a Decimal
        number = next(one for one in others if one["type"] == "number")
        return {**number, **rest, "digits": True}, nullable
    return {**schema, "anyOf": others}, nullable


def _choice(schema: Schema, definitions: Mapping[str, Schema], about: dict[str, Any]) -> Part | None:
    if "const" in schema:
        return Constant(**about, value=schema["const"])
    if schema.get("type") == "null":
        return Constant(**about, value=None)
    if schema.get("type") == "boolean":
        return Choice(**about, values=(True, False), labels=("Yes", "No"))
    if "enum" in schema:
        return Choice(**about, values=schema["enum"], labels=tuple(_spoken_value(value) for value in schema["enum"]))
    constants = [_resolved(one, definitions) for one in schema.get("anyOf") or schema.get("oneOf") or ()]
    if constants and all("const" in one for one in constants):
        values = tuple(one["const"] for one in constants)
        return Choice(**about, values=values, labels=tuple(str(one.get("title") or _spoken_value(one["const"])) for one in constants))
    return None


def _spoken_value(value: Any) -> str:
    return spoken(value) if isinstance(value, str) else {True: "Yes", False: "No", None: "None"}.get(value, str(value))


def _scalar(schema: Schema, about: dict[str, Any]) -> Part | None:
    kind, form = schema.get("type"), schema.get("format")
    if kind == "string" and form == "date-time":
        return Moment(**about)
    if kind == "string":
        limits = {_LENGTHS[name]: value for name, value in schema.items() if name in _LENGTHS}
        long = schema.get("maxLength", SHORT_MAX + 1) > SHORT_MAX and form is None and "pattern" not in schema
        return Text(**about, type=_INPUTS.get(str(form), "text"), long=long, limits=limits)
    if kind in {"integer", "number"}:
        limits = {_BOUNDS[name]: value for name, value in schema.items() if name in _BOUNDS}
        whole = kind == "integer"
        if whole and "exclusiveMinimum" in schema:
            limits["min"] = schema["exclusiveMinimum"] + 1
        if whole and "exclusiveMaximum" in schema:
            limits["max"] = schema["exclusiveMaximum"] - 1
        return Number(**about, whole=whole, digits=bool(schema.get("digits")), limits=limits)
    return None


def _compound(schema: Schema, definitions: Mapping[str, Schema], about: dict[str, Any], depth: int) -> Part | None:
    if depth >= NESTED_MAX:
        return None
    if schema.get("type") == "object" and schema.get("properties"):
        return Group(**about, members=_members(schema, definitions, depth))
    if schema.get("type") == "array" and "items" in schema and "prefixItems" not in schema:
        row = _part(schema["items"], definitions, "", True, NESTED_MAX)
        if isinstance(row, Choice) and schema.get("uniqueItems"):
            return Checks(**about, values=row.values, labels=row.labels)
        return Rows(**about, row=row) if isinstance(row, SIMPLE) else None
    told_by = schema.get("discriminator", {})
    if "oneOf" in schema and told_by.get("mapping"):
        key = str(told_by["propertyName"])
        drawn = {tag: _variant(tag, reference, key, definitions, depth) for tag, reference in told_by["mapping"].items()}
        variants = {tag: group for tag, group in drawn.items() if group is not None}
        if len(variants) == len(drawn):
            return Variants(**about, key=key, variants=variants)
    return None


def _members(schema: Schema, definitions: Mapping[str, Schema], depth: int, without: str = "") -> dict[str, Part]:
    needed = schema.get("required", ())
    return {key: _part(inner, definitions, key, key in needed, depth + 1) for key, inner in schema["properties"].items() if key != without}


def _variant(tag: str, reference: str, key: str, definitions: Mapping[str, Schema], depth: int) -> Group | None:
    schema = _resolved({"$ref": reference}, definitions)
    if schema.get("type") != "object":
        return None
    return Group(spoken(tag), str(schema.get("description") or ""), members=_members(schema, definitions, depth, without=key))
