"""The value of a log: the same however its items came, and an item more costs that item."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pointsman import Log, Process, State, finish, otherwise, when
from pointsman.kernel import snapshot
from pointsman.kernel.codec import codec_of, digest_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import next_after
from pointsman.kernel.program import program_of
from pointsman.kernel.snapshot import Cell, LogCell, Snapshot, alike


class Thread(State):
    texts: Log[str] | None = None
    numbers: Log[list[float]] | None = None


class Asked(State):
    text: str
    texts: Log[str]
    answer: str | None = None


CODEC = codec_of(Thread)
texts = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5), max_size=6)


def grown(items: list[str], *, beginning: int = 0) -> LogCell:
    log = CODEC.encode("texts", items[:beginning], "")
    assert isinstance(log, LogCell)
    for item in items[beginning:]:
        log = log.longer(CODEC.write("texts", item, "step"))
    return log


@given(texts, st.integers(0, 6))
def test_a_log_is_the_same_however_its_items_came(items: list[str], beginning: int) -> None:
    whole, log = CODEC.encode("texts", items, ""), grown(items, beginning=min(beginning, len(items)))

    assert (log.value, log.text, log.identity) == (whole.value, whole.text, whole.identity)
    assert alike(log, CODEC.decode("texts", log.text, "other"))
    assert digest_of({"texts": log}, ["texts"]) == digest_of({"texts": whole}, ["texts"])


@given(texts, texts)
def test_logs_of_other_items_are_others(items: list[str], others: list[str]) -> None:
    assert alike(grown(items), grown(others)) == (items == others)


def test_a_log_without_items_is_not_none() -> None:
    assert not alike(grown([]), None)
    assert digest_of({"texts": grown([])}, ["texts"]) != digest_of({}, ["texts"])


@given(texts, texts)
def test_what_was_added_is_told_and_what_was_rewritten_is_not(items: list[str], more: list[str]) -> None:
    before = grown(items)
    after = before
    for item in more:
        after = after.longer(CODEC.write("texts", item, "step"))
    rewritten = CODEC.encode("texts", [*items, "!", *more], "")
    assert isinstance(rewritten, LogCell)

    assert json.loads(after.added_since(before) or "") == more
    assert rewritten.added_since(before) is None or not items


def test_the_identity_is_of_the_stored_form_to_the_letter() -> None:
    """An item that reads back as the same number was perhaps written in another way, long ago."""
    stored = CODEC.decode("numbers", "[[1e5,2.50],[ ]]", "")
    again = LogCell([], (), "").longer(Cell([1e5, 2.5], "[1e5,2.50]", "")).longer(Cell([], "[ ]", ""))

    assert stored.identity == again.identity


def test_an_item_more_is_neither_joined_nor_hashed_with_the_earlier_ones() -> None:
    log = grown(["x" * 1000] * 50)
    assert log.identity
    item = CODEC.write("texts", "y", "step")

    longer = log.longer(item)

    assert longer.parts[:-1] == log.parts
    assert longer.added_since(log) == '["y"]'
    assert longer._chain is not None


def test_taking_in_a_long_inbox_encodes_and_hashes_each_item_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And looks at the others neither to clear what depends on the log, nor to decide."""
    process = Process("thread", Asked)
    ask = process.pause(writes="answer", answer=str, shows=("text",))
    process.accept(str, writes="texts", correlate=lambda text: "one", while_open="append", starts=False)
    process.rules(when("no answer", lambda c: c.answer is None, ask), otherwise(finish("answered")))
    codec = codec_of(Asked)
    cells = {"text": codec.encode("text", "x", ""), "texts": codec.encode("texts", [], "")}
    hashed: list[int] = []
    real = snapshot._link

    def link(chain: bytes, item: str) -> bytes:
        hashed.append(len(item))
        return real(chain, item)

    monkeypatch.setattr(snapshot, "_link", link)
    arrivals = [Event(Kind.MESSAGE_RECEIVED, "str", writes={"texts": codec.write("texts", f"{number:09}", "str")}) for number in range(500)]

    after = next_after(program_of(process), Snapshot(1, cells), None, arrivals).snapshot
    known = len(hashed)
    digest_of(after.cells, ["texts"])

    assert len(after.cells["texts"].value) == 500
    assert known <= 500
    assert len(hashed) <= 1_000
