"""What distinguishes the states of a search: two with the same key have the same future."""

from collections.abc import Mapping
from typing import Any

from pointsman.kernel.effects import effect_key
from pointsman.kernel.ledger import EffectStatus
from pointsman.kernel.rows import EffectRow
from pointsman.kernel.snapshot import Cell, LogCell
from pointsman.operations.verify.conditions import Kept
from pointsman.operations.verify.happens import Standing
from pointsman.operations.verify.outline import shape_of
from pointsman.operations.verify.texts import Own
from pointsman.operations.verify.twin import MARK, ImaginedCell, Twin


class Keys:
    """The keys of the states of a search."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._effect_keys: dict[tuple[Any, ...], str] = {}

    def outlined(self, at: Standing) -> tuple[Any, ...]:
        """The key in an outline, which does not tell the values of one writer apart."""
        cells = at.case.snapshot.cells
        looks = tuple([(name, cells[name].writer, _look_of(cells[name])) for name in sorted(cells)])
        return *_standing(at), looks, self._ledger(at, {}), () if at.recalled is None else at.recalled.results

    def detailed(self, at: Standing) -> tuple[tuple[Any, ...], set[str]]:
        """The key with what is known about the values, and the tokens of those that are left."""
        case, names = at.case, dict[str, str]()
        cells = tuple([(name, cell.writer, _named(names, name, cell)) for name, cell in sorted(case.snapshot.cells.items())])
        for branch in case.branches.values():
            for token in _tokens(branch.outcome):
                names.setdefault(token, f"{branch.name}!{len(names)}")
        ledger = self._ledger(at, names)
        return (*_standing(at), cells, ledger, results_of(at.way.memo), _canonical(at.way.known, names)), set(names)

    def _ledger(self, at: Standing, names: dict[str, str]) -> frozenset[tuple[str, EffectStatus, bool]]:
        """The entries that count; the tokens in their outcomes get `names`."""
        ledger = set()
        for entry in at.case.ledger.values():
            current = self._is_current(at, entry)
            if current or entry.status is not EffectStatus.DONE:
                ledger.add((entry.effect, entry.status, current))
                for token in _tokens(entry.outcome):
                    names.setdefault(token, f"{entry.effect}!{len(names)}")
        return frozenset(ledger)

    def _is_current(self, at: Standing, entry: EffectRow) -> bool:
        """Whether the effect of an entry would have the same key again."""
        effect: Any = self._twin.process.steps[entry.effect]
        cells = at.case.snapshot.cells
        read = (entry.effect, *[_text_of(cells.get(name)) for name in effect.depends])
        if read not in self._effect_keys:
            self._effect_keys[read] = effect_key("verify", self._twin.process, at.case.snapshot, effect)[0]
        return self._effect_keys[read] == entry.key


def _standing(at: Standing) -> tuple[Any, ...]:
    case, row = at.case, at.case.row
    branches = tuple([(row.name, row.outcome is not None, row.failure is not None) for row in case.branches.values()])
    return row.status, row.step, type(at.todo), branches, None if case.pause is None else case.pause.name, at.messages


def _look_of(cell: Cell) -> Any:
    return shape_of(cell) if isinstance(cell, ImaginedCell | LogCell) else cell.text


def _text_of(cell: Cell | None) -> Any:
    return cell.parts if isinstance(cell, LogCell) else None if cell is None else cell.text


def _named(names: dict[str, str], field: str, cell: Cell) -> Any:
    if isinstance(cell, LogCell):
        tokens = [token for part in cell.parts for token in _tokens(part)]
    elif isinstance(cell, ImaginedCell):
        tokens = [cell.text[1:-1]]
    else:
        return cell.text
    for place, token in enumerate(tokens):
        names[token] = f"{field}.{place}"
    return tuple([token.partition(MARK)[0] for token in tokens])


def results_of(memo: Mapping[int, Kept]) -> frozenset[tuple[int, bool, tuple[str, ...]]]:
    """The results that are remembered, each with the fields that it depends on."""
    return frozenset((number, kept.holds, tuple(field for field, _ in kept.reads)) for number, kept in memo.items())


def _tokens(text: str | None) -> list[str]:
    return [] if not text else [part for part in text.replace("\\", "").split('"') if MARK in part]


def _canonical(known: Mapping[Any, Any], names: Mapping[str, str]) -> frozenset[Any]:
    """What is known about the values that are left, in words that do not depend on how the case came here."""
    live = sorted(
        ((names[place.token], place.inner, choice) for place, choice in known.items() if place.token in names), key=lambda one: one[:2]
    )
    ranks: dict[str, str] = {}
    for _, _, choice in live:
        if choice.how == "is" and isinstance(choice.what, Own):
            ranks.setdefault(str(choice.what), f"own {len(ranks)}")
    return frozenset((name, inner, choice.how, _renamed(choice, ranks)) for name, inner, choice in live)


def _renamed(choice: Any, ranks: Mapping[str, str]) -> Any:
    if choice.how == "is":
        return ranks[choice.what] if isinstance(choice.what, Own) else choice.what
    if choice.how == "not":
        return frozenset(ranks.get(text, text) for text in choice.what if not isinstance(text, Own) or text in ranks)
    return choice.what
