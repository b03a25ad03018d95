"""The commands of docs/tutorial.md print what the page says, and the example solves its exercise."""

import re
import shlex
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from docs.test_documents import BLOCK, NAMED, ROOT
from docs.test_operating import REST, WIDTH, steady
from interpreter import run

PAGE = ROOT / "docs" / "tutorial.md"
EXAMPLE = ROOT / "examples" / "insurance_claim.py"
PARTS = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)
PLACE = {"POINTSMAN_DB": "refunds.db", "POINTSMAN_APP": "refunds:refunds"}
ON_A_WIDE_TERMINAL = f"""
from pointsman.cli.main import run
from pointsman.cli.terminal import console
console._width = {WIDTH}
run()
"""
SECONDS = re.compile(r"in \d+\.\d s")


def test_each_command_of_the_tutorial_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLACE.items():
        monkeypatch.setenv(name, value)
    commands = 0

    for kind, text in PARTS.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python" and (named := NAMED.match(text)):
            (tmp_path / named[1]).write_text(text, encoding="utf-8")
        if kind == "console":
            command, _, said = text.partition("\n")
            done = run("-c", ON_A_WIDE_TERMINAL, *shlex.split(command.removeprefix("$ pointsman")), cwd=tmp_path)
            here, there = (SECONDS.sub("", steady(shown)) for shown in (done.stdout, said.removesuffix(REST)))
            assert (here[: len(there)] if said.endswith(REST) else here) == there, f"{command}\n{done.stdout}{done.stderr}"
            commands += 1

    assert commands > 5


def the_check() -> str:
    """The program of the page that checks a solution of its exercise."""
    [check] = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return str(check)


def test_the_example_solves_the_exercise(tmp_path: Path) -> None:
    check = the_check()
    calls = [f"{name}()" for name in re.findall(r"^def (test_\w+)", check, re.MULTILINE)]
    (tmp_path / "check.py").write_text("\n".join([check, *calls]), encoding="utf-8")
    shutil.copy(EXAMPLE, tmp_path / "claims.py")

    done = run("check.py", cwd=tmp_path)

    assert len(calls) > 5
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "noticed_by"),
    [
        ("asked if assessment is None else assessment.amount", "asked", "paid_as_decided"),
        ("Field(ge=0, ", "Field(", "outside_the_limits"),
        ("Field(min_length=3, ", "Field(", "outside_the_limits"),
        ('deadline="5d"', 'deadline="50d"', "nobody_assesses"),
        ('deadline="5d"', 'deadline="4d"', "five_days"),
        ('deadline="5d",\n    ladder=(remind("1d"), reassign("2d", "team lead"), park())', 'ladder=(remind("1d"),)', "nobody_assesses"),
        ('remind("1d"), reassign("2d"', 'remind("1h"), reassign("2h"', "nobody_assesses"),
        ("SMALL = 200 ", "SMALL = 100 ", "small_claim"),
    ],
)
def test_the_check_notices_a_wrong_solution(
    right: str, wrong: str, noticed_by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, solution, check = EXAMPLE.read_text(encoding="utf-8"), ModuleType("claims"), ModuleType("check")
    assert right in source
    monkeypatch.setenv("BANK", str(tmp_path))
    monkeypatch.setitem(sys.modules, "claims", solution)
    exec(source.replace(right, wrong), vars(solution))
    exec(the_check(), vars(check))
    [test] = [value for name, value in vars(check).items() if name.startswith("test_") and noticed_by in name]

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test()


def test_the_program_of_the_tutorial_prints_what_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "refunds.py").write_text(BLOCK.findall(text)[0], encoding="utf-8")

    assert f"`python refunds.py` prints `{run('refunds.py', cwd=tmp_path).stdout.strip()}`." in text
