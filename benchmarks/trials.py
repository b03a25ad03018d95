"""Run trials of the systems in turns, each in a process of its own, and put their figures together."""

import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
UNTOLD = {"seconds", "cases"}  # parameters that say how long to measure
TRIAL_SECONDS_MAX = 600.0  # the slowest peer starts 1,000 branches in a tenth of it


@dataclass(frozen=True)
class System:
    """A system to measure: `module` is its program, `python` the interpreter of its environment.

    `best` are the parameters of W1 with which a peer takes the most steps a second. `missing` says why it cannot run here.
    """

    name: str
    store: str
    module: str
    durable_each_step: bool = True
    python: Path = Path(sys.executable)
    settings: str = ""
    version: str = ""
    best: Row = field(default_factory=dict)
    parameters: Row = field(default_factory=dict)  # instead of the workload's
    rounds_max: int = 1_000
    missing: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def trial(self, workload: str, parameters: Row) -> Row:
        """Run one trial, and return its figures. Raises subprocess.CalledProcessError, with what it printed."""
        command = [str(self.python), "-m", self.module, workload, json.dumps(parameters)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | self.variables
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
        ) as process:  # a session of its own: what a peer has started ends with it
            try:
                told, errors = process.communicate(timeout=TRIAL_SECONDS_MAX)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command, told, errors)
        figures: Row = json.loads(told.splitlines()[-1])
        return figures


WAL = "journal_mode=WAL, synchronous=FULL"
OURS = System("pointsman-sqlite", "sqlite", "benchmarks.systems.ours", settings=WAL, version=version("pointsman"))
FLOOR = System(
    "floor-asyncio", "sqlite", "benchmarks.systems.floor", settings=f"{WAL}; no rules, no recovery", version=sqlite3.sqlite_version
)
ON_POSTGRES = "PostgreSQL with fsync and synchronous_commit"
OURS_ON_POSTGRES = System("pointsman-postgres", "postgres", "benchmarks.systems.ours_postgres", settings=ON_POSTGRES, version=OURS.version)
FLEETS = tuple(
    replace(OURS_ON_POSTGRES, name=f"{OURS_ON_POSTGRES.name}-{n}", parameters={"processes": n, "concurrency": 256 * n}) for n in (2, 4)
)
FLOOR_ON_POSTGRES = System(
    "floor-postgres", "postgres", "benchmarks.systems.floor_postgres", settings=f"{ON_POSTGRES}; no rules, no recovery"
)
ENGINES, FLOORS = {OURS.name, OURS_ON_POSTGRES.name}, {FLOOR.name, FLOOR_ON_POSTGRES.name}  # of which each run has one


def compared(systems: Iterable[System], workload: str, parameters: Row, *, rounds: int, figure: str = "steps_per_s") -> list[Row]:
    """Let the systems take turns for so many rounds, and return a row for each: medians, and the ratio to the floor with its spread.

    A system that cannot run, or whose trial fails, gets a row that says why, and the others go on.
    """
    systems = list(systems)
    tried: dict[str, list[Row]] = {system.name: [] for system in systems}
    failed = {system.name: system.missing for system in systems if system.missing}
    for number in range(rounds):
        for system in systems:
            if system.name in failed or number >= system.rounds_max:
                continue
            try:
                tried[system.name].append(_with_rate(system.trial(workload, parameters | system.parameters)))
            except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
                failed[system.name] = _why(error)
    comparison = " ".join([workload, *(f"{name}={value}" for name, value in parameters.items() if name not in UNTOLD)])
    floor = next(([one.get(figure) for one in tried[name]] for name in tried if name in FLOORS - set(failed)), [])
    rows = []
    for system in systems:
        row: Row = {"workload": workload, "system": system.name, "store": system.store, "comparison": comparison}
        row |= parameters | system.parameters
        if system.name in failed:
            rows.append(row | {"failed": failed[system.name]})
            continue
        figures = tried[system.name]
        row |= {name: statistics.median(one[name] for one in figures) for name in figures[0] if name not in {"steps", "seconds"}}
        if figure in figures[0]:
            row["each_round"] = [one[figure] for one in figures]
            if ratios := [one[figure] / other for one, other in zip(figures, floor, strict=False) if other]:
                row |= {"of_floor": statistics.median(ratios), "of_floor_low": min(ratios), "of_floor_high": max(ratios)}
        row |= {"durable_each_step": system.durable_each_step, "settings": system.settings, "version": system.version}
        rows.append(row | {"rounds": len(figures)})
    return rows


def _with_rate(figures: Row) -> Row:
    if "steps" not in figures:
        return figures
    return {"steps_per_s": figures["steps"] / figures["seconds"], **figures}


def _why(error: Exception) -> str:
    told = getattr(error, "stderr", None) or str(error)
    return str(told).strip().splitlines()[-1][:200] if str(told).strip() else type(error).__name__
