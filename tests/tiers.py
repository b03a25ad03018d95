"""How big a tier of the tests is: as big as every run can afford, or as `make soak` asks for."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import NoReturn

import pytest


def figure(name: str, short: int) -> int:
    """A tier's size: POINTSMAN_<name> of the environment, or what a run of all tests affords."""
    return int(os.environ.get(f"POINTSMAN_{name}", short))


def seed() -> int:
    """What a tier's chance begins with: POINTSMAN_SEED of the environment, or always the same. A tier prints it."""
    return figure("SEED", 7)


def tried(number: int, *what: object) -> bool:
    """Whether a run breaks the engine at the point of this number: at one by chance in each four, or at all, if POINTSMAN_ONE_IN is 1."""
    place, within = divmod(number, one_in := figure("ONE_IN", 4))
    return Random(f"{seed()} {what} {place}").randrange(one_in) == within


def points(*what: object) -> Iterator[int]:
    """The numbers of the points at which a run breaks the engine, without an end."""
    return filter(lambda number: tried(number, *what), count(1))


def kills(live: Callable[[int], bool], numbers: Iterable[int], *, tries: int = 3) -> int:
    """Kill a life at one point after the other, until no try of a life has so many points. Return how many were killed.

    `live` is given the number of a point, and answers whether its life was killed. Two lives do not have the same points, because what is
    handed to the store at the same moment shares a commit.
    """
    for killed, number in enumerate(numbers):
        if not any(live(number) for _ in range(tries)):
            return killed
    raise AssertionError("each point has killed a life; give more of them")


def kills_of(points: int) -> int:
    """How many kills a run makes at least where each life has so many points."""
    return points // figure("ONE_IN", 4) - 1


def real_mails() -> Path:
    """The folder of mails that nobody here wrote, which are not part of the project; without it the test is skipped, and says so."""
    folder = Path(os.environ.get("POINTSMAN_MAIL_DATA", Path(__file__).parents[2] / "shared" / "data" / "mail"))
    if not folder.is_dir():
        pytest.skip(f"there are no real mails in {folder}; POINTSMAN_MAIL_DATA names their folder")
    return folder


def program(name: str) -> str:
    """The path of a program that the system's package manager has. Without it a test is skipped; where CI is set, it fails."""
    elsewhere = [Path("/usr/local/sbin"), Path("/usr/sbin"), Path("/sbin"), *Path("/usr/lib/postgresql").glob("*/bin")]
    found = shutil.which(name, path=":".join([os.environ.get("PATH", os.defpath), *map(str, elsewhere)]))
    if found is None:
        missing(f"{name} is not here; `make system-deps` installs it")
    return found


def missing(told: str) -> NoReturn:
    """Skip the test, because something that it needs is not here. Where CI is set, fail it."""
    if os.environ.get("CI"):
        pytest.fail(told)
    pytest.skip(told)
