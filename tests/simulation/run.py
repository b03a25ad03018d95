"""Run schedules: `python tests/simulation/run.py --seed 7` replays one and says what went wrong in it."""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from schedule import collect_seldom, run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=1, help="how many schedules, each with the next seed")
    parser.add_argument("--step", type=int, default=1, help="from one seed to the next")
    parser.add_argument("--entrypoints", action="store_true", help="of the entrypoints")
    given = parser.parse_args()
    collect_seldom()
    for seed in range(given.seed, given.seed + given.count * given.step, given.step):
        print(json.dumps(run(seed, entrypoints=given.entrypoints)._asdict()), flush=given.count == 1)


if __name__ == "__main__":
    main()
