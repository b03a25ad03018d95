"""How many cases start and end in a time, and how long people take to answer, from the newest events."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pointsman.kernel.events import Kind
from pointsman.kernel.rows import EventRow
from pointsman.operations.figures import Spread, spread_of

KEPT_MAX = 20_000  # starts and ends; also pauses that are open, and answers: about 2 MiB each
STARTS, ENDS = frozenset({Kind.ACCEPTED}), frozenset({Kind.FINISHED, Kind.CANCELLED})


class Bucket(NamedTuple):
    """How many cases started and ended from `since` (Unix seconds) on."""

    since: float
    started: int
    ended: int


class Answer(NamedTuple):
    """An answer of a person: when it came (Unix seconds), at which pause, and after how many seconds."""

    at: float
    pause: str
    seconds: float


class Flow:
    """What the newest events tell. Give each event once, in the order of the commits.

    `since` is the time (Unix seconds) of the earliest event that counts, or None before the first one. `unpaired` are the answers whose
    pause opened before it: who knows when it opened gives it to `answered`.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.unpaired: list[EventRow] = []
        self._moves: deque[tuple[float, bool]] = deque(maxlen=KEPT_MAX)
        self._open: dict[tuple[int, str], float] = {}
        self._answers: deque[Answer] = deque(maxlen=KEPT_MAX)

    def take(self, events: Iterable[EventRow]) -> None:
        """Count these events."""
        for event in events:
            if self.since is None:
                self.since = event.at
            if event.kind in STARTS or event.kind in ENDS:
                if len(self._moves) == KEPT_MAX:
                    self.since = self._moves[1][0]
                self._moves.append((event.at, event.kind in STARTS))
            elif event.kind == Kind.PAUSED and event.step is not None:
                if len(self._open) >= KEPT_MAX:
                    self._open.pop(next(iter(self._open)))
                self._open[event.case, event.step] = event.at
            elif event.kind == Kind.RESUMED and event.step is not None:
                opened_at = self._open.pop((event.case, event.step), None)
                if opened_at is None:
                    self.unpaired.append(event)
                else:
                    self.answered(event, opened_at)

    def answered(self, event: EventRow, opened_at: float) -> None:
        """Count an answer to a pause that opened at `opened_at` (Unix seconds)."""
        self._answers.append(Answer(event.at, event.step or "", max(0.0, event.at - opened_at)))

    def buckets(self, now: float, seconds: float, count: int) -> Sequence[Bucket]:
        """Return the last `count` spans of so many seconds until `now` (Unix seconds), the earliest first."""
        end = (now // seconds + 1) * seconds
        started, ended = [0] * count, [0] * count
        for at, starts in self._moves:
            index = count + int((at - end) // seconds)
            if 0 <= index < count:
                (started if starts else ended)[index] += 1
        return [Bucket(end - (count - index) * seconds, started[index], ended[index]) for index in range(count)]

    def answer_times(self) -> Mapping[str, Spread]:
        """Return how long people took to answer, in seconds, by pause."""
        times: dict[str, list[float]] = {}
        for answer in self._answers:
            times.setdefault(answer.pause, []).append(answer.seconds)
        return {pause: spread_of(seconds) for pause, seconds in sorted(times.items())}
