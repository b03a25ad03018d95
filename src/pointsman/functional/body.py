"""Run the body of an entrypoint over recorded outcomes, and suspend it where it waits for one that is not recorded yet.

A body is a plain or an async function. It runs in a greenlet, so that `.result()` can suspend it anywhere without a thread. Nothing happens outside
while a body runs: its calls are asked for, and the case machine decides what becomes of them.
"""

import json
import json.encoder
from collections.abc import Callable, Container, Coroutine, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from inspect import iscoroutine
from typing import Any, Generic, Literal, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from pointsman.definition.nodes import AnyNode
from pointsman.definition.pauses import Pause
from pointsman.definition.rules import TaskCall
from pointsman.definition.state import Failure
from pointsman.errors import PointsmanError
from pointsman.functional.mistakes import Unread
from pointsman.kernel.codec import digest
from pointsman.kernel.record import record

R = TypeVar("R")

SHORT = 256  # characters of arguments whose digest is remembered
DIGEST_LENGTH = 12  # hexadecimal digits of the arguments' SHA-256: 48 bits tell the calls of one task in one case apart

CallKind = Literal["task", "effect", "pause", "sleep", "child", "gather"]


class TaskFailed(PointsmanError):
    """A task failed for good. `call` names the call, `error` is the type of its last exception, and `attempts` the number of attempts.

    A body may catch it and go on. It is raised again whenever the body is run again.
    """

    def __init__(self, call: str, failure: Failure) -> None:
        times = f" after {failure.attempts} attempts" if failure.attempts > 1 else ""
        super().__init__(f"{call!r} failed{times}: {failure.error}: {failure.message}")
        self.call = call
        self.error = failure.error
        self.message = failure.message
        self.attempts = failure.attempts


class TaskTimeout(TaskFailed, TimeoutError):
    """A task had no result in time."""


@record
class Value:
    """What a call returned, as JSON values."""

    value: Any


@record
class Waiting:
    """A body waits until one of these calls has ended, and for at most so many seconds."""

    calls: "tuple[Call[Any], ...]"
    seconds: float | None = None

    @property
    def over(self) -> bool:
        """Whether one of them has ended."""
        for call in self.calls:  # noqa: SIM110 - a generator would take several times as long, and most wait for one call
            if call.outcome is not None:
                return True
        return False


@record
class Wanted:
    """What a body asks for: the name of the step, its kind, the type of its result, its arguments as JSON values, and their digest."""

    step: str
    kind: CallKind
    returns: TypeAdapter[Any]
    arguments: Any = None
    digest: str = ""
    node: AnyNode | None = None
    pause: Pause | None = None


@dataclass(eq=False, repr=False)
class Call(Unread, Generic[R]):
    """One call of a body, which is also its future: `.result()` and `await` give what the call returned.

    `name` has the name of the task, the digest of the arguments and, from the second such call on, its number. It never depends on the
    place of the call in the body.
    """

    body: "Body"
    name: str
    wanted: Wanted
    outcome: Value | Failure | None = None
    branch: TaskCall | None = None  # what runs the call of a plain task

    @property
    def of(self) -> str:  # type: ignore[override]
        """What was called, in words."""
        return f"{'entrypoint' if self.wanted.kind == 'child' else 'task'} {self.wanted.step!r}"

    def result(self, timeout: float | None = None) -> R:
        """Wait for the call, and return its result.

        If there is none within `timeout` seconds, the call is cancelled, and TaskTimeout is raised, then and whenever the body is run again. Raises
        TaskFailed if the call failed for good, and ValueError for a `timeout` of something that has a time limit of its own.
        """
        if timeout is not None and self.wanted.kind != "task":
            raise ValueError(
                f"{self.wanted.step!r} is no plain task, so its result has no timeout; give it timeout_seconds=, or a deadline=."
            )
        if self.outcome is None:
            self.body.wait(Waiting((self,), timeout))
        outcome = self.outcome
        assert outcome is not None
        if isinstance(outcome, Failure):
            raise (TaskTimeout if outcome.error == TimeoutError.__name__ else TaskFailed)(self.name, outcome)
        # The body may change what it gets, and the record stays as it is: this copies JSON values several times as fast as `copy.deepcopy`.
        value: R = self.wanted.returns.validator.validate_python(to_jsonable_python(outcome.value))
        return value

    def __await__(self) -> Generator[Any, None, R]:
        return self.result()
        yield


class Body(greenlet):
    """One run of a body. It is suspended, or it has ended with a `value`, or it has `raised`.

    `calls` are all calls that it has asked for, and `open` those without an outcome. `known` are the recorded outcomes, and `unasked` the names
    of recorded calls that it has not asked for so far. `steps` are the tasks that it may call, and `chances` counts its calls for chance.
    """

    def __init__(self, function: Callable[[], Any], steps: Container[str]) -> None:
        super().__init__()
        self.steps = steps
        self.chances = 0
        self._function = function
        self.calls: dict[str, Call[Any]] = {}
        self.open: dict[str, Call[Any]] = {}
        self.known: dict[str, Value | Failure] = {}
        self.unasked: dict[str, None] = {}
        self.verdicts: dict[str, Any] = {}
        self.waiting: Waiting | None = None
        self.outside: Callable[[], AbstractContextManager[None]] | None = None  # is entered while the body is suspended
        self.ended = False
        self.dropped = False
        self.value: Any = None
        self.raised: BaseException | None = None
        self._asked: dict[tuple[str, str], int] = {}

    def run(self) -> None:
        """Run the function, in the greenlet."""
        try:
            value = self._function()
            self.value = _driven(value) if iscoroutine(value) else value
        except (GreenletExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # a SystemExit would end the event loop
            self.raised = error
        self.ended = True

    def ask(self, wanted: Wanted) -> Call[Any]:
        """Ask for a call, which is found by its step, the digest of its arguments, and how often it was asked for."""
        step, digest = wanted.step, wanted.digest
        number = self._asked[step, digest] = self._asked.get((step, digest), 0) + 1
        place = digest if number == 1 else f"{digest}#{number}"
        name = f"{step}[{place}]" if place else step
        outcome, node = self.known.get(name), wanted.node
        branch = TaskCall(name, node, digest, wanted.arguments) if wanted.kind == "task" and node is not None and outcome is None else None
        asked = self.calls[name] = Call(self, name, wanted, outcome, branch)
        if outcome is None:
            self.open[name] = asked
        else:
            self.unasked.pop(name, None)
        return asked

    def learn(self, name: str, outcome: Value | Failure | None) -> None:
        """Take in a recorded outcome; None takes it back, before the body has begun."""
        if outcome is None:
            self.known.pop(name, None)
            self.unasked.pop(name, None)
            return
        self.known[name] = outcome
        call = self.calls.get(name)
        if call is not None:
            call.outcome = call.outcome or outcome  # one that the body has given up stays so
            self.open.pop(name, None)
        else:
            self.unasked[name] = None

    def decide(self, call: Call[Any], verdict: Any) -> None:
        """Settle a call that the body itself decides, and remember to record the verdict."""
        call.outcome = Value(verdict)
        self.open.pop(call.name, None)
        self.verdicts[call.name] = verdict

    def give_up(self, call: Call[Any], why: str) -> None:
        """End a call that the body needs no more; if it runs, it is cancelled."""
        call.outcome = Failure(step=call.wanted.step, error="Cancelled", message=why, attempts=0)
        self.open.pop(call.name, None)

    def go_on(self) -> None:
        """Run until it ends, or waits for an outcome that is not known."""
        while not self.ended and (self.waiting is None or self.waiting.over):
            self.waiting = None
            self.parent = getcurrent()
            self.switch()

    def drop(self) -> None:
        """Let go of a body that nobody goes on with, and unwind it if it is suspended.

        Its stack and its calls refer to it, so it would be freed late or never.
        """
        self.dropped = True
        if self:  # it has begun, and has not ended
            self.parent = getcurrent()
            self.throw()
        self.calls, self.open = {}, {}

    def wait(self, waiting: Waiting) -> None:
        """Suspend the body until one of the calls has ended."""
        if self.dropped:  # a `finally` of the body calls something
            raise GreenletExit
        if getcurrent() is not self:
            raise RuntimeError(
                f"the result of {waiting.calls[0].wanted.step!r} was asked for outside the body that called it; ask for it in the body."
            )
        self.waiting = waiting
        assert self.parent is not None
        if self.outside is None:
            self.parent.switch()
            return
        with self.outside():
            self.parent.switch()


SORTED = (True, False, True)  # sorts keys, skips none, and allows NaN


def _encoder() -> Callable[[Any], str]:
    """What `json.dumps(arguments, sort_keys=True)` does. `json` makes its encoder anew for each value; this one is made once."""
    one_by_one = json.JSONEncoder(sort_keys=True, check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return one_by_one.encode
    ascii_text = json.encoder.encode_basestring_ascii
    separators = (one_by_one.key_separator, one_by_one.item_separator)
    encode = make(None, one_by_one.default, ascii_text, None, *separators, *SORTED)
    return lambda arguments: "".join(encode(arguments, 0))


_sorted_json = _encoder()


def digest_of_arguments(arguments: Any) -> str:
    """The part of a call's name that its arguments, as JSON values, determine."""
    text = _sorted_json(arguments)
    return _digest(text) if len(text) > SHORT else _digest_of_short(text)


def _digest(text: str) -> str:
    return digest((text,))[:DIGEST_LENGTH]


_digest_of_short = lru_cache(maxsize=4_096)(_digest)  # as many as the bodies that run: one calls several tasks with the same arguments


def current_body() -> Body | None:
    """The body that runs now, if this is code of a body."""
    body = getcurrent()
    return body if isinstance(body, Body) else None


def _driven(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run an async body. It awaits its calls only, and they suspend it without the event loop."""
    try:
        awaited = coroutine.send(None)
    except StopIteration as end:
        return end.value
    coroutine.close()
    raise TypeError(
        f"it awaited {type(awaited).__name__}, but a body awaits only its own calls and gather(); put everything else into a task"
    )
