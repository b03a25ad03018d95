"""The command that delivers again what a subscriber has given up."""

from typing import Annotated

import typer

from pointsman.cli.operating import At, caller, on_database, reached
from pointsman.cli.terminal import or_exit, print_json
from pointsman.definition.counts import format_count


@on_database
def redeliver(
    at: At,
    subscriber: Annotated[str, typer.Argument(metavar="SUBSCRIBER", help="Its name, as `pointsman doctor` prints it.")],
    forget: Annotated[bool, typer.Option("--forget", help="Do not deliver it, and forget it.")] = False,
) -> None:
    """Call a subscriber, such as a webhook, again with what it has given up. The program that has the subscriber does so."""
    who = or_exit(lambda: caller(at.by))
    view = reached(at, lambda client, _: client.redeliver(subscriber, forget=forget, by=who))
    if at.as_json:
        print_json(view.model_dump())
        return
    messages = format_count(view.messages, "message")
    print(f"{messages} of {subscriber} forgotten." if forget else f"{messages} of {subscriber} will be delivered again.")
