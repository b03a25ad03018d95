"""Cases on a cluster of three nodes go on when one of the nodes dies while they make payments: the program has their results."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from restate_server import Server, Service, cluster
from tiers import figure

CASES = figure("RESTATE_CLUSTER_CASES", 6)
PAY_SECONDS = 600  # nothing waits for the end of this time


def ask(node: Server, number: int, handler: str, value: Any = None) -> Any:
    return node.call(f"/PointsmanCase/claims:{number}/{handler}", value)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def test_no_case_is_lost_and_no_payment_repeated_when_a_node_dies(tmp_path: Path) -> None:
    numbers = range(1, CASES + 1)
    paid, carelessly = tmp_path / "paid", tmp_path / "paid_carelessly"
    variables = {"FOLDER": str(tmp_path), "PAY_SECONDS": str(PAY_SECONDS)}
    with cluster() as three, Service("claims_service:app", variables) as service, ThreadPoolExecutor(8) as threads:
        first, second, third = three.nodes
        three.register(service.url)
        list(threads.map(lambda number: ask(second, number, "start", {"seed": str(number), "inputs": {"number": number}}), numbers))
        second.until(lambda: len(set(lines(paid) + lines(carelessly))) == CASES)

        first.stop()
        died = time.monotonic()
        (tmp_path / "open").touch()

        def ends(number: int) -> float:
            """When the case is seen to have ended, in seconds after the death."""
            third.until(lambda: ask(third, number, "show")["status"] == "done")
            return time.monotonic() - died

        ended = sorted(threads.map(ends, numbers))

    for file in (paid, carelessly):
        assert len(lines(file)) == len(set(lines(file))) == CASES // 2
    print(f"{CASES} cases ended within {ended[0]:.1f} to {ended[-1]:.1f} s after the death of a node, and 0 payments were repeated")
