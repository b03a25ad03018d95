"""Values as Restate keeps them, and refusals as its callers get them."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json
from restate import TerminalError
from restate.retry_policy import InvocationRetryPolicy
from restate.serde import Serde

from pointsman.client.problems import KINDS
from pointsman.client.restate_requests import Refusing, refusing
from pointsman.errors import PointsmanError
from pointsman.kernel.codec import describe, message_of

T = TypeVar("T")

RETRIES = InvocationRetryPolicy(timedelta(milliseconds=100), 2.0, timedelta(seconds=5), 1_000_000_000)
"""How often Restate calls a handler again: a program may be away for long, and Restate's own policy gives up after an hour."""

_STATUSES = {kind.__name__: status for kind, (status, _) in KINDS.items()}


class Json(Serde[T]):
    """Values of one type as JSON."""

    def __init__(self, kind: type[T]) -> None:
        self._adapter = TypeAdapter(kind)

    def serialize(self, obj: T | None) -> bytes:
        """The bytes of a value; none for None."""
        return b"" if obj is None else self._adapter.dump_json(obj, exclude_defaults=True)

    def deserialize(self, buf: bytes) -> T | None:
        """The value of these bytes."""
        return self._adapter.validate_json(buf) if buf else None

    def plain(self, value: T) -> Any:
        """The value as an argument of a handler."""
        return self._adapter.dump_python(value, mode="json")

    def of(self, plain: Any) -> T:
        """The value of such an argument. Raises TerminalError if it does not fit."""
        try:
            return self._adapter.validate_json(to_json(plain))
        except ValueError as error:
            raise refusal(_misfit(error)) from None


def delay_of(seconds: float) -> timedelta | None:
    """The delay of a message that comes after so many `seconds`."""
    # A millisecond more, because the delay counts in them and a timer that comes early would be set again.
    return timedelta(seconds=seconds, milliseconds=1) if seconds else None


async def attempt(do: Callable[[], Awaitable[T]]) -> tuple[T | None, Refusing | None]:
    """What this returns, or why it is refused. Restate would repeat it for ever."""
    try:
        return await do(), None
    except PointsmanError as error:
        return None, refusing(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # what a request raises that does not fit its handler
        return None, _misfit(error)


def _misfit(error: Exception) -> Refusing:
    why = describe(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {message_of(error)}"
    return Refusing("InputInvalid", f"the request does not fit ({why}); see the documentation of the handler.")


def refusal(told: Refusing) -> TerminalError:
    """The error that ends an invocation, and that Restate answers its caller with."""
    return TerminalError(f"{told.error}: {told.message}", _STATUSES.get(told.error, 409), {"by": told.by} if told.by else None)
