"""The page of performance is made from a run, and a run that lacks something is still a page."""

import json
import re
from typing import Any
from xml.etree import ElementTree as ET

from benchmarks import functional
from benchmarks.page import PAGE, PLOT, page
from benchmarks.plot import plot
from benchmarks.results import ratios
from benchmarks.trials import FLOOR, OURS, System, compared

ROWS = PAGE.with_suffix(".json")


def rows() -> list[dict[str, Any]]:
    return json.loads(ROWS.read_text(encoding="utf-8"))


def row(system: str, figures: list[float], **more: Any) -> dict[str, Any]:
    middle = sorted(figures)[len(figures) // 2]
    w1 = {"workload": "W1", "comparison": "W1 concurrency=256", "concurrency": 256, "steps_per_s": middle, "each_round": figures}
    return w1 | {"system": system, "durable_each_step": True, **more}


def test_the_page_and_its_plot_are_those_of_the_run() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert page(text, rows()) == text, "run `python -m benchmarks --page docs/performance.json`"
    assert plot(rows()) == PLOT.read_text(encoding="utf-8")


def test_the_page_names_every_peer() -> None:
    text = PAGE.read_text(encoding="utf-8")

    for peer in ("langgraph-sqlite-async", "langgraph-postgres", "dbos-sqlite", "dbos-postgres", "absurd", "restate"):
        assert f"| {peer} |" in text or f"| {peer} (" in text, peer


def test_the_ratio_is_to_the_fastest_durable_peer_round_by_round() -> None:
    measured = [
        row(OURS.name, [100.0, 80.0, 90.0], of_floor=0.4),
        row(FLOOR.name, [250.0, 200.0, 225.0]),
        row("slow", [1.0, 1.0, 1.0]),
        row("fast", [10.0, 2.0, 5.0]),
        row("forgetful", [50.0, 50.0, 50.0], durable_each_step=False),
        {"workload": "W1", "system": "broken", "comparison": "W1 concurrency=256", "failed": "not installed"},
    ]

    [ratio] = ratios(measured)

    assert (ratio.peer, ratio.times, ratio.low, ratio.high) == ("fast", 18.0, 10.0, 40.0)


def test_the_savers_are_compared_round_by_round_where_both_ran() -> None:
    ours, theirs = functional.SAVERS
    of_steps = {"comparison": "steps", "each_round": [30.0, 20.0, 50.0]}
    of_list = {"comparison": "list", "each_round": [10.0], "disk_bytes": 100.0}
    measured = [
        {"workload": "machine", "system": "machine"},
        {"system": ours.name, **of_steps},
        {"system": theirs.name, **of_steps, "each_round": [10.0, 20.0, 10.0]},
        {"system": ours.name, **of_list},
        {"system": theirs.name, **of_list, "each_round": [5.0], "disk_bytes": 4_000.0},
        {"system": ours.name, "comparison": "broken", "failed": "not installed"},
    ]

    assert list(functional.told(measured)) == [
        "steps: 3 times the steps/s of LangGraph's SQLite saver (1 to 5)",
        "list: 2 times the steps/s of LangGraph's SQLite saver (2 to 2), 1/40 of its bytes",
    ]


def test_a_peer_that_cannot_run_is_a_row_and_the_others_go_on() -> None:
    missing = System("missing", "sqlite", "benchmarks.peers.nothing", missing="not installed")
    broken = System("broken", "sqlite", "benchmarks.peers.nothing")
    limits = System("limits", "disk", "benchmarks.systems.limits", version="1")

    found = compared([missing, broken, limits], "limits", {"seconds": 0.01}, rounds=1)

    assert [one.get("failed") for one in found][:1] == ["not installed"]
    assert "benchmarks.peers.nothing" in found[1]["failed"]
    assert found[2]["flushes_per_s"] > 0


def test_the_plot_is_xml_that_draws_each_system() -> None:
    drawn = plot([row(OURS.name, [90.0]), row(FLOOR.name, [225.0]), row("a <peer>", [5.0])])

    texts = [element.text for element in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert {OURS.name, FLOOR.name, "a <peer>"} <= set(texts)
    assert len(re.findall("<rect", drawn)) == 3
