"""Find the cases of a person, and erase them: each in a commit of its own, so that it is safe to repeat."""

from collections.abc import Sequence
from typing import NamedTuple

from pointsman.definition.process import AnyProcess
from pointsman.errors import Refused, UnknownCase, ValueRefused
from pointsman.kernel.codec import check_name, check_text, digest
from pointsman.kernel.words import VALUE_MAX, searched
from pointsman.runtime.operator_commands import OperatorCommands
from pointsman.runtime.ports import Ports
from pointsman.runtime.retention import BLOB_SECONDS
from pointsman.store.base import RetentionStore
from pointsman.store.query import PAGE_MAX, CaseQuery, Order, cursor_of


class PersonErased(NamedTuple):
    """What became of the cases of a person. `person` is a digest, by which two such reports can be compared.

    `cases` are the ones whose content was erased, or would be in a dry run; `refused` are the others, each with the reason. `blobs` is the number of
    blobs that were deleted. `not_searched` names the processes in the database whose code the engine does not have.
    """

    person: str
    cases: tuple[int, ...]
    refused: tuple[tuple[int, str], ...]
    blobs: int = 0
    not_searched: tuple[str, ...] = ()


class Persons:
    """The engine's method for the cases of a person."""

    def __init__(self, ports: Ports, processes: Sequence[AnyProcess], operators: OperatorCommands) -> None:
        self._looks = ports.store.reader
        self._store: RetentionStore = ports.store
        self._clock = ports.clock
        self._operators = operators
        self._searched = sorted({(process.name, field) for process in processes for field in process.searchable})
        self._here = {process.name for process in processes}

    async def erase(self, person: str, *, by: str, why: str, dry_run: bool) -> PersonErased:
        """Erase the cases of a person; see `Engine.erase_person`."""
        check_name("by", by)
        check_text("why", why)
        check_text("person", person)
        if not searched(person) or len(searched(person)) > VALUE_MAX:
            raise ValueRefused(f"person: give a value of 1 to {VALUE_MAX} characters that a searchable field has, such as a mail address.")
        done: list[int] = []
        refused: list[tuple[int, str]] = []
        for case in await self._cases(person):
            try:
                if dry_run:
                    await self._operators.check_erasable(case)
                else:
                    await self._operators.erase(case, by=by, why=why)
                done.append(case)
            except Refused as error:
                refused.append((case, str(error)))
            except UnknownCase:
                continue  # retention has deleted it meanwhile
        blobs = 0
        if not dry_run:  # also those that an earlier call left because they were too young
            blobs = (await self._store.collect_blobs(before=self._clock.now() - BLOB_SECONDS)).blobs
        others = {row.process for row in await self._looks.definitions()} - self._here
        named = digest((self._looks.incarnation, searched(person)))
        return PersonErased(named, tuple(done), tuple(refused), blobs, tuple(sorted(others)))

    async def _cases(self, person: str) -> list[int]:
        """The cases that a searchable field with exactly this value finds, in their order."""
        found: set[int] = set()
        for process, field in self._searched:
            query, after = CaseQuery(process=process, search={field: person}), cursor_of(Order.NUMBER, 0.0, 0)
            while after:
                page = await self._looks.find(query, after=after, limit=PAGE_MAX)
                found.update(row.case.id for row in page.rows)
                after = page.cursor or ""
        return sorted(found)
