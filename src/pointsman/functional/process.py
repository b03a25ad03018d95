"""The process of an entrypoint: its body, its tasks, and the state of a thread."""

import dis
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, Generic, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from pointsman.definition.children import Child
from pointsman.definition.fingerprint import digest_of_parts
from pointsman.definition.limits import check_limits
from pointsman.definition.pauses import Sleep
from pointsman.definition.process import Process
from pointsman.definition.rules import Compensate, Rule
from pointsman.definition.signature import PRIVATE, marked, signature_of
from pointsman.errors import DefinitionError, ValueRefused
from pointsman.functional.mistakes import different, refused
from pointsman.functional.record import INVOCATION, OUTCOMES, RESULT, WOKEN, Asked, Invocation, Plain, Thread, thread_type
from pointsman.kernel.codec import describe
from pointsman.kernel.snapshot import Cell

V = TypeVar("V")
S = TypeVar("S")

STEPS_MAX = 2**31  # a body that loops is a program of its author's; its loops are not rules that turn
SLEEP = "sleep"


class Final(NamedTuple, Generic[V, S]):
    """What a body returns to its caller (`value`), and what the thread keeps for its next invocation as `previous` (`save`)."""

    value: V
    save: S


class EntrypointProcess(Process[Thread]):
    """A process whose next step is found by running a body."""

    own_path = str(Path(__file__).parent)

    def __init__(
        self, function: Callable[..., Any], name: str, tasks: Iterable[Any], *, version: int, leaves: tuple[str, ...], concurrency: int | None,
        previous: Callable[[], Any],
    ) -> None:  # fmt: skip
        self._takes, given, self.returns = _read(function, name)
        self.takes: TypeAdapter[Any] = TypeAdapter(given)
        self.invocation: Any = Invocation[given]  # type: ignore[valid-type]
        older = dict.fromkeys(range(1, version))  # the record has the same form in every version
        super().__init__(name, thread_type(name, given), version=version, accepts=older, steps_max=STEPS_MAX)
        self.private = (
            frozenset(self.state.model_fields) if marked(given, PRIVATE) else frozenset()
        )  # what the body makes of a private input
        self.function = function
        self.previous = previous
        self.leaves = frozenset(leaves)
        self.concurrency = concurrency
        self.accept(self.invocation, writes=INVOCATION, correlate=lambda invocation: invocation.thread, while_open="hold")
        self.steps[SLEEP] = Sleep(SLEEP, (WOKEN,), 0.0, None)
        self.children: list[EntrypointProcess] = []
        for task in tasks:
            step = self._child(task.process) if hasattr(task, "process") else task.step
            if self.steps.get(step.name, step) is not step:
                raise DefinitionError(f"entrypoint {name!r}: two of its tasks are called {step.name!r}; give one another name=.")
            self.steps[step.name] = step
        check_limits(f"entrypoint {name!r}", [node.limit for node in self.nodes() if node.limit is not None])

    def never(self, name: str, condition: Callable[[Any], object], **_: Any) -> None:  # noqa: ARG002 - the signature of `Process.never`
        """Refuse the invariant: a body has no rules, and can raise where one is broken. Raises DefinitionError."""
        raise DefinitionError(
            f"entrypoint {self.name!r}: invariant {name!r} needs a process with rules; raise in the body where it is broken."
        )

    @property
    def ordered_rules(self) -> tuple[Rule[Thread], ...]:
        """None: its body decides."""
        return ()

    @cached_property
    def compensates(self) -> Mapping[str, Compensate]:
        """None."""
        return {}

    @cached_property
    def fingerprint(self) -> str:
        """The digest of the body's code and of the names of its tasks."""
        code = [part.hex() for part in _instructions(self.function.__code__)] if isinstance(self.function, FunctionType) else []
        return digest_of_parts([self.name, self.version, sorted(self.steps), code])

    def run_body(self, invocation: Invocation[Any]) -> Any:
        """Call the body, in its greenlet."""
        given = {"previous": self.previous().result()} if "previous" in self._takes else {}
        arguments = [invocation.input] if self._takes and self._takes[0] != "previous" else []
        return self.function(*arguments, **given)

    def invoked(self, given: Any, thread: str, identity: str) -> Invocation[Any]:
        """An invocation with this input. Raises ValueRefused if the body does not take it."""
        try:
            invocation: Invocation[Any] = self.invocation(input=given, thread=thread, id=identity)
        except ValidationError as error:
            raise ValueRefused(f"entrypoint {self.name!r} cannot take its input: {describe(error)}.") from None
        return invocation

    def _child(self, process: "EntrypointProcess") -> Child:
        """The step that runs an entrypoint which the body calls."""

        def inputs(asked: Asked) -> dict[str, Any]:
            return {INVOCATION: {"input": asked.arguments, "thread": asked.call, "id": asked.call}}

        self.children.append(process)
        return Child(process.name, process, inputs, (OUTCOMES,), signature_of(inputs, f"entrypoint {process.name!r}"), RESULT)

    def result(self, value: Any) -> Any:
        """The result with the type that the body declares."""
        return self.returns.validate_python(value)


def plain(adapter: TypeAdapter[Any], value: Any, what: str) -> Any:
    """A value as JSON values, from which `adapter` makes the same value again. Raises ValueRefused and FutureUsed."""
    validate = adapter.validator.validate_python  # the methods of an adapter look up its settings at each call
    try:
        checked = validate(value)
        dumped = adapter.serializer.to_python(checked, mode="json")
        again = validate(dumped)
    except Exception as error:
        raise refused(what, value, error) from None
    if again != checked:
        raise different(what, checked, again)
    return dumped


_KEPT: Mapping[str, tuple[type, ...]] = {
    "any": (str, int, bool, type(None)),
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "none": (type(None),),
}
"""For the kinds of a schema: the types of the values that it keeps as they are, and that JSON keeps."""


def is_plain(adapter: TypeAdapter[Any], value: Any) -> bool:
    """Whether `plain` certainly returns the value itself."""
    kind = type(value)
    return kind in _kept(adapter) and (kind is not str or value.isascii())


@lru_cache(maxsize=4_096)  # as many parameters and results as a program will have
def _kept(adapter: TypeAdapter[Any]) -> frozenset[type]:
    return frozenset(_KEPT.get(adapter.core_schema["type"], ()) if adapter.core_schema.keys() <= {"type", "metadata"} else ())


_PARTS_OF_JSON = {"keys_schema", "values_schema", "items_schema", "schema"}


@lru_cache(maxsize=4_096)
def _is_json(adapter: TypeAdapter[Any]) -> bool:
    """Whether `adapter` reads JSON values as what they are."""
    return _reads_as_it_is(adapter.core_schema)


def _reads_as_it_is(schema: Any) -> bool:
    if schema["type"] in _KEPT:
        return bool(schema.keys() <= {"type", "metadata"})
    known = schema["type"] in {"dict", "list", "nullable"} and schema.keys() <= {"type", "metadata", *_PARTS_OF_JSON}
    return known and all(_reads_as_it_is(schema[part]) for part in _PARTS_OF_JSON & schema.keys())


def recorded(adapter: TypeAdapter[Any], value: Any, what: str, writer: str) -> Any:
    """A value as a cell of JSON values, from which `adapter` makes the same value again. Raises ValueRefused and FutureUsed.

    Most values are written and read once. One that JSON may not hold is returned as `plain` gives it, and whoever encodes it says what is wrong.
    """
    validate = adapter.validator.validate_python
    try:
        checked = validate(value)
        raw = adapter.serializer.to_json(checked, warnings=False)
        back = from_json(raw, allow_inf_nan=False)
        read = back if _is_json(adapter) else validate(back)
        sound = read == checked and b"\\u0000" not in raw
    except Exception:
        return plain(adapter, value, what)
    return Cell(back, raw.decode(), writer) if sound else plain(adapter, value, what)


def _read(function: Callable[..., Any], name: str) -> tuple[tuple[str, ...], Any, TypeAdapter[Any]]:
    """The parameters of a body, and the types of its input and its result; an input that declares none is any JSON value."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"entrypoint {name!r}: its body is a generator; return one value instead of yielding several.")
    hints = get_type_hints(function, include_extras=True)
    parameters = inspect.signature(function).parameters
    strange = [parameter for parameter in [*parameters][1:] if parameter != "previous"]
    if strange:
        raise DefinitionError(
            f"entrypoint {name!r}: its body takes one input and `previous`, not {strange[0]!r}; put all inputs into one type."
        )
    first = next(iter(parameters), None)
    returns = hints.get("return", Any)
    given = Plain if first is None or hints.get(first, Any) is Any else hints[first]
    return tuple(parameters), given, TypeAdapter(_returned(returns))


def _returned(returns: Any) -> Any:
    """The type of what the caller gets."""
    if returns is Final:
        return Any
    return get_args(returns)[0] if get_origin(returns) is Final else returns


def _instructions(code: CodeType) -> list[bytes]:
    parts = [code.co_code]
    for constant in code.co_consts:
        parts += _instructions(constant) if isinstance(constant, CodeType) else [repr(constant).encode()]
    return parts


def tasks_of(function: Callable[..., Any], is_task: Callable[[Any], bool]) -> list[Any]:
    """The tasks and entrypoints that a body names, itself or in the plain functions that it names."""
    found: dict[int, Any] = {}
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if is_task(value):
            found[id(value)] = value
        elif isinstance(value, FunctionType):
            waiting += _named(value)
    return list(found.values())


def _named(function: FunctionType) -> list[Any]:
    """What a function names: globals, and variables of the functions around it. Attributes of modules and classes are followed once."""
    cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
    values: list[Any] = []
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        owner: Any = None
        for instruction in dis.get_instructions(code):
            name = instruction.argval
            if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
                owner = function.__globals__.get(name)
            elif instruction.opname in {"LOAD_DEREF", "LOAD_CLASSDEREF"} and name in cells:
                owner = _content(cells[name])
            elif instruction.opname in {"LOAD_ATTR", "LOAD_METHOD"} and owner is not None:
                owner = getattr(owner, name, None) if inspect.ismodule(owner) or inspect.isclass(owner) else None
            else:
                owner = None
            if owner is not None:
                values.append(owner)
    return values


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is not filled yet
        return None
