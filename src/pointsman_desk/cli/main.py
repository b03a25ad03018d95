"""The pointsman-desk command: process the mailbox and decide on replies."""

import gc
import io
import sys
from importlib.metadata import version
from typing import Annotated

gc.disable()  # until everything is imported: to look for garbage among modules takes an eighth of a command's start, and finds none

try:
    import rich  # noqa: F401 - checked here, so that the message names the fix
    import typer
except ImportError:
    print(
        "pointsman-desk: the command needs Typer and Rich; install them with `pip install 'pointsman[desk]'`.",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

from pointsman_desk.cli import deciding, evaluating, looking, sorting, taking  # noqa: E402 - see above
from pointsman_desk.cli.terminal import flush, unwritable  # noqa: E402

gc.enable()

OBJECTS = 50_000  # new ones between two looks of the garbage collector; it looks after 700 by default, and every look costs mails

app = typer.Typer(
    help="A customer-service mail desk: it answers mails from facts, or drafts replies for your approval.",
    no_args_is_help=True,
    add_completion=False,
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
    """The options of all commands."""


for command in (
    taking.run, taking.serve, taking.ingest, taking.mailboxes, taking.doctor, looking.cases, looking.show, looking.explain, deciding.approve, deciding.edit, deciding.redraft, deciding.reject, deciding.assign,
    deciding.redrive, deciding.cancel, deciding.resolve, sorting.close, sorting.accept, sorting.reopen,
):  # fmt: skip
    app.command()(command)
app.command("eval")(evaluating.evaluate)


def main() -> None:
    """The entry point of the console script."""
    gc.freeze()  # what is imported stays until the end
    gc.set_threshold(OBJECTS)
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
