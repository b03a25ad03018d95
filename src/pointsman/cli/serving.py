"""`pointsman serve`: run the processes of a database, and serve their pages and the API until Ctrl-C."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.places import database, load_processes, load_resources, shown
from pointsman.cli.terminal import App, Db, Resources, or_exit
from pointsman.errors import PointsmanError, StoreLocked

if TYPE_CHECKING:
    from pointsman.definition.process import AnyProcess

HOST, PORT = "127.0.0.1", 8470
OIDC_VARIABLE = "POINTSMAN_OIDC_SECRET"  # the variable with the secret that an identity provider gave this program


class NotInstalled(PointsmanError):
    """A package that this command needs is missing."""


def serve(
    db: Db = None,
    app: App = None,
    resources: Resources = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 is any free one.")] = PORT,
    proxy: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="HEADER ADDRESS", help="The proxy at this address names the person in this header.", show_default=False),
    ] = None,
    oidc: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="ISSUER CLIENT", help="Sign people in at this OpenID Connect provider.", show_default=False),
    ] = None,
) -> None:
    """Run the processes, and serve their pages and the HTTP API, until Ctrl-C. --app can name a list of processes.

    POINTSMAN_OIDC_SECRET has the secret that the identity provider gave this program.
    """
    settings = {"host": host, "port": port, "proxy": proxy, "oidc": oidc}
    or_exit(lambda: _run(database(db), load_processes(app), load_resources(resources), settings))


def _run(place: Path | str, processes: "Sequence[AnyProcess]", resources: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM; print READY and the address when it listens. `settings` are those of `Serving`.

    Raises StoreError, CannotListen, SignInNeeded, AccountsError, NotInstalled.
    """
    try:
        import uvicorn  # noqa: F401, PLC0415 - an extra

        import pointsman.web  # noqa: F401, PLC0415
    except ImportError:
        raise NotInstalled("serving needs more packages; install them with `pip install 'pointsman[web]'`.") from None
    asyncio.run(_serve(place, processes, resources, settings))


async def _serve(place: Path | str, processes: "Sequence[AnyProcess]", resources: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    from pointsman.client.running import find_running, when_free  # noqa: PLC0415
    from pointsman.runtime.engine import Engine  # noqa: PLC0415
    from pointsman.server.program import Serving, served  # noqa: PLC0415
    from pointsman.web import pages  # noqa: PLC0415

    if isinstance(place, Path) and (address := find_running(place)) is not None:
        raise StoreLocked(f"{place} is served already at {address.url}/ (process {address.pid}); stop that program first.")
    serving = Serving(**settings, oidc_secret=os.environ.get(OIDC_VARIABLE, ""))
    async with (
        when_free(lambda: Engine.open(place, processes, resources=resources)) as engine,
        served(engine, place, pages(), serving) as url,
    ):
        print(f"Serving {shown(place)} at {url}/; press Ctrl-C to stop.", file=sys.stderr, flush=True)
        print(f"READY {url}", flush=True)  # for the program that waits for it
        await engine.serve()
