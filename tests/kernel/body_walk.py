"""Walks of entrypoints through the machine alone: a body whose parts are drawn, with its record as fields. Its oracle knows what was recorded."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

from pure_walk import Crash, Walk
from world import CALL_SECONDS, KEY_TTL_SECONDS, SETTLE_SECONDS

from pointsman import AtMostOnce, Context, Failure, Idempotent, Limit, Reconcile, Retry, quorum
from pointsman.definition.effects import ABSENT
from pointsman.definition.nodes import Node
from pointsman.definition.pauses import Pause
from pointsman.definition.rules import Finish, Park, Tasks
from pointsman.functional import INJECTED, TaskFailed, entrypoint, gather, pause, sleep, task
from pointsman.functional.process import EntrypointProcess
from pointsman.functional.program import BodyProgram
from pointsman.functional.record import ANSWERS, INVOCATION, RECORD
from pointsman.kernel import commands, happenings
from pointsman.kernel.attempts import CallEnd
from pointsman.kernel.guarding import BEGINNING
from pointsman.kernel.joins import BranchEnd, Branches, branch_ended
from pointsman.kernel.messages import CHILD_ENDED
from pointsman.kernel.moment import Moment, Offer
from pointsman.kernel.rows import FieldRow
from pointsman.kernel.snapshot import Status

LINE = Limit("line", concurrency=1)
AGAIN = Retry(attempts_max=2, first_seconds=1.0)


async def look_up(*, ctx: Context = INJECTED) -> Any:
    return ABSENT


@task(retry=AGAIN)
async def find(name: str) -> str:
    return name


@task(retry=AGAIN, limit=LINE)
async def fetch(name: str) -> str:
    return name


def effect(name: str, safety: Any, **settings: Any) -> Any:
    @task(name=name, safety=safety, retry=AGAIN, timeout_seconds=CALL_SECONDS, **settings)
    async def act(place: str) -> str:
        return place

    return act


CHARGE = effect("charge", Idempotent(key_ttl_seconds=KEY_TTL_SECONDS))
SHIP = effect("ship", Reconcile(look_up, SETTLE_SECONDS), limit=LINE)
TELL = effect("tell", AtMostOnce())


@entrypoint(name="errand")
def errand(what: str) -> str:
    return find(what).result()


def in_time(place: str) -> Any:
    try:
        return find(place).result(timeout=5.0)
    except TaskFailed as failed:
        return failed.error


PARTS: Mapping[str, Callable[[str], Any]] = {
    "find": lambda place: find(place).result(),
    "fetch": lambda place: fetch(place).result(),
    "fan": lambda place: [one if isinstance(one, str) else one.error for one in gather(*map(find, (f"{place}a", f"{place}b")), fetch(place), failures="record").result()],
    "first": lambda place: sum(isinstance(one, Failure) for one in gather(*map(find, (f"{place}a", f"{place}b")), failures=quorum(1)).result()),
    "in_time": in_time,
    "charge": lambda place: CHARGE(place).result(),
    "twice": lambda place: [CHARGE(place).result(), CHARGE(place).result()],
    "ship": lambda place: SHIP(place).result(),
    "tell": lambda place: TELL(place).result(),
    "ask": lambda place: pause(place, answer=str, name="ask"),
    "rest": lambda place: sleep(7.0),
    "errand": lambda place: errand(place).result(),
}  # fmt: skip


@entrypoint(name="parts", tasks=(find, fetch, CHARGE, SHIP, TELL, errand))
def parts(given: list[str]) -> list[Any]:
    return [PARTS[part](f"{place} {part}") for place, part in enumerate(given)]


class BodyWalk(Walk):
    """The walk of one invocation. A crash takes the suspended body with it."""

    def __init__(self, seed: int, process: EntrypointProcess = parts.process, given: Any = None) -> None:
        chance = random.Random(seed)
        self.given = chance.choices([*PARTS], k=chance.randint(1, 6)) if given is None else given
        self.tried: set[tuple[type, Status]] = set()
        self.calls: list[str] = []
        super().__init__(seed, process, chance)
        self.program = BodyProgram(process)

    def _inputs(self) -> dict[str, Any]:
        return {INVOCATION: self.codec.encode(INVOCATION, {"input": self.given, "thread": "t", "id": "t"}, "")}

    def _may_crash(self) -> None:
        try:
            super()._may_crash()
        except Crash:
            self.program = BodyProgram(self.process)  # type: ignore[arg-type]
            raise

    def recorded(self) -> list[Any]:
        """The names of the calls whose outcomes are recorded and stand."""
        names: dict[str, None] = {}
        cells = self.case.snapshot.cells
        for entry in (entry for item in (cells[RECORD].value if RECORD in cells else ()) for entry in item):  # type: ignore[union-attr]
            if entry.get("void"):
                names.pop(entry["call"], None)
            elif not entry.get("left_out") and "since" not in entry:
                if entry["call"] in names:
                    self.violations.append(f"duplicated: {entry['call']} is recorded twice")
                names[entry["call"]] = None
        return [*names]

    # Tasks.

    def _perform(self, command: Any) -> Any:
        if isinstance(command, commands.CallNode) and command.tasks is not None:
            self._may_crash()
            if command.node.limit is not None and self.chance.random() < 0.1:
                return happenings.PermitRefused(command, "busy")
            return happenings.NodeEnded(command, self._task_end(command.node, command.tasks.calls[0].name))
        return super()._perform(command)

    def _task_end(self, node: Any, call: str) -> CallEnd:
        if call in self.recorded():
            self.violations.append(f"duplicated: {call} is recorded, and is called again")
        self.calls.append(call)
        return self._node_end(node)

    def _result(self, name: str) -> object:
        return f"result {len(self.calls)}"

    def _branches(self, step: Any) -> Any:
        assert isinstance(step, Tasks)
        branches, under_way, ends = Branches(self.process, self.case, step), [], list[BranchEnd]()
        while not branches.over:
            while (branch := branches.begin_next(self.now)) is not None:
                under_way.append(branch)
            if not under_way:
                break
            self._may_crash()
            branch = under_way.pop(self.chance.randrange(len(under_way)))
            waits = branches.step.waits  # type: ignore[attr-defined]
            if waits is not None and waits.name == branch.name and self.chance.random() < 0.3:
                branches.under_way -= 1
                ends.append(branches.time_out(branch.name))
            else:
                at = Moment(self.program, self.case, self.now, self.chance, Offer(), self.process)
                end = branch_ended(at, branch, branches.rows[branch.name], self._task_end(branch.node, branch.name))
                branches.end(branch, end)
                ends.append(end)
            if not under_way:
                break
            self._ask(self.case, happenings.BranchesEnded(branches.step, tuple(ends), calling=True))
            ends = []
            self._asks_more(branches, under_way)
        return happenings.BranchesRested(branches, tuple(ends))

    def _asks_more(self, branches: Branches, under_way: list[Any]) -> None:
        """What the engine does when calls have ended while others run: the body may ask for more of them, or need some no more."""
        decision = self.program.next(self.case.row.id, self.case.snapshot.cells)
        if not isinstance(decision.step, Tasks):
            branches.over = isinstance(decision.step, Finish | Park)
            return
        if decision.writes:
            self._ask(self.case, happenings.BranchesEnded(branches.step, (), calling=True, notes=decision.writes))
        wanted = {call.name for call in decision.step.calls}
        for branch in [branch for branch in under_way if branch.name not in wanted]:
            under_way.remove(branch)
            branches.under_way -= 1
        branches.take(self.case, decision.step)

    # People, and the child.

    def _waited(self) -> None:
        name = self.case.row.step or ""
        if self.child is None and name not in self.process.steps and not self.case.messages and self.chance.random() < 0.6:
            self._answer(Pause(name, (ANSWERS,), str, ()))
            return
        super()._waited()

    def _answer(self, pause: Pause) -> None:
        self.answered = f"answer {len(self.calls)}"
        self._ask(self._loaded(), happenings.Answered(pause.name, "anna", {ANSWERS: self.codec.write(ANSWERS, self.answered, pause.name)}))

    def _child_ends(self) -> None:
        assert self.child is not None
        (number, key), self.child = self.child, None
        self.ends[number] = {"result": FieldRow("result", json.dumps({"value": "the errand"}), "body", 1)}
        self._deliver(CHILD_ENDED, json.dumps({"key": key, "case": number, "status": "done", "outcome": "returned"}))

    # What does not fit.

    def _anything(self) -> Any:
        node: Any = self.chance.choice([step for step in self.process.steps.values() if isinstance(step, Node)])
        if self.chance.random() < 0.2:
            happening: Any = happenings.NodeEnded(commands.CallNode(node, 1, BEGINNING), CallEnd("late"))
        elif self.chance.random() < 0.2:
            happening = happenings.PermitRefused(commands.CallNode(node, 1, BEGINNING), None)
        else:
            happening = super()._anything()
        self.tried.add((type(happening), self.case.row.status))
        return happening

    def run(self) -> "BodyWalk":
        super().run()
        self.recorded()
        if self.case.row.status is Status.DONE and "result" in self.case.snapshot.cells:  # it may have been erased
            told = json.loads(self.case.snapshot.cells["result"].text)["value"]
            said = [
                one for part in told for one in (part if isinstance(part, list) else [part]) if str(one).startswith(("result", "receipt"))
            ]
            if len(set(said)) < len(said):
                self.violations.append(f"swapped: two calls have one result: {told}")
        return self


def body_walk(seed: int, *, tries: bool = False, **given: Any) -> BodyWalk:
    """Walk one invocation; what goes wrong in the machine is a violation like any other."""
    try:
        one = BodyWalk(seed, **given)
    except Crash:
        return body_walk(seed + (1 << 40), tries=tries, **given)
    one.tries = tries
    try:
        return one.run()
    except Exception as error:
        one.violations.append(f"raised: {type(error).__name__}: {error}")
        return one
