"""Run schedules: `python tests/simulation/run.py --seed 7` replays one and says what went wrong in it."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[1]))

from schedule import Result, collect_seldom, run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many schedules, each with the next seed")
    parser.add_argument("--step", type=int, default=1, help="from one seed to the next")
    parser.add_argument("--entrypoints", action="store_true", help="of the entrypoints")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own, or that of POINTSMAN_TEST_POSTGRES")
    given = parser.parse_args()
    collect_seldom()
    if not given.postgres:
        run_all(given, run)
        return
    from on_postgres import run_on  # noqa: PLC0415 - which most runs do not need

    from postgres_server import server  # noqa: PLC0415

    with closing(server()) as ours:
        run_all(given, lambda seed, **settings: run_on(ours, seed, Counter(), **settings))


def run_all(given: argparse.Namespace, run: Callable[..., Result]) -> None:
    for seed in range(given.seed, given.seed + given.count * given.step, given.step):
        print(json.dumps(run(seed, entrypoints=given.entrypoints)._asdict()), flush=given.count == 1)


if __name__ == "__main__":
    main()
