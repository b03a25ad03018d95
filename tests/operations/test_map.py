"""The map of the ways that cases took, and how it is drawn."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from pointsman import Process, Retry, State, Status, finish, otherwise, when
from pointsman.definition.process import AnyProcess
from pointsman.functional import entrypoint, task
from pointsman.kernel.rows import EventRow
from pointsman.operations.figures import Spread
from pointsman.operations.map import Move, Passage, Place, ProcessMap, Way, map_of, ways_of, went
from pointsman.operations.map_drawing import HEIGHT, WIDTH, draw_mermaid, draw_svg, layout_of
from pointsman.testing import World


class Found(State):
    what: str
    looked: str | None = None
    fetched: str | None = None


def parked_events(process: AnyProcess, inputs: object) -> list[EventRow]:
    """The events of a case that parks."""
    world = World(process)
    case = world.run(lambda: world.start(process, inputs))
    assert world.case(case).status is Status.PARKED
    return world.events(case)


def planted(ways: Mapping[int, Sequence[str]], seconds: float = 10.0) -> dict[int, Way]:
    """The ways of cases whose events say that they took these steps, one every so many seconds."""
    events: list[EventRow] = []

    def add(case: int, kind: str, at: float, **facts: object) -> None:
        events.append(EventRow("", case, 1, kind, None, 0, at, json.dumps(facts)))

    for case, steps in ways.items():
        add(case, "accepted", 0.0, fields=[])
        for number, step in enumerate(steps, 1):
            at = number * seconds
            if step.startswith("="):
                add(case, "decided", at, step=f"finish({step[1:]!r})", rule="r", reads=[])
                add(case, "finished", at, outcome=step[1:])
            elif step == "parked":
                add(case, "node.failed", at, error="E", message="m", raised_at=None)
                add(case, "parked", at, reason="m")
            elif step == "redriven":
                add(case, "redriven", at, by="ada", why="w", fields=[])
            elif step == "cancelled":
                add(case, "cancelled", at, by="ada", why="w")
            else:
                add(case, "decided", at, step=step, rule="r", reads=[])
                add(case, "node.succeeded", at, fields=[])
    return ways_of(sorted(events, key=lambda event: event.at))


STRAIGHT, REWORK, PARKED = ("draft", "check", "send", "=sent"), ("draft", "check", "draft", "check", "send", "=sent"), ("draft", "parked")


def passages(drawn: ProcessMap) -> dict[tuple[str, str], tuple[int, int]]:
    """How often each way was taken, and how often to where the case had been before."""
    return {tuple(one.move): (one.times.number, one.again) for one in drawn.passages}


def test_a_map_counts_what_followed_what_and_marks_what_was_done_again() -> None:
    drawn = map_of("mail", planted({1: STRAIGHT, 2: REWORK, 3: PARKED}).values())

    assert passages(drawn) == {
        (":start", "draft"): (3, 0),
        ("draft", ":parked"): (1, 0),
        ("draft", "check"): (3, 1),
        ("check", "draft"): (1, 1),
        ("check", "send"): (2, 0),
        ("send", ":done sent"): (2, 0),
    }
    assert (drawn.cases, drawn.since) == (3, 0.0)
    assert {place.name: (place.cases, place.again, place.now) for place in drawn.places} == {
        ":start": (3, 0, 0),
        "draft": (3, 1, 0),
        ":parked": (1, 0, 1),
        "check": (2, 1, 0),
        "send": (2, 0, 0),
        ":done sent": (2, 0, 2),
    }


def test_a_task_of_a_body_counts_as_a_node_does_whether_it_returns_or_fails() -> None:
    @task(retry=Retry(attempts_max=2, first_seconds=1))
    async def fetch(what: str) -> str:
        raise ConnectionError("down")

    @task
    async def look(what: str) -> str:
        return what

    @entrypoint(name="mails")
    def mails(text: str) -> list[str]:
        return [look("mail").result(), fetch("order").result()]

    process = Process("rules", Found)
    looked = process.node(look.function, writes="looked", name="look")
    fetched = process.node(fetch.function, writes="fetched", name="fetch", retry=Retry(attempts_max=2, first_seconds=1))
    process.rules(
        when("new", lambda s: s.looked is None, looked), when("then", lambda s: s.fetched is None, fetched), otherwise(finish("done"))
    )

    maps = []
    for made, inputs in ((mails.process, {"invocation": {"input": "", "thread": "t"}}), (process, {"what": "mail"})):
        maps.append(passages(map_of(made.name, ways_of(parked_events(made, inputs)).values())))

    assert maps[0] == maps[1] == {(":start", "look"): (1, 0), ("look", "fetch"): (1, 0), ("fetch", ":parked"): (1, 0)}


def test_the_times_are_those_between_two_steps() -> None:
    slow, quick = planted({1: ("draft", "=sent")}, 100.0), planted({2: ("draft", "=sent")}, 10.0)

    drawn = map_of("mail", [*slow.values(), *quick.values(), *quick.values()])

    assert drawn.passages[-1] == Passage(Move("draft", ":done sent"), Spread(3, 10.0, 100.0), 0)


def test_a_step_that_follows_itself_is_a_loop_and_no_end() -> None:
    drawn = map_of("mail", planted({1: ("ask", "ask", "ask", "cancelled")}).values())

    assert passages(drawn)["ask", "ask"] == (2, 2)
    assert passages(drawn)["ask", ":cancelled"] == (1, 0)
    draw_svg(drawn)


def test_a_redriven_case_goes_back_to_the_step_at_which_it_was_parked() -> None:
    drawn = map_of("mail", planted({1: ("draft", "parked", "redriven", "check", "=sent")}).values())

    assert passages(drawn)[":parked", "draft"] == (1, 1)
    assert passages(drawn)["draft", "check"] == (1, 0)


def test_cases_are_found_by_where_they_came_from_and_went_to() -> None:
    ways = planted({1: STRAIGHT, 2: REWORK, 3: PARKED})

    assert [case for case, way in ways.items() if went(way, "check", "draft")] == [2]
    assert [case for case, way in ways.items() if went(way, "", ":parked")] == [3]
    assert [case for case, way in ways.items() if went(way, "", "draft")] == [1, 2, 3]
    assert [case for case, way in ways.items() if went(way, ":done sent", "draft")] == []


def test_boxes_lie_below_what_leads_to_them_and_none_covers_another() -> None:
    drawn = map_of("mail", planted({1: STRAIGHT, 2: REWORK, 3: PARKED, 4: ("draft", "send", "=sent"), 5: ("cancelled",)}).values())

    layout = layout_of(drawn)

    order = [place.name for place in drawn.places]
    for one in drawn.passages:
        if order.index(one.move.source) < order.index(one.move.target):
            assert layout.boxes[one.move.source].y < layout.boxes[one.move.target].y
    boxes = [*layout.boxes.values()]
    for index, one in enumerate(boxes):
        assert WIDTH / 2 <= one.x <= layout.width - WIDTH / 2
        assert HEIGHT / 2 <= one.y <= layout.height - HEIGHT / 2
        assert all(abs(one.x - other.x) >= WIDTH or abs(one.y - other.y) >= HEIGHT for other in boxes[:index])


def test_the_drawing_is_xml_whatever_a_step_is_called_and_has_no_style_of_its_own() -> None:
    drawn = map_of('a "map" <b>', planted({1: ('<script>alert("x")</script>', "=a&b")}).values())

    svg = draw_svg(drawn, {}, lambda came, went: f"/cases?came={came}&went={went}")

    root = ET.fromstring(svg)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert tags == {"svg", "title", "desc", "defs", "marker", "path", "a", "rect", "text"}
    assert not any(name == "style" or name.startswith("on") for element in root.iter() for name in element.attrib)
    links = [element for element in root.iter() if element.tag.endswith("}a")]
    assert len(links) == len(drawn.places) + len(drawn.passages)
    assert all(link.attrib["aria-label"] for link in links)


def test_an_empty_map_is_drawn_as_nothing() -> None:
    drawn = map_of("mail", [])

    assert drawn == ProcessMap("mail", 0, None, [], [])
    ET.fromstring(draw_svg(drawn))
    assert draw_mermaid(drawn) == "flowchart TD\n"


def test_mermaid_says_the_same() -> None:
    assert draw_mermaid(map_of("mail", planted({1: ("draft", "draft", "=sent")}).values())).splitlines() == [
        "flowchart TD",
        '    p0["start<br>1 case"]',
        '    p1["draft<br>1 case, 1 again"]',
        '    p2["sent<br>1 case"]',
        '    p0 -->|"1 · 10 s"| p1',
        '    p1 -.->|"1 · 10 s"| p1',
        '    p1 -->|"1 · 10 s"| p2',
    ]
    assert Place("draft", 1, 1, 0) in map_of("mail", planted({1: ("draft", "draft", "=sent")}).values()).places
