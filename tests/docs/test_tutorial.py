"""The commands of docs/tutorial.md print what the page says, and the example solves its exercise."""

import re
import shlex
import shutil
from pathlib import Path

import pytest

from docs.test_documents import BLOCK, NAMED, ROOT
from docs.test_operating import REST, WIDTH, steady
from interpreter import run

PAGE = ROOT / "docs" / "tutorial.md"
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


def test_the_example_solves_the_exercise(tmp_path: Path) -> None:
    [check] = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    calls = [f"{name}()" for name in re.findall(r"^def (test_\w+)", check, re.MULTILINE)]
    (tmp_path / "check.py").write_text("\n".join([check, *calls]), encoding="utf-8")
    shutil.copy(ROOT / "examples" / "insurance_claim.py", tmp_path / "claims.py")

    done = run("check.py", cwd=tmp_path)

    assert len(calls) > 5
    assert done.returncode == 0, done.stderr


def test_the_program_of_the_tutorial_prints_what_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (tmp_path / "refunds.py").write_text(BLOCK.findall(text)[0], encoding="utf-8")

    assert f"`python refunds.py` prints `{run('refunds.py', cwd=tmp_path).stdout.strip()}`." in text
