"""A process: its state, its steps and its rules, checked before anything runs."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar, overload

from pointsman.definition import checks
from pointsman.definition.children import Child
from pointsman.definition.durations import Duration, seconds_of
from pointsman.definition.effects import AnyCompensation, Compensation, Effect, Safety
from pointsman.definition.fingerprint import fingerprint_of
from pointsman.definition.guards import Budget, Guard, answered
from pointsman.definition.ladder import ladder_of
from pointsman.definition.limits import Intake, Limit, check_limits
from pointsman.definition.messages import Accept, WhileOpen, logs_of
from pointsman.definition.nodes import AnyNode, Node, OnFailure, P, R, Retry
from pointsman.definition.pauses import Expire, Pause, Reassign, Remind, Sleep
from pointsman.definition.retention import Retention
from pointsman.definition.rules import AnyStep, Compensate, Park, Rule
from pointsman.definition.schedules import Missed, Schedule, Ticks
from pointsman.definition.signature import signature_of
from pointsman.definition.state import State
from pointsman.definition.transactions import Transaction
from pointsman.definition.versions import Migration, check_versions
from pointsman.errors import DefinitionError

S = TypeVar("S", bound=State)

EFFECT_TIMEOUT_SECONDS = 30.0  # longer than a healthy mail server or payment service takes, short enough to settle soon
STEPS_A_RULE = 100  # each rule so often without an answer, a message or a timer between: a case that does that turns in a circle


class Process(Generic[S]):
    """What happens to a case: declare nodes, effects and pauses on it, then the rules, once.

    `name` is stored with every case and must stay; `version` counts the changes of the state's meaning. A case that takes
    `steps_max` steps with no answer, message or timer between them is parked; by default 100 for each rule. `intake` bounds how many cases may be in line; `retention` says how long a case is
    kept after its end; without it, for ever. `budget` bounds what its guarded nodes may spend.

    `accepts` names the older versions whose cases this one can go on with: `accepts[2]` turns the stored fields of
    version 2, as plain JSON values, into those of version 3, or is None where nothing has to be done. The functions are
    pure, and are run one after the other up to `version`. Raises DefinitionError where one of them is missing.
    """

    def __init__(
        self, name: str, state: type[S], *, version: int = 1, accepts: Mapping[int, Migration | None] | None = None, steps_max: int | None = None,
        intake: Intake = Intake(),  # noqa: B008 - a frozen value
        retention: Retention | None = None,
        budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.state = state
        self.version = version
        self.accepts: Mapping[int, Migration | None] = dict(accepts or {})
        self._steps_max = steps_max
        self.intake = intake
        self.retention = retention
        self.budget = budget
        self.schedules: dict[str, Schedule] = {}
        self._former: dict[str, str] = {}
        self.steps: dict[str, AnyStep] = {}
        self.accepts_messages: dict[str, Accept] = {}
        self._rules: tuple[Rule[S], ...] = ()
        self._overs: dict[str, str] = {}
        checks.check_state(name, state)
        self.logs = frozenset(logs_of(state))
        check_versions(name, version, self.accepts)

    @overload
    def node(self, function: Callable[P, R], /, *, writes: str | tuple[str, ...], name: str | None = None, retry: Retry = ...,
             timeout_seconds: float | None = None, on_failure: OnFailure = "park", isolated: bool = False,
             former_names: str | tuple[str, ...] = (), limit: Limit | None = None, guard: Guard | None = None) -> Node[P, R]: ...  # fmt: skip
    @overload
    def node(self, /, *, writes: str | tuple[str, ...], name: str | None = None, retry: Retry = ..., timeout_seconds: float | None = None,
             on_failure: OnFailure = "park", isolated: bool = False,
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
        former_names: str | tuple[str, ...] = (),
        limit: Limit | None = None,
        guard: Guard | None = None,
    ) -> Node[P, R] | Callable[[Callable[P, R]], Node[P, R]]:
        """Declare a node: a plain or async function that reads fields, uses resources and returns what `writes` takes.

        The parameters before the `*` name fields, those after it resources. A plain function runs in a thread.
        `timeout_seconds` bounds one attempt. When all attempts have failed, the case is parked, or, with
        `on_failure="record"`, the field takes a `Failure` and the case goes on. An `isolated` one runs in a Python of its
        own, which is killed when its time is over or its step is cancelled, and whose crash is a failed attempt: for
        functions that hang or crash beyond help, at the cost of starting a Python for each attempt. `former_names` are the names that it had before,
        oldest first: what is stored under them counts as its own. `limit` is what all calls of this and other steps share.
        `guard` is what an answer must pass before it is written; a node that asks a model returns a `ModelResponse`, and is guarded by
        the types of its fields where no other guard is named. Raises DefinitionError.
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
        """Declare an effect: a function that changes the world outside. It must name a safety policy.

        The idempotency key is made of the process, the case, the effect and what it reads; `key`, a function of fields
        that it names as parameters, takes the place of what it reads. `retry` bounds the calls, repeated or not sent.
        `undo` is the compensation that a rule's `compensate(...)` calls for it. `former_names` are the names that it had before, oldest first: the key is made of the oldest one, so that a call under an
        earlier name is known. `limit` is what all calls of this and other steps share. Raises DefinitionError.
        """

        def declare(function: Callable[P, R]) -> Effect[P, R]:
            called = name or _name_of(function)
            what = f"effect {called!r}"
            if safety is None:
                raise DefinitionError(
                    f"{what}: say with `safety=` what a crash in the middle of its call means: "
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
        """Declare a compensation: an effect that takes another one back, and is named in that one's `undo=`.

        It reads fields as they stood at the call that it takes back, and what that call wrote; it writes none. Its key is made
        of that call's key. Raises DefinitionError.
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
        """Declare a transaction: a plain function with a resource `db: Database`, whose rows are committed with the field.

        It holds the engine's writer while it runs, so it does nothing but read and write rows; its changes are undone when it
        raises, and when the case has moved meanwhile. Raises DefinitionError.
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

        `ladder` says what happens when none comes: `remind(after)`, `reassign(after, to)`, and at the `deadline` either
        `answer_with(default)` or `park(reason)`; with a deadline alone the case is parked then. `former_names` are its earlier names. Raises DefinitionError.
        """
        called = name or writes
        rungs = ladder_of(f"process {self.name!r}, pause {called!r}", ladder, deadline)
        pause = Pause(called, (writes,), answer, shows, edits, beside, rungs, assignee, former_names=_names(former_names))
        self._declare(pause)
        return pause

    def sleep(self, *, writes: str, seconds: Duration | None = None, until: str | None = None, name: str | None = None,
              former_names: str | tuple[str, ...] = ()) -> Sleep:  # fmt: skip
        """Declare a sleep: the case waits for so long, or until the time that the field `until` names (Unix seconds or a datetime).

        `writes` takes the time at which the case went on, a float or a datetime. A clock that jumps makes it late, never early.
        Raises DefinitionError.
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
        """Declare a child: a case of another process, whose end this case waits for.

        `inputs` is a function of fields that it names as parameters, and returns what the child starts with. `writes` takes
        the child's field `result`, or a `ChildEnd` where none is named. A child that ends without a result parks its parent.
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
        """Declare a kind of message, a type that fits the field it `writes`.

        `correlate` gives the correlation key: a message with the key of an open case goes to that case; another one starts a
        case, whose inputs are the message and what `starts` makes of it, or waits for one where `starts` is False. `key` gives
        its identity: the same message again is a duplicate. `while_open` says what one to an open case does: "supersede"
        rewrites the field, "append" adds to a `Log` field, "hold" waits until the case has ended, "new_case" starts another
        case. With `order`, a message that comes later but is older than the one that stands is let be, and a log is kept in
        that order. Raises DefinitionError.
        """
        accept = Accept(name or writes, message, (writes,), correlate, while_open, key, order, starts)
        if accept.name in self.accepts_messages or accept.name in self.steps:
            raise DefinitionError(f"process {self.name!r}: two messages or steps are called {accept.name!r}; give one another name=.")
        checks.check_accept(self.name, self.state, accept)
        self.accepts_messages[accept.name] = accept
        return accept

    def rules(self, *rules: Rule[S]) -> None:
        """Say what happens next, read from the top; the last one is `otherwise`. Raises DefinitionError."""
        if self._rules:
            raise DefinitionError(f"process {self.name!r}: rules() was called twice; put all rules into one call.")
        self._overs = checks.check_rules(self.name, self.state, self.steps, self.accepts_messages, rules)
        self._rules = rules

    def schedule(
        self,
        name: str,
        ticks: Ticks,
        *,
        inputs: Mapping[str, Any] | Callable[[datetime], S | Mapping[str, Any]],
        missed: Missed = "one",
    ) -> Schedule:
        """Start a case at each tick of `every(...)` or `cron(...)`, with these inputs, or what a function of the tick's time gives.

        The case of a tick has the key `schedule:<name>:<the tick's UTC time>`, so each tick starts one case whatever
        crashes. Ticks come late, never early. Of several that are due, as after a time without an engine, `missed` says
        whether the last "one" is started, "all" of them (the last 100), or "none" that is more than a minute late.
        `name` is stored and must stay. Raises DefinitionError.
        """
        checks.check_schedule(self.name, self.state, name, inputs, missed)
        if name in self.schedules:
            raise DefinitionError(f"process {self.name!r}: two schedules are called {name!r}; give one another name.")
        self.schedules[name] = Schedule(name, ticks, inputs, missed)
        return self.schedules[name]

    @property
    def steps_max(self) -> int:
        """How many steps a case may take with nothing from outside between them."""
        return STEPS_A_RULE * len(self._rules) if self._steps_max is None else self._steps_max

    @property
    def ordered_rules(self) -> tuple[Rule[S], ...]:
        """The rules, from the top. Raises DefinitionError where there are none yet."""
        if not self._rules:
            raise DefinitionError(f"process {self.name!r} has no rules; call {self.name}.rules(...) once.")
        return self._rules

    def nodes(self) -> Iterator[AnyNode]:
        """The nodes and effects, in the order of their declaration."""
        return (step for step in self.steps.values() if isinstance(step, Node))

    def depends(self, step: AnyStep) -> frozenset[str]:
        """The fields whose rewriting clears what this step wrote: what it reads, and the collection that it goes over."""
        over = self._overs.get(step.name)
        return step.depends if over is None else step.depends | {over}

    def accepts_version(self, version: int) -> bool:
        """Whether a case of this version can go on under this process."""
        return version == self.version or version in self.accepts

    def called(self, name: str) -> str:
        """The present name of a step that is stored under `name`, which may be an earlier one."""
        if not self._former:
            return name
        if name in self._former:
            return self._former[name]
        # What is made of several names: "a + b", "a over items", and an item's branch, "a[3]".
        nodes, item, place = name.partition("[")
        nodes, over, field = nodes.partition(" over ")
        return " + ".join(self._former.get(node, node) for node in nodes.split(" + ")) + over + field + item + place

    @cached_property
    def compensates(self) -> Mapping[str, Compensate]:
        """The `compensate(...)` steps of the rules, by their names."""
        return {rule.step.name: rule.step for rule in self.ordered_rules if isinstance(rule.step, Compensate)}

    @cached_property
    def fingerprint(self) -> str:
        """What identifies this definition among others of its name and version; see `definition.fingerprint`."""
        return fingerprint_of(self.name, self.version, self.state, self.steps, self.accepts_messages, self.ordered_rules)

    def _declare(self, step: AnyStep) -> None:
        if self._rules:
            raise DefinitionError(f"process {self.name!r}: {step.name!r} is declared after rules(); declare it before.")
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
