"""Effects inside LangGraph's nodes and tasks that happen once, whatever crashes.

LangGraph runs a node again from its start after a crash, an error or an answer to `interrupt`, and so repeats what the node did to the outside
world. A function with `@effect_once(...)` is called through the effect ledger instead: each call is a case of a process that has this one
effect, and the engine decides as for every effect what may be done after a crash.
"""

import inspect
import json
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar, cast, get_type_hints
from uuid import UUID

from langgraph.config import get_config
from langgraph.runtime import get_runtime
from pydantic import BaseModel, ValidationError, create_model

from pointsman.definition.effects import ABSENT, UNKNOWN, Found, Reconcile, Safety
from pointsman.definition.limits import Limit
from pointsman.definition.nodes import Context, Retry
from pointsman.definition.process import EFFECT_TIMEOUT_SECONDS, Process
from pointsman.definition.retention import Retention
from pointsman.definition.rules import finish, otherwise, when
from pointsman.definition.signature import accepts_none
from pointsman.definition.state import Searchable, State
from pointsman.errors import DefinitionError, InputInvalid, PointsmanError, UnknownProcess
from pointsman.integrations.langgraph.saver import PointsmanSaver
from pointsman.kernel.case import UNKNOWN as IN_DOUBT
from pointsman.kernel.codec import digest
from pointsman.kernel.rows import CaseRow
from pointsman.kernel.snapshot import Status
from pointsman.runtime.engine import Engine

PROCESS = "effect_once:"  # the beginning of the names of the processes
CHECKPOINTER = "__pregel_checkpointer"  # where LangGraph hands a graph's checkpointer to its nodes (langgraph._internal._constants)
EXECUTIONS_MAX = 10_000  # executions of nodes whose calls are counted: more than one program runs at once

P = ParamSpec("P")
R = TypeVar("R")


class EffectInDoubt(PointsmanError):
    """An effect may or may not have happened, and its policy allows no other call. `case` and `key` are those of the ledger's entry.

    Find out what happened, say so with `pointsman resolve KEY --happened --outcome JSON --why TEXT`, or `--call-again`, or with
    `engine.resolve`, and run the thread again.
    """

    def __init__(self, message: str, case: int, key: str) -> None:
        super().__init__(message)
        self.case = case
        self.key = key


class EffectFailed(PointsmanError):
    """An effect did not happen: it was rejected, or its attempts are used up. `case` is its case, which can be redriven."""

    def __init__(self, message: str, case: int) -> None:
        super().__init__(message)
        self.case = case


class _Call(NamedTuple):
    """A call of an effect: the engine's start key, and the inputs of its case."""

    saver: PointsmanSaver
    key: str
    inputs: Mapping[str, Any]


class EffectOnce(Generic[P, R]):
    """A function that is called once, through the ledger. Made by `effect_once`.

    `function` is the author's function, for tests. `process` is what an engine is opened with, so that it can go on with the calls that a
    crash cut short: `PointsmanSaver.open(path, effects=[...])`, or `Engine.open(path, [..., charge.process])`.
    """

    def __init__(
        self, function: Callable[P, R], name: str, key: Callable[..., str] | None, retention: Retention | None
    ) -> None:  # fmt: skip
        self.function = function
        self.name = name
        self._key = key
        self._asynchronous = inspect.iscoroutinefunction(function)
        self._signature = inspect.signature(function)
        try:
            hints = get_type_hints(function, include_extras=True)
        except (NameError, TypeError) as error:
            raise DefinitionError(f"effect {name!r}: {error}; name only types that its module can see.") from None
        self._takes_context = hints.get("ctx") is Context
        self._arguments = _model_of(name, self._signature, {one: kind for one, kind in hints.items() if kind is not Context})
        self._returns = hints.get("return", Any)
        self._stored = _outcome_of(name, self._returns)
        state = _state_of(name, self._arguments, self._stored)
        self.process: Process[State] = Process(f"{PROCESS}{name}", state, retention=retention)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, or return the outcome that is recorded. Only inside a node or task of a graph with a PointsmanSaver.

        Raises EffectInDoubt, EffectFailed, InputInvalid for arguments of other types, UnknownProcess if the engine was opened without this
        effect, and what `Engine.start` raises.
        """
        call = self._called(args, kwargs)

        def once(engine: Engine) -> Coroutine[Any, Any, Any]:
            return self._once(engine, call)

        if self._asynchronous:
            return cast("R", call.saver.in_engine(once))
        return cast("R", call.saver.wait_for_engine(once))

    def _called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Call:
        try:
            config = get_config()
        except RuntimeError:
            raise RuntimeError(
                f"{self.name!r} was called outside of a LangGraph node; call it there, or call {self.name}.function in a test"
            ) from None
        given: Mapping[str, Any] = config["configurable"]
        saver = given.get(CHECKPOINTER)
        if not isinstance(saver, PointsmanSaver):
            raise DefinitionError(f"effect {self.name!r}: the graph has no PointsmanSaver; compile it with checkpointer=saver.")
        bound = self._signature.bind_partial(*args, **kwargs) if self._takes_context else self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        bound.arguments.pop("ctx", None)
        try:
            arguments = self._arguments(**bound.arguments)
        except ValidationError as error:
            raise InputInvalid(f"the arguments of effect {self.name!r} do not have their types: {error}") from None
        thread = str(given["thread_id"])
        place = _place_of(config)
        return _Call(saver, self._start_key(thread, place, arguments), {"thread": thread, "place": place, "arguments": arguments})

    def _start_key(self, thread: str, place: str, arguments: BaseModel) -> str:
        if self._key is not None:
            names = inspect.signature(self._key).parameters
            return digest((thread, "key", self._key(**{name: getattr(arguments, name) for name in names})))
        text = json.dumps(arguments.model_dump(mode="json"), sort_keys=True)
        return digest((thread, place, text, str(_occurrence(self.name, text))))

    async def _once(self, engine: Engine, call: _Call) -> Any:
        try:
            started = await engine.start(self.process.name, call.inputs, key=call.key)
        except UnknownProcess:
            raise UnknownProcess(
                f"the engine does not know effect {self.name!r}; open it with effects=[{self.name}], or with {self.name}.process."
            ) from None
        row = await engine.wait_until_resting(started.case)
        if row.status is not Status.DONE:
            raise await self._unfinished(engine, row)
        state: Any = await engine.state(row.id)
        if started.duplicate and state.arguments != call.inputs["arguments"]:
            raise InputInvalid(
                f"effect {self.name!r} was already called under this key with other arguments (case {row.id}); "
                "its key= must name everything that distinguishes two calls."
            )
        if self._returns is type(None):
            return None
        return state.outcome.value if accepts_none(self._returns) else state.outcome

    async def _unfinished(self, engine: Engine, row: CaseRow) -> PointsmanError:
        for effect in await engine.reader.effects(row.id):
            if effect.status in IN_DOUBT:
                return EffectInDoubt(f"{row.reason or 'it is in doubt'} (case {row.id}); then run the thread again.", row.id, effect.key)
        problem = f"effect {self.name!r} did not happen, and its case {row.id} is {row.status}: {row.reason}"
        return EffectFailed(
            f"{problem}; correct what is wrong, redrive it with `pointsman redrive {row.id} --why TEXT`, and run the thread again.", row.id
        )


def effect_once(
    safety: Safety,
    *,
    key: Callable[..., str] | None = None,
    name: str | None = None,
    timeout_seconds: float = EFFECT_TIMEOUT_SECONDS,
    retry: Retry = Retry(),  # noqa: B008 - a frozen value
    limit: Limit | None = None,
    retention: Retention | None = None,
) -> Callable[[Callable[P, R]], EffectOnce[P, R]]:
    """Declare a function that changes the outside world, for calls in LangGraph's nodes and tasks: each call happens once.

    The intent of a call is committed before it, and its outcome after it. A node that runs again gets the recorded outcome. If nobody knows
    whether the call happened, `safety` decides: Idempotent, Reconcile, AtMostOnce or AtLeastOnce. The function and the `look_up` of Reconcile
    take typed arguments that JSON can hold; one with the parameter `ctx: Context` gets the idempotency key as `ctx.key`.

    A call is recognised by its thread, its node and step, its arguments, and whether it is the first, second, … such call of the node. With
    `key`, a function whose parameters name arguments, it is recognised by its thread and that key alone: also in another step, in a fork of
    the thread, and after a change of the program. `timeout_seconds`, `retry` and `limit` are those of `Process.effect`. `retention` says how long
    calls that have ended are remembered; the default is for ever. Raises DefinitionError.
    """

    def declare(function: Callable[P, R]) -> EffectOnce[P, R]:
        once = EffectOnce(function, name or str(getattr(function, "__name__", "")), key, retention)
        given = Reconcile(_with_arguments(safety.look_up, once), safety.propagation_seconds) if isinstance(safety, Reconcile) else safety
        perform = _with_arguments(function, once, outcome=True)
        effect = once.process.effect(
            perform, writes="outcome", safety=given, name=once.name, timeout_seconds=timeout_seconds, retry=retry, limit=limit
        )
        once.process.rules(when("it is not done yet", lambda state: cast("Any", state).outcome is None, effect), otherwise(finish("done")))
        return once

    return declare


def _model_of(name: str, signature: inspect.Signature, hints: Mapping[str, Any]) -> type[BaseModel]:
    """A model of the arguments of a function."""
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.name == "ctx" and "ctx" not in hints:
            continue
        if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY}:
            raise DefinitionError(f"effect {name!r}: {parameter} cannot be stored by its name; declare each parameter, without a `/`.")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    return create_model(f"{name}_arguments", **fields)


def _state_of(name: str, arguments: type[BaseModel], outcome: Any) -> type[State]:
    """The state of a call: its thread and place, its arguments, and once it has happened its outcome."""
    kinds = {"thread": Searchable[str], "place": str, "arguments": arguments, "outcome": outcome | None}
    return type(f"{name}_call", (State,), {"__annotations__": kinds, "__module__": __name__, "outcome": None})


def _outcome_of(name: str, returns: Any) -> Any:
    """The type of an outcome that is stored: never None, which means that there is none yet."""
    if returns is type(None):
        return bool
    return create_model(f"{name}_outcome", value=(returns, ...)) if accepts_none(returns) else returns


def _with_arguments(function: Callable[..., Any], once: EffectOnce[Any, Any], *, outcome: bool = False) -> Callable[..., Any]:
    """The function as one of the field `arguments`; with `outcome`, it returns the outcome as it is stored, else what a look-up found."""
    takes_context = "ctx" in inspect.signature(function).parameters
    model, returns, kind = once._arguments, once._returns, once._stored  # noqa: SLF001 - of this module

    def stored(value: Any) -> Any:
        return True if returns is type(None) else kind(value=value) if accepts_none(returns) else value

    def ended(value: Any) -> Any:
        if outcome:
            return stored(value)
        return Found(stored(value.outcome)) if isinstance(value, Found) else value if value in {ABSENT, UNKNOWN} else UNKNOWN

    def given(arguments: Any, ctx: Context) -> dict[str, Any]:
        named = {name: getattr(arguments, name) for name in model.model_fields}
        return {**named, "ctx": ctx} if takes_context else named

    async def perform_async(arguments: Any, *, ctx: Context) -> Any:
        return ended(await function(**given(arguments, ctx)))

    def perform(arguments: Any, *, ctx: Context) -> Any:
        return ended(function(**given(arguments, ctx)))

    chosen: Callable[..., Any] = perform_async if inspect.iscoroutinefunction(function) else perform
    chosen.__annotations__ = {"arguments": model, "ctx": Context, "return": kind if outcome else object}
    return chosen


def _place_of(config: Mapping[str, Any]) -> str:
    """Where in the program a node runs, the same after a crash: the names of its graphs with their steps, its own name and its path.

    A crash may lose the last checkpoint, and the one that takes its place has another id, and so have the tasks after it. The steps stay the
    same. LangGraph makes the id of a checkpoint a UUID whose clock sequence is its step.
    """
    given, about = config["configurable"], config["metadata"]
    steps = [_step_of(checkpoint) for checkpoint in given.get("checkpoint_map", {}).values()]
    names = [part.split(":")[0] for part in str(about.get("langgraph_checkpoint_ns", "")).split("|") if not part.isdigit()]
    return json.dumps([names, steps, about.get("langgraph_step"), about.get("langgraph_node"), about.get("langgraph_path")], default=str)


def _step_of(checkpoint: str) -> int | str:
    try:
        return UUID(checkpoint).clock_seq
    except ValueError:  # another saver made the id, and it is all there is to go by
        return checkpoint


_counted: OrderedDict[tuple[Any, ...], Counter[tuple[str, str]]] = OrderedDict()
_counting = threading.Lock()


def _occurrence(name: str, arguments: str) -> int:
    """The number of this call among the calls of the effect with these arguments in this execution of the node, from 1."""
    info: Any = get_runtime().execution_info
    execution = (info.thread_id, info.checkpoint_ns, info.task_id, info.node_first_attempt_time, info.node_attempt)
    with _counting:
        counter = _counted.setdefault(execution, Counter())
        _counted.move_to_end(execution)
        while len(_counted) > EXECUTIONS_MAX:
            _counted.popitem(last=False)
        counter[name, arguments] += 1
        return counter[name, arguments]
