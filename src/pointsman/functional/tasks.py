"""Tasks: functions that a body calls, whose outcomes are recorded."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cached_property, partial, wraps
from types import MappingProxyType
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar, get_type_hints, overload

from pydantic import TypeAdapter

from pointsman.definition.effects import Effect, Reconcile, Safety
from pointsman.definition.guards import Guard, answered, check_name
from pointsman.definition.limits import Limit
from pointsman.definition.nodes import Node, Retry
from pointsman.definition.process import EFFECT_TIMEOUT_SECONDS
from pointsman.definition.signature import ItemParameter, Signature
from pointsman.errors import DefinitionError
from pointsman.functional.body import Call, CallKind, Wanted, current_body, digest_of_arguments
from pointsman.functional.mistakes import Unread, arguments_invalid
from pointsman.functional.process import SLEEP, is_plain, plain, recorded
from pointsman.functional.record import ASKED, OUTCOMES, RESULTS, Asked, Returned

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

INJECTED: Final[Any] = None
"""The default of a task's parameter after the `*`, which the engine fills in: a type checker then accepts calls without it."""

_inside: ContextVar[str] = ContextVar("pointsman_task", default="")


class Future(Protocol[R_co]):
    """What a call of a task returns: its result, once it is there."""

    def result(self, timeout: float | None = None) -> R_co:
        """Wait for the result and return it."""

    def __await__(self) -> Generator[Any, None, R_co]:
        """Wait for the result and return it."""


@dataclass(eq=False, repr=False)
class _Direct(Unread, Generic[R]):
    """The future of a task that was called outside a body: it is an ordinary call."""

    of: str
    call: Callable[[], Any]

    def result(self, timeout: float | None = None) -> R:
        """Call the function, and return what it returns."""
        value = self.call()
        if inspect.iscoroutine(value):
            value = asyncio.run(asyncio.wait_for(value, timeout))
        returned: R = value
        return returned

    def __await__(self) -> Generator[Any, None, R]:
        value = self.call()
        returned: R = (yield from value.__await__()) if inspect.iscoroutine(value) else value
        return returned


@dataclass(frozen=True, eq=False)
class TaskNode(Node[Any, Any]):
    """The node of a task. It takes the arguments of a call as its item."""

    returned: TypeAdapter[Any] = field(kw_only=True)

    def split(self, result: object) -> Mapping[str, object]:
        """The result as JSON values, under the name that branches write."""
        return {RESULTS: recorded(self.returned, result, f"the result of task {self.name!r}", self.name)}


@dataclass(frozen=True, eq=False)
class TaskEffect(Effect[Any, Any]):
    """The effect of a task with a safety policy. It reads the call that the body asked for."""

    returned: TypeAdapter[Any] = field(kw_only=True)

    def split(self, result: object) -> Mapping[str, object]:
        """The result as JSON values, as an item of the outcomes."""
        return {OUTCOMES: Returned(value=plain(self.returned, result, f"the result of task {self.name!r}"))}


@dataclass(eq=False)
class Task(Generic[P, R]):
    """A function whose calls in a body are recorded. Outside a body, a call is an ordinary call."""

    function: Callable[P, Any]
    name: str
    step: TaskNode | TaskEffect
    parameters: Mapping[str, TypeAdapter[Any]]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R] | _Direct[R]:
        """In a body: ask for the call, and return its future. It has begun, or begins with the next result that the body waits for.

        Raises ArgumentsInvalid if the arguments do not fit the task, FutureUsed if one of them is a future, and ValueRefused if JSON cannot hold one.
        """
        body = current_body()
        if body is None:
            within = _inside.get()
            if within and isinstance(self.step, Effect):
                problem = f"task {self.name!r} changes the outside world, and task {within!r} calls it, where its outcome is not recorded"
                raise RuntimeError(f"{problem}; call it in the body of the entrypoint.")
            return _Direct(f"task {self.name!r}", lambda: self.function(*args, **kwargs))
        if self.name not in body.steps:
            raise DefinitionError(f"task {self.name!r} is not known to the entrypoint that calls it; name it in tasks= of the entrypoint.")
        parameters, arguments = self.parameters, {}
        for name, value in self._bound(args, kwargs):
            adapter = parameters[name]
            arguments[name] = value if is_plain(adapter, value) else plain(adapter, value, f"argument {name!r} of task {self.name!r}")
        call: Call[R] = body.ask(Wanted(self.name, self._kind, self.step.returned, arguments, digest_of_arguments(arguments), self.step))
        return call

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[tuple[str, Any]]:
        """The arguments of a call, each with its name. Raises what `arguments_invalid` makes."""
        names = self._by_place
        if names is not None and len(args) == len(names) and not kwargs:
            return zip(names, args, strict=True)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise arguments_invalid(self.name, self._signature, self.step.signature.uses, kwargs, error) from None
        bound.apply_defaults()
        return bound.arguments.items()

    @cached_property
    def _kind(self) -> CallKind:
        return "effect" if isinstance(self.step, Effect) else "task"

    @cached_property
    def _by_place(self) -> tuple[str, ...] | None:
        """The names of the parameters, if each takes one argument: for a call by place, `Signature.bind` would take most of the time."""
        return _by_place([*self._signature.parameters.values()])

    @cached_property
    def _signature(self) -> inspect.Signature:
        """The parameters that a caller gives: those before the `*`."""
        signature = inspect.signature(self.function)
        given = [one for one in signature.parameters.values() if one.kind is not one.KEYWORD_ONLY]
        return signature.replace(parameters=given)


class TaskGroup:
    """Something that a body names and whose calls are several tasks, such as an agent."""

    tasks: tuple[Task[..., Any], ...]


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(
    *, name: str | None = None, retry: Retry = ..., timeout_seconds: float | None = None, limit: Limit | None = None, guard: Guard | None = None,
    safety: Safety | None = None, inline: bool = False, former_names: tuple[str, ...] = (),
) -> "_Decorator": ...  # fmt: skip


def task(function: Callable[P, Any] | None = None, /, **settings: Any) -> Any:
    """Declare a task: a plain or async function that a body calls.

    The parameters before the `*` are the arguments of a call; those after it name resources, and `ctx: Context`. Arguments and results are recorded as
    JSON, and come back with the declared types. `timeout_seconds` bounds one attempt, `retry` the attempts, and `limit` the calls of all cases.
    `guard` checks a result; the first parameter of its checks takes it. A task that changes the outside world declares its `safety`, as an effect
    does: it is called under an idempotency key (`ctx.key`), one such call of a case at a time, and after a crash only as the policy allows.
    `inline` and `former_names` are as with `Process.node`. Raises DefinitionError.
    """
    if function is None:
        return lambda function: _task(function, _Settings(**settings))
    return _task(function, _Settings(**settings))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """What `task` takes."""

    name: str | None = None
    retry: Retry = Retry()  # noqa: RUF009 - a frozen value
    timeout_seconds: float | None = None
    limit: Limit | None = None
    guard: Guard | None = None
    safety: Safety | None = None
    inline: bool = False
    former_names: tuple[str, ...] = ()


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


def _task(function: Callable[..., Any], settings: _Settings) -> Task[Any, Any]:
    if not inspect.isroutine(function):
        function = _plain_function(function)
    name = settings.name or function.__name__
    if "[" in name or name == SLEEP:
        raise DefinitionError(f"task {name!r}: give it another name=, without '['.")
    parameters, uses, returns = _parameters(function)
    signature, asks = answered(Signature({}, frozenset(), uses, returns))
    step: TaskNode | TaskEffect
    if settings.safety is not None:
        step = _effect(function, name, settings, parameters, signature)
    else:
        guard = Guard(repairs_max=0) if settings.guard is None and asks else settings.guard
        step = _node(function, name, replace(settings, guard=guard), parameters, signature)
    return Task(function, name, step, parameters)


def _plain_function(called: Callable[..., Any]) -> Callable[..., Any]:
    """A function for an object that can be called, such as a partial, with its signature and its type hints."""
    inner = called.func if isinstance(called, partial) else type(called).__call__
    if inspect.iscoroutinefunction(inner):

        async def function(*args: Any, **kwargs: Any) -> Any:
            return await called(*args, **kwargs)
    else:

        def function(*args: Any, **kwargs: Any) -> Any:  # type: ignore[misc]
            return called(*args, **kwargs)

    function.__name__ = getattr(inner if isinstance(called, partial) else called, "__name__", type(called).__name__)
    signature = inspect.signature(called)
    free = [one for one in signature.parameters.values() if not isinstance(called, partial) or one.name not in called.keywords]
    function.__signature__ = signature.replace(parameters=free)  # type: ignore[attr-defined]
    function.__annotations__ = get_type_hints(inner, include_extras=True)
    return function


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, TypeAdapter[Any]], dict[str, Any], Any]:
    """The types of a task's arguments, of its resources, and of its result."""
    hints = get_type_hints(function, include_extras=True)
    arguments: dict[str, TypeAdapter[Any]] = {}
    uses: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        hint = hints.get(parameter.name, Any)
        match parameter.kind:
            case parameter.KEYWORD_ONLY:
                uses[parameter.name] = hint
            case parameter.VAR_POSITIONAL:
                arguments[parameter.name] = TypeAdapter[Any](tuple[hint, ...])  # type: ignore[valid-type]
            case parameter.VAR_KEYWORD:
                arguments[parameter.name] = TypeAdapter[Any](dict[str, hint])  # type: ignore[valid-type]
            case _:
                arguments[parameter.name] = TypeAdapter(hint)
    return arguments, uses, hints.get("return", Any)


def _node(function: Callable[..., Any], name: str, settings: _Settings, parameters: "_Parameters", signature: Signature) -> TaskNode:
    return TaskNode(
        function=_called_with(function, name, parameters),
        name=name,
        writes=(RESULTS,),
        signature=replace(signature, item=ItemParameter("call", Any, 0)),
        retry=settings.retry,
        timeout_seconds=settings.timeout_seconds,
        on_failure="record",
        asynchronous=inspect.iscoroutinefunction(function),
        inline=settings.inline,
        former_names=settings.former_names,
        limit=settings.limit,
        guard=None if settings.guard is None else _guarding(settings.guard, TypeAdapter(signature.returns)),
        returned=TypeAdapter(signature.returns),
    )


def _effect(function: Callable[..., Any], name: str, settings: _Settings, parameters: "_Parameters", signature: Signature) -> TaskEffect:
    if settings.guard is not None or settings.inline:
        raise DefinitionError(f"task {name!r}: a task with a safety policy takes no guard= or inline=; put that part into another task.")
    safety = settings.safety
    assert safety is not None
    if isinstance(safety, Reconcile):
        safety = replace(safety, look_up=_looking_up(safety.look_up, name, parameters))
    return TaskEffect(
        function=_called_with(function, name, parameters),
        name=name,
        writes=(OUTCOMES,),
        signature=replace(signature, reads={ASKED: Asked}),
        retry=settings.retry,
        timeout_seconds=settings.timeout_seconds or EFFECT_TIMEOUT_SECONDS,
        on_failure="record",
        asynchronous=inspect.iscoroutinefunction(function),
        safety=safety,
        former_names=settings.former_names,
        limit=settings.limit,
        returned=TypeAdapter(signature.returns),
    )


_Parameters = Mapping[str, TypeAdapter[Any]]
_NONE: Mapping[str, Any] = MappingProxyType({})


def _by_place(parameters: Sequence[inspect.Parameter]) -> tuple[str, ...] | None:
    """The names of parameters that take their arguments by place, one each; None if there are others."""
    single = all(one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD} for one in parameters)
    return tuple(one.name for one in parameters) if single else None


def _called_with(function: Callable[..., Any], name: str, parameters: Mapping[str, TypeAdapter[Any]]) -> Callable[..., Any]:
    """The function with one parameter, which has all arguments of a call."""
    signature = inspect.signature(function)
    names = _by_place([one for one in signature.parameters.values() if one.kind is not one.KEYWORD_ONLY])

    def bound(call: Any) -> tuple[Sequence[Any], Mapping[str, Any]]:
        given = call.arguments if isinstance(call, Asked) else call
        if names is not None and len(names) == len(given):
            return [parameters[name].validator.validate_python(given[name]) for name in names], _NONE
        values = {name: parameters[name].validator.validate_python(value) for name, value in given.items()}
        arguments = inspect.BoundArguments(signature, values)
        return arguments.args, arguments.kwargs

    if inspect.iscoroutinefunction(function):

        async def call_async(call: Any, **uses: Any) -> Any:
            args, kwargs = bound(call)
            token = _inside.set(name)
            try:
                return await function(*args, **kwargs, **uses)
            finally:
                _inside.reset(token)

        return wraps(function)(call_async)

    def call_plain(call: Any, **uses: Any) -> Any:
        args, kwargs = bound(call)
        token = _inside.set(name)
        try:
            return function(*args, **kwargs, **uses)
        finally:
            _inside.reset(token)

    return wraps(function)(call_plain)


def _looking_up(look_up: Callable[..., Any], name: str, parameters: Mapping[str, TypeAdapter[Any]]) -> Callable[..., Any]:
    """A look-up that takes the call, and gives the author's look-up those of its arguments that it names."""
    hints, signature = get_type_hints(look_up, include_extras=True), inspect.signature(look_up)
    wanted = [one.name for one in signature.parameters.values() if one.kind is not one.KEYWORD_ONLY]
    unknown = [parameter for parameter in wanted if parameter not in parameters]
    if unknown:
        raise DefinitionError(f"task {name!r}: its look-up takes {unknown[0]!r}, which is no parameter of the task.")

    def given(asked: Asked) -> list[Any]:
        return [parameters[parameter].validate_python(asked.arguments[parameter]) for parameter in wanted]

    if inspect.iscoroutinefunction(look_up):

        async def look(asked: Asked, **uses: Any) -> Any:
            return await look_up(*given(asked), **uses)
    else:

        def look(asked: Asked, **uses: Any) -> Any:  # type: ignore[misc]
            return look_up(*given(asked), **uses)

    kept = [one for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY]
    asked = inspect.Parameter(ASKED, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Asked)
    look.__signature__ = inspect.Signature([asked, *kept])  # type: ignore[attr-defined]
    look.__annotations__ = {ASKED: Asked, **{one.name: hints[one.name] for one in kept}, "return": hints.get("return", Any)}
    look.__name__ = getattr(look_up, "__name__", "look_up")
    return look


def _guarding(guard: Guard, returned: TypeAdapter[Any]) -> Guard:
    """The guard with checks that read the result of a call, as its branch writes it."""

    def reading(check: Callable[..., Any]) -> Callable[..., Any]:
        def judge(results: Any) -> Any:
            return check(returned.validate_python(results))

        judge.__name__ = check_name(check)
        return judge

    return Guard(
        *(reading(check) for check in guard.checks), repairs_max=guard.repairs_max, retries_max=guard.retries_max, models=guard.models,
        free_models=guard.free_models, escalate=guard.escalate,
    )  # fmt: skip
