"""What the documents say is true: their code runs, and their tables match the code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pointsman.kernel.events import MEANING, Kind
from pointsman.operations.draw import draw
from pointsman_desk.config import load_config
from pointsman_desk.process import support

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "ARCHITECTURE.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return [
        (f"{document.name}-{number}", block)
        for document in DOCUMENTS
        for number, block in enumerate(BLOCK.findall(document.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize(("name", "block"), blocks(), ids=[name for name, _ in blocks()])
def test_a_code_block_runs(name: str, block: str, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(block, encoding="utf-8")

    done = subprocess.run([sys.executable, "-W", "error", str(file)], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stderr


def settings() -> list[str]:
    found = [block for document in DOCUMENTS for block in TOML.findall(document.read_text(encoding="utf-8"))]
    return [block for block in found if "[[models]]" in block]


@pytest.mark.parametrize("block", settings())
def test_a_block_of_settings_is_a_configuration_of_the_desk(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in re.findall(r'_env = "(\w+)"', block):
        monkeypatch.setenv(variable, "secret")
    file = tmp_path / "desk.toml"
    file.write_text(block, encoding="utf-8")

    assert len(load_config(file).models) == block.count("[[models]]")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_prints_what_it_says(example: Path, tmp_path: Path) -> None:
    expected = re.findall(r"^# prints: (.*)$", example.read_text(encoding="utf-8"), re.MULTILINE)

    done = subprocess.run([sys.executable, "-W", "error", str(example)], capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 0, done.stderr
    assert expected
    assert done.stdout.splitlines() == expected


def test_every_test_that_the_guarantees_name_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"))

    missing = [f"{file}::{test}" for file, test in named if f"def {test}" not in (ROOT / file).read_text(encoding="utf-8")]

    assert len(named) > 30
    assert not missing, f"rename them in docs/guarantees.md: {missing}"


def test_the_table_of_events_is_the_codes() -> None:
    text = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| (.*?) \|$", text, re.MULTILINE)

    assert {kind: (when, tuple(re.findall(r"`(\w+)`", facts))) for kind, when, facts in rows} == {str(k): MEANING[k] for k in Kind}


def test_the_drawing_of_the_desk_is_the_codes() -> None:
    text = (ROOT / "docs" / "desk.md").read_text(encoding="utf-8")

    assert f"```mermaid\n{draw(support)}```" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_path_in_a_document_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    paths = set(re.findall(r"`((?:src|tests|docs|benchmarks|examples)/[\w./-]+)`", text))

    assert not [path for path in paths if not (ROOT / path).exists()]
