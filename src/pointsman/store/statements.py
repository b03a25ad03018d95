"""The SQL statements of a store, read once from its .sql files and found by name."""

from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_MARK = "-- name: "


@cache
def statements(dialect: str) -> dict[str, str]:
    """The named statements of the .sql files that are no migrations, without their comments."""
    folder = files("pointsman.store") / "sql" / dialect
    texts = [file for file in folder.iterdir() if file.name.endswith(".sql") and not file.name[:4].isdigit()]
    return {name: text for file in texts for name, text in named(file).items()}


def named(file: Traversable) -> dict[str, str]:
    """The statements of a .sql file without their comments, each by the name in the line before it."""
    found: dict[str, str] = {}
    for part in file.read_text(encoding="utf-8").split(_MARK)[1:]:
        name, _, body = part.partition("\n")
        found[name.strip()] = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip().rstrip(";")
    return found


@cache
def migrations(dialect: str) -> tuple[tuple[int, str], ...]:
    """The numbered migrations, in order: `0001_name.sql` is number 1."""
    folder = files("pointsman.store") / "sql" / dialect
    numbered = sorted((int(file.name[:4]), file) for file in folder.iterdir() if file.name[:4].isdigit())
    return tuple((number, file.read_text(encoding="utf-8")) for number, file in numbered)


def room(rows: int) -> int:
    """Round a number of rows up, by a quarter at most, to one of few numbers: each is a statement to prepare."""
    step = 1 << max(0, rows.bit_length() - 3)
    return -(-rows // step) * step


@cache
def many(statement: str, rows: int, columns: int) -> str:
    """The statement with `{rows}` replaced by placeholders for `rows` rows of parameters."""
    row = f"({', '.join('?' * columns)})"
    return statement.replace("{rows}", ", ".join([row] * rows))
