"""What `serve` and `worker` send elsewhere: traces and metrics."""

from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.errors import PointsmanError

if TYPE_CHECKING:
    from pointsman.runtime.subscribers import Subscriber

Telemetry = Annotated[
    bool, typer.Option("--telemetry", help="Send traces and metrics by OTLP; the variable OTEL_EXPORTER_OTLP_ENDPOINT says where to.")
]


class NotInstalled(PointsmanError):
    """A package that this command needs is missing."""


def subscribers_of(*, telemetry: bool) -> "list[Subscriber]":
    """Return the subscribers that the options name. Raises NotInstalled."""
    if not telemetry:
        return []
    try:
        from pointsman.integrations.opentelemetry import telemetry_from_environment  # noqa: PLC0415 - an extra
    except ImportError:
        raise NotInstalled("--telemetry needs more packages; install them with `pip install 'pointsman[otel]'`.") from None
    return [telemetry_from_environment()]
