"""`pointsman worker`: run the cases of some processes on a database, beside other workers, until SIGTERM."""

import asyncio
import logging
import sys
from collections.abc import Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pointsman.cli.places import database, load_processes, load_resources, shown
from pointsman.cli.subscribing import NotInstalled, Telemetry, Webhooks, subscribers_of
from pointsman.cli.terminal import Db, Resources, exit_with, or_exit
from pointsman.runtime.called import CaseFilter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pointsman.definition.process import AnyProcess
    from pointsman.runtime.worker import Worker

CONCURRENCY, THREADS, LEASE_SECONDS, DRAIN_SECONDS = 64, 16, 30.0, 20.0
LINE = "%(asctime)s %(levelname)s %(where)s%(message)s"

Apps = Annotated[
    list[str] | None,
    typer.Option(
        "--app",
        help="A process, or a list of processes, as module:attribute; can be repeated (default: as for the others).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class Work:
    """What a worker does: on which database, which processes, with what, and where it is asked about its health."""

    place: Path | str
    processes: "Sequence[AnyProcess]"
    settings: Mapping[str, Any]
    health: tuple[str, int] | None


def worker(
    db: Db = None,
    apps: Apps = None,
    resources: Resources = None,
    concurrency: Annotated[int, typer.Option(min=1, help="The cases that run at once.")] = CONCURRENCY,
    threads: Annotated[int, typer.Option(min=1, help="The plain functions that run at once.")] = THREADS,
    lease: Annotated[
        float, typer.Option(min=1, max=3_600, metavar="SECONDS", help="How long the cases of a crashed worker wait for another one.")
    ] = LEASE_SECONDS,
    drain: Annotated[
        float, typer.Option(min=0, max=86_400, metavar="SECONDS", help="How long running steps may go on after SIGTERM.")
    ] = DRAIN_SECONDS,
    health: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Answer GET /healthz, /readyz and /metrics there.", show_default=False)
    ] = None,
    telemetry: Telemetry = False,
    webhooks: Webhooks = None,
) -> None:
    """Run the cases of processes on a database, beside any number of other workers, until SIGTERM or Ctrl-C.

    It then claims no more cases, lets running steps end, gives the other cases back, and exits with 0. A second signal ends it at once. While the
    database is away, it tries again. A file has one worker.
    """
    address = None if health is None else _address(health)

    def body() -> None:
        named: list[str | None] = [*apps] if apps else [None]
        processes = [process for app in named for process in load_processes(app)]
        settings = {
            "resources": load_resources(resources), "concurrency": concurrency, "threads": threads, "grace_seconds": drain, "lease_seconds": lease,
            "subscribers": subscribers_of(telemetry=telemetry, webhooks=webhooks),
        }  # fmt: skip
        logging.basicConfig(format=LINE, level=logging.WARNING)
        for handler in logging.getLogger().handlers:
            handler.addFilter(CaseFilter())
        asyncio.run(_work(Work(database(db), processes, settings, address)))

    or_exit(body)


async def _work(work: Work) -> None:
    from pointsman.runtime.engine import Engine  # noqa: PLC0415
    from pointsman.runtime.worker import Worker, stop_signals  # noqa: PLC0415

    begun = asyncio.Event()

    def tell(_: Engine) -> None:
        if not begun.is_set():
            names = ", ".join(sorted({process.name for process in work.processes}))
            print(f"Working on {shown(work.place)}: {names}; stop with SIGTERM or Ctrl-C.", file=sys.stderr, flush=True)
            print("READY", flush=True)  # for the program that waits for it
        begun.set()

    worker = Worker(lambda: Engine.open(work.place, work.processes, **work.settings), opened=tell)
    with stop_signals() as stop:
        told = asyncio.create_task(_tell_draining(stop))
        async with _answering(worker, work.health):
            await worker.work(stop)
    told.cancel()
    print("Stopped.", file=sys.stderr, flush=True)


async def _tell_draining(stop: asyncio.Event) -> None:
    await stop.wait()
    print("Draining: no more cases are claimed, and running steps end; a second signal ends them at once.", file=sys.stderr, flush=True)


@asynccontextmanager
async def _answering(worker: "Worker", address: tuple[str, int] | None) -> "AsyncIterator[None]":
    if address is None:
        yield
        return
    try:
        from pointsman.server.health import health_answering  # noqa: PLC0415 - an extra
    except ImportError:
        raise NotInstalled("--health needs more packages; install them with `pip install 'pointsman[web]'`.") from None
    async with health_answering(worker, *address) as url:
        print(f"HEALTH {url}", flush=True)
        yield


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65_535):
        exit_with(f"--health {text!r} is not an address; write it as 0.0.0.0:8080.")
    return host.strip("[]"), int(port)
