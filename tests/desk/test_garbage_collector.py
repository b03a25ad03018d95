"""The program does not let the garbage collector look at what it has imported again and again."""

import subprocess
import sys

LOOK = """
import gc
from pointsman_desk.cli import main
try:
    main.main()
except SystemExit:
    print(gc.get_freeze_count() > 10_000, gc.isenabled(), gc.get_threshold()[0])
"""


def test_the_program_freezes_what_it_imports() -> None:
    told = subprocess.run([sys.executable, "-c", LOOK, "show", "--help"], capture_output=True, text=True, check=True).stdout

    assert told.splitlines()[-1] == "True True 50000"
