"""What the desk sends elsewhere while it runs: traces and metrics, and webhooks."""

import os

from pointsman import Subscriber
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import ConfigInvalid


def subscribers_of(config: DeskConfig) -> list[Subscriber]:
    """Return the subscribers that the settings name. Raises ConfigInvalid, and WebhookInvalid for the file of webhooks.

    Make them once for a program, and not for each opening of the desk: what sends metrics has a thread of its own.
    """
    return [*telemetry_of(config), *webhooks_of(config)]


def telemetry_of(config: DeskConfig) -> list[Subscriber]:
    """Return what sends traces and metrics, if the settings name a collector. Raises ConfigInvalid."""
    if config.telemetry is None:
        return []
    check_telemetry(config)
    from pointsman.integrations.opentelemetry import telemetry_to  # noqa: PLC0415 - an extra

    return [telemetry_to(config.telemetry)]


def check_telemetry(config: DeskConfig) -> None:
    """Raise ConfigInvalid if traces are to be sent and a package for that is missing."""
    if config.telemetry is None:
        return
    try:
        import pointsman.integrations.opentelemetry  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise ConfigInvalid("telemetry needs more packages; install them with `pip install 'pointsman[otel]'`.") from None


def webhooks_of(config: DeskConfig) -> list[Subscriber]:
    """Return the webhooks of the file that the settings name, if any. Raises WebhookInvalid."""
    if config.webhooks is None:
        return []
    from pointsman.integrations import webhooks  # noqa: PLC0415 - a command that only looks does not need it

    return [*webhooks.webhooks_of(config.webhooks, os.environ)]
