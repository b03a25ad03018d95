"""What the rows of a run say: the library against the fastest peer that makes each step durable, in the same comparison."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from benchmarks.trials import ENGINES, FLEETS, FLOORS, OURS_ON_POSTGRES, Row

FIGURE = {"W1": "steps_per_s", "W2": "answered_ms", "W3": "steps_per_s"}
UNIT = {"steps_per_s": "steps/s", "answered_ms": "ms"}
SMALLER_IS_BETTER = {"answered_ms"}
LABEL = {"W1": "Six steps, {concurrency} in flight", "W2": "Answer to done", "W3": "Fan-out of {branches:,}"}


@dataclass(frozen=True)
class Ratio:
    """How many times faster than the fastest peer: the median over the rounds, and its spread."""

    workload: str
    label: str
    unit: str
    ours: float
    of_floor: float | None
    peer: str
    peers: float
    times: float
    low: float
    high: float


def ratios(rows: list[Row]) -> list[Ratio]:
    """Return a ratio for each comparison of W1, W2 and W3 in which a peer was measured."""
    found = []
    for ours in rows:
        figure = FIGURE.get(ours["workload"])
        if ours["system"] not in ENGINES or figure is None or "each_round" not in ours:
            continue
        beside = [row for row in rows if row.get("comparison") == ours["comparison"] and is_durable_peer(row)]
        if not beside:
            continue
        smaller = figure in SMALLER_IS_BETTER
        best = min(beside, key=lambda row: row[figure] if smaller else -row[figure])
        rounds = ours["each_round"], best["each_round"]
        pairs = zip(*rounds, strict=True) if len(rounds[0]) == len(rounds[1]) else product(*rounds)  # a quick run has one of the peer
        times = [other / own if smaller else own / other for own, other in pairs]
        found.append(
            Ratio(
                ours["workload"], label(ours), UNIT[figure], ours[figure], ours.get("of_floor"), best["system"], best[figure],
                statistics.median(times), min(times), max(times),
            )
        )  # fmt: skip
    return found


def gains(rows: list[Row], cores: int) -> Iterator[str]:
    """Say what several processes on one database gain over one, a line for each number of processes, and how many cores are busy with it."""
    measured = {row["system"]: row for row in rows if "each_round" in row and row["comparison"] == "W1 concurrency=256"}
    one = measured.get(OURS_ON_POSTGRES.name)
    for fleet in [measured[system.name] for system in FLEETS if system.name in measured]:
        if one is None:
            return
        times = [many / single for many, single in zip(fleet["each_round"], one["each_round"], strict=True)]
        yield (
            f"{fleet['processes']} processes on PostgreSQL: {number(statistics.median(times))} times the steps/s of one"
            f" ({number(min(times))} to {number(max(times))}); they and the server keep {number(fleet['cores_busy'])} of {cores} cores busy"
        )


def is_durable_peer(row: Row) -> bool:
    """Say whether this is the row of a peer that was measured, and that makes each step durable."""
    return (
        row["system"] not in ENGINES | FLOORS | {one.name for one in FLEETS} and "failed" not in row and bool(row.get("durable_each_step"))
    )


def label(row: Row) -> str:
    """Name the comparison of a row for a reader."""
    return LABEL[row["workload"]].format_map(row)


def number(value: float) -> str:
    """Write a figure with three digits that count, and thousands apart."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
