"""The table of statuses and happenings as a page: `python -m pointsman.operations.statuses > docs/statuses.md`."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from pointsman.kernel.happenings import StartAsked
from pointsman.kernel.machine import NEXT
from pointsman.kernel.snapshot import ENDED, Status

MEANING = {
    Status.READY: "an engine claims it when it is due, or when its limit has room",
    Status.RUNNING: "an engine runs it",
    Status.WAITING: "waits for a person, a timer, a message or a child",
    Status.PARKED: "cannot go on, for a recorded reason, and waits for an operator",
    Status.BLOCKED: "waits for code that accepts its version",
    Status.DONE: "ended by its rules",
    Status.CANCELLED: "ended from outside",
}

IN_THE_STORE: Mapping[str, Mapping[Status, Status]] = {
    "claim": {Status.READY: Status.RUNNING, Status.WAITING: Status.RUNNING},
    "delivery": {Status.WAITING: Status.READY, Status.PARKED: Status.READY},
    "release": {Status.RUNNING: Status.READY},
}
"""The changes of status that the store makes by itself, without a decision about the case."""

RULED = NEXT[StartAsked][Status.READY]
"""The statuses to which the rules lead, which are those after a start."""

STEP = "a step"  # stands in the drawing for the many happenings of a step, which all lead to the same statuses
NAMES_SHOWN = 3  # happenings to name beside an arrow; more are drawn as STEP

_INTRODUCTION = """\
# Statuses and happenings

A case has one of {count} statuses.

| status | meaning |
|---|---|
{meaning}

The machine decides what follows from a happening. It refuses a happening that does not fit the status, and then nothing changes. The
table lists every status to which a happening can lead, and the tests compare it with what the machine does. The store sets a claimed case to
running before the machine sees `Claimed`; for a ready case, `Claimed` asks whether its pause is still open.

| happening | from | to |
|---|---|---|
{decided}

The store makes some moves without a decision: a claim takes a due case; the delivery of a message, or of a child's end, wakes a case to take
it in; a case is released when its engine stops or dies.

| move | from | to |
|---|---|---|
{moved}

In the drawing, the diamond stands for the rules, which choose the next step. The case stays running if the engine has a place for it. It becomes
ready if it must wait for a place, a permit or its next attempt. The happenings of "{step}" are {step_names}.

{drawing}

`python -m pointsman.operations.statuses > docs/statuses.md` generates this page from the table `NEXT` in `src/pointsman/kernel/machine.py`.
"""


def statuses_page() -> str:
    """The page: the meaning of each status, the happenings that fit it, and a drawing (Mermaid)."""
    return _INTRODUCTION.format(
        count=len(Status),
        meaning="\n".join(f"| {status} | {meaning} |" for status, meaning in MEANING.items()),
        decided="\n".join(_decided()),
        moved="\n".join(f"| {move} | {_named(table)} | {_named(table.values())} |" for move, table in IN_THE_STORE.items()),
        step=STEP,
        step_names=", ".join(next(names for names in _alike() if len(names) > NAMES_SHOWN)),
        drawing="\n".join(["```mermaid", "stateDiagram-v2", *(f"    {line}" for line in _drawing()), "```"]),
    )


def _alike() -> list[list[str]]:
    """The happenings, grouped by equal tables."""
    groups: dict[frozenset[tuple[Status, frozenset[Status]]], list[str]] = defaultdict(list)
    for happening, table in NEXT.items():
        groups[frozenset(table.items())].append(happening.__name__)
    return list(groups.values())


def _decided() -> Iterator[str]:
    tables = {happening.__name__: table for happening, table in NEXT.items()}
    for names in _alike():
        froms: dict[frozenset[Status], list[Status]] = defaultdict(list)
        for status, targets in tables[names[0]].items():
            froms[targets].append(status)
        yield from (f"| {', '.join(names)} | {_named(statuses)} | {_named(targets)} |" for targets, statuses in froms.items() if targets)


def _drawing() -> Iterator[str]:
    """The arrows. A happening that leads to the rules has one arrow to them, and one to each further status."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    tables = {happening.__name__: table for happening, table in NEXT.items()}
    for names in _alike():
        label = STEP if len(names) > NAMES_SHOWN else ", ".join(names)
        for status, targets in tables[names[0]].items():
            rest = targets - {status}
            if targets | {Status.RUNNING} >= RULED:
                came = "[*]" if names == [StartAsked.__name__] else status
                arrows[came, "rules"].append(label if targets >= RULED else f"{label} (not to running)")
                rest = targets - RULED - {status}
            for target in rest:
                arrows[status, target].append(label)
    for move, table in IN_THE_STORE.items():
        for status, target in table.items():
            arrows[status, target].append(move)
    for target in RULED:
        arrows["rules", target] = []
    yield "state rules <<choice>>"
    places = ["[*]", *Status, "rules"]
    for (one, other), labels in sorted(arrows.items(), key=lambda arrow: (places.index(arrow[0][0]), places.index(arrow[0][1]))):
        yield f"{one} --> {other}" + (f": {', '.join(labels)}" if labels else "")
    yield from (f"{status} --> [*]" for status in Status if status in ENDED)


def _named(statuses: Iterable[Status]) -> str:
    here = set(statuses)
    return ", ".join(status for status in Status if status in here)


if __name__ == "__main__":
    print(statuses_page(), end="")  # noqa: T201 - it is what the command is for
