"""Draws a process as a Mermaid flowchart: the rules in order, and the step of each rule."""

from pointsman.definition.children import Child
from pointsman.definition.effects import Effect
from pointsman.definition.nodes import Node
from pointsman.definition.pauses import Pause
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Finish, Parallel, Park, Step


def draw(process: AnyProcess) -> str:
    """The text of the flowchart (https://mermaid.js.org/syntax/flowchart.html).

    A hexagon is a rule, a box is a node, a box with double sides is an effect, a slanted box is a pause, and a rounded box
    is an end. A trapezoid is an invariant, with a dotted line to each step that it guards. A body has no rules: it is drawn with dotted
    lines to what it may call. Its pauses are known only when it runs.
    """
    lines = ["flowchart TD"]
    rules = process.ordered_rules
    if not rules:
        called = [step for step in process.steps.values() if isinstance(step, Child) or _by_the_author(step)]
        lines += [f'    b(["{_text(process.name)}"])', *(f"    b -.-> s{at}{_shape(step)}" for at, step in enumerate(called))]
    for position, rule in enumerate(rules):
        lines.append(f'    r{position}{{{{"{_text(rule.name)}"}}}}')
        lines.append(f"    r{position} -- yes --> s{position}{_shape(rule.step)}")
        if position + 1 < len(rules):
            lines.append(f"    r{position} -- no --> r{position + 1}")
        if isinstance(rule.step, Node | Pause | Parallel):
            lines.append(f"    s{position} -.-> r0")
    for number, invariant in enumerate(process.invariants.values()):
        lines.append(f'    n{number}[/"never: {_text(invariant.name)}"\\]')
        guarded = [f"s{position}" for position, rule in enumerate(rules) if invariant.guards(rule.step)]
        lines += [f"    n{number} -.- {step}" for step in (guarded if invariant.effect or invariant.ends else ["r0"])]
    return "\n".join(lines) + "\n"


def _by_the_author(step: Step) -> bool:
    """Whether the author wrote the function of a step. Those of the library that every body may call, such as the time, say nothing."""
    return isinstance(step, Node | Effect) and not step.function.__module__.startswith("pointsman.")


def _shape(step: Step) -> str:
    name = _text(step.name)
    if isinstance(step, Effect):
        return f'[["{name}"]]'
    if isinstance(step, Pause):
        return f'[/"{name}"/]'
    if isinstance(step, Park):
        return f'>"{_text(step.reason)}"]'
    if isinstance(step, Finish):
        return f'(["{_text(step.outcome)}"])'
    if isinstance(step, Parallel):
        return f'["{_text(step.name + _failures(step))}"]'
    return f'["{name}"]'


def _failures(step: Parallel) -> str:
    """The `failures=` of a parallel step, if it has one."""
    if step.failures is None:
        return ""
    return f" ({step.failures})" if isinstance(step.failures, str) else f" (quorum of {step.failures.needed})"


def _text(text: str) -> str:
    return " ".join(text.split()).replace('"', "&quot;")
