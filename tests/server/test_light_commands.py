"""A command that talks to a running program imports what it needs and no more: most of its time is Python's start."""

import subprocess
import sys

import pointsman

HEAVY = (
    "argon2", "fastapi", "pointsman.definition.process", "pointsman.kernel.machine", "pointsman.runtime", "pointsman.server", "pointsman.store.sqlite",
    "pointsman.web", "starlette", "uvicorn",
)  # fmt: skip
MODULES_MAX = 520  # it needs some 480, of which Typer, Rich, Pydantic and httpx are nine in ten

REACHES = """
import sys
from pointsman.cli import main, operating
main.Commands(name="pointsman").commands["cancel"]
import pointsman.client.running
print(len(sys.modules), *sys.modules)
"""


def test_a_command_that_talks_to_a_running_program_imports_no_engine_and_no_server() -> None:
    number, *modules = subprocess.run([sys.executable, "-c", REACHES], capture_output=True, text=True, check=True).stdout.split()

    assert [module for module in modules if any(module == heavy or module.startswith(f"{heavy}.") for heavy in HEAVY)] == []
    assert int(number) <= MODULES_MAX


def test_every_name_of_the_library_has_a_home() -> None:
    assert sorted(pointsman._HOME) == sorted(pointsman.__all__)
    assert {name for name in pointsman.__all__ if getattr(pointsman, name, None) is None} == set()
