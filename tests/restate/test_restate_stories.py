"""Random stories end on Restate as on an engine, and a program or server that dies within one loses and repeats nothing."""

import asyncio
import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from plots import Plot, plot
from stories import OnEngine, OnRestate, Story

from pointsman import AtLeastOnce, Effect, Idempotent
from tiers import figure, seed

STORIES = figure("RESTATE_STORIES", 8)
PLOTS = [told for number in range(seed(), seed() + STORIES) if (told := plot(number)) is not None]


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: str(plot.number))
def test_a_story_ends_on_restate_as_on_an_engine(plot: Plot) -> None:
    on_an_engine = OnEngine(plot).tell()

    on_restate = OnRestate(plot).tell()

    assert on_restate == on_an_engine


def whole(plot: Plot) -> tuple[Story, int]:
    """A story without a death, and a moment of it by chance."""
    story = OnRestate(plot)
    return story.tell(), Random(plot.number).randrange(1, story.cluster.entries)


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: str(plot.number))
def test_a_story_during_which_the_server_dies_ends_as_without_that(plot: Plot) -> None:
    without, moment = whole(plot)

    told = OnRestate(plot, dies_at=moment, dies="server").tell()

    assert told == without


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: str(plot.number))
def test_a_story_during_which_the_program_dies_loses_and_repeats_nothing(plot: Plot) -> None:
    # Who resolves what is in doubt may be wrong, and repeat it.
    plot = plot._replace(said=[said for said in plot.said if said.what not in ("resolve", "redrive")])
    _, moment = whole(plot)

    story = OnRestate(plot, dies_at=moment)
    story.tell()

    # Plain functions end in any order, so a story may have fewer entries this time.
    assert story.cluster.deaths == (moment <= story.cluster.entries)
    assert repeated(plot, story.outside.done) == []
    cases = asyncio.run(shown_of(story))
    assert {shown["status"] for shown, _ in cases} <= {"done", "parked", "cancelled", "waiting"}
    assert all(sum(event["kind"] in ("finished", "cancelled") for event in events) <= 1 for _, events in cases)
    started = {plot.start(said)["key"] for said in plot.said if said.what == "start"}
    assert letters(story, cases) == 1 + sum(said.what == "letter" for said in plot.said) + len(started)


def repeated(plot: Plot, done: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The effects that happened more than once, and should not have."""
    steps = [step for step in plot.processes[0].steps.values() if isinstance(step, Effect)]
    may = {f"undo_{step.name}" for step in steps} | {step.name for step in steps if isinstance(step.safety, Idempotent | AtLeastOnce)}
    return [one for one, times in Counter(done).items() if times > 1 and one[0].partition(" ")[0] not in may]


def letters(story: OnRestate, cases: list[tuple[dict[str, Any], list[dict[str, Any]]]]) -> int:
    """How many letters and starts have started a case, came to one, or are kept. A letter that one case left to the next counts there."""
    came = sum(
        shown["inbox"]
        + sum(event["kind"] in ("accepted", "message.received") and "next one" not in str(event["facts"]) for event in events)
        for shown, events in cases
        if shown["process"] == "story"
    )
    known = [json.loads(state["known"]) for state in story.cluster.states.values() if "known" in state]
    return came + sum(len(one.get("held", [])) + len(one.get("early", [])) for one in known)


async def shown_of(story: OnRestate) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    return [(shown, await story.cluster.call("events", key)) for key, shown in await story.cases()]
