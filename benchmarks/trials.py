"""Run trials of the systems in turns, each in a process of its own, and put their figures together."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
TRIAL_SECONDS_MAX = 600.0  # the slowest peer starts 1,000 branches in a tenth of it


@dataclass(frozen=True)
class System:
    """A system to measure: `module` is its program, `python` the interpreter of its environment."""

    name: str
    store: str
    module: str
    durable_each_step: bool = True
    python: Path = Path(sys.executable)
    settings: str = ""
    variables: dict[str, str] = field(default_factory=dict)

    def trial(self, workload: str, parameters: Row) -> Row:
        """Run one trial, and return its figures. Raises subprocess.CalledProcessError, with what it printed."""
        command = [str(self.python), "-m", self.module, workload, json.dumps(parameters)]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | self.variables
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=TRIAL_SECONDS_MAX, env=environment)
        figures: Row = json.loads(done.stdout.splitlines()[-1])
        return figures


OURS = System("pointsman-sqlite", "sqlite", "benchmarks.systems.ours", settings="journal_mode=WAL, synchronous=FULL")
FLOOR = System("floor-asyncio", "sqlite", "benchmarks.systems.floor", settings="journal_mode=WAL, synchronous=FULL; no rules, no recovery")


def compared(systems: Iterable[System], workload: str, parameters: Row, *, rounds: int, figure: str = "steps_per_s") -> list[Row]:
    """Let the systems take turns for so many rounds, and return a row for each: medians, and the ratio to the floor with its spread."""
    tried: dict[str, list[Row]] = {}
    rows: list[Row] = []
    failed: set[str] = set()
    systems = list(systems)
    for _ in range(rounds):
        for system in systems:
            if system.name in failed:
                continue
            try:
                tried.setdefault(system.name, []).append(_with_rate(system.trial(workload, parameters)))
            except (OSError, ValueError, IndexError, subprocess.SubprocessError) as error:
                failed.add(system.name)
                rows.append({"workload": workload, "system": system.name, "store": system.store, "failed": _why(error)})
    floor = tried.get(FLOOR.name, [])
    for system in systems:
        figures = tried.get(system.name, [])
        if system.name in failed or not figures:
            continue
        row: Row = {"workload": workload, "system": system.name, "store": system.store, **parameters}
        row |= {name: statistics.median(one[name] for one in figures) for name in figures[0] if name not in {"steps", "seconds"}}
        row |= {"durable_each_step": system.durable_each_step, "settings": system.settings, "rounds": len(figures)}
        if floor and len(floor) == len(figures) and figure in floor[0]:
            ratios = [one[figure] / other[figure] for one, other in zip(figures, floor, strict=True)]
            row |= {"of_floor": statistics.median(ratios), "of_floor_low": min(ratios), "of_floor_high": max(ratios)}
        rows.append(row)
    return rows


def _with_rate(figures: Row) -> Row:
    if "steps" not in figures:
        return figures
    return {"steps_per_s": figures["steps"] / figures["seconds"], **figures}


def _why(error: Exception) -> str:
    told = getattr(error, "stderr", None) or str(error)
    return str(told).strip().splitlines()[-1][:200] if str(told).strip() else type(error).__name__
