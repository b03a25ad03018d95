"""Take back what a person answered at a pause of a body, so that the person is asked again."""

from collections.abc import Iterable, Mapping

from pointsman.errors import Refused
from pointsman.functional.record import RecordEntry


def answers_taken_back(entries: Iterable[RecordEntry], corrections: Mapping[str, object]) -> list[RecordEntry]:
    """The entries that take back the answers which `corrections` set to None, by the name of their pause or of their call. Raises Refused.

    What was recorded after such an answer may have been asked for because of it. The body then need not ask for it again, except for what
    has changed the outside world: an effect, or another entrypoint.
    """
    standing: dict[str, RecordEntry] = {}
    for entry in entries:
        if entry.get("void"):
            standing.pop(entry["call"], None)
        elif not entry.get("left_out") and "since" not in entry:
            standing[entry["call"]] = entry
    answers = [call for call, entry in standing.items() if "answer" in entry]
    taken = [_named(name, value, answers) for name, value in corrections.items()]
    calls = list(standing)
    later = calls[min(calls.index(call) for call in taken) :] if taken else []
    return [
        *(RecordEntry(call=call, void=True) for call in taken),
        *(RecordEntry(call=call, left_out=True) for call in later if call not in taken and "outcome" not in standing[call]),
    ]


def _named(name: str, value: object, answers: list[str]) -> str:
    """The call of the pause that a correction names."""
    found = [call for call in answers if name in {call, call.partition("[")[0]}]
    if not found:
        known = ", ".join(answers) or "none so far"
        raise Refused(f"{name!r} is no answered pause of this case; only answers can be corrected, and those are: {known}.")
    if len(found) > 1:
        raise Refused(f"pause {name!r} was answered {len(found)} times; name one of {', '.join(found)}.")
    if value is not None:
        raise Refused(
            f"{name!r} is what a person answers, and a correction cannot give it; set it to null, so that the person is asked again."
        )
    return found[0]
