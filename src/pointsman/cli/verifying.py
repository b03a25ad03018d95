"""The command that checks the rules of a process before any case takes them."""

import time
from typing import Annotated

import typer

from pointsman.cli.places import load_process
from pointsman.cli.terminal import App, Json, console, exit_with, or_exit, print_json
from pointsman.operations.verify.report import verify
from pointsman.operations.verify.search import STATES_MAX


def verify_command(
    place: Annotated[str | None, typer.Argument(metavar="[APP]", help="The process, as module:attribute.", show_default=False)] = None,
    app: App = None,
    messages: Annotated[int, typer.Option("--messages", min=0, max=3, help="The number of messages that come to an open case.")] = 1,
    states_max: Annotated[
        int, typer.Option("--states-max", min=1, help="The number of states after which the search gives up.")
    ] = STATES_MAX,
    first: Annotated[bool, typer.Option("--first", help="End with the first invariant that is refuted.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Also fail for dead ends, loops, rules that are never chosen, and an incomplete search.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Search all ways that a case can take: is each invariant kept, and is there a dead end, a loop, or a rule that is never chosen?

    Exits with 1 if an invariant is not proved.
    """
    process = or_exit(lambda: load_process(place or app))
    if not process.ordered_rules:
        exit_with(
            f"{process.name!r} is an entrypoint, and only a process with rules can be verified; test its body with `pointsman.testing`."
        )
    begun = time.process_time()
    verified = verify(process, messages=messages, states_max=states_max, first=first)
    seconds = time.process_time() - begun
    if as_json:
        print_json({**verified.as_json(), "cpu_seconds": round(seconds, 2)})
    else:
        for line in verified.lines():
            console.print(line, markup=False)
        console.print(f"{seconds:.1f} s of CPU")
    if not verified.holds or (strict and not verified.is_clean):
        raise SystemExit(1)
