"""The group `functional`: programs in the shape of LangGraph, beside LangGraph on its SQLite saver, in one run."""

import statistics
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from benchmarks.results import number
from benchmarks.trials import WAL, Row, System, compared


def _saver(name: str, saver: str, package: str) -> System:
    try:
        release, missing = version(package), ""
    except PackageNotFoundError:
        release, missing = "", f"{package} is not installed; run `make bench`"
    return System(
        name, "sqlite", "benchmarks.systems.saver", settings=f'{WAL}; durability="async"', version=release, missing=missing,
        parameters={"saver": saver},
    )  # fmt: skip


SAVERS = (_saver("pointsman-saver", "pointsman", "pointsman"), _saver("langgraph-sqlite-saver", "langgraph", "langgraph-checkpoint-sqlite"))


def measured(*, quick: bool) -> Iterator[list[Row]]:
    """Measure the group, and yield the rows of each comparison as they come."""
    rounds, seconds = (2, 1.0) if quick else (5, 4.0)
    for concurrency in (1, 16):
        yield compared(SAVERS, "functional-saver", {"concurrency": concurrency, "seconds": seconds}, rounds=rounds)
    yield compared(SAVERS, "functional-saver-list", {"items": 1_000}, rounds=rounds)


def told(rows: list[Row]) -> Iterator[str]:
    """Say how the rows of the group compare, a line for each comparison: the median of the rounds, and its spread."""
    by_system = [{row["comparison"]: row for row in rows if row["system"] == saver.name and "failed" not in row} for saver in SAVERS]
    for comparison, ours in by_system[0].items():
        theirs = by_system[1].get(comparison)
        if theirs is None:
            continue
        times = [own / other for own, other in zip(ours["each_round"], theirs["each_round"], strict=True)]
        line = f"{comparison}: {number(statistics.median(times))} times the steps/s of LangGraph's SQLite saver"
        line += f" ({number(min(times))} to {number(max(times))})"
        if "disk_bytes" in ours:
            line += f", 1/{number(theirs['disk_bytes'] / ours['disk_bytes'])} of its bytes"
        yield line
