"""Cases on a cluster of three nodes go on when one of the nodes dies while they make payments."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from restate_server import Server, Service, cluster
from tiers import figure

CASES = figure("RESTATE_CLUSTER_CASES", 6)
PAY_SECONDS = 2 + CASES / 4  # until then all cases have begun to pay
FULL = 100  # so many cases are led by every node, also by the one that dies


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
        for number in numbers:
            third.until(lambda number=number: ask(third, number, "show")["status"] == "done")
        ended = time.monotonic()

    repeated = len(lines(carelessly)) - len(set(lines(carelessly)))
    print(
        f"{CASES} cases ended {ended - died:.1f} s after the death of a node, and a lost call was looked up after {PAY_SECONDS:.0f} s;"
        f" without the ledger, {repeated} payments were repeated"
    )
    assert len(lines(paid)) == len(set(lines(paid))) == CASES // 2
    assert len(set(lines(carelessly))) == CASES - CASES // 2
    assert repeated or CASES < FULL
