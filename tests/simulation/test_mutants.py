"""The simulation has teeth: each rule of the protocol, taken out, is missed within a bounded number of schedules.

One mutant by itself: `python tests/simulation/mutants.py "no fence"`.
"""

import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from mutants import MUTANTS

from tiers import figure

PROGRAM = Path(__file__).parent / "mutants.py"
ANEW = ["--anew"] if figure("ANEW", 0) else []


def test_the_simulation_kills_every_mutant_of_the_protocol(capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), *ANEW], stdout=subprocess.PIPE, text=True, check=True)
    results = sorted(map(json.loads, done.stdout.splitlines()), key=lambda result: list(MUTANTS).index(result["name"]))

    killed = [result for result in results if result["seed"] is not None]
    with capsys.disabled():
        median = statistics.median(result["seed"] for result in killed) if killed else "none"
        print(f"\n{len(killed)}/{len(results)} mutants killed, median killing seed {median}")
        for result in results:
            print(f"  {result['name']}: seed {result['seed']}, {result['violation']}"[:160])
    survived = [result["name"] for result in results if result["seed"] is None]
    broken = [result["name"] for result in killed if re.search(r"(Type|Attribute|Name)Error", result["violation"])]
    assert not broken, f"these no longer fit the code that they change: {broken}"
    assert [result["name"] for result in results] == list(MUTANTS)
    assert len(results) >= 16
    assert not survived, f"nothing was found wrong without these rules: {survived}"
