"""The gaps of subscribers: ranges of events that a subscriber has given up, which can be delivered again. A store keeps them beside the cursors."""

import json
from collections.abc import Callable, Iterable
from typing import NamedTuple

GAPS_MAX = 100  # of one subscriber; a further one is joined to the last, with what was taken between them


class Gap(NamedTuple):
    """The events behind the cursor `after` and up to `upto`, of which a subscriber has given up so many `messages`, and `why`.

    They happened from `since` to `until` (Unix seconds). `again` says that they are to be delivered again.
    """

    subscriber: str
    after: str
    upto: str
    messages: int
    since: float
    until: float
    why: str
    again: bool = False


Gaps = tuple[Gap, ...]
GapChange = Callable[[Gaps], Gaps]
"""Makes the gaps of a subscriber from those that it has, oldest first."""


def with_gap(gaps: Gaps, new: Gap) -> Gaps:
    """These gaps and one more, which continues the last one if nothing was taken between them. To add it twice is to add it once."""
    if any(gap.upto == new.upto for gap in gaps):
        return gaps
    last = gaps[-1] if gaps else None
    if last is None or last.again or (last.upto != new.after and len(gaps) < GAPS_MAX):
        return (*gaps, new)
    return (*gaps[:-1], last._replace(upto=new.upto, messages=last.messages + new.messages, until=new.until, why=new.why))


def with_gap_changed(gaps: Gaps, gap: Gap, changed: Gap | None) -> Gaps:
    """These gaps with another one in the place of `gap`, or none; it may have grown meanwhile, and what has grown stays."""
    found: list[Gap] = []
    for one in gaps:
        if one.upto != gap.upto:
            found.append(one)
        elif changed is not None:
            found.append(changed)
    return tuple(found)


def gaps_text(gaps: Gaps) -> str:
    """The stored form of the gaps of one subscriber."""
    return json.dumps([gap[1:] for gap in gaps])


def gaps_of(subscriber: str, text: str) -> Gaps:
    """Read the stored form."""
    return tuple(Gap(subscriber, *gap) for gap in json.loads(text))


def counted(gaps: Iterable[Gap]) -> int:
    """The number of messages in these gaps."""
    return sum(gap.messages for gap in gaps)
