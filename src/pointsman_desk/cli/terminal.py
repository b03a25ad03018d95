"""The terminal: what strangers wrote is shown as text there, and moves, colours or replaces nothing."""

import os
import sys

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


def complain(message: object) -> None:
    """Tell what is wrong, on standard error."""
    errors.print(f"pointsman-desk: {safe(message)}")
