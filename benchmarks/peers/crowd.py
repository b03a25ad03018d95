"""Several processes that work at once: a peer in Python is faster in as many as there are cores."""

import multiprocessing
import traceback
from collections.abc import Callable
from typing import Any

READY_SECONDS_MAX = 60.0  # for the slowest of them to import its library and to connect

Ready = Callable[[], object]


def together(work: Callable[[int, Ready], tuple[float, ...]], processes: int) -> tuple[float, ...]:
    """Call `work` in so many forked processes, with its number and a function that waits until all are ready; add up what each has done.

    Returns how often in all, the seconds of the slowest, and the sums of what else `work` returns. A single one runs in this process.
    """
    if processes == 1:
        return work(0, lambda: None)
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(processes), context.SimpleQueue()

    def child(number: int) -> None:
        try:
            answers.put(work(number, lambda: barrier.wait(READY_SECONDS_MAX)))
        except BaseException:
            answers.put(traceback.format_exc())

    children = [context.Process(target=child, args=(number,), daemon=True) for number in range(processes)]
    for one in children:
        one.start()
    done: list[Any] = [answers.get() for _ in children]
    for one in children:
        one.join(READY_SECONDS_MAX)
    if failed := [answer for answer in done if isinstance(answer, str)]:
        raise RuntimeError(failed[0])
    times, walls, *others = zip(*done, strict=True)
    return sum(times), max(walls), *map(sum, others)


def in_another(work: Callable[[], Any]) -> Any:
    """Call `work` in one forked process, which then ends without telling its library, and return its answer."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()

    def child() -> None:
        try:
            answers.put((True, work()))
        except BaseException:
            answers.put((False, traceback.format_exc()))

    one = context.Process(target=child, daemon=True)
    one.start()
    well, answer = answers.get()
    one.kill()
    one.join()
    if not well:
        raise RuntimeError(answer)
    return answer
