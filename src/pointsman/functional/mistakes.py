"""What is said about mistakes of a body: a future used as its result, arguments that do not fit, and values that JSON cannot hold."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import BaseModel, ValidationError
from pydantic_core import to_jsonable_python

from pointsman.errors import PointsmanError, ValueRefused
from pointsman.kernel.codec import describe


class FutureUsed(PointsmanError, TypeError):
    """A future was used where its result is meant. Take the result first: `.result()`, or `await` in an async body."""


class ArgumentsInvalid(PointsmanError, TypeError):
    """The arguments of a call do not fit the parameters of the task."""


class Unread:
    """A future. It refuses to be used as the result that it will have, which would give another value, or the same one by chance."""

    of: str
    """Whose future it is, in words."""

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"<the future of {self.of}>"

    def __eq__(self, other: object) -> bool:
        return self is other if isinstance(other, Unread) else self._refuse("it was compared")

    def _refuse(self, how: str) -> NoReturn:
        raise FutureUsed(f"the future of {self.of} was used as its result ({how}); call .result() first, or await it.")

    if not TYPE_CHECKING:  # a type checker finds more without it

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):  # what libraries look for in any object
                raise AttributeError(name)
            self._refuse(f".{name} was read")


def _refusing(how: str) -> Callable[..., NoReturn]:
    def refuse(self: Unread, *_: object) -> NoReturn:
        self._refuse(how)

    return refuse


_USES: Mapping[str, Collection[str]] = {
    "an item of it was read": ("getitem", "contains", "reversed"),
    "an item of it was written": ("setitem", "delitem"),
    "it was iterated over": ("iter",),
    "its length was asked for": ("len",),
    "it was tested for truth": ("bool",),
    "it was compared": ("lt", "le", "gt", "ge"),
    "it was put into a text": ("format",),
    "it was called": ("call",),
    "it was made a number": ("int", "float", "index", "round"),
    "it was computed with": (
        *(f"{side}{name}" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or") for side in ("", "r")),
        "neg",
        "abs",
    ),
}
for _how, _names in _USES.items():
    for _name in _names:
        setattr(Unread, f"__{_name}__", _refusing(_how))


def arguments_invalid(
    name: str, signature: inspect.Signature, resources: Collection[str], given: Collection[str], error: TypeError
) -> ArgumentsInvalid:
    """The error of a call whose arguments do not fit the task. `given` are its keywords, and `resources` what the engine fills in."""
    takes_any = any(one.kind is one.VAR_KEYWORD for one in signature.parameters.values())
    unknown = next((one for one in given if one not in signature.parameters and not takes_any), None)
    if unknown in resources:
        return ArgumentsInvalid(f"the call of task {name!r} gives {unknown!r}, which is a resource that the engine fills in; leave it out.")
    problem = str(error) if unknown is None else f"it has no argument {unknown!r}"
    takes = signature.replace(return_annotation=inspect.Signature.empty)
    return ArgumentsInvalid(f"the call of task {name!r} does not fit it: {problem}; it takes {takes}.")


def refused(what: str, value: object, error: Exception) -> PointsmanError:
    """The error about a value, called `what`, that JSON cannot hold or that has another type than is declared."""
    future = next(_futures(value, ""), None)
    if future is not None:
        at, of = future
        has = f"has the future of {of} at {_path(at)}" if at else f"is the future of {of}"
        return FutureUsed(f"{what} {has}; give its .result(), or await it.")
    if isinstance(error, ValidationError):
        return ValueRefused(f"{what}: {describe(error)}")
    at, part = _unheld(value, "")
    return ValueRefused(
        f"{what} cannot be held as JSON: {_path(at)} is of type {type(part).__name__}; declare its type, or pass it as a resource."
    )


def different(what: str, value: object, again: object) -> ValueRefused:
    """The error about a value that is another one when it is read back."""
    at, one, other = _difference(value, again, "")
    back = "" if type(one) is type(other) else f" and comes back as {type(other).__name__}"
    return ValueRefused(f"{what} does not come back equal from JSON: {_path(at)} is of type {type(one).__name__}{back}; declare its type.")


def _path(at: str) -> str:
    return at.removeprefix(".") or "it"


def _parts(value: object) -> Iterator[tuple[str, Any]]:
    """The parts of a value, each with its place in it."""
    if isinstance(value, Mapping):
        yield from ((f".{key}", inner) for key, inner in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((f"[{number}]", inner) for number, inner in enumerate(value))
    elif isinstance(value, BaseModel):
        yield from ((f".{name}", inner) for name, inner in value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type | Unread):
        yield from ((f".{one.name}", getattr(value, one.name)) for one in dataclasses.fields(value))


def _futures(value: object, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Unread):
        yield at, value.of
    for step, inner in _parts(value):
        yield from _futures(inner, at + step)


def _unheld(value: object, at: str) -> tuple[str, object]:
    """The innermost part that JSON cannot hold."""
    for step, inner in _parts(value):
        try:
            to_jsonable_python(inner)
        except Exception:
            return _unheld(inner, at + step)
    return at, value


def _difference(value: Any, again: Any, at: str) -> tuple[str, object, object]:
    """The innermost part that differs."""
    if type(value) is type(again):
        others = dict(_parts(again))
        for step, inner in _parts(value):
            if step in others and inner != others[step]:
                return _difference(inner, others[step], at + step)
    return at, value, again
