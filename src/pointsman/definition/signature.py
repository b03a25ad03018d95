"""Reads the signature of a function (fields, resources, return type), and tells which types fit."""

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pointsman.errors import DefinitionError

T = TypeVar("T")


class _Mark:
    """The mark that `Peek`, `Item`, `Log`, `Searchable`, `Private` or `Signed` puts on a type."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


PEEK = _Mark("Peek")
ITEM = _Mark("Item")
LOG = _Mark("Log")
SEARCHED = _Mark("Searchable")
PRIVATE = _Mark("Private")
SIGNED = _Mark("Signed")

Peek = Annotated[T, PEEK]
"""`Peek[T]` reads a field without depending on it: a later write of the field does not clear the result."""

Signed = Annotated[T, SIGNED]
"""`by: Signed[str]` in the type of an answer is who answers. An answer that names another person is refused."""

Item = Annotated[T, ITEM]
"""`Item[T]` takes one item of the collection in the `over=` field of `each(...)`, instead of a field."""


class ItemParameter(NamedTuple):
    """The parameter that takes an item: its name, its type, and its place among those that are passed by position."""

    name: str
    annotation: Any
    position: int


class Collection(NamedTuple):
    """The type of a field with several values: a dict from str to `element` if `keys`, otherwise a list or tuple."""

    element: Any
    keys: bool


@dataclass(frozen=True, slots=True)
class Signature:
    """The signature of a function: `reads` and `uses` map names to types, and `peeks` are the reads with `Peek`.

    `item` is the parameter of type `Item`, if there is one; it is not in `reads`.
    """

    reads: dict[str, Any]
    peeks: frozenset[str]
    uses: dict[str, Any]
    returns: Any
    item: ItemParameter | None = None


def signature_of(function: Callable[..., Any], what: str) -> Signature:
    """Read `function`: the parameters before the `*` are fields, the ones after it resources.

    Raises DefinitionError if a parameter has no type or is `*args` or `**kwargs`, or if the return type is missing.
    """
    try:
        hints = get_type_hints(function, include_extras=True)
    except TypeError:
        raise DefinitionError(f"{what}: {function!r} is not a function; wrap it in one that names its parameters.") from None
    except NameError as error:
        raise DefinitionError(f"{what}: {error}; name only types that its module can see.") from None
    reads: dict[str, Any] = {}
    uses: dict[str, Any] = {}
    peeks: set[str] = set()
    item: ItemParameter | None = None
    for parameter in inspect.signature(function).parameters.values():
        name, kind = parameter.name, parameter.kind
        if kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
            raise DefinitionError(f"{what}: *{name} names no field and no resource; declare each parameter.")
        if name not in hints:
            needs = (
                f"write a function with `{name}: TheType`, as a lambda has no types"
                if function.__name__ == "<lambda>"
                else f"write `{name}: TheType`"
            )
            raise DefinitionError(f"{what}: parameter {name!r} has no type; {needs}.")
        if kind is parameter.KEYWORD_ONLY:
            uses[name] = hints[name]
            continue
        if marked(hints[name], ITEM):
            if item is not None:
                raise DefinitionError(
                    f"{what}: {item.name!r} and {name!r} are both an Item, but a branch takes one; combine them in one type."
                )
            item = ItemParameter(name, _strip(hints[name]), len(reads))
            continue
        reads[name] = _strip(hints[name])
        if marked(hints[name], PEEK):
            peeks.add(name)
    if "return" not in hints:
        raise DefinitionError(f"{what}: it has no return type; write `-> TheType`.")
    return Signature(reads, frozenset(peeks), uses, _strip(hints["return"]), item)


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; any other type is its own only member."""
    annotation = _strip(annotation)
    if get_origin(annotation) in {Union, types.UnionType}:
        return tuple(member for part in get_args(annotation) for member in members(part))
    return (annotation,)


def collection_of(annotation: Any) -> Collection | None:
    """The collection type of a field that holds a list, a tuple or a dict with str keys, or None; None for other types."""
    held = [member for member in members(annotation) if member not in {None, type(None)}]
    origin = get_origin(held[0]) or held[0] if len(held) == 1 else None
    arguments = get_args(held[0]) if origin else ()
    if origin in {list, tuple}:
        elements = [argument for argument in arguments if argument is not Ellipsis]
        return Collection(Union[tuple(elements)] if elements else Any, keys=False)  # noqa: UP007 - of as many as there are
    if origin is dict and (not arguments or arguments[0] is str):
        return Collection(arguments[1] if arguments else Any, keys=True)
    return None


def accepts_none(annotation: Any) -> bool:
    """Whether None is a value of this type."""
    return any(
        member in {None, type(None), Any, object} or (get_origin(member) is Literal and None in get_args(member))
        for member in members(annotation)
        if _hashable(member)
    )


def fits(offered: Any, wanted: Any, *, ignore_none: bool = False) -> bool:
    """Whether each value of type `offered` also has type `wanted`. If the types cannot tell, the answer is yes."""
    offers = [m for m in members(offered) if not (ignore_none and m in {None, type(None)})]
    return all(any(_member_fits(offer, want) for want in members(wanted)) for offer in offers)


def show(annotation: Any) -> str:
    """The source text of a type."""
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
        return True  # issubclass raises for a protocol with data members


def _strip(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return type(None) if annotation is None else annotation


def marked(annotation: Any, mark: object) -> bool:
    """Whether a type, or a member of a union, carries the mark."""
    if get_origin(annotation) is Annotated:
        return mark in get_args(annotation) or marked(get_args(annotation)[0], mark)
    return get_origin(annotation) in {Union, types.UnionType} and any(marked(part, mark) for part in get_args(annotation))


def is_signed(field: FieldInfo) -> bool:
    """Whether a field of an answer was declared as `Signed[T]`, or as `Signed[T] | None`."""
    return SIGNED in field.metadata or marked(field.annotation, SIGNED)


def has_signature(annotation: Any, seen: frozenset[Any] = frozenset()) -> bool:
    """Whether a value of this type can have a signed field, in it or in a value inside it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in seen:
        fields = annotation.model_fields.values()
        return any(is_signed(field) or has_signature(field.annotation, seen | {annotation}) for field in fields)
    return any(has_signature(part, seen) for part in get_args(annotation))


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
