"""The group `functional`: programs in the shape of LangGraph, beside LangGraph on its SQLite saver, in one run."""

import statistics
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from benchmarks.results import number
from benchmarks.trials import WAL, Row, System, compared


def _system(name: str, module: str, durability: str, package: str, **parameters: str) -> System:
    try:
        release, missing = version(package), ""
    except PackageNotFoundError:
        release, missing = "", f"{package} is not installed; run `make bench`"
    settings = WAL + durability
    return System(
        name, "sqlite", f"benchmarks.systems.{module}", settings=settings, version=release, missing=missing, parameters=parameters
    )


SAVERS = (
    _system("pointsman-saver", "saver", '; durability="async"', "pointsman", saver="pointsman"),
    _system("langgraph-sqlite-saver", "saver", '; durability="async"', "langgraph-checkpoint-sqlite", saver="langgraph"),
)
FRONTS = (
    _system("pointsman-entrypoint", "entrypoints", "", "pointsman", front="pointsman"),
    _system("langgraph-entrypoint", "entrypoints", '; durability="sync"', "langgraph-checkpoint-sqlite", front="langgraph"),
)


def measured(*, quick: bool) -> Iterator[list[Row]]:
    """Measure the group, and yield the rows of each comparison as they come."""
    rounds, seconds = (2, 1.0) if quick else (5, 4.0)
    for concurrency in (1, 64, 256):
        yield compared(FRONTS, "functional-entrypoint", {"concurrency": concurrency, "seconds": seconds}, rounds=rounds)
    for concurrency in (1, 16):
        yield compared(SAVERS, "functional-saver", {"concurrency": concurrency, "seconds": seconds}, rounds=rounds)
    yield compared(SAVERS, "functional-saver-list", {"items": 1_000}, rounds=rounds)


def told(rows: list[Row]) -> Iterator[str]:
    """Say how the rows of the group compare, a line for each comparison: the median of the rounds, and its spread."""
    for systems, whose in ((FRONTS, "functional API on its SQLite saver"), (SAVERS, "SQLite saver")):
        yield from _told(rows, systems, whose)


def _told(rows: list[Row], systems: tuple[System, System], whose: str) -> Iterator[str]:
    by_system = [{row["comparison"]: row for row in rows if row["system"] == one.name and "failed" not in row} for one in systems]
    for comparison, ours in by_system[0].items():
        theirs = by_system[1].get(comparison)
        if theirs is None:
            continue
        times = [own / other for own, other in zip(ours["each_round"], theirs["each_round"], strict=True)]
        line = f"{comparison}: {number(statistics.median(times))} times the steps/s of LangGraph's {whose}"
        line += f" ({number(min(times))} to {number(max(times))})"
        if "disk_bytes" in ours:
            line += f", 1/{number(theirs['disk_bytes'] / ours['disk_bytes'])} of its bytes"
        yield line
