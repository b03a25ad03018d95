"""Read a function's signature: the fields it reads, the resources it uses, what it returns; and say which types fit."""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pointsman.errors import DefinitionError

T = TypeVar("T")


class _Peek:
    """The mark that `Peek` puts on a type."""

    def __repr__(self) -> str:
        return "Peek"


PEEK = _Peek()

Peek = Annotated[T, PEEK]
"""`Peek[T]` reads a field without depending on it: a later write of that field does not clear what was computed."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What a function's parameters say: `reads` and `uses` map names to types, `peeks` are the reads without dependence."""

    reads: dict[str, Any]
    peeks: frozenset[str]
    uses: dict[str, Any]
    returns: Any


def signature_of(function: Callable[..., Any], what: str) -> Signature:
    """Read `function`: the parameters before the `*` are fields, the ones after it resources.

    Raises DefinitionError where a parameter has no type, cannot be passed by position, or the return type is missing.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except TypeError:
        raise DefinitionError(f"{what}: {function!r} is no function; wrap it in one that names its parameters.") from None
    except NameError as error:
        raise DefinitionError(f"{what}: {error}; name only types that its module can see.") from None
    reads: dict[str, Any] = {}
    uses: dict[str, Any] = {}
    peeks: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        name, kind = parameter.name, parameter.kind
        if kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise DefinitionError(f"{what}: *{name} says neither which field it reads nor which resource it uses; name each one.")
        if name not in hints:
            raise DefinitionError(f"{what}: parameter {name!r} has no type; write `{name}: TheType`.")
        if kind is parameter.KEYWORD_ONLY:
            uses[name] = hints[name]
            continue
        reads[name] = _strip(hints[name])
        if _peeks(hints[name]):
            peeks.add(name)
    if "return" not in hints:
        raise DefinitionError(f"{what}: it does not say what it returns; write `-> TheType`.")
    return Signature(reads, frozenset(peeks), uses, _strip(hints["return"]))


def members(annotation: Any) -> tuple[Any, ...]:
    """Take a union apart; a type that is no union is its own only member."""
    annotation = _strip(annotation)
    if get_origin(annotation) in {Union, types.UnionType}:
        return tuple(member for part in get_args(annotation) for member in members(part))
    return (annotation,)


def accepts_none(annotation: Any) -> bool:
    """Whether None is a value of this type."""
    return any(
        member in {None, type(None), Any, object} or (get_origin(member) is Literal and None in get_args(member))
        for member in members(annotation)
        if _hashable(member)
    )


def fits(offered: Any, wanted: Any, *, ignore_none: bool = False) -> bool:
    """Whether every value of `offered` is one of `wanted`, as far as the types say; what cannot be told counts as fitting."""
    offers = [m for m in members(offered) if not (ignore_none and m in {None, type(None)})]
    return all(any(_member_fits(offer, want) for want in members(wanted)) for offer in offers)


def show(annotation: Any) -> str:
    """A type as its author would write it."""
    names = [m.__name__ if isinstance(m, type) and not get_args(m) else str(m) for m in members(annotation)]
    return " | ".join("None" if name == "NoneType" else name.replace("typing.", "") for name in names)


def _member_fits(offered: Any, wanted: Any) -> bool:
    offered, wanted = _strip(offered), _strip(wanted)
    if Any in (offered, wanted) or wanted is object or offered == wanted:
        return True
    if isinstance(offered, TypeVar) or isinstance(wanted, TypeVar):
        return True
    offered_origin, wanted_origin = get_origin(offered), get_origin(wanted)
    if offered_origin is Literal:
        return all(value in get_args(wanted) if wanted_origin is Literal else _is(type(value), wanted) for value in get_args(offered))
    if wanted_origin is Literal:
        return False
    if not _is(offered_origin or offered, wanted_origin or wanted):
        return False
    inner_offered, inner_wanted = get_args(offered), get_args(wanted)
    if not inner_offered or not inner_wanted or len(inner_offered) != len(inner_wanted):
        return True
    return all(a is Ellipsis or b is Ellipsis or fits(a, b) for a, b in zip(inner_offered, inner_wanted, strict=True))


def _is(offered: Any, wanted: Any) -> bool:
    if not isinstance(offered, type) or not isinstance(wanted, type):
        return True
    if wanted is float and offered is int:
        return True
    try:
        return issubclass(offered, wanted)
    except TypeError:
        return True  # a protocol with data members refuses the question


def _strip(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return type(None) if annotation is None else annotation


def _peeks(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return PEEK in get_args(annotation) or _peeks(get_args(annotation)[0])
    return get_origin(annotation) in {Union, types.UnionType} and any(map(_peeks, get_args(annotation)))


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
