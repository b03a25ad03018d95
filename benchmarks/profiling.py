"""Where W1 at 256 in flight spends the time of the event loop's thread: by function, and by module."""

import cProfile
import pstats
import re
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.systems.ours import w1
from benchmarks.trials import OURS, Row

_LIBRARIES = re.compile(r".*?/(?:src|lib/python[\d.]+/site-packages|lib/python[\d.]+)/")  # what stands before a module's name
FUNCTIONS, MODULES = 30, 15


def profiled(seconds: float) -> list[Row]:
    """Profile, and return a row for each module and each function that takes the most time, in microseconds a step."""
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))
    profiler = cProfile.Profile()
    try:
        figures = profiler.runcall(w1, folder, concurrency=256, seconds=seconds)
    finally:
        shutil.rmtree(folder)
    modules: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for (file, line, name), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        module = "built in" if file == "~" else _LIBRARIES.sub("", file)
        modules[module] += own
        functions[f"{module}:{line} {name}"] += own
    return [
        {"workload": workload, "system": OURS.name, what: name, "us_a_step": 1e6 * seconds / figures["steps"]}
        for workload, what, times, most in (("profile", "module", modules, MODULES), ("functions", "function", functions, FUNCTIONS))
        for name, seconds in times.most_common(most)
    ]
