"""The comparisons with peers as bars: an SVG that is readable on a light and on a dark page."""

from collections.abc import Iterator
from html import escape
from math import log10

from benchmarks.results import FIGURE, SMALLER_IS_BETTER, UNIT, label, number
from benchmarks.trials import ENGINES, FLOORS, Row

WIDTH, LEFT, RIGHT = 860, 190, 90  # of the picture, of the names, of the figures
BAR, GAP, HEAD = 16, 6, 44
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.peer { fill: #8c959f; } .ours { fill: #1a7f37; } .floor { fill: #0969da; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .peer { fill: #6e7681; } .ours { fill: #3fb950; } .floor { fill: #58a6ff; }
}
"""


def plot(rows: list[Row]) -> str:
    """Draw a group of bars for each comparison, on a logarithmic scale. The floor is the bound that no engine here can pass."""
    groups = [group for group in comparisons(rows) if len(group) > 2]
    drawn, y = [], 8
    for group in groups:
        lines, y = _group(group, y)
        drawn += lines
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">'
    title = "<title>Pointsman, the floor of the machine, and other durable engines</title>"
    return "\n".join([svg, title, f"<style>{STYLE}</style>", *drawn, "</svg>", ""])


def comparisons(rows: list[Row]) -> Iterator[list[Row]]:
    """Yield the rows of each comparison of W1, W2 and W3 that were measured, the fastest first."""
    for ours in rows:
        figure = FIGURE.get(ours["workload"])
        if ours["system"] in ENGINES and figure is not None and "each_round" in ours:
            group = [row for row in rows if row.get("comparison") == ours["comparison"] and figure in row]
            yield sorted(group, key=lambda row: row[figure], reverse=figure not in SMALLER_IS_BETTER)


def _group(group: list[Row], y: int) -> tuple[list[str], int]:
    [ours] = [row for row in group if row["system"] in ENGINES]
    figure = FIGURE[ours["workload"]]
    values = [row[figure] for row in group]
    least = min(values) / 2  # the shortest bar has a length, too
    scale = (WIDTH - LEFT - RIGHT) / log10(max(values) / least)
    better = "less is better" if figure in SMALLER_IS_BETTER else "more is better"
    lines = [f'<text class="title" x="0" y="{y + 14}">{escape(label(ours))}: {UNIT[figure]}, {better}, logarithmic</text>']
    y += HEAD - BAR
    for row in group:
        kind = "ours" if row["system"] in ENGINES else "floor" if row["system"] in FLOORS else "peer"
        length = scale * log10(row[figure] / least)
        lines += [
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(row["system"])}</text>',
            f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" rx="2"/>',
            f'<text x="{LEFT + length + 6:.0f}" y="{y + 12}">{number(row[figure])}</text>',
        ]
        y += BAR + GAP
    return lines, y + GAP * 2
