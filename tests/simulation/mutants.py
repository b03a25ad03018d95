"""The protocol with one rule taken out of it, each in a way that somebody might write it: the simulation must find every one.

`python tests/simulation/mutants.py "no fence"` runs schedules until one kills the mutant, and says what it found; without a name
it does so for each of them.
"""

import argparse
import asyncio
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from schedule import collect_seldom, run

from pointsman.definition.effects import AtMostOnce, Idempotent, Reconcile
from pointsman.errors import StoreError
from pointsman.functional import program
from pointsman.functional.body import Body
from pointsman.functional.program import BodyProgram
from pointsman.kernel import attempts, effects, evolve, joins, limits, messages, timers, transitions
from pointsman.kernel.case import Case
from pointsman.kernel.guarding import BEGINNING
from pointsman.kernel.happenings import Answered
from pointsman.kernel.ledger import CallAgain, EffectStatus, LookUp
from pointsman.kernel.moment import StepResult
from pointsman.kernel.rows import MessageStatus
from pointsman.runtime import branches
from pointsman.runtime.calls import Calls
from pointsman.runtime.cases import Cases
from pointsman.runtime.decisions import Decisions
from pointsman.runtime.lease import Lease
from pointsman.runtime.runner import Runner
from pointsman.store.memory import MemoryStore
from pointsman.store.sqlite_core import SqliteCore

SEEDS_MAX = 1_500


def replace(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    """Put in the place of a function what `make` makes of it."""
    setattr(owner, name, make(getattr(owner, name)))


def standing(core: SqliteCore, case: int) -> Any:
    """The revision, fence and inbox that a case has."""
    return core.connection.execute("SELECT revision, fence, inbox FROM cases WHERE id = ?", (case,)).fetchone()


def no_fence() -> None:
    """Whoever has lost a case may still write to it."""

    def guard(original: Any) -> Any:
        def unguarded(core: SqliteCore, transitions: Any) -> Any:
            for t in transitions:
                if t.new is None:
                    t.revision, t.fence, _ = standing(core, t.case)
            return original(core, transitions)

        return unguarded

    replace(SqliteCore, "_guard", guard)


def no_intent() -> None:
    """The ledger does not say that a call may be under way, so that it is free to be made again."""

    def write(original: Any) -> Any:
        def silent(core: SqliteCore, t: Any) -> None:
            original(core, t)
            if t.intent is not None:
                core.connection.execute("UPDATE effects SET status = ? WHERE key = ?", (EffectStatus.NOT_SENT, t.intent.key))

        return silent

    replace(SqliteCore, "_write_rest", write)


def moving(kind: type, move: Any) -> None:
    """Let the ledger always allow the same move to a policy."""

    def mutant(original: Any) -> Any:
        return lambda effect, **facts: move if isinstance(effect.safety, kind) else original(effect, **facts)

    replace(effects, "move_in_doubt", mutant)


def no_settle() -> None:
    """The world is asked at once, while the old call may still be on its way."""
    moving(Reconcile, LookUp())


def key_life_ignored() -> None:
    """A call is repeated although its receiver may have forgotten the key."""
    moving(Idempotent, CallAgain())


def at_most_once_retried() -> None:
    """A call that may have happened is repeated although its policy forbids it."""
    moving(AtMostOnce, CallAgain())


def deadline_after_intent() -> None:
    """A call's time begins when its intent is known to be committed, however long that took."""

    def call(original: Any) -> Any:
        async def late(self: Runner, session: Any, call: Any, *more: Any) -> Any:
            session.call_until = self._clock.monotonic() + call.effect.timeout_seconds
            return await original(self, session, call._replace(intent=call.intent._replace(deadline=float("inf"))), *more)

        return late

    replace(Runner, "_call_effect", call)
    replace(Lease, "held", lambda _: lambda self: True)


def key_with_attempt() -> None:
    """A repeated call has a key of its own."""

    def invoke(original: Any) -> Any:
        async def keyed(self: Calls, session: Any, request: Any) -> Any:
            if request.key:
                request = dataclasses.replace(request, key=f"{request.key}#{session.case.row.fence}")
            return await original(self, session, request)

        return keyed

    replace(Calls, "invoke", invoke)


def counted_limit() -> None:
    """An engine counts what it has under way itself, and begins another call where that is not too much."""

    def take(original: Any) -> Any:
        def counted(state: Any, change: Any) -> Any:
            own = {name: until for name, until in state.permits.items() if name in change.alive}
            return original(dataclasses.replace(state, permits=own), change)

        return counted

    replace(limits, "_taken", take)


def no_argument_digest() -> None:
    """What an effect reads is not part of what it is."""

    def keyed(original: Any) -> Any:
        return lambda incarnation, process, snapshot, *more: original(incarnation, process, dataclasses.replace(snapshot, cells={}), *more)

    replace(effects, "effect_key", keyed)


def orphan_intent_ignored() -> None:
    """A case goes on to something else while nobody knows whether an effect happened."""

    class Forgetful(Case):
        unsettled = property(lambda self: set())

    def forgetful(case: Case) -> Case:
        return Forgetful(**{field.name: getattr(case, field.name) for field in dataclasses.fields(case)})

    def prepare(original: Any) -> Any:
        return lambda at, *arguments, **settings: original(dataclasses.replace(at, case=forgetful(at.case)), *arguments, **settings)

    replace(effects, "prepare", prepare)
    replace(StepResult, "in_doubt", lambda _: property(lambda result: False))


def early_message_dropped() -> None:
    """A message that comes before its case is acknowledged, and is nobody's."""

    def insert(original: Any) -> Any:
        def only_late(core: SqliteCore, post: Any, case: Any, status: Any) -> Any:
            return None if status is MessageStatus.UNMATCHED else original(core, post, case, status)

        return only_late

    replace(SqliteCore, "_insert_message", insert)


def message_twice() -> None:
    """Messages are not recognised by their key."""

    def post(original: Any) -> Any:
        def new(core: SqliteCore, post: Any, *more: Any) -> Any:
            # Whoever had the key before has it no longer: his row goes where nobody looks for keys.
            hide = "UPDATE messages SET tenant = '#' || id WHERE key = ? AND status <> 'unmatched'"
            core.connection.execute(hide, (post.key,))
            return original(core, post, *more)

        return new

    replace(SqliteCore, "post", post)


def late_message_lost() -> None:
    """A step is committed without looking whether a message has come meanwhile."""

    def guard(original: Any) -> Any:
        def unaware(core: SqliteCore, transitions: Any) -> Any:
            for t in transitions:
                if t.new is None and t.inbox is not None:
                    t.inbox = max(t.inbox, standing(core, t.case)[2])
            return original(core, transitions)

        return unaware

    replace(SqliteCore, "_guard", guard)


def answer_lost() -> None:
    """An answer is acknowledged, and a crash or somebody else comes before its commit."""

    def apply(original: Any) -> Any:
        async def hasty(cases: Any, session: Any, happening: Any, **settings: Any) -> Any:
            if not isinstance(happening, Answered):
                return await original(cases, session, happening, **settings)
            task = asyncio.ensure_future(original(cases, session, happening, **settings))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            return session.case.row.id

        return hasty

    replace(Cases, "apply", apply)


def answer_to_whatever() -> None:
    """An answer counts for what the case shows now, not for what was shown when it was given."""

    def open_pause(_: Any) -> Any:
        async def current(self: Decisions, token: str) -> Any:
            store = self._store
            asked = await store.pause_by_token(token)
            return await store.pause(asked.case)

        return current

    replace(Decisions, "_open_pause", open_pause)


def timer_without_epoch() -> None:
    """The timer of an earlier pause still runs when the case pauses again, and nobody looks whose it is."""
    first: dict[tuple[int, int], float] = {}

    def rest(original: Any) -> Any:
        def rested(at: Any, t: Any, *more: Any) -> Any:
            event = original(at, t, *more)
            if t.pause is not None and t.wake_at is not None:
                t.wake_at = first.setdefault((id(at.chance), t.case), t.wake_at)
            return event

        return rested

    replace(transitions, "_rest", rest)
    replace(timers, "due", lambda original: lambda at: original(dataclasses.replace(at, now=at.now + 1_000.0)))


def lost_join() -> None:
    """Of two branches that end at the same time one is not counted."""

    def has_ended(_: Any) -> Any:
        def ended(self: Any, attempt: Any) -> None:
            self._ended = [attempt]
            self.news.set()

        return ended

    replace(branches._UnderWay, "_has_ended", has_ended)


def wrong_join() -> None:
    """A parent joins whichever child it started first, whatever that was for."""
    for module in (messages, transitions):
        replace(module, "child_key", lambda _: lambda snapshot, child: f"child:{snapshot.case}:{child.name}")


def stale_cancel() -> None:
    """A cancel hits the case wherever it has come to since it was looked at."""

    def commit(original: Any) -> Any:
        async def forced(store: MemoryStore, t: Any) -> Any:
            if [event.kind for event in t.events] == ["cancelled"]:
                (t.revision, t.fence, _), t.inbox = standing(store.core, t.case), None
            return await original(store, t)

        return forced

    replace(MemoryStore, "commit", commit)


def no_invalidation() -> None:
    """What was computed from a rewritten field stays."""
    replace(evolve, "_outdated", lambda _: lambda *arguments: set())


def stale_result_kept() -> None:
    """What a step computed from a field that was rewritten meanwhile is kept."""
    replace(evolve, "stale", lambda _: lambda *arguments: False)


def start_twice() -> None:
    """A start is not recognised by its key."""

    def guard(original: Any) -> Any:
        def forgetful(core: SqliteCore, transitions: Any) -> Any:
            for t in transitions:
                if t.new is not None and t.new.key is not None:
                    known = core.connection.execute("SELECT count(*) FROM cases WHERE key = ?", (t.new.key,)).fetchone()[0]
                    t.new = t.new._replace(key=f"{t.new.key}#{t.case}") if known else t.new
            return original(core, transitions)

        return forgetful

    replace(SqliteCore, "_guard", guard)


class Presuming:
    """A store whose failed commits are taken to have happened."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, t: Any) -> int:
        try:
            return int(await self._store.commit(t))
        except StoreError:
            return int(t.case)


def failed_commit_presumed() -> None:
    """A commit of which nobody can tell is taken to have happened."""

    def init(original: Any) -> Any:
        def presuming(self: Any, *arguments: Any) -> None:
            original(self, *arguments)
            self._store = Presuming(self._store)

        return presuming

    for owner in (Runner, Cases):
        replace(owner, "__init__", init)


def guard_forgets() -> None:
    """How far a guard has come is not read again when a case is taken up."""
    for module in (attempts, joins, branches):
        replace(module, "progress_of", lambda _: lambda guard, text: BEGINNING)


# Of the entrypoints.


def found_by_position() -> None:
    """The outcome of a call is found by the place of the call in the body."""

    def ask(original: Any) -> Any:
        def counted(self: Body, wanted: Any) -> Any:
            return original(self, dataclasses.replace(wanted, digest=str(len(self.calls))))

        return counted

    replace(Body, "ask", ask)


def found_by_name() -> None:
    """The outcome of a call is found by the name of its task, and by how often that was called."""
    replace(Body, "ask", lambda original: lambda self, wanted: original(self, dataclasses.replace(wanted, digest="")))


def effect_without_intent() -> None:
    """As `no_intent`, for the effects of a body."""
    no_intent()


def verdict_forgotten() -> None:
    """What a body has decided over several calls is decided again whenever it is run again."""

    def notes(original: Any) -> Any:
        def silent(self: BodyProgram, body: Any) -> Any:
            body.verdicts.clear()
            return original(self, body)

        return silent

    replace(BodyProgram, "_notes", notes)


def answer_after_all() -> None:
    """An answer that came too late replaces the one that counted."""

    def learn(original: Any) -> Any:
        def last(cells: Any, entry: Any) -> Any:
            return original(cells, {**entry, "answer": len(cells["answers"].value) - 1} if "answer" in entry else entry)

        return last

    replace(program, "_outcome", learn)


OF_ENTRYPOINTS = (found_by_position, found_by_name, effect_without_intent, verdict_forgotten, answer_after_all)

MUTANTS = {
    mutant.__name__.replace("_", " "): mutant
    for mutant in (
        no_fence, no_intent, no_settle, deadline_after_intent, key_with_attempt, key_life_ignored, at_most_once_retried, early_message_dropped,
        timer_without_epoch, lost_join, counted_limit, no_argument_digest, orphan_intent_ignored, stale_cancel, no_invalidation, stale_result_kept,
        message_twice, late_message_lost, answer_lost, answer_to_whatever, wrong_join, start_twice, failed_commit_presumed,
        guard_forgets, *OF_ENTRYPOINTS,
    )
}  # fmt: skip


# Schedules that kill mutants which survive many others.
KILLERS = {
    "key life ignored": 32, "at most once retried": 9, "deadline after intent": 110, "no argument digest": 21, "orphan intent ignored": 104,
    "stale cancel": 142, "stale result kept": 166, "counted limit": 532, "late message lost": 10, "wrong join": 64, "answer to whatever": 42,
    "failed commit presumed": 17, "answer after all": 68, "no intent": 7, "no fence": 7, "no settle": 5, "timer without epoch": 6,
    "no invalidation": 20, "found by position": 3, "answer lost": 6, "verdict forgotten": 6,
}  # fmt: skip


def hunt(name: str, seeds: int, *, anew: bool) -> None:
    """Run schedules with a mutant until one kills it, and print which. The first is one that has killed it before, unless `anew`."""
    MUTANTS[name]()
    violations, seed = [], 0
    for seed in range(seeds) if anew or name not in KILLERS else chain([KILLERS[name]], range(seeds)):
        violations = run(seed, entrypoints=MUTANTS[name] in OF_ENTRYPOINTS).violations
        if violations:
            break
    found = {"name": name, "seed": seed if violations else None, "violation": next(iter(violations), None)}
    print(json.dumps(found) + "\n", end="", flush=True)  # as one piece: another hunt writes to the same pipe


def hunt_all(seeds: int, *, anew: bool) -> None:
    """Hunt each mutant in a child of this process, which has imported everything, as many at a time as there are processors."""
    begun = 0
    for begun, name in enumerate(MUTANTS):
        if begun >= (os.cpu_count() or 1):
            _await_one()
        if os.fork() == 0:
            hunt(name, seeds, anew=anew)
            os._exit(0)
    for _ in range(min(os.cpu_count() or 1, begun + 1)):
        _await_one()


def _await_one() -> None:
    _, status = os.wait()
    assert status == 0, "a hunt has failed; it says above why"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", choices=MUTANTS, help="the only mutant to hunt")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="how many schedules it may survive")
    parser.add_argument("--anew", action="store_true", help="forget which schedules have killed it before")
    given = parser.parse_args()
    collect_seldom()
    if given.name:
        hunt(given.name, given.seeds, anew=given.anew)
    else:
        hunt_all(given.seeds, anew=given.anew)


if __name__ == "__main__":
    main()
