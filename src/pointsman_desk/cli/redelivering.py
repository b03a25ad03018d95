"""The command that sends again what a webhook has given up."""

from typing import Annotated

import typer

from pointsman import format_count
from pointsman_desk.cli.options import By, Config
from pointsman_desk.cli.session import carry_out, or_exit, who
from pointsman_desk.commands import Redeliver
from pointsman_desk.config import load_config


def redeliver(
    webhook: Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its name, as `pointsman-desk doctor` prints it.")],
    forget: Annotated[bool, typer.Option("--forget", help="Do not send it, and forget it.")] = False,
    by: By = None,
    config: Config = None,
) -> None:
    """Send again what a webhook has given up. A desk that does not run sends it when it is started."""
    settings = or_exit(lambda: load_config(config))
    done = carry_out(settings, or_exit(lambda: Redeliver(subscriber=webhook, forget=forget, by=who(by))))
    print(f"{format_count(done.messages, 'message')} of {webhook} {'forgotten' if forget else 'will be sent again'}.")
