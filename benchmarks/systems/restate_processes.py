"""The workloads as a service of Restate, for an ASGI server."""

from typing import Any

from benchmarks.peers.restate_service import tell
from benchmarks.systems.processes import six_steps
from benchmarks.systems.trial import set_collector
from benchmarks.workload import BEFORE_PAUSE, payload
from pointsman.restate import restate_app


def _telling(step: str, case: int) -> dict[str, Any]:
    """Make the result of a step, and tell when it is the last one before the pause."""
    if step == BEFORE_PAUSE[-1]:
        tell(case)
    return payload(step, case)


app = restate_app([six_steps(tell=tell), six_steps(approved=True, result=_telling)])
set_collector()
