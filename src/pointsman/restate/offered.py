"""What a process may use on Restate. The rest is refused when the process is registered."""

from collections.abc import Iterator, Sequence

from pointsman.definition.children import Child
from pointsman.definition.limits import Intake
from pointsman.definition.process import AnyProcess
from pointsman.definition.state import holds_blob
from pointsman.definition.transactions import Transaction
from pointsman.errors import DefinitionError
from pointsman.kernel.program import Rules, program_of


def check_offered(processes: Sequence[AnyProcess], *, blobs: bool) -> None:
    """Raise DefinitionError if a process uses what is not offered on Restate. `blobs` says whether they have a store."""
    for process in processes:
        for what, mend in _missing(process, {one.name for one in processes}, blobs=blobs):
            raise DefinitionError(f"process {process.name!r}: {what} on Restate; {mend}.")


def _missing(process: AnyProcess, served: set[str], *, blobs: bool) -> Iterator[tuple[str, str]]:
    """What of this process is not offered, and what to do about it."""
    here = "run it on SQLite or PostgreSQL"
    if not isinstance(program_of(process), Rules):
        yield "an entrypoint cannot run", f"write it with rules, or {here}"
    for step in process.steps.values():
        if isinstance(step, Transaction):
            yield f"transaction {step.name!r} has no database", f"make it an effect, or {here}"
        if isinstance(step, Child) and step.process.name not in served:
            yield f"child {step.name!r} is a case of {step.process.name!r}, which is not served", "serve both"
    if process.budget is not None:
        yield "a budget cannot be counted", f"leave budget= out, or {here}"
    if process.retention is not None:
        yield "retention deletes nothing", f"leave retention= out, or {here}"
    if process.intake != Intake():
        yield "the intake cannot be bounded", f"leave intake= out, or {here}"
    for name, field in process.state.model_fields.items():
        if not blobs and holds_blob(field.annotation):
            yield f"the blob in {name!r} has no store", "give the folder of one with --blobs or blobs="
