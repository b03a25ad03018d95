"""The peers, each as its own documentation makes it fastest without giving up that a step is durable."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.peers import postgres
from benchmarks.trials import ON_POSTGRES, OURS, ROOT, System

ENVIRONMENT = ROOT / ".venv-peers"
PYTHON = ENVIRONMENT / "bin" / "python"
PINS = Path(__file__).with_name("requirements.txt")
SERVER_VERSION = json.loads(Path(__file__).with_name("package.json").read_text(encoding="utf-8"))["dependencies"][
    "@restatedev/restate-server"
]

RESTATE = System(
    "restate", "rocksdb", "benchmarks.peers.restate", python=PYTHON,
    settings="one node, 4 partitions, its log on the disk; service under granian", version=SERVER_VERSION, best={"concurrency": 256},
)  # fmt: skip


@contextmanager
def ready(systems: Iterable[System]) -> Iterator[list[System]]:
    """Yield the systems, with PostgreSQL running for those that need it. What cannot run here says why."""
    systems = list(systems)
    if not any(system.store == "postgres" and not system.missing for system in systems):
        yield systems
        return
    try:
        with postgres.server(ENVIRONMENT) as url:
            yield [replace(one, variables={postgres.VARIABLE: url}) if one.store == "postgres" else one for one in systems]
    except postgres.NotStarted as error:
        yield [replace(one, missing=str(error)) if one.store == "postgres" else one for one in systems]


def peers() -> list[System]:
    """Return the peers. One that is not installed says so."""
    return [_checked(system) for system in _peers()]


def on_restate() -> list[System]:
    """Return what runs on a server of Restate. What is not installed says so."""
    bare = replace(
        RESTATE, name="restate-object", module="benchmarks.peers.restate_object", settings=f"{RESTATE.settings}; a case is an object"
    )
    ours = System("pointsman-restate", RESTATE.store, "benchmarks.systems.ours_restate", settings=bare.settings, version=OURS.version)
    return [_checked(RESTATE), _checked(bare), ours]


def _peers() -> list[System]:
    return [
        System(
            "langgraph-sqlite-async", "sqlite", "benchmarks.peers.langgraph", python=PYTHON,
            settings='durability="async", journal_mode=WAL, synchronous=FULL', version=_version("langgraph"), best={"concurrency": 2, "processes": 2},
        ),
        System(
            "langgraph-postgres", "postgres", "benchmarks.peers.langgraph", python=PYTHON,
            settings=f'durability="async", a pool of 16; {ON_POSTGRES}', version=_version("langgraph"),
            best={"concurrency": 12, "processes": 3},
        ),
        System(
            "dbos-sqlite", "sqlite", "benchmarks.peers.dbos", python=PYTHON,
            settings="journal_mode=WAL, synchronous=FULL, answers polled each ms", version=_version("dbos"), best={"concurrency": 4, "processes": 2},
        ),
        System(
            "dbos-postgres", "postgres", "benchmarks.peers.dbos", python=PYTHON,
            settings=ON_POSTGRES, version=_version("dbos"), best={"concurrency": 16, "processes": 2},
        ),
        System(
            "absurd", "postgres", "benchmarks.peers.absurd", python=PYTHON,
            settings=f"a connection a process; {ON_POSTGRES}", version=_version("absurd-sdk"), best={"concurrency": 8, "processes": 8},
        ),
        RESTATE,
    ]  # fmt: skip


def _checked(system: System) -> System:
    return system if PYTHON.exists() else replace(system, missing="not installed; run `make bench`")


def _version(package: str) -> str:
    pinned = re.search(rf"^{re.escape(package)}==(\S+)$", PINS.read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned, package
    return pinned[1]
