"""Crash everywhere: kill an author's process before each step of its engine, and compare how it ends with an undisturbed run."""

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pointsman.definition.children import Child
from pointsman.definition.effects import AtLeastOnce, Effect, Idempotent
from pointsman.definition.process import AnyProcess
from pointsman.definition.state import State
from pointsman.testing.world import World

Story = Callable[[World], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class CrashReport:
    """The result of `crash_everywhere`.

    `points` is the number of crash points, one for each run; `crashes` counts the kills. `ends` are the final cases, the same in every
    run. `calls` counts the effects' calls in the undisturbed run, and `repeated` the calls that a crashed run repeated because
    their policy allows it (with Idempotent, the receiver must deduplicate by key).
    """

    points: int
    crashes: int
    ends: tuple[Mapping[str, Any], ...]
    calls: Mapping[str, int]
    repeated: Mapping[str, int]

    def __str__(self) -> str:
        """A summary in one line."""
        return (
            f"{self.points} points, {self.crashes} crashes: every run ended the same; repeated as declared: {sum(self.repeated.values())}"
        )


def crash_everywhere(
    process: AnyProcess, inputs: State | Mapping[str, Any] | Story, *, resources: Callable[[], Mapping[str, Any]] | Mapping[str, Any] | None = None,
    people: Mapping[str, Any] | None = None, ignore: Collection[str] = (), seed: int = 0, only: Collection[int] = (),
) -> CrashReport:  # fmt: skip
    """Run `process` and its children once for each step of the engine, kill the engine before that step, and compare the ends.

    `inputs` start one case, or are a story: an async function of a `World`. `resources` creates new resources for each
    run; `people` answer the pauses (see `World`). `ignore` names fields that may differ, such as times. `only` runs just
    these points, to debug one that fails. Raises AssertionError, which names the point, if a case ends differently than in the
    undisturbed run, or if an effect was repeated although its policy does not allow it.
    """
    story = inputs if callable(inputs) else _start(process, inputs)
    processes = _with_children(process)

    def live(crash_before: int) -> World:
        made = resources() if callable(resources) else resources
        world = World(*processes, resources=made, people=people, seed=seed, crash_before=crash_before)
        world.run(lambda: story(world))
        return world

    quiet = live(0)
    expected = _ends(quiet, ignore)
    may_repeat = _repeatable(processes)
    repeated: Counter[str] = Counter()
    crashes = 0
    points = range(1, quiet.steps + 1)
    for point in only or points:
        where = f"killed before step {point} of {quiet.steps} (only=[{point}] repeats it)"
        try:
            world = live(point)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from None
        crashes += world.crashes
        ends = _ends(world, ignore)
        assert ends == expected, f"{where}: {_difference(expected, ends)}"
        more = world.calls - quiet.calls
        forbidden = [call for call in more if call.partition("(")[0] not in may_repeat]
        assert not forbidden, f"{where}: {forbidden[0]} was done {world.calls[forbidden[0]]} times instead of {quiet.calls[forbidden[0]]}"
        repeated.update(more)
    return CrashReport(len(points), crashes, tuple(expected), dict(quiet.calls), dict(repeated))


def _with_children(process: AnyProcess) -> list[AnyProcess]:
    """The process, and recursively the processes of its children."""
    found = [process]
    for one in found:
        found += [step.process for step in one.steps.values() if isinstance(step, Child) and step.process not in found]
    return found


def _start(process: AnyProcess, inputs: State | Mapping[str, Any]) -> Story:
    async def story(world: World) -> None:
        await world.start(process, inputs)

    return story


def _ends(world: World, ignore: Collection[str]) -> list[Mapping[str, Any]]:
    ends: list[Mapping[str, Any]] = []
    for row in world.cases():
        state = {name: value for name, value in world.state(row.id).items() if name not in ignore}
        ends.append({"process": row.process, "status": str(row.status), "outcome": row.outcome, "reason": row.reason, "state": state})
    return sorted(ends, key=repr)


def _repeatable(processes: Collection[AnyProcess]) -> set[str]:
    effects = (step for process in processes for step in process.steps.values() if isinstance(step, Effect))
    return {effect.name for effect in effects if isinstance(effect.safety, AtLeastOnce | Idempotent)}


def _difference(expected: list[Mapping[str, Any]], ends: list[Mapping[str, Any]]) -> str:
    if len(expected) != len(ends):
        return f"there are {len(ends)} cases instead of {len(expected)}"
    for number, (wanted, found) in enumerate(zip(expected, ends, strict=True), start=1):
        for name in wanted:
            if wanted[name] != found[name]:
                return f"case {number}: {name} is {found[name]!r} instead of {wanted[name]!r}"
    return "the ends differ"
