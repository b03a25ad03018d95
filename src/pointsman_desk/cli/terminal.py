"""The terminal: what strangers wrote is shown as text there, and moves, colours or replaces nothing."""

import os
import sys
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from pointsman_desk.mail.characters import clean


class Terminal(Console):
    """A console whose reader may stop reading, as `head` does."""

    def on_broken_pipe(self) -> None:
        """End quietly: what was asked for has been given."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush to nobody
        raise SystemExit(0)


console = Terminal(soft_wrap=True, highlight=False, emoji=False)  # `:+1:` in a draft is no picture: it leaves as it is written
errors = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


def safe(text: object) -> str:
    """Return a text as a part of markup that shows it letter by letter, without controls of the terminal and invisible characters."""
    return escape(clean(str(text), set()))


def unwritable(error: OSError) -> NoReturn:
    """End because the output takes nothing more; what the command did before is done."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries it once more, and tells of it in its own way
    complain(f"the output cannot be written ({error.strerror}).")
    raise SystemExit(1)


def flush() -> None:
    """Write what has been printed, while an error can still be told."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        console.on_broken_pipe()
    except OSError as error:
        unwritable(error)


def complain(message: object) -> None:
    """Tell what is wrong, on standard error."""
    errors.print(f"pointsman-desk: {safe(message)}")
