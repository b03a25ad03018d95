"""What is refused of each(...), of Item, and of what failed branches mean."""

from typing import Any

import pytest
from declarations import refusal

from pointsman import AtMostOnce, Database, Failure, Item, Node, Peek, Process, State, each, finish, otherwise, parallel, quorum, when


class Order(State):
    customer: str
    lines: list[str]
    stock: dict[str, int]
    prices: list[int | Failure] | None = None
    strict: list[int] | None = None
    counts: dict[str, int] | None = None
    total: int | None = None
    note: str | None = None


def measure(line: Item[str], customer: str) -> int:
    return len(line) + len(customer)


def declared(writes: str = "prices", function: Any = measure, **settings: Any) -> tuple[Process[Order], Node[Any, Any]]:
    process = Process("order", Order)
    return process, process.node(function, writes=writes, **settings)


def rules_of(process: Process[Order], step: Any) -> None:
    process.rules(when("open", lambda c: c.note is None, step), otherwise(finish("done")))


def test_a_node_that_takes_an_item_needs_no_engine() -> None:
    _, node = declared()

    assert node("abc", "anna") == 7
    assert (node.signature.item.name, list(node.signature.reads)) == ("line", ["customer"])


def test_what_a_node_depends_on_includes_what_it_goes_over() -> None:
    class Small(State):
        lines: list[str]
        lengths: list[int] | None = None

    process = Process("small", Small)
    lengths = process.node(length_of, writes="lengths")
    process.rules(when("open", lambda c: c.lengths is None, each(lengths, over="lines")), otherwise(finish("done")))

    assert process.depends(lengths) == {"lines"}


def length_of(line: Item[str]) -> int:
    return len(line)


REFUSED = [
    # the step, and what the author is told
    (lambda node: node, ["'measure' takes one Item, 'line'", "each(measure, over=...)"]),
    (lambda node: each(node, over="line"), ["goes over 'line', which is not a field of Order", "lines"]),
    (lambda node: each(node, over="customer"), ["goes over 'customer', which holds str", "a list, a tuple or a dict"]),
    (lambda node: each(node, over="strict"), ["takes an item of str, but field 'strict' holds int"]),
    (lambda node: each(node, over="lines", concurrency=0), ["concurrency is 0"]),
    (lambda node: each(node, over="lines", failures="ignore"), ["failures is 'ignore'", "quorum(n)"]),
    (lambda node: each(node, over="lines", failures=quorum(0)), ["quorum(0) is impossible"]),
]


@pytest.mark.parametrize(("step", "told"), REFUSED)
def test_an_each_that_cannot_be_is_refused(step: Any, told: list[str]) -> None:
    process, node = declared()

    text = refusal(lambda: rules_of(process, step(node)))

    assert "rule 'open'" in text
    assert all(words in text for words in told), text


def test_a_dict_of_results_needs_a_dict_of_items() -> None:
    process, node = declared("counts")

    text = refusal(lambda: rules_of(process, each(node, over="lines")))

    assert "'counts' takes dict[str, int] | None" in text
    assert "list[...]" in text


def test_results_without_room_for_a_failure_are_refused_where_failures_are_recorded() -> None:
    for failures in ("record", quorum(1)):
        process, node = declared("strict")

        text = refusal(lambda node=node, process=process, failures=failures: rules_of(process, each(node, over="lines", failures=failures)))

        assert "an entry of field 'strict' takes int" in text
        assert "add `| Failure`" in text


def test_branches_without_room_for_a_failure_are_refused_where_failures_are_recorded() -> None:
    process = Process("order", Order)
    total, note = process.node(count_lines, writes="total"), process.node(name_customer, writes="note")

    text = refusal(lambda: rules_of(process, parallel(total, note, failures="record")))

    assert "field 'total' takes int | None" in text
    assert "add `| Failure`" in text


def count_lines(lines: list[str]) -> int:
    return len(lines)


def name_customer(customer: str) -> str:
    return customer


def test_a_quorum_of_more_than_there_are_is_refused() -> None:
    process = Process("order", Order)
    total, note = process.node(count_lines, writes="total"), process.node(name_customer, writes="note")

    assert "a number from 1 to 2" in refusal(lambda: rules_of(process, parallel(total, note, failures=quorum(3))))


def test_a_node_goes_over_one_field() -> None:
    class Two(State):
        lines: list[str]
        others: list[str]
        lengths: list[int] | None = None

    process = Process("two", Two)
    lengths = process.node(length_of, writes="lengths")

    text = refusal(
        lambda: process.rules(
            when("open", lambda c: c.lengths is None, each(lengths, over="lines")),
            when("short", lambda c: len(c.lengths) < 2, each(lengths, over="others")),
            otherwise(finish("done")),
        )
    )

    assert "goes over 'others' here and over 'lines' above" in text
    assert "two names" in text


def test_a_node_that_goes_over_its_own_results_is_refused() -> None:
    class Circle(State):
        seed: str
        lengths: list[int] | None = None

    def longer(length: Item[int]) -> int:
        return length + 1

    process = Process("circle", Circle)
    node = process.node(longer, writes="lengths")

    text = refusal(lambda: process.rules(when("open", lambda c: c.lengths is None, each(node, over="lengths")), otherwise(finish("done"))))

    assert "fields are computed from themselves (lengths -(longer)-> lengths)" in text


def test_an_item_node_writes_a_collection_of_what_it_returns() -> None:
    assert "field 'total' takes a list or a dict of what it returns" in refusal(lambda: declared("total"))

    def wrong(line: Item[str]) -> str:
        return line

    assert "it returns str, but an entry of field 'prices' takes int | Failure" in refusal(lambda: declared("prices", wrong))


def test_a_recorded_failure_needs_room_in_the_entries() -> None:
    declared("prices", on_failure="record")

    assert "but an entry of field 'strict' takes int" in refusal(lambda: declared("strict", on_failure="record"))


def test_an_item_is_one_parameter() -> None:
    def both(left: Item[str], right: Item[str]) -> int:
        return 0

    text = refusal(lambda: declared("prices", both))

    assert "'left' and 'right' are both an Item" in text


def test_an_item_node_in_a_parallel_is_refused() -> None:
    process, node = declared()
    total = process.node(count_lines, writes="total")

    assert "parallel(...) has none of" in refusal(lambda: rules_of(process, parallel(node, total)))


def test_a_node_without_an_item_and_an_effect_are_no_branches_of_each() -> None:
    process, _ = declared()
    total = process.node(count_lines, writes="total")
    assert "'count_lines' takes no Item" in refusal(lambda: rules_of(process, each(total, over="lines")))

    def send(line: Item[str]) -> str:
        return line

    assert "an effect takes no Item" in refusal(lambda: process.effect(send, writes="note", safety=AtMostOnce()))

    effect = process.effect(name_customer, writes="note", safety=AtMostOnce())
    assert "'name_customer' cannot be a branch of each(...)" in refusal(lambda: rules_of(process, each(effect, over="lines")))


def test_an_item_is_found_through_a_peek_and_a_union() -> None:
    def peeking(line: Item[str] | None, customer: Peek[str]) -> int:
        return 0

    _, node = declared("prices", peeking)

    assert node.signature.item.position == 0
    assert node.depends == frozenset()


def test_a_transaction_is_no_branch() -> None:
    process, node = declared()

    def book(customer: str, *, db: Database) -> int:
        return 1

    booked = process.transaction(writes="total")(book)

    assert "'book' cannot be a branch of parallel(...)" in refusal(lambda: rules_of(process, parallel(booked, node)))
