"""The terminal. Text of other people is printed literally: it cannot move the cursor, set colours or replace output."""

import os
import sys
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

from pointsman_desk.mail.characters import clean


class Terminal(Console):
    """A console whose reader may close the pipe, as `head` does."""

    def on_broken_pipe(self) -> None:
        """Exit quietly."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit cannot fail
        raise SystemExit(0)


console = Terminal(soft_wrap=True, highlight=False, emoji=False)  # `:+1:` in a draft is sent as text, so it is shown as text
errors = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


def safe(text: object) -> str:
    """Escape a text for rich markup, and remove control and invisible characters."""
    return escape(clean(str(text), set()))


def unwritable(error: OSError) -> NoReturn:
    """Exit because the output cannot be written. What the command did before is kept."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that Python does not try again at exit
    complain(f"the output cannot be written ({error.strerror}).")
    raise SystemExit(1)


def flush() -> None:
    """Flush standard output while errors can still be reported."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        console.on_broken_pipe()
    except OSError as error:
        unwritable(error)


def complain(message: object) -> None:
    """Print an error on standard error."""
    errors.print(f"pointsman-desk: {safe(message)}")
