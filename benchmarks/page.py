"""docs/performance.md and its plot from the rows of a run, so that no figure in it is typed by hand."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.plot import comparisons, plot
from benchmarks.results import FIGURE, label, number, ratios
from benchmarks.trials import ROOT, Row

PAGE, PLOT = ROOT / "docs" / "performance.md", ROOT / "docs" / "performance.svg"
_PART = re.compile(r"(<!-- (\w+): from the run -->\n).*?(<!-- end -->)", re.DOTALL)


def write_page(rows_file: Path) -> None:
    """Write the figures of a run into the page, and its plot beside it."""
    rows: list[Row] = json.loads(rows_file.read_text(encoding="utf-8"))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    PLOT.write_text(plot(rows), encoding="utf-8")


def page(text: str, rows: list[Row]) -> str:
    """Return the page with the figures of these rows between its marks."""
    parts = {
        "machine": _machine, "ratios": _ratios, "steps": _steps, "answers": _answers, "fanout": _fan_out, "waiting": _waiting,
        "growing": _growing, "desk": _desk, "limits": _limits, "time": _time, "settings": _settings,
    }  # fmt: skip
    return _PART.sub(lambda found: f"{found[1]}{parts[found[2]](rows)}\n{found[3]}", text)


def _table(heads: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, ("---",) * len(heads), *lines])


def _figure(row: Row, name: str) -> str:
    return number(row[name]) if name in row else ""


def _percent(row: Row, name: str) -> str:
    return f"{100 * row[name]:.3g} %" if name in row else ""


def _machine(rows: list[Row]) -> str:
    row = next(row for row in rows if row["workload"] == "machine")
    kind = "a quick run (`--quick`: few and short rounds, so read it as an example)" if row["quick"] else "a full run"
    return f"The figures come from {kind} on {row['cores']} cores ({row['machine']}), Python {row['python']}, SQLite {row['sqlite']}."


def _ratios(rows: list[Row]) -> str:
    lines = [
        (
            one.label, f"{number(one.ours)} {one.unit}", f"{one.peer}: {number(one.peers)} {one.unit}", f"{number(one.times)} times",
            f"{number(one.low)} to {number(one.high)}",
        )
        for one in ratios(rows)
    ]  # fmt: skip
    return _table(("work", "pointsman-sqlite", "fastest durable peer", "pointsman is faster by", "spread"), lines)


def _compared(rows: list[Row], workload: str, heads: tuple[str, ...], cells: tuple[str, ...]) -> str:
    lines = [
        (label(row), row["system"], *(_figure(row, name) for name in cells), _percent(row, "of_floor"))
        for group in comparisons(rows)
        for row in group
        if row["workload"] == workload and "waiting" not in row
    ]
    return _table(("work", "system", *heads), lines)


def _steps(rows: list[Row]) -> str:
    return _compared(rows, "W1", ("processes", "steps/s", "bytes a step", "of the floor"), ("processes", "steps_per_s", "bytes_a_step"))


def _answers(rows: list[Row]) -> str:
    lines = [
        (row["system"], _figure(row, "paused_ms"), _figure(row, "answered_ms"))
        for group in comparisons(rows)
        for row in group
        if row["workload"] == "W2"
    ]
    return _table(("system", "start to pause, ms", "answer to done, ms"), lines)


def _fan_out(rows: list[Row]) -> str:
    return _compared(rows, "W3", ("steps/s", "of the floor"), ("steps_per_s",))


def _waiting(rows: list[Row]) -> str:
    lines = [
        (
            f"{row['cases']:,}", row["system"], _figure(row, "bytes_each"), _figure(row, "open_ms"), _figure(row, "usable_ms"),
            _figure(row, "resumed_ms"), _percent(row, "idle_load"),
        )
        for row in rows
        if row["workload"] == "W4" and "failed" not in row
    ]  # fmt: skip
    heads = ("waiting", "system", "bytes each", "open, ms", "first answer done, ms", "an answer, ms", "idle load, of a core")
    return _table(heads, lines)


def _growing(rows: list[Row]) -> str:
    steps = [
        (f"{row['steps']:,} steps in one case", row["system"], f"{number(row['steps_per_s'])} steps/s", _figure(row, "last_to_first"))
        for row in rows
        if row["workload"] == "W5" and "failed" not in row
    ]
    lists = [
        (f"a list that grows to {row['items']:,} items", row["system"], f"{number(row['disk_to_list'])} bytes on disk for a byte of it", "")
        for row in rows
        if row["workload"] == "W5-list" and "failed" not in row
    ]
    beside = [
        (f"{label(row)}, {row['waiting']:,} waiting beside", row["system"], f"{number(row['steps_per_s'])} steps/s", "")
        for row in rows
        if row["workload"] == "W1" and "waiting" in row and "failed" not in row
    ]
    return _table(("work", "system", "figure", "time of the last steps to the first"), [*steps, *lists, *beside])


def _desk(rows: list[Row]) -> str:
    row = next(row for row in rows if row["workload"] == "W6")
    return f"The desk works off {number(row['mails_per_s'])} mails a second with its rules offline ({number(row['cpu_ms_a_mail'])} ms of a core each)."


def _limits(rows: list[Row]) -> str:
    row = next(row for row in rows if row["workload"] == "limits")
    return (
        f"The disk takes {number(row['flushes_per_s'])} flushes a second, SQLite {number(row['commits_per_s'])} commits with one row each, "
        f"or {number(row['grouped_rows_per_s'])} rows in groups of a hundred."
    )


def _time(rows: list[Row]) -> str:
    lines = [(f"`{row['module']}`", number(row["us_a_step"])) for row in rows if row["workload"] == "profile"]
    return _table(("module", "µs a step, with the profiler's own cost"), lines)


def _settings(rows: list[Row]) -> str:
    seen = {row["system"]: row for row in rows if row.get("settings") and row["workload"] in FIGURE}
    failed = {f"{row['system']} ({row['workload']})": row["failed"] for row in rows if "failed" in row}
    lines = [(name, row["version"], row["settings"]) for name, row in seen.items()]
    return _table(("system", "version", "settings"), lines + [(name, "", f"not measured: {why}") for name, why in failed.items()])
