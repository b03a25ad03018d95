"""The endpoints that a supervisor asks about a worker: whether its process lives, and whether it is ready."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette

from pointsman.runtime.listening import bound
from pointsman.runtime.worker import Worker
from pointsman.server.app import health, ready
from pointsman.server.metrics import worker_metrics
from pointsman.server.running import answering

AT_ONCE_MAX = 20  # connections of probes


@asynccontextmanager
async def health_answering(worker: Worker, host: str, port: int) -> AsyncIterator[str]:
    """Answer about `worker` while the block runs, and yield the address. Port 0 is any free port. Raises CannotListen.

    GET /healthz is 200 while the event loop turns. GET /readyz is 200 while the worker holds its lease, claims cases and reaches its database; else
    it is 503, with a problem document that says why. GET /metrics has figures for Prometheus.
    """
    app = Starlette()
    app.state.engine = worker
    app.add_route("/healthz", health)
    app.add_route("/readyz", ready)
    app.add_route("/metrics", worker_metrics)
    with bound(host, port, "name another address with --health") as (opened, url):
        async with answering(app, opened, at_once_max=AT_ONCE_MAX):
            yield url
