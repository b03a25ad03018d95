"""What the commands share: the options, the terminal, and how errors end a command."""

import errno
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from typing import Annotated, NoReturn, TypeVar

import typer
from rich import markup
from rich.console import Console

from pointsman.errors import PointsmanError, UnknownCase

T = TypeVar("T")


def escape(text: str) -> str:
    """The text as literal markup, with a replacement mark for each control character and each invisible character."""
    visible = "".join(one if one in "\n\t" or unicodedata.category(one)[0] != "C" else "\ufffd" for one in text)
    return markup.escape(visible)


class Terminal(Console):
    """A console whose reader may stop reading, as `head` does."""

    def on_broken_pipe(self) -> None:
        """Exit quietly, because the reader wants no more output."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit does not fail
        raise SystemExit(0)


console = Terminal(soft_wrap=True, highlight=False)

Db = Annotated[
    str | None,
    typer.Option(
        "--db",
        metavar="PATH_OR_URL",
        help="The engine's database: a file, or postgresql://user@host/database (default: POINTSMAN_DB, or pyproject.toml).",
        show_default=False,
    ),
]
App = Annotated[
    str | None,
    typer.Option("--app", help="The process, as module:attribute (default: POINTSMAN_APP, or pyproject.toml).", show_default=False),
]
Resources = Annotated[
    str | None,
    typer.Option(
        "--resources", help="What the steps use, as module:attribute: a mapping, or a function that returns one.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Private = Annotated[bool, typer.Option("--private", help="Also show the values of private fields.")]
NUMBER_MAX = 2**63 - 1  # the largest integer of SQLite
CaseNumber = Annotated[int, typer.Argument(metavar="CASE", min=1, max=NUMBER_MAX, help="The number of the case.")]


def or_exit(body: Callable[[], T]) -> T:
    """Return what `body` returns, or print an error as one sentence and exit with code 1."""
    try:
        return body()
    except BrokenPipeError:
        raise SystemExit(0) from None
    except UnknownCase as error:
        exit_with(f"there is no case {error.case}; list the cases with `pointsman ps`.")
    except PointsmanError as error:
        exit_with(str(error))
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            exit_with("the disk is full; free some space, and repeat the command.")
        if error.filename is None or error.strerror is None:
            exit_with(str(error))
        exit_with(f"{error.filename} cannot be used ({error.strerror}); name another file or folder, or mend that one.")


def exit_with(message: str) -> NoReturn:
    """Print an error and exit with code 1."""
    print(f"pointsman: {message}", file=sys.stderr)
    raise SystemExit(1) from None


def print_json(value: object) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=1))
