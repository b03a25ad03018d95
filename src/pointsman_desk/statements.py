"""SQL statements by name. Each follows a line `-- name: ...` in a .sql file."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources


@cache
def statements(package: str, file: str) -> Mapping[str, str]:
    """Return the statements of `file` in the `sql` folder of a package, by name."""
    text = (resources.files(package) / "sql" / file).read_text(encoding="utf-8")
    named = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(named[1::2], named[2::2], strict=True))
