"""Versions of a process: which older cases the code can go on with, and what must be done to their state first."""

from collections.abc import Callable, Mapping
from typing import Any

from pointsman.errors import DefinitionError

Migration = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""A pure function of a case's stored fields, as plain JSON values, to those of the next version."""


def check_versions(process: str, version: int, accepts: Mapping[int, Migration | None]) -> None:
    """Refuse a version that is no number, and an older one from which no chain of migrations leads to the present one."""
    what = f"process {process!r}"
    if not _counts(version):
        raise DefinitionError(f"{what}: version={version!r} is no version; count them 1, 2, 3.")
    for older, migrate in accepts.items():
        if not _counts(older) or older >= version:
            raise DefinitionError(f"{what}: accepts names version {older!r}, which is none before version {version}; remove it.")
        if migrate is not None and not callable(migrate):
            raise DefinitionError(
                f"{what}: accepts[{older}] is {migrate!r}; give a function of the stored fields, or None to change nothing."
            )
        missing = next((step for step in range(older, version) if step not in accepts), None)
        if missing is not None:
            told = f"{what}: accepts has {older} but not {missing}, so its cases cannot come to version {version}"
            raise DefinitionError(f"{told}; add {missing}: to accepts, None where nothing changed.")


def _counts(version: object) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and version >= 1
