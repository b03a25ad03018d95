"""The pointsman-desk command: process the mailbox and decide on replies."""

import gc
import io
import logging
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from types import MappingProxyType
from typing import Annotated, Any

try:
    import rich  # noqa: F401 - checked here, so that the message names the fix
    import typer
    from typer.core import TyperGroup
    from typer.main import get_command
except ImportError:
    print(
        "pointsman-desk: the command needs Typer and Rich; install them with `pip install 'pointsman[desk]'`.",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

from pointsman_desk.cli.terminal import flush, unwritable

COMMANDS: Mapping[str, str] = MappingProxyType({
    "run": "taking.run",
    "serve": "taking.serve",
    "ingest": "taking.ingest",
    "mailboxes": "taking.mailboxes",
    "doctor": "taking.doctor",
    "cases": "looking.cases",
    "show": "looking.show",
    "explain": "explaining.explain",
    "approve": "deciding.approve",
    "edit": "deciding.edit",
    "redraft": "deciding.redraft",
    "reject": "deciding.reject",
    "assign": "deciding.assign",
    "redrive": "deciding.redrive",
    "redeliver": "redelivering.redeliver",
    "cancel": "deciding.cancel",
    "resolve": "deciding.resolve",
    "close": "sorting.close",
    "accept": "sorting.accept",
    "reopen": "sorting.reopen",
    "erase": "erasing.erase",
    "eval": "evaluating.evaluate",
})  # fmt: skip
"""The function of each command. Its module is imported when the command is called: the engine and the models take half a second."""

OBJECTS = 50_000  # new ones between two looks of the garbage collector; it looks after 700 by default, and every look costs mails


class _Commands(Mapping[str, Any]):
    """The commands by name; each is imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name].partition(".")
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        alone.command(name)(getattr(import_module(f"pointsman_desk.cli.{module}"), attribute))
        command = get_command(alone)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class Commands(TyperGroup):
    """The group of the commands, which imports only the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]


app = typer.Typer(
    cls=Commands,
    help="A customer-service mail desk: it answers mails from facts, or drafts replies for your approval.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pointsman-desk {version('pointsman')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """The options of all commands. It is called when the command is imported, and before it does something."""
    if not gc.isenabled():  # in a test it is enabled
        gc.freeze()  # what is imported stays until the end
        gc.enable()


def main() -> None:
    """The entry point of the console script."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it would warn of is handled, or an error of ours says it in one sentence
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # the same
    gc.set_threshold(OBJECTS)
    gc.disable()  # until the command is imported: to look for garbage among modules takes an eighth of its start, and finds none
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for a terminal without UTF-8
    try:
        app()
    except OSError as error:
        unwritable(error)
    finally:
        flush()


if __name__ == "__main__":
    main()
