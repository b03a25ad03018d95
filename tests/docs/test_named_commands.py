"""Every command line that a message or a block of a document names can be run as it is printed: its options exist, and none that it needs is missing."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pointsman.cli.main import app
from pointsman_desk.cli.main import app as desk

SOURCES = Path(__file__).parents[2] / "src"
DOCUMENTS = [SOURCES.parent / "README.md", *sorted((SOURCES.parent / "docs").rglob("*.md"))]
PROGRAMS: dict[str, Any] = {"pointsman": typer.main.get_command(app), "pointsman-desk": typer.main.get_command(desk)}
QUOTED = re.compile(r"`(pointsman(?:-desk)? [^`]*)`")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TYPED = re.compile(r"^(?:\$ )?(?:[\w/.]*/bin/)?(pointsman(?:-desk)? .*?)(?: {2,}.*| #.*)?$", re.MULTILINE)  # what it does may follow
BARE = re.compile(r"(?<![`\w/.-])(pointsman(?:-desk)?) ([a-z-]+)((?: (?:--?[a-z-]+|\w+\b(?!:)|\.\.\.))*)")


def texts(module: ast.Module) -> Iterator[str]:
    """The texts of a module but its docstrings, with 1 in the place of each value."""
    formatted = [node for node in ast.walk(module) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in formatted for part in node.values}
    parts |= {id(node.value) for node in ast.walk(module) if isinstance(node, ast.Expr)}  # docstrings
    yield from ("".join(map(filled, node.values)) for node in formatted)
    yield from (
        node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts
    )


def filled(part: ast.expr) -> str:
    """A part of a formatted text, or what stands for its value: nothing for options that are repeated as they were given."""
    if isinstance(part, ast.FormattedValue):
        return "" if ast.unparse(part.value) == "at.again" else "1"
    return str(part.value) if isinstance(part, ast.Constant) else ""


def commands_in(text: str) -> Iterator[str]:
    """The command lines in a text: those in backquotes, and those that stand alone or end a sentence."""
    yield from QUOTED.findall(text)
    for program, name, more in BARE.findall(QUOTED.sub("", text)):
        if name in PROGRAMS[program].commands:
            yield f"{program} {name}{more}"


def problem_of(line: str) -> str | None:
    """What is wrong with a command line, or None. The command does not run."""
    program, *given = shlex.split(line.replace("--status 1", "--status done"))
    command = PROGRAMS[program]
    while hasattr(command, "commands"):
        if not given or given[0] not in command.commands:
            return f"{' '.join(given) or 'nothing'} is no command"
        command = command.commands[given.pop(0)]
    try:
        command.make_context(program, ["1" if word.isupper() else word for word in given])  # NAME, JSON and the like stand for a value
    except Exception as error:  # Typer's error, or Click's
        return getattr(error, "format_message", error.__str__)()
    return None


def test_a_command_that_a_message_names_can_be_run_as_printed() -> None:
    named = {
        (line, path.relative_to(SOURCES).as_posix())
        for path in SOURCES.rglob("*.py")
        for text in texts(ast.parse(path.read_text(encoding="utf-8")))
        for line in commands_in(text)
    }

    wrong = [f"{where}: `{line}`: {problem}" for line, where in sorted(named) if (problem := problem_of(line)) is not None]

    assert not wrong, "\n".join(wrong)
    assert {line.split()[0] for line, _ in named} == {*PROGRAMS}
    assert len(named) > 30


def test_a_command_in_a_block_of_a_document_can_be_run_as_printed() -> None:
    blocks = [(document.name, *block) for document in DOCUMENTS for block in BLOCK.findall(document.read_text(encoding="utf-8"))]
    typed = [(name, line) for name, kind, block in blocks if kind in {"", "console"} for line in TYPED.findall(block.replace("\\\n", ""))]

    wrong = [f"{name}: `{line}`: {problem}" for name, line in typed if (problem := problem_of(line)) is not None]

    assert not wrong, "\n".join(wrong)
    assert len(typed) > 50
