"""What a pause shows to the person who answers it, and the fields of an answer."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.definition.signature import show
from pointsman.errors import AlreadyAnswered, AnswerInvalid, NotWaiting, Refused, Stale, ValueRefused
from pointsman.kernel import people
from pointsman.kernel.case import Case
from pointsman.kernel.codec import adapter_of, codec_of, describe, digest_of
from pointsman.kernel.hiding import hide_fields
from pointsman.kernel.operators import standing
from pointsman.kernel.program import Program
from pointsman.kernel.rows import CaseRow, PauseRow
from pointsman.kernel.snapshot import Cell, Status
from pointsman.kernel.timers import escalates_to, expires_at


class Pending(NamedTuple):
    """A pause that waits for an answer. Give it with `Engine.resume(token, ...)`.

    `shown` has the fields that the answer decides on, and `beside` the other fields that are shown. `digest` is the digest of `shown`.
    `edits` are the shown fields that an answer may rewrite.
    `assignee` is the person who is asked. `since` and `expires_at` are when the pause opened and when it expires (Unix seconds), and `escalates_to`
    is to whom its ladder passes it on next.
    """

    case: int
    pause: str
    token: str
    digest: str
    shown: Mapping[str, Any]
    beside: Mapping[str, Any]
    answer: type
    since: float
    assignee: str | None = None
    expires_at: float | None = None
    process: str = ""
    edits: tuple[str, ...] = ()
    escalates_to: str = ""

    def without(self, private: Collection[str]) -> "Pending":
        """The same pause, without the values of these fields."""
        return self._replace(shown=hide_fields(self.shown, private), beside=hide_fields(self.beside, private))


def declared_pause(program: Program, case: Case, pause: PauseRow) -> Pause | None:
    """The pause that the code declares, or None if it no longer shows what the stored pause showed."""
    cells = case.snapshot.cells
    declared = program.pause(case.row.id, cells, program.process.called(pause.name))
    return declared if declared is not None and digest_of(cells, declared.shows) == pause.digest else None


def too_late(process: AnyProcess, row: CaseRow, pause: PauseRow) -> Refused:
    """Why a closed pause of a case takes no answer: AlreadyAnswered, NotWaiting or Stale."""
    answered, asks_again = pause.closed == "answered", process.called(row.step or "") == process.called(pause.name)
    if row.status is Status.WAITING and (asks_again or not answered):
        change = f"was answered by {pause.closed_by}" if answered else "has been rewritten"
        return Stale(f"what case {row.id} showed {change} since, and it shows something new; look at it again.", current=None)
    if answered:
        return already_answered(row.id, str(pause.closed_by))
    if row.status in {Status.READY, Status.RUNNING}:
        return Stale(f"what case {row.id} showed has been rewritten since, and is being computed again.", current=None)
    return NotWaiting(f"case {row.id} is no longer waiting for an answer: {standing(row)}.")


def already_answered(case: int, by: str) -> AlreadyAnswered:
    """What somebody is told who answers after another person."""
    return AlreadyAnswered(f"case {case} was already answered by {by}; nothing was changed.", by=by)


def pending_of(process: AnyProcess, case: Case, declared: Pause, pause: PauseRow) -> Pending:
    """The open pause, as the person sees it."""
    codec, cells = codec_of(process.state), case.snapshot.cells
    return Pending(
        pause.case,
        declared.name,
        pause.token,
        pause.digest,
        {name: codec.fresh(cells, name) for name in declared.shows},
        {name: codec.fresh(cells, name) for name in declared.beside},
        declared.answer,
        pause.opened_at,
        pause.assignee,
        expires_at(declared, pause),
        process.name,
        declared.edits,
        escalates_to(declared, pause.assignee),
    )


def answer_cells(process: AnyProcess, pause: Pause, answer: object, edits: Mapping[str, object], by: str) -> dict[str, Cell]:
    """The fields that an answer of the person `by` writes. Raises AnswerInvalid."""
    codec = codec_of(process.state)
    not_editable = sorted(set(edits) - set(pause.edits))
    if not_editable:
        editable = ", ".join(pause.edits) or "nothing"
        raise AnswerInvalid(f"pause {pause.name!r} does not let an answer rewrite {not_editable[0]!r}; it lets it rewrite {editable}.")
    try:
        checked = adapter_of(pause.answer).validate_python(answer)
        if (problem := people.other_signer(checked, by)) is not None:
            raise AnswerInvalid(f"the answer to {pause.name!r} {problem}.")
        written = {pause.writes[0]: codec.write(pause.writes[0], checked, pause.name)}
        return written | {name: codec.encode(name, value, pause.name) for name, value in edits.items()}
    except ValidationError as error:
        raise AnswerInvalid(f"the answer does not fit {show(pause.answer)}: {describe(error)}.") from None
    except ValueRefused as error:
        raise AnswerInvalid(f"the answer was refused: {error}") from None
