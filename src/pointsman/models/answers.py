"""Reads the text of a model response: the value of the schema, or violations that the model can act on."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pointsman.definition.guards import Violation

T = TypeVar("T", bound=BaseModel)

CHECK = "schema"  # the check that the violations of a text name
VIOLATIONS_MAX = 20  # more than a model repairs at once
ANSWER_TOKENS_MAX = 1_000_000_000  # of one response; a higher count is broken, and would spend every budget
SHOWN_MAX = 80  # characters of a wrong value: enough to recognise it
SAID_MAX = 300  # characters of a provider's error message

_FENCE = "```"
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_KINDS = {
    "string": "a string",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def read_answer(raw: str, schema: type[T]) -> tuple[T | None, tuple[Violation, ...]]:
    """The value of the JSON in `raw`, which may stand between code fences; or None and the violations.

    NaN, infinities, lone surrogates and NUL are violations too, because the store cannot hold them.
    """
    text = _unfenced(raw)
    if not text:
        return None, violations("the answer is empty; answer with one JSON object")
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return None, violations(f"the answer is not JSON ({_without_text(error)}); answer with one JSON object and nothing else")
    if "\0" in text or _NUL.search(text):
        return None, violations("the answer holds a NUL character (\\u0000); leave it out")
    try:
        return schema.model_validate_json(text), ()
    except ValidationError as error:
        found = (_described(one, value, schema) for one in error.errors(include_url=False))
        return None, violations(*found)


def violations(*messages: str) -> tuple[Violation, ...]:
    """One violation for each different message. After the first ones, the last violation only counts the rest."""
    once = list(dict.fromkeys(messages))
    if len(once) > VIOLATIONS_MAX:
        once[VIOLATIONS_MAX:] = [f"and {len(once) - VIOLATIONS_MAX} more like these"]
    return tuple(Violation(check=CHECK, message=message) for message in once)


def cleaned(text: str) -> str:
    """The text with a question mark in place of each lone surrogate and NUL, which a store cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\0", "?")


def one_line(text: object) -> str:
    """The text of a provider as one short line."""
    return " ".join(cleaned(str(text)).split())[:SAID_MAX]


def ended(reason: str | None, tokens_max: int | None) -> tuple[Violation, ...]:
    """Why a response does not fit, if the provider's `finish_reason` says so. `tokens_max` is the limit that was set, if one was."""
    if reason == "content_filter":
        return violations("the provider's content filter stopped the answer; answer in other words")
    if reason == "length":
        limit = "its limit" if tokens_max is None else f"its limit of {tokens_max} tokens (max_tokens)"
        return violations(f"the answer was cut short at {limit}; answer more briefly")
    return ()


def tokens_of(count: object) -> int:
    """A count of tokens from a server; 0 if it is missing or impossible."""
    return count if type(count) is int and 0 < count <= ANSWER_TOKENS_MAX else 0


def _unfenced(raw: str) -> str:
    """The text between the first and the last code fence, unless the text begins like an object."""
    text = raw.strip()
    begin, end = text.find(_FENCE), text.rfind(_FENCE)
    if text.startswith("{") or begin == end:
        return text
    return text[begin + len(_FENCE) : end].removeprefix("json").strip()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:SHOWN_MAX]} is too large a number")
    return number


def _without_text(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:SHOWN_MAX]


def _described(error: ErrorDetails, value: Any, schema: type[BaseModel]) -> str:
    """One error of Pydantic as a sentence that names the field, its value, and what it must be."""
    kind, message = error["type"], error["msg"]
    path = list(_path(error["loc"], value, missing=kind == "missing"))
    field = f"`{_dotted(path)}`" if path else "the answer"
    if kind == "missing":
        allowed = _allowed(schema.model_json_schema(), path)
        return f"{field} is missing{f'; it must be {allowed}' if allowed else ''}"
    if kind == "extra_forbidden":
        return f"{field} is not in the schema; leave it out"
    if kind in {"enum", "literal_error"}:
        return f"{field} is {_shown(error['input'])}; it must be {error['ctx']['expected']}"
    if kind in {"model_type", "model_attributes_type", "dataclass_type", "dict_type"}:
        return f"{field} must be an object"
    fault = message.removeprefix("Value error, ").removeprefix("Assertion failed, ").replace("Input should", "it should", 1)
    return f"{field} is {_shown(error['input'])}: {fault}" if path else f"{field}: {fault}"


def _path(location: tuple[int | str, ...], value: Any, *, missing: bool) -> Iterator[int | str]:
    """The steps of `location` that lead through `value`. Pydantic also names members of unions, which a model does not know."""
    for number, step in enumerate(location):
        leads_on = isinstance(value, list) if isinstance(step, int) else isinstance(value, Mapping) and step in value
        if leads_on:
            value = value[step]
        elif not (missing and number == len(location) - 1):
            continue
        yield step


def _dotted(path: Iterable[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def _allowed(root: Mapping[str, Any], path: Iterable[int | str]) -> str:
    """What a JSON Schema allows at a path, in words; empty if the schema does not say it in one place."""
    node = _resolved(root, root)
    for step in path:
        inside = node.get("items") if isinstance(step, int) else node.get("properties", {}).get(step)
        if not isinstance(inside, Mapping):
            return ""
        node = _resolved(inside, root)
    if "const" in node:
        return _shown(node["const"])
    if "enum" in node:
        return "one of " + ", ".join(_shown(one) for one in node["enum"])
    return _KINDS.get(str(node.get("type")), "")


def _resolved(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        node = root["$defs"][node["$ref"].rpartition("/")[2]]
    return node
