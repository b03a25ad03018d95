"""Measure: `python -m benchmarks [--quick] [--only W1] [--store postgres|restate] [--json FILE] [--plot FILE.svg]`; or `--profile`; or `--page ROWS.json`."""

import argparse
import json
import os
import platform
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import functional
from benchmarks.page import write_page
from benchmarks.peers.installed import on_restate, peers, ready
from benchmarks.plot import plot
from benchmarks.profiling import profiled
from benchmarks.results import gains, number, ratios
from benchmarks.trials import FLEETS, FLOOR, FLOOR_ON_POSTGRES, OURS, OURS_ON_POSTGRES, Row, System, compared

ON_POSTGRES = (OURS_ON_POSTGRES, FLOOR_ON_POSTGRES, *FLEETS)
PEERS_ON_POSTGRES = ("dbos-postgres", "absurd")  # the ones that are made for it

WORKLOADS = ("limits", "W1", "W2", "W3", "W4", "W5", "W6", "functional", "profile")

STORES = {"sqlite": WORKLOADS, "postgres": ("W1",), "restate": ("W1", "W4")}  # and what is measured there

PROFILES = {"profile", "functions"}  # --profile prints these

HIDDEN = {
    "settings",
    "version",
    "durable_each_step",
    "rounds",
    "store",
    "comparison",
    "each_round",
}  # columns of the JSON that the table leaves out


def measured(only: str | None, peers: list[System], *, quick: bool) -> Iterator[list[Row]]:
    """Measure one workload after the other, and yield the rows of each as they come."""
    rounds, seconds = (2, 1.0) if quick else (5, 4.0)
    peers = [replace(peer, rounds_max=1) for peer in peers] if quick else peers

    def wanted(workload: str) -> bool:
        return only in {None, workload}

    def measure(systems: list[System], workload: str, **parameters: Any) -> list[Row]:
        figure = {"W2": "answered_ms"}.get(workload, "steps_per_s")
        return compared(systems, workload, parameters, rounds=rounds, figure=figure)

    if wanted("limits"):
        yield measure([System("limits", "disk", "benchmarks.systems.limits")], "limits", seconds=seconds / 4)
    if wanted("W1"):
        at_best = [replace(peer, parameters=peer.best) for peer in peers]
        for concurrency, beside in [(1, []), (256, at_best)] if quick else [(1, peers), (16, []), (64, []), (256, at_best)]:
            yield measure([OURS, FLOOR, *beside], "W1", concurrency=concurrency, seconds=seconds)
    if wanted("W2"):
        patient = [replace(peer, parameters={"cases": 20 if quick else 100}) for peer in peers]
        yield measure([OURS, FLOOR, *patient], "W2", cases=50 if quick else 300)
    if wanted("W3"):
        for branches, beside in [(100, peers), (1_000, [])] if quick else [(2, []), (100, peers), (1_000, peers)]:
            yield measure([OURS, FLOOR, *beside], "W3", branches=branches, seconds=seconds)
    yield from _at_length(only, peers, quick=quick)


def measured_on_postgres(systems: list[System], *, quick: bool) -> Iterator[list[Row]]:
    """Measure W1 with everything on one PostgreSQL server, and yield the rows of each comparison as they come."""
    rounds, seconds = (2, 2.0) if quick else (5, 4.0)
    ours, floor, *others = systems
    fleets, beside = others[: len(FLEETS)], others[len(FLEETS) :]
    at_best = [*fleets, *(replace(peer, parameters=peer.best) for peer in beside)]
    for concurrency, more in (1, beside), (64, []), (256, at_best):
        yield compared([ours, floor, *more], "W1", {"concurrency": concurrency, "seconds": seconds}, rounds=rounds)


def measured_on_restate(only: str | None, systems: list[System], *, quick: bool) -> Iterator[list[Row]]:
    """Measure W1 and W4 of what runs on a server of Restate, and yield the rows of each comparison as they come."""
    rounds, seconds = (2, 2.0) if quick else (5, 4.0)
    if only in {None, "W1"}:
        for concurrency in (1, 256):
            yield compared(systems, "W1", {"concurrency": concurrency, "seconds": seconds}, rounds=rounds)
    if only in {None, "W4"}:
        yield compared(systems, "W4", {"cases": 1_000 if quick else 10_000}, rounds=1, figure="usable_ms")


def _at_length(only: str | None, peers: list[System], *, quick: bool) -> Iterator[list[Row]]:
    """Measure what grows: many waiting cases, many steps in a case, and the mail desk. A quick run leaves the peers out."""
    rounds, seconds = (1, 1.0) if quick else (5, 4.0)
    peers = [] if quick else [replace(peer, rounds_max=1) for peer in peers]
    if only in {None, "W4"}:
        for cases, beside in [(1_000, peers), (10_000, [])] if quick else [(1_000, peers), (10_000, []), (100_000, [])]:
            yield compared([OURS, *beside], "W4", {"cases": cases}, rounds=1 if quick else 3, figure="usable_ms")
    if only in {None, "W5"}:
        for steps in (100, 3_000) if quick else (10, 100, 1_000, 10_000):
            yield compared([OURS], "W5", {"steps": steps}, rounds=rounds)
        yield compared([OURS, *peers], "W5-list", {"items": 1_000}, rounds=rounds, figure="disk_to_list")
        for waiting in (10_000,) if quick else (0, 100_000):
            yield compared([OURS], "W1", {"concurrency": 64, "seconds": seconds, "waiting": waiting}, rounds=rounds)
    if only in {None, "W6"}:
        desk = System(
            "pointsman-desk", "sqlite", "benchmarks.systems.desk", settings="offline rules, 64 mails at once", version=OURS.version
        )
        yield compared([desk], "W6", {"mails": 200 if quick else 1_000, "concurrency": 64}, rounds=rounds, figure="mails_per_s")
    if only in {None, "functional"}:
        yield from functional.measured(quick=quick)
    if only in {None, "profile"}:
        yield profiled(seconds)


def shown(row: Row) -> str:
    """One row of the table, as text."""
    return "  ".join(f"{name}={_short(value)}" for name, value in row.items() if name not in HIDDEN)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1_000 else f"{value:.0f}" if isinstance(value, float) else str(value)


def _print_ratios(rows: list[Row]) -> None:
    """Print the library against the fastest peer, where one was measured."""
    table = Table("work", "Pointsman", "of the floor", "fastest durable peer", "faster by", "spread", title="Against durable peers")
    for one in ratios(rows):
        table.add_row(
            one.label,
            f"{number(one.ours)} {one.unit}",
            "" if one.of_floor is None else f"{one.of_floor:.2f}",
            f"{one.peer}: {number(one.peers)} {one.unit}",
            f"{number(one.times)} times",
            f"{number(one.low)} to {number(one.high)}",
        )
    if table.row_count:
        Console(width=120).print(table)


def _machine(*, quick: bool) -> Row:
    return {
        "workload": "machine", "system": "machine", "python": platform.python_version(), "sqlite": sqlite3.sqlite_version,
        "machine": platform.machine(), "cores": os.cpu_count(), "quick": quick,
    }  # fmt: skip


def _measured_on(store: str, only: str | None, *, quick: bool) -> Iterator[list[Row]]:
    if store == "restate":
        yield from measured_on_restate(only, on_restate(), quick=quick)
        return
    on_postgres = store == "postgres"
    systems = [*ON_POSTGRES, *(one for one in peers() if one.name in PEERS_ON_POSTGRES)] if on_postgres else peers()
    with ready(systems) as beside:
        yield from measured_on_postgres(beside, quick=quick) if on_postgres else measured(only, beside, quick=quick)


def main() -> None:
    """Measure what was asked for; print a line for each row as it comes, and write all of them as JSON and as a plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: less than two minutes, and less to rely on")
    parser.add_argument("--only", choices=WORKLOADS, help="one workload")
    told = "where the cases are; on postgres only W1 is measured, on restate W1 and W4"
    parser.add_argument("--store", choices=STORES, default="sqlite", help=told)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--plot", type=Path, help="also draw the comparisons with peers into this SVG file")
    parser.add_argument("--profile", action="store_true", help="show where W1 at 256 in flight spends its time instead")
    parser.add_argument("--page", type=Path, metavar="ROWS.json", help="write the rows of an earlier run into docs/performance.md instead")
    arguments = parser.parse_args()
    if arguments.page is not None:
        write_page(arguments.page)
        return
    if arguments.profile:
        for row in profiled(4.0):
            print(f"{row['us_a_step']:8.2f}  {row.get('module') or row['function']}")
        return
    rows: list[Row] = [_machine(quick=arguments.quick)]
    print(shown(rows[0]))
    if arguments.only not in {None, *STORES[arguments.store]}:
        parser.error(f"on {arguments.store} only {' and '.join(STORES[arguments.store])} can be measured; pass --only W1.")
    for some in _measured_on(arguments.store, arguments.only, quick=arguments.quick):
        for row in some:
            if row["workload"] not in PROFILES:
                print(shown(row), flush=True)
        rows += some
    _print_ratios(rows)
    for line in (*functional.told(rows), *gains(rows, rows[0]["cores"])):
        print(line)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if arguments.plot is not None:
        arguments.plot.write_text(plot(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
