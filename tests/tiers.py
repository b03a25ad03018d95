"""How big a tier of the tests is: as big as every run can afford, or as `make soak` asks for."""

import os


def figure(name: str, short: int) -> int:
    """A tier's size: POINTSMAN_<name> of the environment, or what a run of all tests affords."""
    return int(os.environ.get(f"POINTSMAN_{name}", short))


def seed() -> int:
    """What a tier's chance begins with: POINTSMAN_SEED of the environment, or always the same. A tier prints it."""
    return figure("SEED", 7)
