"""The JSON Schema of a response, in the subset that servers with structured outputs support."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from pointsman.errors import DefinitionError

_KEPT = ("type", "enum", "const", "description")
_BOUNDS = ("minLength", "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
         "minItems", "maxItems", "uniqueItems")  # fmt: skip


def strict_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """The schema with every object closed and every field required, as strict structured outputs need it.

    (OpenAI, "Structured Outputs", supported schemas.) It has no bounds on values, because servers that build a grammar do not
    support them all; the descriptions state the bounds, and `read_answer` checks them. Raises DefinitionError for a field
    whose type cannot be expressed: a dict, a fixed tuple, or Any.
    """
    made = schema.model_json_schema()
    name = schema.__name__
    definitions = {key: _strict(node, f"{name}, {key}") for key, node in made.get("$defs", {}).items()}
    root = definitions[made["$ref"].rpartition("/")[2]] if "$ref" in made else _strict(made, name)
    if root.get("type") != "object":
        raise DefinitionError(f"{name} is not a JSON object; make it a model with fields.")
    return root | ({"$defs": definitions} if definitions else {})


def _strict(node: Mapping[str, Any], where: str) -> dict[str, Any]:
    kept = {key: node[key] for key in _KEPT if key in node}
    if bounds := ", ".join(f"{key} {node[key]}" for key in _BOUNDS if key in node):
        kept["description"] = f"{kept['description']} ({bounds})" if "description" in kept else bounds
    kind = kept.get("type")
    if "$ref" in node:
        reference = {"$ref": node["$ref"]}
        return {**kept, "anyOf": [reference]} if kept else reference  # no other keyword may stand beside a $ref
    if members := node.get("anyOf") or node.get("oneOf"):
        return {**kept, "anyOf": [_strict(member, where) for member in members]}
    if kind == "object" and not node.get("additionalProperties"):
        return kept | _closed(node.get("properties", {}), where)
    if kind == "array" and "items" in node and "prefixItems" not in node:
        return {**kept, "items": _strict(node["items"], f"{where}, an item")}
    if kind in {None, "object", "array"} and "enum" not in kept and "const" not in kept:
        raise DefinitionError(
            f"{where}: a strict schema cannot express its type; use a model, a list or an enum, or set json_mode to 'object'."
        )
    return kept


def _closed(properties: Mapping[str, Any], where: str) -> dict[str, Any]:
    inside = {name: _strict(node, f"{where}, field {name!r}") for name, node in properties.items()}
    return {"properties": inside, "required": list(inside), "additionalProperties": False}
