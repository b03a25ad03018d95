"""Values that are given on the command line."""

import json
from typing import Any

from pointsman.definition.durations import DAY_SECONDS, seconds_of
from pointsman.errors import DefinitionError, PointsmanError

SECONDS_MAX = 36_500 * DAY_SECONDS  # a calendar has no times long before that
_BEGIN_JSON = frozenset('{["-0123456789')


class JsonInvalid(PointsmanError):
    """A text on the command line is not JSON."""


class DurationInvalid(PointsmanError):
    """A text on the command line is not a duration."""


def parsed(what: str, text: str) -> Any:
    """The value of a text as JSON. Raises JsonInvalid, which says `what` it was to be."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise JsonInvalid(f"{what} is nested too deeply; give a value with fewer brackets within each other.") from None
    except ValueError as error:
        raise JsonInvalid(f"{what} is not JSON ({error}); quote it for the shell, such as '{{\"paid\": true}}'.") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"it has no {constant}")


def seconds_given(option: str, text: str) -> float:
    """The seconds of a duration that the `option` gives. Raises DurationInvalid."""
    try:
        seconds = seconds_of(text)
    except DefinitionError:
        raise DurationInvalid(
            f'{option}: {text!r} is not a duration; give a number above 0 and a unit, such as "90s", "4h" or "30d".'
        ) from None
    if seconds > SECONDS_MAX:
        raise DurationInvalid(f"{option}: {text!r} is longer than {SECONDS_MAX // DAY_SECONDS:,.0f} days; give a shorter time.")
    return seconds


def assigned(pairs: list[str] | None) -> dict[str, Any]:
    """The fields of `FIELD=VALUE` texts. A value is JSON; a text that does not begin like JSON is taken as it is. Raises JsonInvalid."""
    fields = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise JsonInvalid(f"{pair!r} is not FIELD=VALUE; write the name of a field, an equals sign, and its value, such as risk=low.")
        try:
            fields[name] = parsed(name, text)
        except JsonInvalid:
            if text[:1] in _BEGIN_JSON or not text:
                raise
            fields[name] = text
    return fields
