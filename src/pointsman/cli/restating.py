"""`pointsman restate`: serve processes to a Restate server."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.mirroring import mirror, pages
from pointsman.cli.places import load_processes, load_resources
from pointsman.cli.subscribing import NotInstalled
from pointsman.cli.terminal import App, Resources, or_exit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pointsman.definition.process import AnyProcess
    from pointsman.restate.serving import Application

restate = typer.Typer(help="Run processes on Restate.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@restate.callback()
def group() -> None:
    """Run processes on Restate."""


restate.command()(mirror)
restate.command()(pages)


@restate.command()
def serve(
    app: App = None,
    resources: Resources = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port to listen on.")] = 9080,
    admin: Annotated[
        str | None, typer.Option(metavar="URL", help="Register with the server whose admin API is there.", show_default=False)
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="URL", help="Where that server reaches this program (default: host and port).", show_default=False)
    ] = None,
    ingress: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where that server takes calls, for processes with schedules (default: what it tells).",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(metavar="PROCESS", help="Register although this process is no longer served; can be repeated.", show_default=False),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="The plain functions that run at once.")] = 16,
    blobs: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keep blobs there; all programs that serve share it.", show_default=False)
    ] = None,
) -> None:
    """Serve processes to a Restate server until SIGTERM or Ctrl-C. GET /health answers while they are served."""

    def body() -> None:
        application = _application(load_processes(app), load_resources(resources), threads, blobs)
        asyncio.run(_serve(application, (host, port), admin, address or f"http://{host}:{port}", ingress, without or []))

    or_exit(body)


def _application(processes: "Sequence[AnyProcess]", resources: "Mapping[str, Any]", threads: int, blobs: Path | None) -> "Application":
    try:
        from pointsman.restate import BlobFolder, restate_app  # noqa: PLC0415 - an extra
    except ImportError:
        raise NotInstalled("Restate needs more packages; install them with `pip install 'pointsman[restate]'`.") from None
    return restate_app(processes, resources, threads=threads, blobs=None if blobs is None else BlobFolder(blobs))


async def _serve(
    application: "Application", place: tuple[str, int], admin: str | None, address: str, ingress: str | None, without: list[str]
) -> None:
    from pointsman import restate as on_restate  # noqa: PLC0415 - an extra
    from pointsman.runtime.worker import stop_signals  # noqa: PLC0415

    async def ready() -> None:
        if admin is not None:
            await on_restate.register(admin, address, without=without, ingress=ingress)
        print(f"Serving Restate at {place[0]}:{place[1]}; stop with SIGTERM or Ctrl-C.", file=sys.stderr, flush=True)
        print("READY", flush=True)  # for the program that waits for it

    await application.begin()
    with stop_signals() as stop:
        await on_restate.serve(application, *place, stop, ready)
