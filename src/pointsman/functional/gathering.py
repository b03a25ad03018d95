"""Wait for several calls of a body at once, with a recorded verdict."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import TypeAdapter

from pointsman.definition.rules import Failures, Quorum
from pointsman.definition.state import Failure
from pointsman.functional.body import Call, TaskFailed, Value, Waiting, Wanted, current_body, digest_of_arguments
from pointsman.functional.mistakes import ArgumentsInvalid, Unread

GATHER: Final = "gather"
_ANY: TypeAdapter[Any] = TypeAdapter(Any)


@dataclass(eq=False, repr=False)
class Gathered(Unread):
    """The future of several calls."""

    of = "gather()"

    call: Call[Any]
    calls: tuple[Call[Any], ...]
    failures: Failures

    def result(self) -> list[Any]:
        """Wait for the verdict, and return the results in the order of the calls. Raises TaskFailed."""
        body = self.call.body
        while self.call.outcome is None:
            verdict = self._verdict()
            if verdict is None:
                body.wait(Waiting(tuple(call for call in self.calls if call.outcome is None)))
            else:
                body.decide(self.call, verdict)
        ended: set[str] = set(self.call.result()["ended"])
        for call in self.calls:
            if call.name not in ended:
                body.give_up(call, "it was not needed any more")
        return self._results([call for call in self.calls if isinstance(call.outcome, Failure) and call.name in ended])

    def __await__(self) -> Generator[Any, None, list[Any]]:
        return self.result()
        yield

    def _verdict(self) -> dict[str, Any] | None:
        """The calls that have ended, if that is enough."""
        ended = [call for call in self.calls if call.outcome is not None]
        failed = sum(isinstance(call.outcome, Failure) for call in ended)
        if isinstance(self.failures, Quorum):
            needed = self.failures.needed
            enough = len(ended) - failed >= needed or len(self.calls) - failed < needed
        else:
            enough = len(ended) == len(self.calls) or (self.failures != "record" and failed > 0)
        return {"ended": [call.name for call in ended]} if enough else None

    def _results(self, failed: Sequence[Call[Any]]) -> list[Any]:
        if isinstance(self.failures, Quorum):
            succeeded = sum(isinstance(call.outcome, Value) for call in self.calls)
            if succeeded < self.failures.needed:
                message = f"{self.failures.needed} of {len(self.calls)} calls were needed, and {len(self.calls) - len(failed)} can succeed"
                raise TaskFailed(self.call.name, Failure(step=GATHER, error="QuorumMissed", message=message, attempts=0))
        elif self.failures != "record" and failed:
            failed[0].result()  # raises
        return [call.outcome if isinstance(call.outcome, Failure) else call.result() for call in self.calls]


def gather(*calls: Call[Any], failures: Failures = "fail") -> Gathered:
    """Wait for several calls. The result of the future is the list of their results, in their order.

    `failures` says what happens when a call fails for good. "fail" raises its TaskFailed at once and cancels the others. "record" waits for all, and a
    `Failure` takes the place of a result. `quorum(n)` returns as soon as n calls have succeeded; the others are cancelled, with a `Failure` in their places,
    and TaskFailed is raised if n can no longer succeed. The verdict is recorded, so that it is the same whenever the body is run again. Raises RuntimeError
    outside a body, and ArgumentsInvalid for an argument that is no future of a call.
    """
    given: Sequence[object] = calls
    wrong = next((one for one in given if not isinstance(one, Call)), None)
    if wrong is not None:
        how = (
            "write gather(*calls)"
            if isinstance(wrong, list | tuple)
            else "give it what a task returns when it is called, without .result()"
        )
        raise ArgumentsInvalid(f"gather() takes futures, and one of its arguments is a {type(wrong).__name__}; {how}.")
    body = current_body()
    if body is None or any(call.body is not body for call in calls):
        raise RuntimeError("gather() takes the calls of the body that calls it; call it there.")
    named = digest_of_arguments([[call.name for call in calls], repr(failures)])
    return Gathered(body.ask(Wanted(GATHER, GATHER, _ANY, digest=named)), calls, failures)
