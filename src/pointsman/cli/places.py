"""Finds the database and the process of a command: by an option, the environment, or pyproject.toml, in this order."""

import asyncio
import importlib
import logging
import os
import shlex
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pointsman.cli.terminal import or_exit
from pointsman.errors import PointsmanError
from pointsman.operations.redaction import redacted
from pointsman.store.postgres import is_url, reading_url, without_password
from pointsman.store.sqlite_reader import SqliteReader

if TYPE_CHECKING:
    from pointsman.definition.process import AnyProcess
    from pointsman.store.base import Reader


class PlaceUnknown(PointsmanError):
    """No option, variable or setting names the database or the process."""


@asynccontextmanager
async def open_reader(place: Path | str) -> "AsyncIterator[Reader]":
    """Open a file or a URL read-only. Raises StoreError."""
    if isinstance(place, Path):
        with SqliteReader(place) as file_reader:
            yield file_reader
    else:
        async with reading_url(place) as reader:
            yield reader


def database(db: str | None, given_by: str = "pass --db with a file or a URL") -> Path | str:
    """The file of the database, or the URL of a PostgreSQL database. Raises PlaceUnknown, which says how it is `given_by`."""
    place = db or _named("POINTSMAN_DB", "db")
    if place is None:
        raise PlaceUnknown(
            f'no database is named; {given_by}, set POINTSMAN_DB, or put db = "FILE" under [tool.pointsman] in pyproject.toml.'
        )
    if not is_url(place):
        return Path(place)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # our own errors say what it would warn of, in one sentence
    return place


def shown(place: Path | str) -> str:
    """The database as it may be printed: a URL without its password."""
    return str(place) if isinstance(place, Path) else without_password(place)


def options_again(*, db: str | None = None, app: str | None = None, resources: str | None = None) -> str:
    """The options that say where the cases and the code are, for a command that follows: as they were given, without a password."""
    given = {"--db": None if db is None else shown(database(db)), "--app": app, "--resources": resources}
    return "".join(f" {option} {shlex.quote(str(value))}" for option, value in given.items() if value is not None)


def load_process(app: str | None) -> "AnyProcess":
    """Import the process, or the entrypoint, from `module:attribute`. Raises PlaceUnknown."""
    place, found = _load(app)
    process = _process_of(found)
    if process is None:
        raise PlaceUnknown(f"{place!r} is a {type(found).__name__}, not a Process or an entrypoint; name that itself.")
    return process


def load_processes(app: str | None) -> list["AnyProcess"]:
    """Import a process, an entrypoint, or a list of them, from `module:attribute`. Raises PlaceUnknown."""
    place, found = _load(app)
    processes = []
    for one in [*found] if isinstance(found, list | tuple) else [found]:
        process = _process_of(one)
        if process is None:
            raise PlaceUnknown(f"{place!r} has a {type(one).__name__}, not a Process or an entrypoint; name one, or a list of them.")
        processes.append(process)
    return processes


def named_processes(app: str | None) -> list["AnyProcess"]:
    """Like `load_processes`, but an empty list if no process is named. Raises PlaceUnknown."""
    return load_processes(app) if app or _named("POINTSMAN_APP", "app") else []


def load_resources(resources: str | None) -> Mapping[str, Any]:
    """Import the resources from `module:attribute`, and call it if it is a function; none if nothing names them. Raises PlaceUnknown."""
    place = resources or _named("POINTSMAN_RESOURCES", "resources")
    if place is None:
        return {}
    found = _imported(place, "resources")
    try:
        given = found() if callable(found) else found
    except Exception as error:  # a function of the program may raise anything
        raise PlaceUnknown(f"{place!r} does not give the resources ({type(error).__name__}: {error}); correct that function.") from None
    if not isinstance(given, Mapping):
        raise PlaceUnknown(f"{place!r} gives a {type(given).__name__}, not resources; name a mapping, or a function that returns one.")
    return given


def look_at(db: str | None, look: Callable[["Reader"], Coroutine[Any, Any, None]], *, private: bool = False) -> None:
    """Open the database and call `look`, with a reader that hides private values unless `private` says otherwise. Print an error as one sentence and exit with its code. Say first if the cases have moved elsewhere."""

    async def body() -> None:
        async with open_reader(database(db)) as reader:
            if isinstance(reader, SqliteReader) and (moved := reader.moved()) is not None:
                print(f"pointsman: {moved}", file=sys.stderr)
            await look(reader if private else await redacted(reader))

    try:
        or_exit(lambda: asyncio.run(body()))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _process_of(found: Any) -> "AnyProcess | None":
    """The process, or that of an entrypoint."""
    from pointsman.definition.process import Process  # noqa: PLC0415 - a command that talks to a running program needs no process

    process = getattr(found, "process", found)  # an entrypoint can only be loaded where its extra is installed
    return process if isinstance(process, Process) else None


def _load(app: str | None) -> tuple[str, Any]:
    place = app or _named("POINTSMAN_APP", "app")
    if place is None:
        raise PlaceUnknown(
            'no process is named; pass --app module:attribute, set POINTSMAN_APP, or put app = "module:attribute" under [tool.pointsman].'
        )
    return str(place), _imported(str(place), "process")


def _imported(place: str, what: str) -> Any:
    """Import `module:attribute`, also from the current folder. Raises PlaceUnknown, which says `what` it was to be."""
    module, _, attribute = place.partition(":")
    if not module or not attribute:
        raise PlaceUnknown(f"{what} {place!r} does not name both a module and an attribute; write it as module:attribute.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return getattr(importlib.import_module(module), attribute)
    except PointsmanError as error:
        raise PlaceUnknown(f"{what} {place!r} cannot be imported: {error}") from None
    except (ImportError, AttributeError) as error:
        raise PlaceUnknown(
            f"{what} {place!r} cannot be imported ({error}); write it as module:attribute, as Python would import it."
        ) from None
    except Exception as error:  # a module may raise anything when it is imported
        raise PlaceUnknown(f"{what} {place!r} cannot be imported ({type(error).__name__}: {error}); correct that module.") from None
    finally:
        sys.path.pop(0)


def _setting(file: Path, setting: str) -> str | None:
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("pointsman", {})
    except (OSError, ValueError) as error:
        raise PlaceUnknown(f"{file} cannot be read ({error}); correct it, or pass --db and --app.") from None
    value = settings.get(setting) if isinstance(settings, dict) else None
    return value if isinstance(value, str) else None


def _named(variable: str, setting: str) -> str | None:
    if os.environ.get(variable):
        return os.environ[variable]
    for folder in (Path.cwd(), *Path.cwd().parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            value = _setting(file, setting)
            return str(folder / value) if value and setting == "db" and not is_url(value) else value
    return None
