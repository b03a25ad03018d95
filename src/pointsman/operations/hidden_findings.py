"""An explanation without what is private: made with all values, and then redacted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from pointsman.kernel.hiding import HIDDEN, leaves, without
from pointsman.kernel.program import Description
from pointsman.operations.findings import Findings
from pointsman.operations.history import History, history_of
from pointsman.operations.redaction import Redacted

F = TypeVar("F", bound=Findings)


async def hide(explanation: F, reader: Redacted) -> F:
    """The same explanation as whoever reads through this reader may see it."""
    private = await reader.private_of(explanation.case.id)
    if not private:
        return explanation
    texts = [*_texts(explanation.history, private)]
    rules = [
        [replace(rule, problem=None if rule.problem is None else without(rule.problem, texts)) for rule in some]
        for some in (explanation.rules, explanation.following)
    ]
    return replace(
        explanation,
        history=await history_of(reader, explanation.case.id),
        description=None if explanation.description is None else _described(explanation.description, private),
        rules=tuple(rules[0]),
        following=tuple(rules[1]),
        obstacles=tuple(without(obstacle, texts) for obstacle in explanation.obstacles),
        around=replace(explanation.around, messages=tuple(one._replace(body="") for one in explanation.around.messages)),
    )


def _texts(history: History, private: frozenset[str]) -> Iterator[str]:
    for name, value in history.state.items():
        if name in private:
            yield from leaves(value)


def _described(description: Description, private: frozenset[str]) -> Description:
    """What a body says, without the values of its calls if they are private."""
    if private.isdisjoint(description.fields):
        return description
    return replace(description, calls=tuple(call._replace(value=HIDDEN) for call in description.calls))
