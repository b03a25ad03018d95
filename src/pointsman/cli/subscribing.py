"""What `serve` and `worker` send elsewhere: traces and metrics, and webhooks."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pointsman.errors import PointsmanError

if TYPE_CHECKING:
    from pointsman.runtime.subscribers import Subscriber

Telemetry = Annotated[
    bool, typer.Option("--telemetry", help="Send traces and metrics by OTLP; the variable OTEL_EXPORTER_OTLP_ENDPOINT says where to.")
]
Webhooks = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Send the webhooks that this TOML file declares.", show_default=False, dir_okay=False)
]


class NotInstalled(PointsmanError):
    """A package that this command needs is missing."""


def subscribers_of(*, telemetry: bool, webhooks: Path | None) -> "list[Subscriber]":
    """Return the subscribers that the options name. Raises NotInstalled and WebhookInvalid."""
    found: list[Subscriber] = []
    if telemetry:
        try:
            from pointsman.integrations.opentelemetry import telemetry_from_environment  # noqa: PLC0415 - an extra
        except ImportError:
            raise NotInstalled("--telemetry needs more packages; install them with `pip install 'pointsman[otel]'`.") from None
        found.append(telemetry_from_environment())
    if webhooks is not None:
        try:
            from pointsman.integrations.webhooks import webhooks_of  # noqa: PLC0415 - an extra
        except ImportError:
            raise NotInstalled("--webhooks needs more packages; install them with `pip install 'pointsman[http]'`.") from None
        found += webhooks_of(webhooks, os.environ)
    return found
