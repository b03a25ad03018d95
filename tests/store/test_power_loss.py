"""The power may fail at any moment: what was answered is there, whole, and the file is sound.

The real writer and its schema work on a disk that keeps a record; at each write, flush, truncation and deletion of it, images
are made of what a power failure may leave, and each is opened as an engine opens it.
"""

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

import pytest
from sqlite_disk import Entry
from sqlite_sessions import Control, pulled, scratch, worked
from sqlite_work import Told

from tiers import figure, seed

WORKERS = 2
CONTROLS = 300  # images; every third or so is wrong


def in_workers(images: int, control: Control) -> Counter[str]:
    """Share the images among processes of their own: the recorded disk is for all connections of a process."""
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = [pool.submit(pulled, seed() * 1_000 + worker, images // WORKERS, control) for worker in range(WORKERS)]
        return sum((part.result() for part in parts), Counter())


def test_no_power_failure_loses_or_tears_a_confirmed_commit(capsys: pytest.CaptureFixture[str]) -> None:
    least = figure("IMAGES", 2_000)

    found = in_workers(least, Control.NOTHING)
    control = in_workers(CONTROLS, Control.NORMAL)

    with capsys.disabled():
        print(f"\n{found['images']:,} images at {found['points']:,} points: {found['violations']} violations", end="")
        print(f" (control {Control.NORMAL}: {control['violations']} of {control['images']:,}; seed {seed()})")
    assert found["images"] >= least // WORKERS * WORKERS
    assert found["violations"] == 0, dict(found)
    assert control["lost"] > 0


def test_an_answer_before_the_flush_would_be_seen() -> None:
    found = in_workers(CONTROLS, Control.EARLY)

    assert found["lost"] > 0


def test_a_seed_replays_to_the_last_byte() -> None:
    def recorded() -> list[Entry]:
        with scratch() as folder:
            return worked(folder, {}, Told(), seed(), 3).record

    assert recorded() == recorded()
