"""Versions of a process: the older cases that the code accepts, and the migrations of their state."""

from collections.abc import Callable, Mapping
from typing import Any

from pointsman.errors import DefinitionError

Migration = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""A pure function that turns the stored fields of a case, as plain JSON values, into those of the next version."""


def check_versions(process: str, version: int, accepts: Mapping[int, Migration | None]) -> None:
    """Refuse an invalid version, and an accepted version without a chain of migrations to the present one."""
    what = f"process {process!r}"
    if not _counts(version):
        raise DefinitionError(f"{what}: version={version!r} is not a version; use 1, 2, 3 and so on.")
    for older, migrate in accepts.items():
        if not _counts(older) or older >= version:
            raise DefinitionError(f"{what}: accepts names version {older!r}, which is not older than version {version}; remove it.")
        if migrate is not None and not callable(migrate):
            raise DefinitionError(
                f"{what}: accepts[{older}] is {migrate!r}; give a function of the stored fields, or None to change nothing."
            )
        missing = next((step for step in range(older, version) if step not in accepts), None)
        if missing is not None:
            problem = f"{what}: accepts has {older} but not {missing}, so its cases cannot reach version {version}"
            raise DefinitionError(f"{problem}; add {missing}: to accepts, with None if nothing changed.")


def _counts(version: object) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and version >= 1
