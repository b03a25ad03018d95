"""Bounds of the code's shape. What does not meet a bound yet stands in the list beside it, and the list may only shrink."""

import ast
import tokenize
from collections.abc import Iterator
from pathlib import Path

LIBRARY = Path(__file__).parents[1] / "src" / "pointsman"
TREES = {module.relative_to(LIBRARY).as_posix(): ast.parse(module.read_text()) for module in sorted(LIBRARY.rglob("*.py"))}
ARGUMENTS_MAX = 7  # what a reader keeps in mind at once
CHANGING_MODULES_MAX = 3
ADAPTER_LINES_MAX = 900  # of code, without blank lines, comments and docstrings: Restate does the rest
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER}
GOALS = {"runtime": 3_600, "store": 2_300, "the library without testing": 11_500}  # lines

DEFINITIONS = {
    # What authors and testers write: settings, each with its name and nearly all with a default.
    "cli/filters.py: _options",
    "cli/past.py: backtest_command",
    "cli/restating.py: serve",
    "cli/serving.py: serve",
    "cli/working.py: worker",
    "definition/process.py: __init__",
    "definition/process.py: accept",
    "definition/process.py: effect",
    "definition/process.py: node",
    "definition/process.py: pause",
    "functional/tasks.py: task",
    "models/openai_compatible.py: __init__",
    "runtime/engine.py: open",
}
CALLS = {
    # The values of those settings: a declaration holds what its author wrote.
    "definition/process.py: Accept",
    "definition/process.py: Compensation",
    "definition/process.py: Effect",
    "definition/process.py: Node",
    "definition/process.py: Pause",
    "definition/process.py: Transaction",
    "functional/tasks.py: TaskEffect",
    "functional/tasks.py: TaskNode",
    # Rows and what is made whole of several: an argument for each column. A value in between would be taken apart again at once.
    "cli/looking.py: Table",
    "kernel/case.py: Case",
    "kernel/case.py: CaseRow",
    "kernel/answering.py: Pending",
    "kernel/case.py: EffectRow",
    "integrations/opentelemetry/spans.py: Span",
    "integrations/opentelemetry/telemetry.py: ReadableSpan",
    "operations/verify/happens.py: MessageRow",
    "web/case_filters.py: CaseQuery",
    "testing/conformance_cases.py: next_of",
    "testing/conformance_retention.py: next_of",
}
CHANGED: set[str] = set()


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    of = function.args
    named = [a for a in (*of.posonlyargs, *of.args, *of.kwonlyargs) if a.arg not in {"self", "cls"}]
    return len(named) + bool(of.vararg) + bool(of.kwarg)


def wide_definitions() -> Iterator[str]:
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and parameters(node) > ARGUMENTS_MAX:
                yield f"{module}: {node.name}"


def wide_calls() -> Iterator[str]:
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and len(node.args) + len(node.keywords) > ARGUMENTS_MAX:
                yield f"{module}: {ast.unparse(node.func)}"


def changing_modules() -> dict[str, set[str]]:
    """By class: the modules that assign to one of its fields. A field counts only where no other class has one of its name."""
    owners: dict[str, set[str]] = {}
    for tree in TREES.values():
        for of in ast.walk(tree):
            if isinstance(of, ast.ClassDef):
                for line in of.body:
                    if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                        owners.setdefault(line.target.id, set()).add(of.name)
    changing: dict[str, set[str]] = {}
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and len(owners.get(node.attr, ())) == 1:
                changing.setdefault(*owners[node.attr], set()).add(module)
    return changing


def lines_of(*folders: str, but: str = "-") -> int:
    modules = [m for m in LIBRARY.rglob("*.py") if m.relative_to(LIBRARY).as_posix().startswith(folders or "")]
    return sum(len(m.read_text().splitlines()) for m in modules if not m.relative_to(LIBRARY).as_posix().startswith(but))


def test_no_function_has_more_parameters_than_a_reader_keeps_in_mind() -> None:
    found = set(wide_definitions())

    assert not found - DEFINITIONS, f"give {sorted(found - DEFINITIONS)} a value that holds what belongs together"
    assert not DEFINITIONS - found, f"take {sorted(DEFINITIONS - found)} off the list"


def test_no_call_has_more_arguments_than_a_reader_keeps_in_mind() -> None:
    found = set(wide_calls())

    assert not found - CALLS, f"give {sorted(found - CALLS)} a value that holds what belongs together"
    assert not CALLS - found, f"take {sorted(CALLS - found)} off the list"


def test_few_modules_change_the_fields_of_a_class() -> None:
    found = {of for of, modules in changing_modules().items() if len(modules) > CHANGING_MODULES_MAX}

    assert not found - CHANGED, f"change the fields of {sorted(found - CHANGED)} in methods of its own"
    assert not CHANGED - found, f"take {sorted(CHANGED - found)} off the list"


def test_the_size_of_the_library_is_told() -> None:
    sizes = {"runtime": lines_of("runtime/"), "store": lines_of("store/"), "the library without testing": lines_of(but="testing/")}

    print(*(f"{name}: {size} lines, goal {GOALS[name]}" for name, size in sizes.items()), sep="\n")
    assert all(sizes.values())


def code_lines(module: Path) -> int:
    """The lines of a module without blank lines, comments and docstrings."""
    with module.open("rb") as file:
        tokens = [token for token in tokenize.tokenize(file.readline) if token.type not in NO_CODE]
    lines = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= {*range(node.lineno, (node.end_lineno or 0) + 1)}
    return len(lines)


def test_the_adapter_for_restate_stays_small() -> None:
    size = sum(code_lines(module) for module in (LIBRARY / "restate").glob("*.py"))

    assert 0 < size <= ADAPTER_LINES_MAX
