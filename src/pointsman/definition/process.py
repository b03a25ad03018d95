"""A process: its state, its steps and its rules, checked before anything runs."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

from pointsman.definition import checks
from pointsman.definition.children import Child
from pointsman.definition.durations import Duration, seconds_of
from pointsman.definition.effects import AnyCompensation, AnyEffect, Compensation, Effect, Safety
from pointsman.definition.fingerprint import fingerprint_of
from pointsman.definition.guards import Budget, Guard, answered
from pointsman.definition.invariants import Invariant, check_ends, check_invariant
from pointsman.definition.ladder import ladder_of
from pointsman.definition.limits import Intake, Limit, check_limits
from pointsman.definition.messages import Accept, WhileOpen, logs_of
from pointsman.definition.names import check_name, check_text
from pointsman.definition.nodes import AnyNode, Node, OnFailure, P, R, Retry
from pointsman.definition.pauses import Expire, Pause, Reassign, Remind, Sleep
from pointsman.definition.retention import Retention
from pointsman.definition.rules import AnyStep, Compensate, Park, Rule
from pointsman.definition.schedules import Missed, Schedule, Ticks
from pointsman.definition.signature import signature_of
from pointsman.definition.state import State, private_of, searchable_of
from pointsman.definition.transactions import Transaction
from pointsman.definition.versions import Migration, check_versions
from pointsman.errors import DefinitionError

S = TypeVar("S", bound=State)

EFFECT_TIMEOUT_SECONDS = 30.0  # longer than a healthy mail server or payment service takes, and short enough for a look-up soon
STEPS_A_RULE = 100  # a case that takes each rule so often without an answer, a message or a timer in between is in a loop


class Process(Generic[S]):
    """The definition of a process: declare its steps, and then its rules once.

    `name` is stored with each case and must not change. `version` counts changes of the meaning of the state. The engine
    parks a case that takes `steps_max` steps without an answer, a message or a timer in between; the default is 100 for
    each rule. `intake` bounds the backlog. `retention` says how long ended cases are kept; the default is for ever. `budget`
    bounds the usage of the guarded nodes.

    `accepts` lists the older versions whose cases this version can continue. `accepts[2]` is a pure function that turns
    the stored fields of version 2, as plain JSON values, into those of version 3, or None if nothing changes. The engine
    applies one migration after the other up to `version`. Raises DefinitionError if one of them is missing.
    """

    def __init__(
        self, name: str, state: type[S], *, version: int = 1, accepts: Mapping[int, Migration | None] | None = None, steps_max: int | None = None,
        intake: Intake = Intake(),  # noqa: B008 - a frozen value
        retention: Retention | None = None,
        budget: Budget | None = None,
    ) -> None:  # fmt: skip
        check_name("a process", name)
        self.name = name
        self.state = state
        self.version = version
        self.accepts: Mapping[int, Migration | None] = dict(accepts or {})
        if steps_max is not None and steps_max < 1:
            raise DefinitionError(f"process {name!r}: steps_max={steps_max} lets no case take a step; leave it out, or give 1 or more.")
        self.steps_max = steps_max or 0  # until the rules say how many there are
        """The number of steps that a case may take without an answer, a message or a timer in between."""
        self.intake = intake
        self.retention = retention
        self.budget = budget
        self.schedules: dict[str, Schedule] = {}
        self._former: dict[str, str] = {}
        self.steps: dict[str, AnyStep] = {}
        self.accepts_messages: dict[str, Accept] = {}
        self.invariants: dict[str, Invariant[S]] = {}
        self._rules: tuple[Rule[S], ...] = ()
        self._overs: dict[str, str] = {}
        checks.check_state(name, state)
        self.logs = frozenset(logs_of(state))
        self.searchable = searchable_of(state)
        self.private = private_of(state)
        check_versions(name, version, self.accepts)

    @overload
    def node(self, function: Callable[P, R], /, *, writes: str | tuple[str, ...], name: str | None = None, retry: Retry = ...,
             timeout_seconds: float | None = None, on_failure: OnFailure = "park", isolated: bool = False, inline: bool = False,
             former_names: str | tuple[str, ...] = (), limit: Limit | None = None, guard: Guard | None = None) -> Node[P, R]: ...  # fmt: skip
    @overload
    def node(self, /, *, writes: str | tuple[str, ...], name: str | None = None, retry: Retry = ..., timeout_seconds: float | None = None,
             on_failure: OnFailure = "park", isolated: bool = False, inline: bool = False,
             former_names: str | tuple[str, ...] = (), limit: Limit | None = None, guard: Guard | None = None,
             ) -> Callable[[Callable[P, R]], Node[P, R]]: ...  # fmt: skip

    def node(
        self,
        function: Callable[P, R] | None = None,
        /,
        *,
        writes: str | tuple[str, ...],
        name: str | None = None,
        retry: Retry = Retry(),  # noqa: B008 - a frozen value
        timeout_seconds: float | None = None,
        on_failure: OnFailure = "park",
        isolated: bool = False,
        inline: bool = False,
        former_names: str | tuple[str, ...] = (),
        limit: Limit | None = None,
        guard: Guard | None = None,
    ) -> Node[P, R] | Callable[[Callable[P, R]], Node[P, R]]:
        """Declare a node: a plain or async function that reads fields, uses resources and returns the value of `writes`.

        The parameters before the `*` name fields, and those after it name resources. A plain function runs in a thread, or
        `inline` in the event loop, which it must not block: use it for computations of less than a millisecond. `timeout_seconds` bounds one attempt. After the last failed attempt the case is parked, or, with
        `on_failure="record"`, the field takes a `Failure` and the case goes on. An `isolated` node runs in a subprocess,
        which the engine kills at the timeout or when the step is cancelled; a crash of the subprocess is a failed attempt.
        Each attempt then starts Python, so use it for functions that hang or crash. `former_names` are earlier names, the
        oldest first: the engine finds what is stored under them. `limit` bounds the calls of all steps that share it.
        `guard` checks the result before it is written. A node that asks a model returns a `ModelResponse`; without a guard,
        the engine checks the types of its fields. Raises DefinitionError.
        """

        def declare(function: Callable[P, R]) -> Node[P, R]:
            called = name or _name_of(function)
            what = f"node {called!r}"
            signature, asks = answered(signature_of(function, what))
            node = Node(
                function=function,
                name=called,
                writes=_names(writes),
                signature=signature,
                retry=retry,
                timeout_seconds=timeout_seconds,
                on_failure=on_failure,
                asynchronous=inspect.iscoroutinefunction(function),
                isolated=isolated,
                inline=inline,
                former_names=_names(former_names),
                limit=limit,
                guard=Guard(repairs_max=0) if guard is None and asks else guard,
            )
            self._declare(node)
            return node

        return declare if function is None else declare(function)

    @overload
    def effect(self, function: Callable[P, R], /, *, writes: str | tuple[str, ...], safety: Safety | None = None, name: str | None = None,
               timeout_seconds: float = ..., retry: Retry = ..., on_failure: OnFailure = "park",
               key: Callable[..., str] | None = None, undo: AnyCompensation | None = None,
               former_names: str | tuple[str, ...] = (), limit: Limit | None = None) -> Effect[P, R]: ...  # fmt: skip
    @overload
    def effect(self, /, *, writes: str | tuple[str, ...], safety: Safety | None = None, name: str | None = None, timeout_seconds: float = ...,
               retry: Retry = ..., on_failure: OnFailure = "park",
               key: Callable[..., str] | None = None, undo: AnyCompensation | None = None,
               former_names: str | tuple[str, ...] = (), limit: Limit | None = None) -> Callable[[Callable[P, R]], Effect[P, R]]: ...  # fmt: skip

    def effect(
        self,
        function: Callable[P, R] | None = None,
        /,
        *,
        writes: str | tuple[str, ...],
        safety: Safety | None = None,
        name: str | None = None,
        timeout_seconds: float = EFFECT_TIMEOUT_SECONDS,
        retry: Retry = Retry(),  # noqa: B008 - a frozen value
        on_failure: OnFailure = "park",
        key: Callable[..., str] | None = None,
        undo: AnyCompensation | None = None,
        former_names: str | tuple[str, ...] = (),
        limit: Limit | None = None,
    ) -> Effect[P, R] | Callable[[Callable[P, R]], Effect[P, R]]:
        """Declare an effect: a function that changes the outside world. It must have a `safety` policy.

        The idempotency key is a digest of the process, the case, the effect and the fields that it reads. `key`, a function
        whose parameters name fields, replaces those fields. `retry` bounds the number of calls. `undo` is the compensation
        that `compensate(...)` calls. `former_names` are earlier names, the oldest first: the key contains the oldest name, so
        a renamed effect keeps its keys. `limit` bounds the calls of all steps that share it. Raises DefinitionError.
        """

        def declare(function: Callable[P, R]) -> Effect[P, R]:
            called = name or _name_of(function)
            what = f"effect {called!r}"
            if safety is None:
                raise DefinitionError(
                    f"{what}: it has no safety policy; set `safety=` to "
                    "Idempotent(), Reconcile(look_up, propagation_seconds), AtMostOnce() or AtLeastOnce(because)."
                )
            effect = Effect(
                function=function,
                name=called,
                writes=_names(writes),
                signature=signature_of(function, what),
                retry=retry,
                timeout_seconds=timeout_seconds,
                on_failure=on_failure,
                asynchronous=inspect.iscoroutinefunction(function),
                safety=safety,
                key=key,
                undo=undo,
                former_names=_names(former_names),
                limit=limit,
            )
            self._declare(effect)
            return effect

        return declare if function is None else declare(function)

    def compensation(
        self, *, safety: Safety, name: str | None = None, timeout_seconds: float = EFFECT_TIMEOUT_SECONDS, retry: Retry = Retry(),  # noqa: B008
        former_names: str | tuple[str, ...] = (),
    ) -> Callable[[Callable[P, R]], Compensation[P, R]]:  # fmt: skip
        """Declare a compensation: an effect that reverses the effect that names it in `undo=`.

        It reads the fields as they were at the call that it reverses, and what that call wrote. It writes no field. Its key
        is derived from the key of that call. Raises DefinitionError.
        """

        def declare(function: Callable[P, R]) -> Compensation[P, R]:
            called = name or _name_of(function)
            compensation = Compensation(
                function=function,
                name=called,
                writes=(),
                signature=signature_of(function, f"compensation {called!r}"),
                retry=retry,
                timeout_seconds=timeout_seconds,
                on_failure="park",
                asynchronous=inspect.iscoroutinefunction(function),
                safety=safety,
                former_names=_names(former_names),
            )
            self._declare(compensation)
            return compensation

        return declare

    def transaction(
        self, *, writes: str | tuple[str, ...], name: str | None = None, retry: Retry = Retry(), on_failure: OnFailure = "park",  # noqa: B008
        former_names: str | tuple[str, ...] = (),
    ) -> Callable[[Callable[P, R]], Transaction[P, R]]:  # fmt: skip
        """Declare a transaction: a plain function with the resource `db: Database`, whose rows are committed with the field.

        It blocks the engine's writer while it runs, so it must only read and write rows. Its changes are rolled back if it
        raises, or if the case has changed in the meantime. Raises DefinitionError.
        """

        def declare(function: Callable[P, R]) -> Transaction[P, R]:
            called = name or _name_of(function)
            transaction = Transaction(
                function=function,
                name=called,
                writes=_names(writes),
                signature=signature_of(function, f"transaction {called!r}"),
                retry=retry,
                timeout_seconds=None,
                on_failure=on_failure,
                asynchronous=inspect.iscoroutinefunction(function),
                former_names=_names(former_names),
            )
            self._declare(transaction)
            return transaction

        return declare

    def pause(
        self,
        *,
        writes: str,
        answer: type,
        shows: tuple[str, ...],
        edits: tuple[str, ...] = (),
        beside: tuple[str, ...] = (),
        deadline: Duration | None = None,
        ladder: Sequence[Remind | Reassign | Expire | Park] = (),
        assignee: str | None = None,
        name: str | None = None,
        former_names: str | tuple[str, ...] = (),
    ) -> Pause:
        """Declare a pause: the case waits for an `answer` to what it `shows`.

        `edits` are the shown fields that the answer may rewrite, and `beside` are fields that are shown for information only.
        `ladder` says what happens while no answer comes: `remind(after)`, `reassign(after, to)`, and at the `deadline` either
        `answer_with(default)` or `park(reason)`. With a deadline and no ladder, the case is parked at the deadline.
        `former_names` are earlier names of the pause. Raises DefinitionError.
        """
        called = name or writes
        rungs = ladder_of(f"process {self.name!r}, pause {called!r}", ladder, deadline)
        pause = Pause(called, (writes,), answer, shows, edits, beside, rungs, assignee, former_names=_names(former_names))
        self._declare(pause)
        return pause

    def sleep(self, *, writes: str, seconds: Duration | None = None, until: str | None = None, name: str | None = None,
              former_names: str | tuple[str, ...] = ()) -> Sleep:  # fmt: skip
        """Declare a sleep: the case waits for `seconds`, or until the time in the field `until` (Unix seconds or a datetime).

        `writes` takes the time at which the sleep ended, as a float or a datetime. If the clock jumps, the sleep may end late
        and never ends early. Raises DefinitionError.
        """
        sleep = Sleep(
            name or writes,
            (writes,),
            None if seconds is None else seconds_of(seconds, f"sleep {name or writes!r}"),
            until,
            _names(former_names),
        )
        self._declare(sleep)
        return sleep

    def child(
        self, process: "AnyProcess", inputs: Callable[..., Mapping[str, Any]], *, writes: str, result: str | None = None, name: str | None = None,
        former_names: str | tuple[str, ...] = (),
    ) -> Child:  # fmt: skip
        """Declare a child: a case of another `process` that runs as one step of this case.

        `inputs` is a function whose parameters name fields, and returns the inputs of the child. `writes` takes the field
        `result` of the child, or a `ChildEnd` if `result` is None. A child that ends without its `result` parks its parent.
        Raises DefinitionError.
        """
        called = name or process.name
        child = Child(called, process, inputs, (writes,), signature_of(inputs, f"child {called!r}"), result, _names(former_names))
        self._declare(child)
        return child

    def accept(
        self,
        message: Any,
        *,
        writes: str,
        correlate: Callable[[Any], str | None],
        while_open: WhileOpen = "supersede",
        key: Callable[[Any], str | None] | None = None,
        order: Callable[[Any], Any] | None = None,
        starts: Callable[[Any], Mapping[str, Any]] | bool = True,
        name: str | None = None,
    ) -> Accept:
        """Declare a kind of `message`: a type that fits the field that it `writes`.

        `correlate` returns the correlation key. A message goes to the open case with that key. If there is none, it starts a
        case, whose inputs are the message and what the function `starts` returns; if `starts` is False, the message waits for
        a case. `key` returns the identity of a message: a second message with the same key is a duplicate. `while_open` says
        what a message to an open case does: "supersede" rewrites the field, "append" adds to a `Log` field, "hold" waits
        until the case has ended, and "new_case" starts another case. With `order`, the case ignores a message that is older
        than the one it has, and sorts a log. Raises DefinitionError.
        """
        check_name(f"process {self.name!r}: a message", name or writes)
        accept = Accept(name or writes, message, (writes,), correlate, while_open, key, order, starts)
        if accept.name in self.accepts_messages or accept.name in self.steps:
            raise DefinitionError(f"process {self.name!r}: two messages or steps are called {accept.name!r}; give one another name=.")
        checks.check_accept(self.name, self.state, accept)
        self.accepts_messages[accept.name] = accept
        return accept

    def never(self, name: str, condition: Callable[[S], object], *, effect: AnyEffect | None = None, ends: str | None = None) -> None:
        """Declare an invariant: `condition` must never hold when the rules choose `effect`, or an end with the outcome `ends`.

        Without `effect` and `ends` it must never hold at any decision. The engine checks it with each decision for such a step, so before an
        intent is committed. If it holds, or raises, the case is parked with its name, and nothing is called. `pointsman verify`
        looks for a way there before any case takes it. Raises DefinitionError.
        """
        check_text("never(...)", name)
        if self._rules:
            raise DefinitionError(f"process {self.name!r}: invariant {name!r} is declared after rules(); declare it before.")
        invariant = Invariant(name, condition, effect, ends)
        check_invariant(self.name, self.steps, self.invariants, invariant)
        self.invariants[name] = invariant

    def rules(self, *rules: Rule[S]) -> None:
        """Declare the rules. The first rule whose condition holds wins; the last is `otherwise`. Raises DefinitionError."""
        if self._rules:
            raise DefinitionError(f"process {self.name!r}: rules() was called twice; put all rules into one call.")
        self._overs = checks.check_rules(self.name, self.state, self.steps, self.accepts_messages, rules)
        check_ends(self.name, rules, self.invariants)
        self._rules = rules
        self.steps_max = self.steps_max or STEPS_A_RULE * len(rules)

    def schedule(
        self,
        name: str,
        ticks: Ticks,
        *,
        inputs: Mapping[str, Any] | Callable[[datetime], S | Mapping[str, Any]],
        missed: Missed = "one",
    ) -> Schedule:
        """Start a case at each tick of `every(...)` or `cron(...)`. `inputs` is a mapping, or a function of the time of the tick.

        The start key is `schedule:<name>:<time of the tick in UTC>`, so a crash cannot start a tick twice. A tick may be late
        and is never early. If ticks were missed, for example without an engine, `missed="one"` starts the last of them,
        "all" starts the last 100, and "none" starts only a tick that is at most a minute late. `name` is stored and must not
        change. Raises DefinitionError.
        """
        check_name(f"process {self.name!r}: a schedule", name)
        checks.check_schedule(self.name, self.state, name, inputs, missed)
        if name in self.schedules:
            raise DefinitionError(f"process {self.name!r}: two schedules are called {name!r}; give one another name.")
        self.schedules[name] = Schedule(name, ticks, inputs, missed)
        return self.schedules[name]

    @property
    def ordered_rules(self) -> tuple[Rule[S], ...]:
        """The rules in order. Raises DefinitionError if there are none yet."""
        if not self._rules:
            raise DefinitionError(f"process {self.name!r} has no rules; call {self.name}.rules(...) once.")
        return self._rules

    def nodes(self) -> Iterator[AnyNode]:
        """The nodes and effects, in the order of their declaration."""
        return (step for step in self.steps.values() if isinstance(step, Node))

    @cached_property
    def reads(self) -> frozenset[str]:
        """The fields that the result of any step depends on."""
        return frozenset().union(*(self.depends(step) for step in self.steps.values()))

    def depends(self, step: AnyStep) -> frozenset[str]:
        """The fields that the results of this step depend on: what it reads, and the collection in its `over=`."""
        over = self._overs.get(step.name)
        return step.depends if over is None else step.depends | {over}

    def accepts_version(self, version: int) -> bool:
        """Whether this process can continue a case of this version."""
        return version == self.version or version in self.accepts

    def called(self, name: str) -> str:
        """The present name of a step that is stored under `name`, which may be an earlier one."""
        if not self._former:
            return name
        if name in self._former:
            return self._former[name]
        # Some stored names contain several: "a + b", "a over items", and "a[3]" for the branch of an item.
        nodes, item, place = name.partition("[")
        nodes, over, field = nodes.partition(" over ")
        return " + ".join(self._former.get(node, node) for node in nodes.split(" + ")) + over + field + item + place

    @cached_property
    def compensates(self) -> Mapping[str, Compensate]:
        """The `compensate(...)` steps of the rules, by their names."""
        return {rule.step.name: rule.step for rule in self.ordered_rules if isinstance(rule.step, Compensate)}

    @cached_property
    def fingerprint(self) -> str:
        """The digest of this definition; see `definition.fingerprint`."""
        parts = (self.name, self.version, self.state, self.steps, self.accepts_messages, self.ordered_rules)
        return fingerprint_of(*parts, tuple(self.invariants.values()))

    def _declare(self, step: AnyStep) -> None:
        if self._rules:
            raise DefinitionError(f"process {self.name!r}: {step.name!r} is declared after rules(); declare it before.")
        for name in (step.name, *step.former_names):
            check_name(f"process {self.name!r}: a step", name)
        if step.name in self.steps or step.name in self.accepts_messages:
            raise DefinitionError(f"process {self.name!r}: two steps are called {step.name!r}; give one another name=.")
        checks.check_former_names(self.name, self.steps, self._former, step)
        if isinstance(step, Pause):
            checks.check_pause(self.name, self.state, step)
        elif isinstance(step, Sleep):
            checks.check_sleep(self.name, self.state, step)
        elif isinstance(step, Child):
            checks.check_child(self.name, self.state, step)
        else:
            checks.check_node(self.name, self.state, step)
            used = [*(node.limit for node in self.nodes()), step.limit]
            check_limits(f"process {self.name!r}", [limit for limit in used if limit is not None])
        self.steps[step.name] = step
        self._former |= dict.fromkeys(step.former_names, step.name)


def _name_of(function: Callable[..., Any]) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str):
        raise DefinitionError(f"{function!r} has no name; give it one with name=.")
    return name


def _names(writes: str | tuple[str, ...]) -> tuple[str, ...]:
    return (writes,) if isinstance(writes, str) else writes


AnyProcess = Process[Any]
