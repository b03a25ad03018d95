"""`pointsman serve`: run the processes of a database, and serve their pages and the API until Ctrl-C."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.places import database, load_processes, load_resources, shown
from pointsman.cli.subscribing import NotInstalled, Telemetry, Webhooks, subscribers_of
from pointsman.cli.terminal import App, Db, Resources, or_exit
from pointsman.errors import PointsmanError, StoreLocked

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pointsman.definition.process import AnyProcess

HOST, PORT = "127.0.0.1", 8470
CONCURRENCY = 64  # as `Engine.open` has it
OIDC_VARIABLE = "POINTSMAN_OIDC_SECRET"  # the variable with the secret that an identity provider gave this program


class NobodyWorks(PointsmanError):
    """The cases of a file would stand still."""


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
    concurrency: Annotated[
        int, typer.Option(min=0, help="The cases that run here at once; with 0, workers run them, and no --resources are needed.")
    ] = CONCURRENCY,
    telemetry: Telemetry = False,
    webhooks: Webhooks = None,
) -> None:
    """Run the processes, and serve their pages and the HTTP API, until Ctrl-C. --app can name a list of processes.

    POINTSMAN_OIDC_SECRET has the secret that the identity provider gave this program.
    """
    settings = {"host": host, "port": port, "proxy": proxy, "oidc": oidc}

    def body() -> None:
        place, processes = database(db), load_processes(app)
        if not concurrency and isinstance(place, Path):
            raise NobodyWorks(f"with --concurrency 0 nobody would run the cases of {place}, which has one engine; leave it out.")
        engine = {
            "resources": load_resources(resources) if concurrency else {}, "concurrency": concurrency,
            "subscribers": subscribers_of(telemetry=telemetry, webhooks=webhooks),
        }  # fmt: skip
        _run(place, processes, engine, settings)

    or_exit(body)


def _run(place: Path | str, processes: "Sequence[AnyProcess]", engine: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Serve until SIGINT or SIGTERM; print READY and the address when it listens. The settings are those of `Engine.open` and of `Serving`.

    Raises StoreError, CannotListen, SignInNeeded, AccountsError, NotInstalled.
    """
    try:
        import uvicorn  # noqa: F401, PLC0415 - an extra

        import pointsman.web  # noqa: F401, PLC0415
    except ImportError:
        raise NotInstalled("serving needs more packages; install them with `pip install 'pointsman[web]'`.") from None
    asyncio.run(_serve(place, processes, engine, settings))


async def _serve(place: Path | str, processes: "Sequence[AnyProcess]", opened: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    from pointsman.client.running import find_running, when_free  # noqa: PLC0415
    from pointsman.runtime.engine import Engine  # noqa: PLC0415
    from pointsman.runtime.worker import Worker, stop_signals  # noqa: PLC0415
    from pointsman.server.program import Serving, served  # noqa: PLC0415
    from pointsman.web import pages  # noqa: PLC0415

    if isinstance(place, Path) and (address := find_running(place)) is not None:
        raise StoreLocked(f"{place} is served already at {address.url}/ (process {address.pid}); stop that program first.")
    serving = Serving(**settings, oidc_secret=os.environ.get(OIDC_VARIABLE, ""))
    apps: list[FastAPI] = []

    def follow(engine: Engine) -> None:
        for app in apps:
            app.state.engine = engine

    worker = Worker(lambda: when_free(lambda: Engine.open(place, processes, **opened)), opened=follow)
    with stop_signals() as stop:
        async with worker.working() as first, served(first, place, pages(), serving, apps.append) as url:
            print(f"Serving {shown(place)} at {url}/; press Ctrl-C to stop.", file=sys.stderr, flush=True)
            print(f"READY {url}", flush=True)  # for the program that waits for it
            await worker.until(stop)
