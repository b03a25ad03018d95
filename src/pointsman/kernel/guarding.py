"""Run a guard's checks and choose the next model to ask: pure, so that a crash changes nothing.

The `Progress` of a guarded step is committed with each response. The same response and progress always lead to the same next
move, so that a resumed case neither repeats a request nor skips one.
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from pointsman.definition.guards import Guard, ModelResponse, Usage, Violation
from pointsman.errors import CheckError
from pointsman.kernel.codec import message_of, storable

RAW_CHARACTERS_MAX = 65_536  # of a stored response: more than any model writes to a mail; an endless response is truncated

Count = Annotated[int, Field(ge=0)]


class Progress(BaseModel):
    """How far a guarded step has come: the model, its retry, the repair within that, and the last rejected response."""

    model_config = ConfigDict(frozen=True)

    model: Count = 0
    retry: Count = 0
    repair: Count = 0
    violations: tuple[Violation, ...] = ()
    rejected: str = ""


BEGINNING = Progress()


class Judged(NamedTuple):
    """A result to check: its output, or the violations that it came with, and the facts for its event."""

    output: object
    violations: tuple[Violation, ...]
    raw: str
    facts: Mapping[str, Any]


def progress_of(guard: Guard | None, text: str | None) -> Progress:
    """Read a stored progress. Without one, or with a model that the guard no longer has, the guard begins again."""
    if guard is None or text is None:
        return BEGINNING
    progress = Progress.model_validate_json(text)
    return progress if progress.model < guard.models else BEGINNING


def taken_apart(result: object) -> Judged:
    """Unpack what a guarded node returned: a `ModelResponse`, or a plain value, which has no usage."""
    if not isinstance(result, ModelResponse):
        return Judged(result, (), "", {})
    raw = storable(result.raw[:RAW_CHARACTERS_MAX])
    violations = tuple(Violation(check=storable(one.check), message=storable(one.message)) for one in result.violations)
    if result.output is None and not violations:
        violations = (Violation(check="schema", message="there is no answer"),)
    usage = result.usage
    used = {
        "model": storable(result.model),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cost": str(usage.cost),
    }
    return Judged(result.output, violations, raw, {"used": used, "raw": raw})


def objections(guard: Guard, value_of: Callable[[str], object]) -> tuple[Violation, ...]:
    """The violations that the checks find; `value_of` returns a copy of a field, also of the new result. Raises CheckError.

    All checks get the same copies: a copy for each check would cost more than the checks.
    """
    found: list[Violation] = []
    given = {read: value_of(read) for read in {read: None for signature in guard.signatures.values() for read in signature.reads}}
    for check, (name, signature) in zip(guard.checks, guard.signatures.items(), strict=True):
        try:
            said = check(**{read: given[read] for read in signature.reads})
            messages = [storable(str(one)) for one in (() if said is None else (said,) if isinstance(said, str) else said)]
        except Exception as error:  # the author's check may raise anything
            raise CheckError(f"check {name!r} raised {type(error).__name__}: {message_of(error)}") from error
        found += [Violation(check=name, message=message) for message in messages]
    return tuple(found)


def next_try(guard: Guard, progress: Progress, violations: tuple[Violation, ...], raw: str) -> tuple[str, Progress] | None:
    """The name and the progress of the next move after a rejected response; None if no model is left."""
    if progress.repair < guard.repairs_max:
        repair = progress.model_copy(update={"repair": progress.repair + 1, "violations": violations, "rejected": raw})
        return "repair", repair
    if progress.retry < guard.retries_max:
        return "retry", Progress(model=progress.model, retry=progress.retry + 1)
    return next_model(guard, progress)


def next_model(guard: Guard, progress: Progress) -> tuple[str, Progress] | None:
    """The move to the next model, after the present one gave no acceptable response; None if it was the last."""
    return ("next model", Progress(model=progress.model + 1)) if progress.model + 1 < guard.models else None


def free_model(guard: Guard, progress: Progress) -> tuple[str, Progress] | None:
    """The move to the first free model, after a budget was spent; None if there is none."""
    first = guard.models - guard.free_models
    return ("free model", Progress(model=first)) if guard.free_models and progress.model < first else None


def usage_in(facts: Mapping[str, Any]) -> tuple[str, Usage] | None:
    """The model and the usage that an event records, or None if it records no response."""
    used = facts.get("used")
    if used is None:
        return None
    return used["model"], Usage(input_tokens=used["input_tokens"], output_tokens=used["output_tokens"], cost=used["cost"])
