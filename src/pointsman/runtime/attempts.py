"""One attempt of a node, and what follows from a failed one: another attempt, a recorded failure, or a parked case."""

from collections.abc import Mapping
from typing import Any

from pointsman.definition.nodes import AnyNode
from pointsman.errors import ValueRefused
from pointsman.kernel.codec import message_of
from pointsman.kernel.events import NOTHING, Event, Kind
from pointsman.kernel.snapshot import Cell
from pointsman.runtime.calls import Calls, GivenUp, ItemAt
from pointsman.runtime.evidence import evidence_of, raised_at
from pointsman.runtime.hold import Hold, Outcome, encode, failure_cells
from pointsman.runtime.limits import Permit, retry_seconds
from pointsman.runtime.ports import Ports

Facts = Mapping[str, Any]


class Attempts:
    """Makes attempts; it keeps nothing of them."""

    def __init__(self, ports: Ports, calls: Calls) -> None:
        self._clock = ports.clock
        self._random = ports.random
        self._calls = calls

    async def make(self, hold: Hold, node: AnyNode, attempt: int, *, item: ItemAt | None = None, given_up: GivenUp | None = None,
                   permit: Permit | None = None) -> dict[str, Cell] | Exception:  # fmt: skip
        """One attempt: the cells that the node wrote, or why there are none. With an `item` they are entries of the fields."""
        try:
            result = await self._calls.call(
                hold, node, attempt=attempt, timeout_seconds=node.timeout_seconds, item=item, given_up=given_up, permit=permit
            )
            return encode(hold, node, node.split(result), place=None if item is None else item.place)
        except Exception as error:
            if isinstance(error, TimeoutError) and node.timeout_seconds is not None and not str(error):
                late = TimeoutError(f"no result within {node.timeout_seconds} seconds")
                late.__cause__ = error
                return late
            return error

    def again_at(self, node: AnyNode, attempt: int, error: Exception) -> float | None:
        """When a failed attempt is followed by another one (Unix seconds); None where it was the last."""
        if attempt >= node.retry.attempts_max or not _worth_another(node, error):
            return None
        wait = node.retry.wait_seconds(attempt, self._random.random())
        return self._clock.now() + max(wait, retry_seconds(error))

    def failed(self, hold: Hold, node: AnyNode, attempt: int, error: Exception, facts: Facts = NOTHING) -> Outcome:
        """What follows from a failed attempt: its wake-up time, its `Failure`, or the reason to park."""
        failed = failure_event(node.name, attempt, error, facts)
        wake_at = self.again_at(node, attempt, error)
        if wake_at is not None:
            return Outcome((failed, Event(Kind.NODE_RETRIED, node.name, attempt, {"at": wake_at})), wake_at=wake_at)
        if node.on_failure == "record":
            return Outcome((Event(failed.kind, failed.step, attempt, failed.facts, failure_cells(hold, node, error, attempt)),))
        told = f"{node.name!r} failed after {attempt} attempt{'s' * (attempt > 1)}: {message_of(error)}"
        return Outcome((failed,), park=told, evidence=evidence_of(error, attempt))


def succeeded(node: AnyNode, attempt: int, cells: dict[str, Cell], facts: Facts = NOTHING) -> Event:
    """The event of an attempt that wrote these cells."""
    return Event(Kind.NODE_SUCCEEDED, node.name, attempt, {"fields": list(cells), **facts}, cells)


def failure_event(name: str, attempt: int, error: Exception, facts: Facts = NOTHING) -> Event:
    """The event of an attempt that failed."""
    told = {"error": type(error).__name__, "message": message_of(error), "raised_at": raised_at(error)}
    return Event(Kind.NODE_FAILED, name, attempt, {**told, **facts})


def interrupted(hold: Hold, node: AnyNode, attempts: int) -> Outcome:
    """The engine died in each attempt: most likely the step kills it."""
    event = Event(Kind.NODE_INTERRUPTED, node.name, attempts, {"attempts": attempts})
    error = RuntimeError(f"the engine died during each of {attempts} attempts")
    if node.on_failure == "record" and hold.step == node.name:
        return Outcome((Event(event.kind, event.step, attempts, event.facts, failure_cells(hold, node, error, attempts)),))
    return Outcome(
        (event,),
        park=f"{hold.step!r} was begun {attempts} times and never ended: {error}; correct it and redrive the case",
        evidence=evidence_of(error, attempts),
    )


def _worth_another(node: AnyNode, error: Exception) -> bool:
    return isinstance(error, node.retry.on) and not isinstance(error, ValueRefused)
