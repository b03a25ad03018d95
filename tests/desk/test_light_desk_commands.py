"""A desk's command that talks to the running desk imports neither the engine nor what the desk works with."""

import subprocess
import sys

from pointsman_desk.cli.main import COMMANDS

HEAVY = (
    "fastapi", "pointsman.definition.process", "pointsman.kernel.machine", "pointsman.models", "pointsman.runtime.engine", "pointsman.runtime.runner",
    "pointsman.server", "pointsman.store.sqlite", "pointsman.web", "pointsman_desk.carrying_out", "pointsman_desk.desk", "pointsman_desk.guards",
    "pointsman_desk.intake", "pointsman_desk.models", "pointsman_desk.nodes", "pointsman_desk.process", "pointsman_desk.running", "pointsman_desk.shop",
    "pointsman_desk.sorting", "pointsman_desk.web", "pointsman_desk.wiring", "starlette", "uvicorn",
)  # fmt: skip
LIGHT = ("deciding", "looking", "sorting")
MODULES_MAX = 570  # they need 544: a hundred are ours, and the others are Python's, Typer's, Rich's, Pydantic's and httpx's

REACHES = """
import sys
from pointsman_desk.cli import main
commands = main.Commands(name="pointsman-desk").commands
for name in sys.argv[1:]:
    commands[name]
import pointsman.client.running
print(len(sys.modules), *sys.modules)
"""


def test_a_command_that_talks_to_the_running_desk_imports_no_engine_no_process_no_model_and_no_guard() -> None:
    names = [name for name, where in COMMANDS.items() if where.partition(".")[0] in LIGHT]
    assert {"approve", "edit", "reject", "redraft", "show", "cases", "redrive", "assign"} <= {*names}

    number, *modules = subprocess.run([sys.executable, "-c", REACHES, *names], capture_output=True, text=True, check=True).stdout.split()

    assert [module for module in modules if any(module == heavy or module.startswith(f"{heavy}.") for heavy in HEAVY)] == []
    assert int(number) <= MODULES_MAX
