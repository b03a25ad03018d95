"""What the handlers of a program on Restate are asked, by its clients and by each other, and what is told of a request that is refused."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic_core import to_json

from pointsman.errors import AlreadyAnswered, InputInvalid, PointsmanError
from pointsman.kernel.codec import storable
from pointsman.kernel.rows import FieldRow, Post

# As over HTTP. The record of a case has at most 12 MiB, and keeps a message as it came and as fields, each perhaps twice as long.
REQUEST_MAX = 2 * 2**20  # bytes

REQUESTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "answer": (("token", "answer", "by"), ("edits",)),
    "assign": (("to", "by"), ("note",)),
    "cancel": (("by", "why"), ()),
    "redrive": (("by", "why"), ("fields",)),
    "resolve": (("key", "happened", "by", "why"), ("outcome", "calls")),
    "send": (("process", "message"), ("name", "key", "tenant", "priority")),
}
"""What a request of each handler has, and what it may have."""

_KINDS: Mapping[str, tuple[type, str]] = {
    **dict.fromkeys(("process", "name"), (str, "a text")),
    **dict.fromkeys(("edits", "fields"), (Mapping, "an object")),
    "happened": (bool, "true or false"),
    "calls": (int, "a whole number"),
}
"""What these are. What a request may have can also be null. The kernel looks at the others."""


class Start(NamedTuple):
    """A start: what the number was computed from, and the inputs, or the JSON of each. The rest is as in `NewCase`, and for a child in `Record`.

    `early` has the messages that came before the case.
    """

    seed: str
    inputs: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    texts: dict[str, str] | None = None
    key: str | None = None
    tenant: str = ""
    priority: int = 0
    correlation: str | None = None
    parent: int | None = None
    home: str = ""
    result: str = ""
    early: "list[Message]" = []  # noqa: RUF012 - nobody changes it


class Message(NamedTuple):
    """A message on its way. `fields` are those of a child that ended. `start` is that of the case that it starts if there is none, or None."""

    post: Post
    fields: dict[str, FieldRow] = {}  # noqa: RUF012 - nobody changes it
    start: Start | None = None


class Refusing(NamedTuple):
    """Why a caller is refused: the name of the error, its message, and who was faster."""

    error: str
    message: str
    by: str = ""


def refusing(error: PointsmanError) -> Refusing:
    """What a caller is told of an error."""
    return Refusing(type(error).__name__, storable(str(error)), error.by if isinstance(error, AlreadyAnswered) else "")


def _size(asked: Any) -> int:
    try:
        return len(to_json(asked, inf_nan_mode="constants"))
    except ValueError:  # half a character, or nested too deep: the kernel says what is wrong with it
        return 0


def fitting(handler: str, asked: Any) -> dict[str, Any]:
    """The request of this handler.

    Raises InputInvalid if it lacks a name, has one that the handler would overlook, has a value of another kind, or is too large.
    """
    if (size := _size(asked)) > REQUEST_MAX:
        raise InputInvalid(f"the request has {size:,} bytes of JSON, of {REQUEST_MAX:,} at most; keep large values as blobs.")
    needed, more = REQUESTS[handler]
    given = asked if isinstance(asked, Mapping) else {}
    wrong = [f"{name!r} is missing" for name in needed if name not in given] + [
        f"{name!r} is unknown" for name in given if name not in needed + more
    ]
    wrong += [
        f"{name!r} is not {what}"
        for name, (kind, what) in _KINDS.items()
        if name in given and not isinstance(given[name], kind) and (name in needed or given[name] is not None)
    ]
    if wrong:
        takes = ", ".join(needed) + (f", and perhaps {', '.join(more)}" if more else "")
        raise InputInvalid(f"the request does not fit: {', '.join(wrong)}; {handler!r} takes an object with {takes}.")
    return dict(given)
