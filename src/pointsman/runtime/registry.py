"""The processes of an engine. Several versions of one may be registered; each case runs under one that accepts it."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import cast

from pointsman.definition.process import AnyProcess, Process
from pointsman.errors import DefinitionError, UnknownProcess, VersionNotAccepted


class Registry:
    """Chooses the process for a start or a case. Raises DefinitionError if a version is registered twice."""

    def __init__(self, processes: Sequence[AnyProcess]) -> None:
        self._versions: dict[str, dict[int, AnyProcess]] = {}
        if not isinstance(cast("object", processes), Iterable) or not all(isinstance(cast("object", one), Process) for one in processes):
            raise DefinitionError(f"processes={processes!r} is not a list of processes; give the engine a list, such as [process].")
        for process in sorted(processes, key=lambda process: process.version):
            versions = self._versions.setdefault(process.name, {})
            if process.version in versions:
                message = f"two processes are called {process.name!r} and have version {process.version}"
                raise DefinitionError(f"{message}; give one another name, or another version.")
            versions[process.version] = process
        self._newest = {name: [*versions.values()][-1] for name, versions in self._versions.items()}

    @property
    def names(self) -> list[str]:
        """Return the names of the processes."""
        return list(self._versions)

    @property
    def newest(self) -> list[AnyProcess]:
        """Return the process for new cases of each name."""
        return [*self._newest.values()]

    @property
    def accepts(self) -> dict[str, set[int]]:
        """Return for each name the versions of the cases that can run here."""
        return {name: {*versions}.union(*(one.accepts for one in versions.values())) for name, versions in self._versions.items()}

    def __iter__(self) -> Iterator[AnyProcess]:
        """Return all processes; for each name, the lowest version first."""
        return (process for versions in self._versions.values() for process in versions.values())

    def for_start(self, name: str) -> AnyProcess:
        """Return the process for new cases: the highest version. Raises UnknownProcess."""
        newest = self._newest.get(name)
        if newest is None:
            known, meant = ", ".join(sorted(self._versions)) or "none", get_close_matches(name, self._versions, n=1)
            do = f"did you mean {meant[0]!r}?" if meant else "pass it to Engine.open, or name it with --app."
            raise UnknownProcess(f"process {name!r} is not registered with this engine, which has {known}; {do}")
        return newest

    def accepting(self, name: str, version: int) -> AnyProcess | None:
        """Return the process for a case of this version: the same version, or the lowest that accepts it, or None."""
        versions = self._versions.get(name, {})
        return versions.get(version) or next((process for process in versions.values() if process.accepts_version(version)), None)

    def for_case(self, name: str, version: int) -> AnyProcess:
        """Return what `accepting` returns. Raises UnknownProcess, and VersionNotAccepted if no registered version accepts the case."""
        process = self.accepting(name, version)
        if process is not None:
            return process
        newest = self.for_start(name)
        here = ", ".join(f"version {one.version} {_accepts(one)}" for one in self._versions[name].values())
        mend = (
            "open the newer code"
            if version > newest.version
            else f"open the code of version {version} beside it, or add {version} to accepts="
        )
        raise VersionNotAccepted(f"no registered code accepts version {version} of {name!r} ({here}); {mend}")


def _accepts(process: AnyProcess) -> str:
    others = " and ".join(str(version) for version in sorted(process.accepts))
    return f"also accepts {others}" if others else "accepts no other"
