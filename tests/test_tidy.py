"""The house keeps its rules; a failing rule says what to do."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src"
MODULES = sorted(SRC.rglob("*.py"))
FUNCTION_LINES_MAX = 60
MODULE_LINES_MAX = 650
DRAWERS = {"utils", "util", "helpers", "common", "misc"}
CLOCK_AND_CHANCE = re.compile(r"\btime\.(time|monotonic|sleep)\(|datetime\.now\(|\brandom\.(random|randint|choice)\(|uuid4\(|\bsecrets\.")
PUBLIC = {
    "pointsman.client", "pointsman.integrations", "pointsman.integrations.opentelemetry", "pointsman.integrations.webhooks", "pointsman.models",
    "pointsman.server", "pointsman.web",
}  # fmt: skip
MAY_READ_THEM = {"pointsman/runtime/clock.py"}


def name_of(module: Path) -> str:
    return module.relative_to(SRC).as_posix()


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(ast.parse(module.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def lines_without_docstring(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) and first.end_lineno else 0
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_functions_and_modules_stay_small(module: Path) -> None:
    long = [f"{f.name}: {lines_without_docstring(f)} lines" for f in functions(module) if lines_without_docstring(f) > FUNCTION_LINES_MAX]

    assert not long, f"split {long} in {name_of(module)} into steps with names"
    assert len(module.read_text().splitlines()) <= MODULE_LINES_MAX, f"{name_of(module)} has become two modules; part them"


@pytest.mark.parametrize("module", [m for m in MODULES if name_of(m) not in MAY_READ_THEM], ids=name_of)
def test_time_and_chance_enter_through_one_door(module: Path) -> None:
    found = CLOCK_AND_CHANCE.findall(module.read_text())

    assert not found, f"{name_of(module)} reads the clock or chance itself; take a Clock or a Random as a parameter"


def test_each_file_beside_the_tests_has_a_name_of_its_own() -> None:
    names = [file.name for file in Path(__file__).parent.rglob("*.py") if file.name not in {"conftest.py", "__init__.py"}]
    twice = sorted({name for name in names if names.count(name) > 1})

    assert not twice, f"pytest imports each file by its name alone; rename one of {twice}"


def test_no_module_is_a_drawer() -> None:
    drawers = [name_of(module) for module in MODULES if module.stem in DRAWERS]

    assert not drawers, f"name {drawers} after what they do"


def test_the_desk_uses_only_the_librarys_public_names() -> None:
    inner = []
    for module in (SRC / "pointsman_desk").rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            inner += [f"{name_of(module)}: {name}" for name in names if name.startswith("pointsman.") and name not in PUBLIC]

    assert not inner, f"import from `pointsman` itself, or make the name public: {inner}"


def test_statements_stand_in_sql_files() -> None:
    statement = re.compile(r'"(SELECT|INSERT|UPDATE|DELETE) .*\b(FROM|INTO|SET)\b')
    found = [
        f"{name_of(module)}"
        for module in MODULES
        for line in module.read_text().splitlines()
        if statement.search(line) and "sqlite_schema" not in line
    ]

    assert not found, f"move the statements of {found} into a .sql file and name them"
