"""The inputs of a start: check them, and encode them as the first fields of a case."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from pydantic import ValidationError

from pointsman.definition.checks import inputs_of
from pointsman.definition.process import AnyProcess
from pointsman.definition.state import State
from pointsman.errors import InputInvalid
from pointsman.kernel.codec import check_text, check_whole, codec_of, describe, message_of
from pointsman.kernel.people import asked_at
from pointsman.kernel.snapshot import Cell


def check_keys(*, key: str | None, correlation: str | None, tenant: str, priority: int) -> None:
    """Refuse what a database cannot hold beside a start or a message, and an empty key, which unrelated cases would share.

    Raises InputInvalid and ValueRefused.
    """
    for what, text in (("key", key), ("correlation", correlation), ("tenant", tenant)):
        if text != "":
            check_text(what, text)
        elif what != "tenant":
            raise InputInvalid(f"the {what} is empty; pass a text, or None for no {what}.")
    check_whole("priority", priority)


def input_cells(process: AnyProcess, state: State | Mapping[str, Any]) -> dict[str, Cell]:
    """Check the inputs of a start and encode them as cells. Raises InputInvalid and ValueRefused."""
    if not isinstance(cast("object", state), (process.state, Mapping)):
        raise InputInvalid(
            f"process {process.name!r} cannot start with a {type(state).__name__}; give it a {process.state.__name__}, or a mapping of its inputs."
        )
    given = vars(state) if isinstance(state, process.state) else dict(state)
    required, inputs, answered = inputs_of(process.state), _given_at_start(process), _answered(process)
    for name, value in given.items():
        written = name not in inputs or (
            name in answered and value != process.state.model_fields[name].get_default(call_default_factory=True)
        )
        if value is not None and written and name in process.state.model_fields:
            message = f"process {process.name!r}: {name!r} is written by a step and cannot be given at the start; leave it out."
            raise InputInvalid(message)
    if not isinstance(state, process.state):
        try:
            state = process.state.model_validate(given)
        except ValidationError as error:
            raise InputInvalid(f"process {process.name!r} cannot start: {describe(error)}.") from None
        except Exception as error:  # a validator of the author's may raise anything
            raise InputInvalid(
                f"process {process.name!r} cannot start: {process.state.__name__} raised {type(error).__name__}: {message_of(error)}; correct the inputs,"
                " or the validator that raised it."
            ) from error
    codec = codec_of(process.state)
    missing = [name for name in required if not hasattr(state, name)]  # as in a state of `model_construct`, which checks nothing
    if missing:
        raise InputInvalid(f"process {process.name!r} cannot start: field {min(missing)!r} is missing.")
    values = {name: getattr(state, name) for name in inputs}
    return {name: codec.encode(name, value, "") for name, value in values.items() if value is not None or name in required}


@lru_cache(maxsize=1_024)  # as many processes and versions as a program will have
def _given_at_start(process: AnyProcess) -> tuple[str, ...]:
    """The fields that a start may give, in the order of the state: its inputs, and what messages write."""
    inputs = inputs_of(process.state) | {name for accept in process.accepts_messages.values() for name in accept.writes}
    return tuple(name for name in process.state.model_fields if name in inputs)


@lru_cache(maxsize=1_024)
def _answered(process: AnyProcess) -> frozenset[str]:
    """The fields that only a person at a pause writes."""
    by_messages = {name for accept in process.accepts_messages.values() for name in accept.writes}
    return frozenset(name for name in process.state.model_fields if asked_at(process, name) is not None) - by_messages
