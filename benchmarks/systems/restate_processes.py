"""The workloads as a service of Restate, for an ASGI server."""

from typing import Any

from benchmarks.peers.restate_service import tell
from benchmarks.systems.processes import six_steps
from benchmarks.workload import BEFORE_PAUSE, STEPS, payload
from pointsman.restate import restate_app


def _telling(last: str) -> Any:
    """Make the results of steps, and tell when the `last` one is made."""

    def result(step: str, case: int) -> dict[str, Any]:
        if step == last:
            tell(case)
        return payload(step, case)

    return result


app = restate_app([six_steps(result=_telling(STEPS[-1])), six_steps(approved=True, result=_telling(BEFORE_PAUSE[-1]))])
