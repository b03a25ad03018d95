"""What programs on Restate and their clients share: the names of the objects and services, and the numbers of cases."""

from collections.abc import Iterator
from urllib.parse import quote, unquote

from pointsman.kernel.codec import digest

NAME, SERVICE, CORRELATION, LIMIT = "PointsmanCase", "PointsmanMessages", "PointsmanCorrelation", "PointsmanLimit"
"""The names of the virtual object of cases, of the service that takes messages, and of the virtual objects of correlation keys and limits."""

START_HERE = "start_here"
"""The handler of a correlation key's object that starts a case with this key."""

BLOBS = "PointsmanBlobs"
"""The name of the service that stores blobs."""

SCHEDULE, SCHEDULES = "PointsmanSchedule", "pointsman.schedules"
"""The name of the virtual object of schedules, and its metadata that names those of the program, as a JSON list of processes and names."""

PROCESSES = "pointsman.processes"
"""The metadata of the virtual object of cases that names the processes of the program, as a JSON list."""

NUMBER_BITS = 53  # so that a program in JavaScript reads a number as it is
DIGITS_MAX = len(str(2**NUMBER_BITS))
PLACES = 1_000  # with a billion cases, one number in nine million is taken


def key_of(process: str, number: int) -> str:
    """The key of a case's object."""
    return f"{process}:{number}"


def schedule_key(process: str, name: str) -> str:
    """The key of a schedule's object."""
    return f"{quote(process)}:{name}"


def process_of(key: str) -> str:
    """The process of a schedule's object."""
    return unquote(key.partition(":")[0])


def place_of(process: str, tenant: str, correlation: str | None, alone: str = "") -> str:
    """The key of the object of a correlation key; of a message without one, that of the message `alone`."""
    return digest((process, tenant, "alone", alone) if correlation is None else (process, tenant, "key", correlation))


def seed_of(process: str, tenant: str, key: str) -> str:
    """What the number of a case with this start key is computed from."""
    return digest((process, tenant, key))


def numbers(seed: str) -> Iterator[int]:
    """The numbers that a case with this seed may have. It has the first that no other case has."""
    return (1 + int(digest((seed, str(place))), 16) % (2**NUMBER_BITS - 1) for place in range(PLACES))
