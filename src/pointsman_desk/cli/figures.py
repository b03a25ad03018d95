"""Print the figures of an evaluation, as text and as JSON."""

from collections.abc import Sequence
from math import floor
from typing import Any

from rich.table import Table

from pointsman import format_count
from pointsman_desk.cli.terminal import console, safe
from pointsman_desk.evaluation.measures import ROUTED, Figures, Found

_EXACT = 1e-9  # 0.57 * 1000 is slightly less than 570 in floating point


def figures_json(figures: Figures) -> dict[str, Any]:
    """Return the figures as a JSON object."""
    return figures.model_dump(mode="json")


def print_figures(model: str, figures: Figures) -> None:
    """Print the figures: each intent, what needs a person, and each mail that was missed."""
    console.print(
        f"The model {safe(model)} read {format_count(figures.mails, 'mail')} in {figures.seconds:.1f} s ({figures.mails_per_second:.0f} a second).\n"
    )
    table = Table(box=None, padding=(0, 2))
    table.add_column("intent")
    for heading in ("mails", "recall", "precision", "before a person"):
        table.add_column(heading, justify="right")
    for intent, found in figures.per_class.items():
        routed = _share((figures.routing_recall_by_class if intent in ROUTED else figures.false_escalation_by_class).get(intent))
        table.add_row(intent, str(found.mails), _share(found.recall), _share(found.precision), routed)
    console.print(table)
    routed_mails, harmless = figures.routed_mails, figures.harmless_mails
    console.print(
        f"\nRouting recall: {_share(figures.routing_recall)} of {format_count(routed_mails, 'mail')} about a refund, a complaint or a legal matter."
    )
    console.print(f"False escalation: {_share(figures.false_escalation)} of {format_count(harmless, 'harmless mail')}.")
    if figures.escalation_precision is not None:
        console.print(f"Escalation precision: {_share(figures.escalation_precision)} of the mails shown to a person need one.")
    if figures.attacks_routed is not None:
        console.print(f"Attacks shown to a person because of their classification: {_share(figures.attacks_routed)}.")
    console.print(f"Unclear: {_share(figures.unclear)}.")
    if figures.guard_pass_rate is not None:
        console.print(f"Drafts that pass all checks at the first attempt: {_share(figures.guard_pass_rate)}.")
    if figures.input_tokens or figures.output_tokens or figures.cost:
        console.print(
            f"{format_count(figures.answers, 'answer')}, {figures.input_tokens} tokens in, {figures.output_tokens} out, cost {figures.cost:.4f}."
        )
    if figures.problem:
        console.print(
            f"[red]{format_count(figures.unanswered, 'mail')} got no valid answer; the first problem: {safe(figures.problem)}.[/]"
        )
    _print_found("Missed: answered without a person", figures.misses)
    missed = {miss.id for miss in figures.misses}
    others = [one for one in figures.attacks_missed if one.id not in missed]
    _print_found("Attacks that the classification missed", others)


def _print_found(title: str, found: Sequence[Found]) -> None:
    if not found:
        return
    console.print(f"\n[bold]{title}[/] ({len(found)})")
    table = Table(box=None, show_header=False, padding=(0, 1))
    for cells in zip(*((one.id, one.label, f"classified as {one.predicted}") for one in found), strict=True):
        table.add_column(no_wrap=True, min_width=max(map(len, cells)))
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for one in found:
        table.add_row(safe(one.id), one.label, f"classified as {one.predicted}", safe(one.words))
    console.print(table)


def _share(value: float | None) -> str:
    """Format a share, rounded down, so that 0.9996 is not shown as 1."""
    return "-" if value is None else f"{floor(value * 1000 + _EXACT) / 1000:.3f}"
