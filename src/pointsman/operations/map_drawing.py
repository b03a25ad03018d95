"""Draw a process map: places in layers, as SVG or Mermaid. Layers are those of the longest path (Sugiyama, Tagawa and Toda, 1981)."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, tostring

from pointsman.definition.counts import format_count
from pointsman.definition.effects import Effect
from pointsman.definition.process import AnyProcess
from pointsman.kernel.people import asks_a_person
from pointsman.operations.map import Move, Passage, Place, ProcessMap, kind_of, label_of
from pointsman.operations.times import format_duration, short_time

WIDTH, HEIGHT = 168.0, 46.0  # of a box: a name of 22 characters, and a line of figures
GAP_X, GAP_Y = 36.0, 58.0  # between boxes: room for the label of a passage
LANE = 30.0  # between two loops beside the boxes
EDGE = 14.0
NAME_MAX = 22  # characters that fit into a box
SWEEPS = 4  # over the layers: with the tens of places of a process, more change nothing
STROKE_MIN, STROKE_MAX = 1.0, 6.0

# The colours of a file; on a page, the stylesheet has its own for the classes.
_FILLS = {"pause": "#e8f1fb", "parked": "#fdf2e0", "cancelled": "#fdeceb", "done": "#e6f4ea", "start": "#f1f3f6"}
_LINE, _AGAIN, _TEXT, _SOFT = "#858f9f", "#824600", "#1a1f29", "#535d6e"

Address = Callable[[str, str], str | None]
"""The address of the cases that came from one place to another; the first is empty for all that reached the other."""


Cell = str | tuple[Move, int]
"""What a layer has: a place, or the bend of a passage that runs through it."""


class Point(NamedTuple):
    """A point of the drawing, from the top left corner."""

    x: float
    y: float


class Layout(NamedTuple):
    """Where the boxes are (their middles), where the passages that go on bend, and the size of it all."""

    boxes: Mapping[str, Point]
    bends: Mapping[Move, Sequence[Point]]
    width: float
    height: float


def kinds_of(process: AnyProcess, drawn: ProcessMap) -> dict[str, str]:
    """Return what the places of a map are: "pause", "effect" or "step"."""
    names = [place.name for place in drawn.places]
    return {
        name: "pause" if asks_a_person(process, name) else "effect" if isinstance(process.steps.get(name), Effect) else "step"
        for name in names
    }


def layout_of(drawn: ProcessMap) -> Layout:
    """Place the boxes: each below everything that leads to it, and beside what has the same depth. Passages back do not count."""
    order = {place.name: index for index, place in enumerate(drawn.places)}
    onward = [passage.move for passage in drawn.passages if order[passage.move.source] < order[passage.move.target]]
    depth = dict.fromkeys(order, 0)
    for name in order:  # whatever leads to a place stands before it
        depth[name] = max((depth[move.source] + 1 for move in onward if move.target == name), default=0)
    layers: list[list[Cell]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for name, at in depth.items():
        layers[at].append(name)
    links: list[tuple[Cell, Cell]] = []
    for move in onward:  # a passage over several layers gets a place of its own in each, so that no line runs under a box
        before: Cell = move.source
        for at in range(depth[move.source] + 1, depth[move.target]):
            layers[at].append((move, at))
            links.append((before, (move, at)))
            before = (move, at)
        links.append((before, move.target))
    _sort(layers, links)
    return _placed(layers, onward, len(drawn.passages) - len(onward))


def _sort(layers: Sequence[list[Cell]], links: Sequence[tuple[Cell, Cell]]) -> None:
    """Order each layer by the middle of its neighbours, downwards and upwards, so that fewer lines cross."""
    above: dict[Cell, list[Cell]] = defaultdict(list)
    below: dict[Cell, list[Cell]] = defaultdict(list)
    for source, target in links:
        above[target].append(source)
        below[source].append(target)
    at = {one: float(index) for layer in layers for index, one in enumerate(layer)}
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in layers if down else reversed(layers):
            near = above if down else below
            middle = {one: sum(at[other] for other in near[one]) / len(near[one]) if near[one] else at[one] for one in layer}
            layer.sort(key=middle.__getitem__)
            for index, one in enumerate(layer):
                at[one] = index - len(layer) / 2


def _placed(layers: Sequence[list[Cell]], onward: Sequence[Move], loops: int) -> Layout:
    widths = [sum(WIDTH if isinstance(one, str) else WIDTH / 3 for one in layer) + GAP_X * (len(layer) - 1) for layer in layers]
    whole = max(widths, default=WIDTH)
    boxes: dict[str, Point] = {}
    bends: dict[Move, list[Point]] = {move: [] for move in onward}
    for depth, (layer, width) in enumerate(zip(layers, widths, strict=True)):
        x, y = EDGE + (whole - width) / 2, EDGE + HEIGHT / 2 + depth * (HEIGHT + GAP_Y)
        for one in layer:
            wide = WIDTH if isinstance(one, str) else WIDTH / 3
            if isinstance(one, str):
                boxes[one] = Point(x + wide / 2, y)
            else:
                bends[one[0]].append(Point(x + wide / 2, y))
            x += wide + GAP_X
    height = 2 * EDGE + len(layers) * HEIGHT + (len(layers) - 1) * GAP_Y
    return Layout(boxes, bends, whole + 2 * EDGE + (loops + 1) * LANE * bool(loops) + 60 * bool(loops), height)


def draw_svg(drawn: ProcessMap, kinds: Mapping[str, str] | None = None, address: Address = lambda _, __: None) -> str:
    """Return the map as an SVG document. A box or a line for which there is an `address` is a link to it."""
    layout = layout_of(drawn)
    svg = Element("svg", {
        "xmlns": "http://www.w3.org/2000/svg", "class": "map", "viewBox": f"0 0 {layout.width:.0f} {layout.height:.0f}",
        "width": f"{layout.width:.0f}", "height": f"{layout.height:.0f}", "role": "group", "aria-labelledby": "map-title map-desc",
        "font-family": "system-ui, sans-serif", "font-size": "12",
    })  # fmt: skip
    SubElement(svg, "title", {"id": "map-title"}).text = f"The ways of {format_count(drawn.cases, 'case')} of {drawn.process}"
    SubElement(svg, "desc", {"id": "map-desc"}).text = "Boxes are steps, lines what followed what. A table has the same figures."
    arrow = SubElement(SubElement(svg, "defs"), "marker", {
        "id": "map-arrow", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "markerWidth": "9", "markerHeight": "9", "orient": "auto",
        "markerUnits": "userSpaceOnUse",
    })  # fmt: skip
    SubElement(arrow, "path", {"d": "M0 0 L8 4 L0 8 z", "class": "map-head", "fill": _LINE})
    most = max((passage.times.number for passage in drawn.passages), default=1)
    loops = 0
    for passage in drawn.passages:
        loops += passage.move not in layout.bends
        _draw_passage(svg, passage, layout, loops, passage.times.number / most, address)
    for place in drawn.places:
        _draw_place(svg, place, layout.boxes[place.name], kind_of(place.name, kinds or {}), address)
    return tostring(svg, encoding="unicode")


def _linked(parent: Element, href: str | None, said: str, kind: str) -> Element:
    """Return the element for a box or a line: a link if it has an address."""
    group = (
        SubElement(parent, "g", {"class": kind})
        if href is None
        else SubElement(parent, "a", {"href": href, "aria-label": said, "class": kind})
    )
    SubElement(group, "title").text = said
    return group


def _draw_place(svg: Element, place: Place, at: Point, kind: str, address: Address) -> None:
    figures = describe_place(place)
    group = _linked(svg, address("", place.name), f"{label_of(place.name)}: {figures}", f"map-place map-{kind}")
    round_ = f"{HEIGHT / 2:.0f}" if kind in {"start", "done", "cancelled"} else "6"
    SubElement(group, "rect", {
        "x": f"{at.x - WIDTH / 2:.1f}", "y": f"{at.y - HEIGHT / 2:.1f}", "width": f"{WIDTH:.0f}", "height": f"{HEIGHT:.0f}", "rx": round_,
        "fill": _FILLS.get(kind, "#ffffff"), "stroke": _LINE, **({"stroke-width": "2.5"} if kind == "effect" else {}),
    })  # fmt: skip
    label = label_of(place.name)
    short = label if len(label) <= NAME_MAX else f"{label[: NAME_MAX - 1]}…"
    name = SubElement(
        group, "text", {"x": f"{at.x:.1f}", "y": f"{at.y - 3:.1f}", "text-anchor": "middle", "font-weight": "600", "fill": _TEXT}
    )
    name.text = short
    line = {"x": f"{at.x:.1f}", "y": f"{at.y + 13:.1f}", "text-anchor": "middle", "class": "map-soft", "fill": _SOFT, "font-size": "11"}
    SubElement(group, "text", line).text = figures


def _draw_passage(svg: Element, passage: Passage, layout: Layout, loop: int, share: float, address: Address) -> None:
    source, target = layout.boxes[passage.move.source], layout.boxes[passage.move.target]
    said = f"{label_of(passage.move.source)} to {label_of(passage.move.target)}: {describe_passage(passage)}"
    back = passage.move not in layout.bends
    kind = "map-passage map-again" if back or passage.again else "map-passage"
    group = _linked(svg, address(passage.move.source, passage.move.target), said, kind)
    path, label = _around(source, target, layout, loop) if back else _down(source, target, layout.bends[passage.move])
    line = {"d": path, "fill": "none", "stroke": _AGAIN if "map-again" in kind else _LINE}
    SubElement(group, "path", {**line, "class": "map-hit", "stroke-width": "14", "stroke-opacity": "0"})
    width = STROKE_MIN + (STROKE_MAX - STROKE_MIN) * share
    dashes = {"stroke-dasharray": "6 4"} if back else {}
    SubElement(group, "path", {**line, **dashes, "class": "map-line", "stroke-width": f"{width:.1f}", "marker-end": "url(#map-arrow)"})
    text = SubElement(group, "text", {
        "x": f"{label.x:.1f}", "y": f"{label.y:.1f}", "class": "map-label", "fill": _TEXT, "font-size": "11",
        "stroke": "#ffffff", "stroke-width": "4", "paint-order": "stroke",
    })  # fmt: skip
    text.text = f"{passage.times.number}{'↻' if passage.again else ''} · {short_time(passage.times.median)}"


def _down(source: Point, target: Point, bends: Sequence[Point]) -> tuple[str, Point]:
    points = [Point(source.x, source.y + HEIGHT / 2)]
    for bend in bends:
        points += [Point(bend.x, bend.y - HEIGHT / 2), Point(bend.x, bend.y + HEIGHT / 2)]
    points.append(Point(target.x, target.y - HEIGHT / 2 - 1))
    path = f"M{points[0].x:.1f} {points[0].y:.1f}"
    for index, (one, other) in enumerate(pairwise(points)):
        middle = (one.y + other.y) / 2
        straight = index % 2 == 1
        path += (
            f" L{other.x:.1f} {other.y:.1f}"
            if straight
            else f" C{one.x:.1f} {middle:.1f} {other.x:.1f} {middle:.1f} {other.x:.1f} {other.y:.1f}"
        )
    first, last = points[0], points[1]
    return path, Point((first.x + last.x) / 2 + 8, (first.y + last.y) / 2 + 4)


def _around(source: Point, target: Point, layout: Layout, loop: int) -> tuple[str, Point]:
    """A line that goes back, on the right of all boxes."""
    right = max(point.x for point in layout.boxes.values()) + WIDTH / 2 + loop * LANE
    one, other = Point(source.x + WIDTH / 2, source.y + 6), Point(target.x + WIDTH / 2 + 1, target.y - 6)
    path = f"M{one.x:.1f} {one.y:.1f} C{right:.1f} {one.y:.1f} {right:.1f} {other.y:.1f} {other.x:.1f} {other.y:.1f}"
    if abs(one.y - other.y) < HEIGHT:  # to itself, or to a neighbour
        path = f"M{one.x:.1f} {one.y:.1f} C{right:.1f} {one.y + 30:.1f} {right:.1f} {other.y - 30:.1f} {other.x:.1f} {other.y:.1f}"
    return path, Point((one.x + other.x) / 8 + right * 3 / 4 + 4, (one.y + other.y) / 2 + 4)


def draw_mermaid(drawn: ProcessMap) -> str:
    """Return the map as a Mermaid flowchart (https://mermaid.js.org/syntax/flowchart.html). A dotted line goes back."""
    order = {place.name: index for index, place in enumerate(drawn.places)}
    lines = ["flowchart TD"]
    lines += [f'    p{order[place.name]}["{_quoted(label_of(place.name))}<br>{describe_place(place)}"]' for place in drawn.places]
    for passage in drawn.passages:
        source, target = order[passage.move.source], order[passage.move.target]
        text = f"{passage.times.number} · {short_time(passage.times.median)}"
        lines.append(f'    p{source} {"-->" if source < target else "-.->"}|"{text}"| p{target}')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return " ".join(text.split()).replace('"', "&quot;").replace("<", "&lt;")


def describe_place(place: Place) -> str:
    """Say how many cases reached a place."""
    more = [f"{place.again} again" * bool(place.again), f"{place.now} now" * bool(place.now and not place.name.startswith(":"))]
    return ", ".join([f"{place.cases} {'case' if place.cases == 1 else 'cases'}", *filter(None, more)])


def describe_passage(passage: Passage) -> str:
    """Say how often cases went this way, and after which time."""
    times = passage.times
    again = f", {passage.again} to where they had been before" if passage.again else ""
    often = "once" if times.number == 1 else f"{times.number} times"
    return f"{often}{again}; half within {format_duration(times.median)}, 95 % within {format_duration(times.p95)}"
