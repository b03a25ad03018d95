"""Of the replies that a model might write, the evil ones are each caught by their check, and the good ones pass them all."""

from collections import Counter

import pytest

from desk.guards.replies import EVIL, FRAMES, GOOD, Scene, scene
from pointsman_desk.case import Language
from pointsman_desk.guards import CHECKS


def named(scenes: tuple[Scene, ...]) -> list[str]:
    return [f"{number}-{one.language}-{one.caught or 'good'}" for number, one in enumerate(scenes)]


@pytest.mark.parametrize("evil", EVIL, ids=named(EVIL))
def test_an_evil_reply_is_caught_by_its_check(evil: Scene) -> None:
    assert evil.caught in evil.checks()


@pytest.mark.parametrize("good", GOOD, ids=named(GOOD))
def test_a_good_reply_passes_every_check(good: Scene) -> None:
    assert good.violations() == ()


@pytest.mark.parametrize("language", FRAMES)
def test_what_stands_around_an_evil_sentence_is_itself_harmless(language: Language) -> None:
    assert scene("", language).violations() == ()


def test_the_figures() -> None:
    caught = [evil for evil in EVIL if evil.caught in evil.checks()]
    objected = [good for good in GOOD if good.checks()]
    print(f"{len(EVIL)} evil replies: {len(caught)} caught; {len(GOOD)} good replies: {len(objected)} objected")

    assert (len(caught), len(objected)) == (len(EVIL), 0)
    assert len(EVIL) >= 60
    assert len(GOOD) >= 40
    assert {evil.caught for evil in EVIL} == {check.__name__ for check in CHECKS}
    assert min(Counter(one.language for one in (*EVIL, *GOOD)).values()) >= 20
