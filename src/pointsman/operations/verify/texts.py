"""Imagined texts: comparing one decides only whether it is equal."""

from collections.abc import Iterator
from typing import Any

from pointsman.operations.verify.places import Choice, Decisions, Place, Unresolved


class Own(str):
    """A text that no other imagined text equals, unless it was decided to."""

    __slots__ = ()


class Text(str):
    """Any text, or one of a few: comparing it decides only whether it is equal."""

    __slots__ = ("_at", "_of", "_texts")

    _at: Place
    _of: Decisions
    _texts: tuple[str, ...] | None

    def __new__(cls, of: Decisions, place: Place, texts: tuple[str, ...] | None) -> "Text":  # noqa: D102 - of a str
        made = super().__new__(cls, "")
        made._of, made._at, made._texts = of, place, texts
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return False
        if not isinstance(other, Text):
            return self._is(str(other))
        if self._at == other._at:
            return True
        mine, others = self._certain(), other._certain()
        if mine is None and others is None:
            raise Unresolved(
                self._at, self._each() if self._texts is not None else (Choice("is", Own(f"{self._at.token}{self._at.inner}")),)
            )
        return other._is(mine) if mine is not None else self._is(others or "")

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._whole())

    def __bool__(self) -> bool:
        return not self._is("") if self._texts is None or "" in self._texts else True

    def __len__(self) -> int:
        return len(self._whole())

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __contains__(self, other: Any) -> bool:
        return other in self._whole()

    def __getitem__(self, index: Any) -> str:
        return self._whole()[index]

    def __add__(self, other: str) -> str:
        return self._whole() + other

    def __lt__(self, other: str) -> bool:
        return self._whole() < other

    def __le__(self, other: str) -> bool:
        return self._whole() <= other

    def __gt__(self, other: str) -> bool:
        return self._whole() > other

    def __ge__(self, other: str) -> bool:
        return self._whole() >= other

    def __str__(self) -> str:
        return self._whole()

    def __repr__(self) -> str:
        return repr(self._whole())

    def __format__(self, spec: str) -> str:
        return format(self._whole(), spec)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        return getattr(self._whole(), name)  # a method of str: the whole text is needed

    def _certain(self) -> str | None:
        choice = self._of.known.get(self._at)
        return choice.what if choice is not None and choice.how == "is" else None

    def _excluded(self) -> frozenset[str]:
        choice = self._of.known.get(self._at)
        return choice.what if choice is not None and choice.how == "not" else frozenset()

    def _is(self, text: str) -> bool:
        known, excluded = self._certain(), self._excluded()
        if known is not None:
            return known == text
        if text in excluded or (self._texts is not None and text not in self._texts):
            return False
        if self._texts is not None and len(self._texts) - len(excluded) == 1:
            return True
        raise Unresolved(self._at, (Choice("is", text), Choice("not", excluded | {text})))

    def _each(self) -> tuple[Choice, ...]:
        texts = self._texts or ("a text", *self._of.words.looked_into)
        return tuple(Choice("is", text) for text in texts if text not in self._excluded())

    def _whole(self) -> str:
        known = self._certain()
        if known is None:
            if self._texts is None:
                self._of.computed.add(self._at.name)
            raise Unresolved(self._at, self._each())
        return known
