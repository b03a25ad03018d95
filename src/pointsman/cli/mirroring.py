"""`pointsman restate mirror` and `pages`: look at cases on Restate, and answer them."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.cli.places import database, load_processes, shown
from pointsman.cli.serving import HOST, PORT
from pointsman.cli.subscribing import NotInstalled
from pointsman.cli.terminal import App, or_exit
from pointsman.definition.counts import format_count
from pointsman.errors import PointsmanError, StoreError

if TYPE_CHECKING:
    from pointsman.client.restate import RestateClient
    from pointsman.definition.process import AnyProcess
    from pointsman.integrations.restate_mirror import Mirrored

MirrorDb = Annotated[
    str | None,
    typer.Option("--db", metavar="FILE", help="The file of the mirror (default: POINTSMAN_DB, or pyproject.toml).", show_default=False),
]
Admin = Annotated[str, typer.Option(metavar="URL", help="The admin API of the Restate server.")]


def mirror(
    admin: Admin,
    db: MirrorDb = None,
    app: App = None,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Look again after so long, until SIGTERM or Ctrl-C.", show_default=False),
    ] = None,
) -> None:
    """Copy the cases of these processes into a file, for `pointsman ps`, `show` and `explain`: what has changed since the last time.

    No engine runs the copies. Private values are in the file, too, and the content of blobs is not. It can be interrupted and run again at any time.
    """
    or_exit(lambda: asyncio.run(_mirror(_file(db), load_processes(app), admin, every)))


def pages(
    ingress: Annotated[str, typer.Option(metavar="URL", help="Where the Restate server takes calls.")],
    admin: Admin,
    db: MirrorDb = None,
    app: App = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="The port to listen on; 0 is any free one.")] = PORT,
    every: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Look after so long for what has changed.")] = 1.0,
) -> None:
    """Serve the pages and the HTTP API of cases on Restate, until Ctrl-C. What people do there is sent to Restate.

    The file is a mirror of the cases, which this program keeps up to date.
    """
    or_exit(lambda: asyncio.run(_pages(_file(db), load_processes(app), (ingress, admin, every), (host, port))))


def _file(db: str | None) -> Path:
    place = database(db)
    if not isinstance(place, Path):
        raise StoreError(f"a mirror is a file, and {shown(place)} is none; name a file with --db.")
    return place


async def _mirror(file: Path, processes: "Sequence[AnyProcess]", admin: str, every: float | None) -> None:
    from pointsman.runtime.worker import stop_signals  # noqa: PLC0415

    try:
        from pointsman.integrations.restate_mirror import mirroring  # noqa: PLC0415 - an extra
    except ImportError:
        raise NotInstalled("Restate needs more packages; install them with `pip install 'pointsman[restate]'`.") from None

    def tell(told: "Mirrored") -> None:
        for sentence in told.left_out:
            print(f"pointsman: {sentence}", file=sys.stderr)
        print(f"{told.copied} copied, {told.deleted} deleted; {format_count(told.cases, 'case')} in {file}", flush=True)

    with stop_signals() as stop:
        async with mirroring(admin, file, processes) as kept:
            tell(await kept.look())
            if every is not None:
                await kept.follow(every, stop, tell, lambda error: print(f"pointsman: {error}", file=sys.stderr))


async def _pages(file: Path, processes: "Sequence[AnyProcess]", cluster: tuple[str, str, float], address: tuple[str, int]) -> None:
    from pointsman.runtime.worker import stop_signals  # noqa: PLC0415

    try:
        from pointsman import web  # noqa: PLC0415 - an extra
        from pointsman.client.restate import RestateClient  # noqa: PLC0415
        from pointsman.integrations.restate_mirror import QueryEndpoint  # noqa: PLC0415
        from pointsman.integrations.restate_pages import mirrored  # noqa: PLC0415 - an extra
        from pointsman.server.program import Serving, served  # noqa: PLC0415
    except ImportError:
        raise NotInstalled("this needs more packages; install them with `pip install 'pointsman[restate,web]'`.") from None
    ingress, admin, every = cluster
    with stop_signals() as stop:
        async with (
            QueryEndpoint(admin) as cases,
            RestateClient(ingress) as client,
            mirrored(file, processes, cases, client, seconds=every) as engine,
            served(engine, file, web.pages(), Serving(*address)) as url,
        ):
            await _tell_if_away(client)
            print(f"Serving {file} at {url}/; press Ctrl-C to stop.", file=sys.stderr, flush=True)
            print(f"READY {url}", flush=True)  # for the program that waits for it
            await engine.serve(stop)


async def _tell_if_away(client: "RestateClient") -> None:
    """Say so if no server takes calls where the client calls. The pages are served all the same: it may come, and they show what is there."""
    try:
        await client.services()
    except PointsmanError as error:
        print(f"pointsman: {error}", file=sys.stderr)
