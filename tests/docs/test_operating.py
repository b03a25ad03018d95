"""The transcripts of docs/operating.md and docs/commands.md: each command is run on a database with planted failures, and prints what the page says."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

import interpreter
from docs import planted
from pointsman.cli.main import app
from pointsman.cli.terminal import console

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "operating.md"
PAGES = (PAGE, DOCS / "commands.md")
FOLDER = "/backups"  # of the pages, for files that a command writes
TRANSCRIPT = re.compile(r"```console\n\$ (pointsman [^\n]*)\n(.*?)```", re.DOTALL)
WIDTH = 170  # characters: a key is not split in a table
REST = "…\n"  # what is left out of the output on the page
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+"), "TIME"),
    (re.compile(r" \((?:in )?(?:less than a second|\d+ (?:day|hour|minute|second)s?(?: \d+ \w+)?)(?: ago)?\)"), ""),
    (re.compile(r"in \d+ (?:hour|minute)s?(?: \d+ \w+)?"), "in TIME"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "KEY"),
    (re.compile(r"\b[0-9a-f]{12}\b"), "DIGEST"),
    (re.compile(r"process \d+"), "process NUMBER"),
    (re.compile(r"SQLite [\d.]+"), "SQLite VERSION"),
    (re.compile(r"[\d,]+ (?:bytes|MB)"), "SIZE"),
    (
        re.compile("other cases may go first|all permits are taken, 1 at a time"),
        "WHY",
    ),  # whether the engine had heard by then that the first case has its permit
)


def transcripts() -> list[tuple[str, str]]:
    return [found for page in PAGES for found in TRANSCRIPT.findall(page.read_text(encoding="utf-8"))]


def prints(found: str, said: str) -> bool:
    """Whether an output is what the page says, whatever stands where the page leaves something out."""
    parts = [re.escape(steady(part)) for part in said.split(REST)]
    return re.fullmatch(r" ?.*?".join(parts), steady(found)) is not None


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
        done = CliRunner().invoke(
            app,
            shlex.split(command.replace(FOLDER, str(tmp_path)))[1:],
            env={"POINTSMAN_DB": str(db), "POINTSMAN_APP": "docs.planted:processes"},
        )
        assert done.exit_code == 0, done.output
        return done.stdout.replace(str(tmp_path), FOLDER)

    async def main() -> dict[str, str]:
        async with planted.planted(db):
            return {command: await asyncio.to_thread(run, command) for command, _ in transcripts()}

    return asyncio.run(main())


def test_each_command_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = printed(tmp_path, monkeypatch)

    wrong = [f"$ {command}\n{found[command]}" for command, said in transcripts() if not prints(found[command], said)]
    assert not wrong, "change the page:\n" + "\n".join(wrong)


def test_each_failure_is_answered_by_one_command_for_each_question() -> None:
    asked = {command for command, _ in transcripts()}
    failures = [int(number) for number in re.findall(r"^## Case (\d+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE)]

    assert len(failures) >= 10
    assert {f"pointsman {question} {case}" for case in failures for question in ("show", "explain")} <= asked
