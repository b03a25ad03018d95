"""Where W1 at 256 in flight spends the time of the event loop's thread: by function, and by module."""

import cProfile
import pstats
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.systems.ours import w1

SECONDS = 4.0
FUNCTIONS, MODULES = 30, 25


def profile() -> None:
    """Profile, and print microseconds a step."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))
    profiler = cProfile.Profile()
    try:
        figures = profiler.runcall(w1, folder, concurrency=256, seconds=SECONDS)
    finally:
        shutil.rmtree(folder)
    modules: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for (file, line, name), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        module = "built in" if file == "~" else file.rpartition("/src/")[2].rpartition("/lib/")[2]
        modules[module] += own
        functions[f"{module}:{line} {name}"] += own
    for title, times, most in (("By module", modules, MODULES), ("By function", functions, FUNCTIONS)):
        print(f"{title}, microseconds a step, with the profiler's own cost:")
        for name, seconds in times.most_common(most):
            print(f"{1e6 * seconds / figures['steps']:8.2f}  {name}")
