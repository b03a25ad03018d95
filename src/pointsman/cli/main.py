"""The pointsman command: look at the cases of any process, operate them, and serve them."""

import gc
import io
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from types import MappingProxyType
from typing import Annotated, Any

try:
    import rich  # noqa: F401 - checked here, so that the message names the fix
    import typer
    from typer.core import TyperGroup
    from typer.main import get_command
except ImportError:
    print(
        "pointsman: the command needs Typer and Rich; install them with `pip install 'pointsman[cli]'`.",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

COMMANDS: Mapping[str, str] = MappingProxyType({
    "ps": "listing.ps",
    "show": "looking.show",
    "explain": "looking.explain",
    "diff": "past.diff",
    "backtest": "past.backtest_command",
    "fork": "forking.fork",
    "try": "forking.try_command",
    "events": "looking.events",
    "usage": "looking.usage",
    "check": "looking.check",
    "doctor": "doctor.doctor",
    "stats": "stats.stats",
    "export": "looking.export",
    "vacuum": "keeping.vacuum",
    "backup": "backing_up.backup",
    "restore": "backing_up.restore",
    "start": "operating.start",
    "send": "operating.send",
    "answer": "operating.answer",
    "assign": "operating.assign",
    "redrive": "operating.redrive",
    "cancel": "operating.cancel",
    "resolve": "operating.resolve",
    "erase": "operating.erase",
    "bulk": "bulk.bulk",
    "redeliver": "redelivering.redeliver",
    "pause-intake": "operating.pause_intake",
    "resume-intake": "operating.resume_intake",
    "migrate": "migrating.migrate",
    "move": "moving.move",
    "import-langgraph": "taking_over.import_langgraph",
    "serve": "serving.serve",
    "worker": "working.worker",
    "restate": "restating.restate",
    "draw": "looking.draw",
    "verify": "verifying.verify_command",
    "map": "looking.map_command",
    "users": "accounts.users",
    "tokens": "accounts.tokens",
    "audit": "accounts.audit",
})  # fmt: skip
"""The function or the group of each command. Its module is imported when the command is called: importing all of them takes half a second."""

OBJECTS = 50_000  # new ones between two looks of the garbage collector; by default it looks after 700, a fifth of a command's start

NEEDS: Mapping[str, str] = MappingProxyType({"accounts": "argon2"})
"""The package of an extra without which a module has no commands."""


class _Commands(Mapping[str, Any]):
    """The commands that are installed, by name; each is imported when it is looked up."""

    def __getitem__(self, name: str) -> Any:
        where = COMMANDS[name]
        if not _is_installed(where):
            raise KeyError(name)
        module, _, attribute = where.partition(".")
        found = getattr(import_module(f"pointsman.cli.{module}"), attribute)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            alone.command(name)(found)
            found = alone
        command = get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return (name for name, where in COMMANDS.items() if _is_installed(where))

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Commands(TyperGroup):
    """The group of the commands, which imports only the one that is called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]


def _is_installed(where: str) -> bool:
    needed = NEEDS.get(where.partition(".")[0])
    return needed is None or find_spec(needed) is not None


app = typer.Typer(
    cls=Commands,
    help="Serve processes to people and programs, look at their cases, and operate them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"pointsman {version('pointsman')}")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """The options of all commands."""


def run() -> None:
    """The console script."""
    gc.set_threshold(OBJECTS)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without UTF-8
    app()


if __name__ == "__main__":
    run()
