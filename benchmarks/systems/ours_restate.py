"""Pointsman on Restate, with everything on. A step more than is counted tells that the last one is durable, as the bare object's `ended` does."""

import time
from pathlib import Path
from typing import Any

from benchmarks.peers.restate import Server, waiting
from benchmarks.peers.restate_object import stored_steps
from benchmarks.systems.trial import Figures, run

APP = "benchmarks.systems.restate_processes:app"
LOOK_SECONDS = 0.001  # from a look at a case that has not ended to the next one


def w1(folder: Path, *, concurrency: int, seconds: float) -> Figures:
    return stored_steps(folder, APP, lambda server, case: _start(server, "six-steps", case), concurrency=concurrency, seconds=seconds)


def w4(folder: Path, *, cases: int) -> Figures:
    name = "approved-steps"

    def answer(server: Server, case: int) -> None:
        token = _until(server, name, case, "waiting")["pause"]["token"]
        _call(server, name, case, "answer", {"token": token, "answer": "yes", "by": "Ada"})
        _until(server, name, case, "done")

    return waiting(folder, APP, cases, lambda server, case: _start(server, name, case), answer)


def _start(server: Server, process: str, case: int) -> None:
    _call(server, process, case, "start", {"seed": str(case), "inputs": {"case": case}})


def _until(server: Server, process: str, case: int, status: str) -> Any:
    while (shown := _call(server, process, case, "show", None))["status"] != status:
        time.sleep(LOOK_SECONDS)
    return shown


def _call(server: Server, process: str, case: int, handler: str, asked: Any) -> Any:
    return server.call(f"/PointsmanCase/{process}:{case}/{handler}", asked)


if __name__ == "__main__":
    run({"W1": w1, "W4": w4})
