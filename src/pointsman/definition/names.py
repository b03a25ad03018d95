"""The names and texts of a definition. They are stored with cases, so a database must be able to hold them."""

import unicodedata

from pointsman.errors import DefinitionError


def check_name(what: str, name: object) -> None:
    """Refuse a name that is not a text in one line, or is blank. `what` says what has the name. Raises DefinitionError."""
    if not isinstance(name, str):
        raise DefinitionError(f"{what} is called {name!r}; write its name as a str.")
    if not name.strip():
        raise DefinitionError(f"{what} is called {name!r}; give it a name.")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        raise DefinitionError(f"{what} is called {name!r}; leave out control characters and lone surrogates.")


def check_text(what: str, text: object) -> None:
    """Refuse what is not a text, and a text with a NUL or a lone surrogate. Raises DefinitionError."""
    if not isinstance(text, str):
        raise DefinitionError(f"{what} takes a text, not {text!r}; write a str.")
    if any(character == "\0" or unicodedata.category(character) == "Cs" for character in text):
        raise DefinitionError(f"{what} takes a text that a database can hold, not {text!r}; leave out NULs and lone surrogates.")
