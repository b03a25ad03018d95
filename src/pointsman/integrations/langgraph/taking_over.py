"""Take over the open threads of LangGraph's own savers: their checkpoints and pending writes, and proof that all are there."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from pointsman.integrations.langgraph.saver import PointsmanSaver
from pointsman.integrations.langgraph.sources import Found, NotTaken, Source, open_source
from pointsman.store.checkpoints import CheckpointQuery, CheckpointStore, TaskWrites

ENDED = "ended"
IN_FLIGHT_MAX = 200  # commits that are asked for at once: they share a few flushes


class Taken(NamedTuple):
    """A thread of another saver: where it stands, how many checkpoints and writes it has, and how many of them are here.

    `state` is "waits for an answer", "failed", "unfinished" or "ended". `refused` says why a thread is not taken over.
    """

    thread: str
    state: str
    checkpoints: int
    writes: int
    checkpoints_here: int = 0
    writes_here: int = 0
    refused: str = ""

    @property
    def complete(self) -> bool:
        """Whether everything of the thread is here."""
        return not self.refused and (self.checkpoints, self.writes) == (self.checkpoints_here, self.writes_here)


def look(place: str) -> Iterator[Taken]:
    """The threads of a saver's database, without taking anything over. Raises StoreError."""
    with open_source(place) as source:
        for thread in source.threads():
            yield _look_at(source, thread)


def take_over(place: str, to: Path | str, *, ended: bool = False) -> Iterator[Taken]:
    """Take over the open threads of a saver's database, or with `ended` all, and yield each when it is on the disk.

    It can be run again: what is here already is not written twice. A thread that has gone on here is left alone. Raises StoreError.
    """
    with open_source(place) as source, PointsmanSaver.open(to) as saver:
        kept = saver.engine.checkpoints
        for thread in source.threads():
            found = _look_at(source, thread)
            if found.refused or (found.state == ENDED and not ended):
                yield found
            else:
                yield _take(source, kept, found)


def _look_at(source: Source, thread: str) -> Taken:
    """Read all of a thread: whatever cannot be taken is found before anything is written."""
    checkpoints, written, latest = 0, 0, None
    of_latest: set[str] = set()
    try:
        for found in source.checkpoints(thread):
            checkpoints += 1
            if not found.checkpoint.at.namespace:
                latest = found
        for task in source.writes(thread):
            written += len(task.writes)
            if latest is not None and task.at == latest.checkpoint.at:
                of_latest |= {write.channel for write in task.writes}
    except NotTaken as refused:
        return Taken(thread, "unknown", source.threads()[thread], written, refused=str(refused))
    return Taken(thread, _state(latest, of_latest), checkpoints, written)


def _state(latest: Found | None, written: set[str]) -> str:
    """Where a thread stands by its latest checkpoint, as far as that can be told without its graph."""
    if latest is None or not any(channel in {"__start__", "__pregel_tasks"} or channel.startswith("branch:") for channel in latest.present):
        return ENDED
    return "waits for an answer" if "__interrupt__" in written else "failed" if "__error__" in written else "unfinished"


def _take(source: Source, kept: CheckpointStore, found: Taken) -> Taken:
    ids = {one.checkpoint.at.id for one in source.checkpoints(found.thread)}
    for newest in kept.find(CheckpointQuery(found.thread), limit=1).result():
        if newest.at.id not in ids:
            return found._replace(refused="the thread has gone on here")
    pending: list[Future[None]] = []
    for write in _everything(source, found.thread):
        pending.append(kept.put_writes(write) if isinstance(write, TaskWrites) else kept.put(write.checkpoint))
        if len(pending) >= IN_FLIGHT_MAX:
            _settle(pending)
    _settle(pending)
    here = kept.count(found.thread).result()
    return found._replace(checkpoints_here=here.checkpoints, writes_here=here.writes)


def _everything(source: Source, thread: str) -> Iterator[Found | TaskWrites]:
    yield from source.checkpoints(thread)
    yield from source.writes(thread)


def _settle(pending: list[Future[None]]) -> None:
    for one in pending:
        one.result()
    pending.clear()


def summary(threads: Sequence[Taken]) -> str:
    """One sentence with the proof: what there was, and what is here."""
    taken = [one for one in threads if one.checkpoints_here]
    rows = ", ".join(
        f"{sum(here for here, _ in counts):,} of {sum(there for _, there in counts):,} {what}"
        for what, counts in (
            ("checkpoints", [(one.checkpoints_here, one.checkpoints) for one in taken]),
            ("writes", [(one.writes_here, one.writes) for one in taken]),
        )
    )
    return f"{len(taken):,} of {len(threads):,} threads are here, with {rows}"
