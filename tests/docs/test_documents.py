"""What the documents say is true: their code runs, and their tables match the code."""

import asyncio
import os
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from interpreter import run
from pointsman import Engine
from pointsman.kernel.events import MEANING, Kind
from pointsman.operations.draw import draw
from pointsman.store.postgres import migrate_url
from pointsman_desk.config import load_config
from pointsman_desk.process import support
from postgres_server import Server

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "ARCHITECTURE.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LONG_SECONDS = 600.0  # one block crashes a process at each of its steps
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
TOML = re.compile(r"```toml\n(.*?)```", re.DOTALL)


NAMED = re.compile(r"# (\w+\.py)\n")  # the first line of a block that is a file of its name to the blocks after it


def blocks() -> Iterator[tuple[str, str, dict[str, str]]]:
    """The blocks of the documents: a name, the code, and the files that the page has named before."""
    for document in DOCUMENTS:
        files: dict[str, str] = {}
        for number, block in enumerate(BLOCK.findall(document.read_text(encoding="utf-8"))):
            yield f"{document.name}-{number}", block, {**files}
            if named := NAMED.match(block):
                files[named[1]] = block


@pytest.mark.parametrize(("block", "files"), [pytest.param(block, files, id=name) for name, block, files in blocks()])
def test_a_code_block_runs(block: str, files: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    for name, code in {**files, "block.py": block}.items():
        (tmp_path / name).write_text(code, encoding="utf-8")

    environment = {**os.environ, "DATABASE_URL": request.getfixturevalue("postgres_url")} if "DATABASE_URL" in block else None

    done = run("-W", "error", tmp_path / "block.py", cwd=tmp_path, env=environment, timeout=LONG_SECONDS)

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

    done = run("-W", "error", example, cwd=tmp_path)

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


NOT_BEFORE_A_DOCSTRING = {tokenize.NAME, tokenize.OP, tokenize.STRING}


@cache
def names_of_the_code() -> tuple[frozenset[str], frozenset[str]]:
    """The words of the code, without its comments and docstrings; and the classes and methods that its docstrings name."""
    words: set[str] = set()
    mentioned: set[str] = set()
    for file in (ROOT / "src").rglob("*.py"):
        with file.open("rb") as source:
            before = tokenize.ENCODING
            for token in tokenize.tokenize(source.readline):
                if token.type == tokenize.STRING and before not in NOT_BEFORE_A_DOCSTRING:
                    mentioned.update(re.findall(r"`([A-Z][a-z]+[A-Z]\w+|[A-Z]\w+\.\w+)[`(]", token.string))
                elif token.type != tokenize.COMMENT:
                    words.update(re.findall(r"\w+", token.string))
                before = token.type
    for file in [*(ROOT / "src").rglob("*.sql"), ROOT / "pyproject.toml", ROOT / "Makefile"]:
        words.update(re.findall(r"\w+", file.read_text(encoding="utf-8")))
    return frozenset(words), frozenset(mentioned)


def test_a_class_or_method_that_a_docstring_names_exists() -> None:
    words, mentioned = names_of_the_code()

    assert len(mentioned) > 20
    assert [name for name in sorted(mentioned) if not set(name.split(".")) <= words] == []


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "docs/guarantees.md", "docs/events.md"])
def test_a_file_and_a_name_in_a_document_exist(name: str) -> None:
    quoted = set(re.findall(r"`([\w./*:-]+)`", re.sub(r"```.*?```", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.DOTALL)))
    files = [f"/{path.relative_to(ROOT)}" for path in (*(ROOT / "src").rglob("*.*"), *(ROOT / "tests").rglob("*.*"), *ROOT.glob("*/*.md"))]
    words, _ = names_of_the_code()

    named = {quote.partition("::")[0] for quote in quoted if re.search(r"\.(py|md|sql)(::|$)", quote)}
    lost = [file for file in named if not any(path.endswith(f"/{file}") for path in files)]
    lost += [
        quote
        for quote in quoted
        if re.fullmatch(r"[\w.]+", quote) and quote not in named and not set(re.findall(r"[A-Za-z_]\w+", quote)) <= words
    ]

    assert len(quoted) > 20
    assert not lost


def test_every_tier_of_the_makefile_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tiers = re.findall(r"\w+/\w+\.py", makefile.partition("TIERS :=")[2].partition("AT_LENGTH")[0])
    sizes = re.findall(r"POINTSMAN_(\w+)=", makefile)

    assert len(tiers) > 10
    assert not [tier for tier in tiers if f"`tests/{tier}`" not in table]
    assert not [size for size in sizes if f"`{size}`" not in table]


def test_the_rights_that_the_page_grants_to_a_role_are_enough_for_an_engine(postgres: Server, postgres_url: str) -> None:
    [text] = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "postgres.md").read_text(encoding="utf-8"), re.DOTALL)
    schema, url = postgres_url.rpartition("schema=")[2], urlsplit(postgres_url)
    role = f"{schema}_app"
    asked = url._replace(netloc=f"{role}@{url.netloc.rpartition('@')[2]}").geturl()

    async def later() -> None:
        async with Engine.open(asked, []) as engine:
            assert await engine.reader.cases() == []

    asyncio.run(migrate_url(postgres_url))
    postgres.execute(f"CREATE ROLE {role} LOGIN")
    try:
        postgres.execute(re.sub(r"\bapp\b", role, re.sub(r"\bpointsman\b", schema, text)))
        postgres.execute(f"CREATE TABLE {schema}.of_a_later_release (id integer)")

        asyncio.run(later())
        assert postgres.execute(f"SELECT has_table_privilege('{role}', '{schema}.of_a_later_release', 'INSERT')") == [(True,)]
    finally:
        postgres.execute(f"DROP OWNED BY {role}")
        postgres.execute(f"DROP ROLE {role}")
