"""The table of statuses and happenings as a page: `python -m pointsman.operations.statuses > docs/statuses.md`."""

from collections import defaultdict

from pointsman.kernel.machine import NEXT
from pointsman.kernel.snapshot import ENDED, Status

MEANING = {
    Status.READY: "in line: an engine claims it at its time, or when its limit has room",
    Status.RUNNING: "in an engine's hands",
    Status.WAITING: "waits for a person, a timer, a message or a child",
    Status.PARKED: "waits for an operator, with a reason",
    Status.BLOCKED: "waits for code that can go on with it",
    Status.DONE: "ended as its rules say",
    Status.CANCELLED: "ended from outside",
}


def statuses_page() -> str:
    """The page: what each status means, what a case takes in it, and a drawing (Mermaid)."""
    lines = [
        "# Statuses and happenings",
        "",
        "A case has one of seven statuses. A happening that does not fit the status is refused and changes nothing. This page is made from the",
        "table `NEXT` in `src/pointsman/kernel/machine.py` by `python -m pointsman.operations.statuses > docs/statuses.md`.",
        "",
        "| status | meaning |",
        "|---|---|",
        *(f"| {status} | {meaning} |" for status, meaning in MEANING.items()),
        "",
        "| happening | from | to |",
        "|---|---|---|",
    ]
    ways: dict[tuple[Status, Status], list[str]] = defaultdict(list)
    for happening, table in NEXT.items():
        name = happening.__name__
        by_targets: dict[frozenset[Status], list[Status]] = defaultdict(list)
        for status, after in table.items():
            by_targets[after].append(status)
            for target in after:
                ways[status, target].append(name)
        for after, before in by_targets.items():
            if after:
                lines.append(f"| {name} | {_named(before)} | {_named(after)} |")
    lines += ["", "```mermaid", "stateDiagram-v2", "    [*] --> ready: StartAsked"]
    for (one, other), names in sorted(ways.items(), key=lambda way: (list(Status).index(way[0][0]), list(Status).index(way[0][1]))):
        if one is not other:
            shown = names if len(names) <= NAMES_SHOWN else [*names[:NAMES_SHOWN], "..."]
            lines.append(f"    {one} --> {other}: {', '.join(shown)}")
    lines += [f"    {status} --> [*]" for status in Status if status in ENDED]
    return "\n".join([*lines, "```", ""])


NAMES_SHOWN = 3  # happenings beside an arrow; the table has all of them


def _named(statuses: "frozenset[Status] | list[Status]") -> str:
    return ", ".join(status for status in Status if status in statuses)


if __name__ == "__main__":
    print(statuses_page(), end="")  # noqa: T201 - it is what the command is for
