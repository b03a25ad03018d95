"""The transcripts of docs/operating.md: each command is run on a database with the planted failures, and prints what the page says."""

import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import interpreter
from docs import planted
from pointsman.cli.main import app
from pointsman.cli.terminal import console

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
TRANSCRIPT = re.compile(r"```console\n\$ (pointsman [^\n]*)\n(.*?)```", re.DOTALL)
WIDTH = 170  # characters: a key is not split in a table
REST = "…\n"  # what follows in the output is left out on the page
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+"), "TIME"),
    (re.compile(r" \((?:in )?(?:less than a second|\d+ (?:day|hour|minute|second)s?(?: \d+ \w+)?)(?: ago)?\)"), ""),
    (re.compile(r"in \d+ (?:hour|minute)s?(?: \d+ \w+)?"), "in TIME"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "KEY"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "DIGEST"),
    (re.compile(r"process \d+"), "process NUMBER"),
    (
        re.compile("other cases may go first|all permits are taken, 1 at a time"),
        "WHY",
    ),  # whether the first case had taken its permit by then
)


def transcripts() -> list[tuple[str, str]]:
    return TRANSCRIPT.findall(PAGE.read_text(encoding="utf-8"))


def steady(text: str) -> str:
    """The text without what differs from run to run and from terminal to terminal."""
    text = " ".join(text.split())
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return text


def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What each command of the page prints, while the engine is open."""
    db = tmp_path / "cases.db"
    lost = interpreter.run(planted.__file__, db, cwd=PAGE.parents[1] / "tests")
    assert lost.returncode == planted.POWER_LOSS
    monkeypatch.setattr(console, "_width", WIDTH)

    def run(command: str) -> str:
        done = CliRunner().invoke(app, command.split()[1:], env={"POINTSMAN_DB": str(db), "POINTSMAN_APP": "docs.planted:processes"})
        assert done.exit_code == 0, done.output
        return done.stdout

    async def main() -> dict[str, str]:
        async with planted.planted(db):
            return {command: await asyncio.to_thread(run, command) for command, _ in transcripts()}

    return asyncio.run(main())


def test_each_command_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = printed(tmp_path, monkeypatch)

    wrong = []
    for command, said in transcripts():
        here, there = steady(found[command]), steady(said.removesuffix(REST))
        if (here[: len(there)] if said.endswith(REST) else here) != there:
            wrong.append(f"$ {command}\n{found[command]}")
    assert not wrong, "change the page:\n" + "\n".join(wrong)


def test_each_failure_is_answered_by_one_command_for_each_question() -> None:
    asked = {command for command, _ in transcripts()}
    failures = [int(number) for number in re.findall(r"^## Case (\d+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)]

    assert len(failures) >= 10
    assert {f"pointsman {question} {case}" for case in failures for question in ("show", "explain")} <= asked
