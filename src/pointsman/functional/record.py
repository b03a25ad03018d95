"""The state of a thread: what it was invoked with, and the record of everything that its body has seen."""

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

from pointsman.definition.messages import Log
from pointsman.definition.state import Failure, State

RECORD, ASKED, SHOWN, ANSWERS, OUTCOMES, WOKEN, RESULT, SAVED = (
    "record",
    "asked",
    "shown",
    "answers",
    "outcomes",
    "woken",
    "result",
    "saved",
)
INVOCATION, RESULTS = "invocation", "results"

T = TypeVar("T")

Plain = Annotated[Any, BeforeValidator(to_jsonable_python)]
"""Any value, as JSON values: the body reads it with the type that it declares."""


class Invocation(BaseModel, Generic[T]):
    """What an entrypoint was invoked with: its `input`, the thread that it belongs to, and what identifies the invocation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: T
    thread: str
    id: str = ""


class Asked(BaseModel):
    """The call that a body waits for and that is a step of the case: an effect, a pause, a sleep, or another entrypoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: str
    kind: Literal["effect", "pause", "sleep", "child"]
    arguments: Plain = None


class Returned(BaseModel):
    """What a call returned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: Plain


class RecordEntry(TypedDict, total=False):
    """One recorded call: its `value` or `failure`, or where that stands: the number of an item in `outcomes` or `answers`, or a time in `woken`.

    An entry with `since` says when the body began to wait for a call whose time is limited. A `void` entry takes back an earlier one, so that the call is made again. An entry that is `left_out` allows the body not to ask for the call again.
    """

    call: str
    value: Any
    failure: dict[str, Any]
    outcome: int
    answer: int
    woken: float
    since: float
    void: bool
    left_out: bool


class Thread(State):
    """What is known about one invocation of an entrypoint.

    `record` has the calls of the body that have ended. `asked` is the call that the case waits for, if that is a step of its own. `shown` is what an
    open pause shows. `answers` and `outcomes` have what people answered, and how effects and other entrypoints ended; the record refers to them.
    `saved` is what the thread keeps for its next invocation, if that is something else than the `result`.
    """

    invocation: Invocation[Any]
    record: Log[list[RecordEntry]] | None = None
    asked: Asked | None = None
    shown: Plain = None
    answers: Log[Plain] | None = None
    outcomes: Log[Returned | Failure] | None = None
    woken: float | None = None
    results: dict[str, Any] | None = None
    result: Returned | None = None
    saved: Returned | None = None


def thread_type(name: str, given: Any) -> type[Thread]:
    """The state of the threads of an entrypoint whose input has this type."""
    return type(
        f"{name}_thread", (Thread,), {"__annotations__": {INVOCATION: Invocation[given]}, "__module__": __name__, "__doc__": Thread.__doc__}
    )
