"""A rewritten field clears what was computed from it, and nothing else; checked against a naive model too."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, create_model

from pointsman import Log, Peek, Process, State, finish, otherwise, parallel, park, when
from pointsman.definition.process import AnyProcess
from pointsman.definition.rules import Finish, Park
from pointsman.kernel.codec import codec_of
from pointsman.kernel.events import Event, Kind
from pointsman.kernel.evolve import evolve, next_after
from pointsman.kernel.program import program_of
from pointsman.kernel.snapshot import Cell, Snapshot

STEPS = 4  # a bound that a test can reach


class Approval(BaseModel):
    approved: bool


class Letter(State):
    message: str
    triage: str | None = None
    reply: str | None = None
    verdict: str | None = None
    approval: Approval | None = None


def letter(steps_max: int | None = 100) -> Process[Letter]:
    """Draft a reply, check it, have it approved; the repairer reads the verdict without depending on it."""
    process = Process("letter", Letter, steps_max=steps_max)

    def classify(message: str) -> str:
        return message

    def draft(message: str, triage: str) -> str:
        return f"{message} {triage}"

    def repair(message: str, verdict: Peek[str]) -> str:
        return f"{message} {verdict}"

    def check(reply: str) -> str:
        return f"checked {reply}"

    triages, drafts = process.node(classify, writes="triage"), process.node(draft, writes="reply")
    repairs, checks = process.node(repair, writes="reply"), process.node(check, writes="verdict")
    approve = process.pause(writes="approval", answer=Approval, shows=("message", "reply"), edits=("reply",))
    process.rules(
        when("new", lambda c: c.triage is None, triages),
        when("no reply", lambda c: c.reply is None, drafts),
        when("unchecked", lambda c: c.verdict is None, checks),
        when("bad", lambda c: c.verdict == "bad", repairs),
        when("open", lambda c: c.approval is None, approve),
        otherwise(finish("done")),
    )
    return process


def stored(process: AnyProcess, writer: str, **values: Any) -> dict[str, Cell]:
    return {name: codec_of(process.state).encode(name, value, writer) for name, value in values.items()}


def wrote(process: AnyProcess, writer: str, *, kind: Kind = Kind.NODE_SUCCEEDED, **values: Any) -> Event:
    return Event(kind, writer or None, writes=stored(process, writer, **values))


def after(process: AnyProcess, *events: Event) -> Snapshot:
    snapshot = Snapshot(1, {})
    for event in events:
        snapshot = evolve(process, snapshot, event)
    return snapshot


def through(process: AnyProcess) -> Snapshot:
    """A letter that has come to its approval."""
    return after(
        process,
        wrote(process, "", message="m"),
        wrote(process, "classify", triage="t"),
        wrote(process, "draft", reply="r"),
        wrote(process, "check", verdict="v"),
        wrote(process, "approval", approval={"approved": True}),
    )


def values(snapshot: Snapshot) -> dict[str, object]:
    return {name: cell.value for name, cell in snapshot.cells.items()}


def test_a_rewritten_field_clears_what_was_computed_from_it_and_so_on() -> None:
    process = letter()

    snapshot = evolve(process, through(process), wrote(process, "classify", triage="other"))

    assert values(snapshot) == {"message": "m", "triage": "other"}


def test_a_field_that_is_written_again_as_it_was_clears_nothing() -> None:
    process = letter()
    before = through(process)

    snapshot = evolve(process, before, wrote(process, "draft", reply="r"))

    assert values(snapshot) == values(before)


def test_a_cleared_field_clears_what_was_computed_from_it() -> None:
    process = letter()

    snapshot = evolve(process, through(process), wrote(process, "draft", reply=None))

    assert values(snapshot) == {"message": "m", "triage": "t"}


def test_what_is_written_together_does_not_clear_each_other() -> None:
    process = letter()
    before = after(process, *(wrote(process, w, **f) for w, f in [("", {"message": "m"}), ("classify", {"triage": "t"})]))

    snapshot = evolve(process, before, wrote(process, "approval", kind=Kind.RESUMED, reply="edited", approval={"approved": True}))

    assert set(snapshot.cells) == {"message", "triage", "reply", "approval"}


@pytest.mark.parametrize("rewritten", [("classify", "triage"), ("", "message")])
def test_an_edited_field_is_cleared_when_what_it_was_first_computed_from_is_rewritten(rewritten: tuple[str, str]) -> None:
    """Otherwise a reply to an earlier mail that somebody has touched up would be sent as the reply to the next one."""
    process = letter()
    edited = evolve(process, through(process), wrote(process, "approval", kind=Kind.RESUMED, reply="edited", approval={"approved": True}))
    writer, field = rewritten

    snapshot = evolve(process, edited, wrote(process, writer, **{field: "other"}))

    assert not {"reply", "verdict", "approval"} & set(snapshot.cells)


def test_an_edited_field_clears_what_was_computed_from_it_but_not_the_answer() -> None:
    process = letter()
    before = evolve(process, through(process), wrote(process, "approval", approval=None))

    snapshot = evolve(process, before, wrote(process, "approval", kind=Kind.RESUMED, reply="edited", approval={"approved": True}))

    assert "verdict" not in snapshot.cells
    assert values(snapshot)["reply"] == "edited"
    assert values(snapshot)["approval"] == Approval(approved=True)


def test_a_peek_reads_without_depending() -> None:
    process = letter()
    before = evolve(process, through(process), wrote(process, "repair", reply="repaired"))

    snapshot = evolve(process, before, wrote(process, "check", verdict="another"))

    assert values(snapshot)["reply"] == "repaired"


def test_the_writer_that_counts_is_the_one_that_wrote_the_value() -> None:
    process = letter()
    drafted = through(process)
    repaired = evolve(process, drafted, wrote(process, "repair", reply="repaired"))

    rewrite = wrote(process, "classify", triage="other")

    assert "reply" not in evolve(process, drafted, rewrite).cells
    assert "reply" in evolve(process, repaired, rewrite).cells


def test_a_writer_that_the_code_no_longer_has_depended_on_what_the_writers_of_today_read() -> None:
    process = letter()
    cells = {**through(process).cells, **stored(process, "draft_of_last_year", reply="r")}

    snapshot = evolve(process, Snapshot(1, cells), wrote(process, "classify", triage="other"))

    assert "reply" not in snapshot.cells


def test_an_input_is_never_cleared() -> None:
    process = letter()

    snapshot = evolve(process, through(process), wrote(process, "", message="another"))

    assert values(snapshot) == {"message": "another"}


def test_an_event_without_writes_changes_nothing() -> None:
    process = letter()
    before = through(process)

    assert evolve(process, before, Event(Kind.NODE_FAILED, "draft")) is before


def test_the_snapshot_before_is_left_as_it_was() -> None:
    process = letter()
    before = through(process)
    kept = dict(before.cells)

    evolve(process, before, wrote(process, "classify", triage="other"))

    assert before.cells == kept


# One transition: what happened, then the decision.


def test_advance_tells_the_decision_and_what_was_cleared() -> None:
    process = letter()

    result = next_after(program_of(process), through(process), wrote(process, "classify", triage="other"))

    assert result.cleared == ("approval", "reply", "verdict")
    assert (result.decision.rule, result.decision.step) == ("no reply", process.steps["draft"])
    assert result.snapshot.steps == 1


def test_a_step_that_leaves_its_field_as_it_was_parks_and_names_both() -> None:
    process = letter()

    result = next_after(program_of(process), through(process), wrote(process, "check", verdict="v"))

    assert isinstance(result.decision.step, Park)
    assert "'check' left verdict as it was" in result.decision.step.reason
    assert "correct the step or its rule" in result.decision.step.reason


def test_a_step_that_gives_none_where_nothing_was_parks() -> None:
    process = letter()

    result = next_after(program_of(process), after(process, wrote(process, "", message="m")), wrote(process, "classify", triage=None))

    assert isinstance(result.decision.step, Park)
    assert "'classify' left triage as it was" in result.decision.step.reason


def test_a_step_that_changes_one_of_its_fields_goes_on() -> None:
    process = letter()

    result = next_after(program_of(process), through(process), wrote(process, "repair", reply="new", verdict="v"))

    assert not isinstance(result.decision.step, Park)


def test_a_person_may_give_the_same_answer_twice() -> None:
    process = letter()

    result = next_after(program_of(process), through(process), wrote(process, "approval", kind=Kind.RESUMED, approval={"approved": True}))

    assert result.decision.step == Finish("done")


def test_deciding_afresh_is_no_step_without_progress() -> None:
    process = letter()

    result = next_after(program_of(process), through(process), None)

    assert result.decision.step == Finish("done")
    assert result.cleared == ()


def test_a_case_is_parked_at_its_bound_of_steps_and_not_before() -> None:
    process = letter(steps_max=STEPS)
    cells = after(process, wrote(process, "", message="m")).cells
    event = wrote(process, "classify", triage="t")

    last, beyond = (next_after(program_of(process), Snapshot(1, cells, 0, steps), event) for steps in (STEPS - 1, STEPS))

    assert last.decision.rule == "no reply"
    assert isinstance(beyond.decision.step, Park)
    assert f"it has taken {STEPS} steps" in beyond.decision.step.reason
    assert "steps_max" in beyond.decision.step.reason


def test_the_reason_of_an_endless_loop_names_the_rules_that_repeat() -> None:
    process = letter(steps_max=100)
    result = next_after(program_of(process), after(process, wrote(process, "", message="m")), wrote(process, "classify", triage="t"))

    for number in range(50):
        result = next_after(program_of(process), result.snapshot, wrote(process, "repair", reply=str(number)))
        result = next_after(program_of(process), result.snapshot, wrote(process, "check", verdict="bad"))

    assert result.decision.step == Park(
        "it has taken 100 steps without an answer, a message or a timer; the rules that repeat: 'bad', 'unchecked'. "
        "Correct them, or raise steps_max of process 'letter'"
    )


@pytest.mark.parametrize("kind", [Kind.MESSAGE_RECEIVED, Kind.RESUMED, Kind.DEADLINE_PASSED, Kind.WOKEN, Kind.REDRIVEN])
def test_an_event_from_outside_resets_the_count_of_steps(kind: Kind) -> None:
    process = letter(steps_max=STEPS)
    cells = after(process, wrote(process, "", message="m")).cells

    result = next_after(program_of(process), Snapshot(1, cells, 0, STEPS), wrote(process, "classify", kind=kind, triage="t"))

    assert result.decision.rule == "no reply"
    assert result.snapshot.steps == 1


def test_a_process_allows_a_hundred_steps_for_each_rule_unless_it_says_otherwise() -> None:
    assert (letter(steps_max=7).steps_max, letter(steps_max=None).steps_max) == (7, 600)


def test_what_happened_is_kept_when_the_case_parks() -> None:
    process = letter(steps_max=STEPS)
    cells = after(process, wrote(process, "", message="m")).cells

    result = next_after(program_of(process), Snapshot(1, cells, 0, STEPS), wrote(process, "classify", triage="t"))

    assert values(result.snapshot)["triage"] == "t"


# Against a naive model.


class Plan(NamedTuple):
    """A random process: for each result field the writers it has, each with the fields it reads and peeks at."""

    results: int
    writers: tuple[tuple[int, frozenset[int], frozenset[int]], ...]

    def depends(self, writer: int) -> frozenset[str]:
        _, reads, peeks = self.writers[writer]
        return frozenset(field(number) for number in reads - peeks)


def field(number: int) -> str:
    return f"f{number}"


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Fields 0 and 1 are inputs; a writer depends on lower fields only, and may peek at any."""
    results = draw(st.integers(2, 5))
    writers = []
    for result in range(2, 2 + results):
        for _ in range(draw(st.integers(1, 2))):
            reads = draw(st.frozensets(st.integers(0, result - 1), max_size=3))
            peeks = draw(st.frozensets(st.integers(0, 1 + results), max_size=2))
            writers.append((result, reads | peeks, peeks))
    return Plan(results, tuple(writers))


def built(plan: Plan) -> AnyProcess:
    state: Any = create_model(  # type: ignore[call-overload]
        "Random",
        __base__=State,
        **{field(n): (int | None, 0 if n < 2 else None) for n in range(2 + plan.results)},
    )
    process: AnyProcess = Process("random", state)
    for number, (result, reads, peeks) in enumerate(plan.writers):
        function = reader(reads, peeks)
        node = process.node(function, writes=field(result), name=f"w{number}")
        assert node.depends == plan.depends(number)
    rules = [when(f"rule {n}", lambda c, n=n: c.f0 == n, node) for n, node in enumerate(process.nodes())]
    process.rules(*rules, otherwise(park("here")))
    return process


def reader(reads: frozenset[int], peeks: frozenset[int]) -> Any:
    """A function whose parameters are these fields."""
    names = [field(number) for number in sorted(reads)]
    scope: dict[str, Any] = {}
    exec(f"def read({', '.join(names)}): return 0", scope)
    scope["read"].__annotations__ = {
        **{field(n): Peek[int | None] if n in peeks else int | None for n in reads},
        "return": int,
    }
    return scope["read"]


Write = tuple[str, dict[str, int | None]]


@st.composite
def histories(draw: st.DrawFn) -> tuple[Plan, list[Write]]:
    """A plan and writes: by a writer to its field, by two branches at once, or from outside to an input."""
    plan = draw(plans())
    value = st.one_of(st.none(), st.integers(0, 2))
    writes: list[Write] = [("", {"f0": 0, "f1": 0})]
    for _ in range(draw(st.integers(1, 12))):
        writer = draw(st.integers(-2, len(plan.writers) - 1))
        if writer < 0:
            writes.append(("", {field(writer + 2): draw(st.integers(0, 2))}))
            continue
        fields = {field(plan.writers[writer][0]): draw(value)}
        if draw(st.booleans()):
            fields[field(draw(st.integers(2, 1 + plan.results)))] = draw(value)
        writes.append((f"w{writer}", fields))
    return plan, writes


def naive(plan: Plan, cells: Mapping[str, tuple[int, str]], write: Write) -> dict[str, tuple[int, str]]:
    """The rule in its plainest words: clear what depends on a changed or cleared field until nothing does any more."""
    writer, fields = write
    stands = dict(cells)
    gone = {name for name, value in fields.items() if (cells[name][0] if name in cells else None) != value}
    for name, value in fields.items():
        stands.pop(name, None)
        if value is not None:
            stands[name] = (value, writer)
    again = True
    while again:
        again = False
        for name, (_, by) in list(stands.items()):
            if by and name not in fields and plan.depends(int(by[1:])) & gone:
                del stands[name]
                gone.add(name)
                again = True
    return stands


@settings(max_examples=150, deadline=None)
@given(histories())
def test_random_histories_give_the_cells_of_the_naive_model(history: tuple[Plan, list[Write]]) -> None:
    plan, writes = history
    process, snapshot, expected = built(plan), Snapshot(1, {}), {}

    for writer, fields in writes:
        event = wrote(process, writer, **fields)
        snapshot, expected = evolve(process, snapshot, event), naive(plan, expected, (writer, fields))

        assert {name: (cell.value, cell.writer) for name, cell in snapshot.cells.items()} == expected


@settings(max_examples=150, deadline=None)
@given(histories())
def test_random_histories_keep_the_invariants(history: tuple[Plan, list[Write]]) -> None:
    plan, writes = history
    process, before = built(plan), Snapshot(1, {})

    for writer, fields in writes:
        snapshot = evolve(process, before, wrote(process, writer, **fields))

        changed = {n for n in before.cells.keys() | fields.keys() if _text(before, n) != _text(snapshot, n)}
        for name, cell in snapshot.cells.items():
            outlived = cell.writer and process.steps[cell.writer].depends & changed
            assert name in fields or not outlived
        assert all(name in snapshot.cells for name, value in fields.items() if value is not None)
        if all(_text(before, name) == ("null" if value is None else str(value)) for name, value in fields.items()):
            assert values(snapshot) == values(before)
        before = snapshot


def _text(snapshot: Snapshot, name: str) -> str:
    return snapshot.cells[name].text if name in snapshot.cells else "null"


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_branches_are_joined_alike_in_whichever_order_they_are_named(order: tuple[str, str]) -> None:
    class Pair(State):
        text: str
        a: str | None = None
        b: str | None = None
        both: str | None = None

    process = Process("pair", Pair)
    nodes = {name: process.node(function, writes=name, name=name) for name, function in {"a": lower, "b": lower}.items()}
    join = process.node(joined, writes="both")
    process.rules(
        when("apart", lambda c: c.a is None or c.b is None, parallel(*(nodes[name] for name in order))),
        when("together", lambda c: c.both is None, join),
        otherwise(finish("done")),
    )

    start = after(process, wrote(process, "", text="t"))
    writes = stored(process, order[0], **{order[0]: "x"}) | stored(process, order[1], **{order[1]: "y"})
    result = next_after(program_of(process), start, Event(Kind.NODE_SUCCEEDED, "a + b", writes=writes))

    assert result.cleared == ()
    assert result.decision.step is join


def lower(text: str) -> str:
    return text.lower()


def joined(a: str, b: str) -> str:
    return a + b


class Thread(State):
    text: str
    draft: str | None = None
    notes: Log[str] | None = None
    told: int | None = None


def thread() -> Process[Thread]:
    """What is drafted of the text is noted; how many notes there are is computed from them."""
    process = Process("thread", Thread)

    def draft(text: str) -> tuple[str, str]:
        return text, text

    def count(notes: list[str]) -> int:
        return len(notes)

    drafts, counts = process.node(draft, writes=("draft", "notes")), process.node(count, writes="told")
    process.rules(
        when("no draft", lambda c: c.draft is None, drafts), when("not told", lambda c: c.told is None, counts), otherwise(finish("done"))
    )
    return process


def noted(process: AnyProcess, text: str) -> Event:
    codec = codec_of(process.state)
    return Event(Kind.NODE_SUCCEEDED, "draft", writes={name: codec.write(name, text, "draft") for name in ("draft", "notes")})


def test_what_was_added_to_a_log_outlives_what_it_was_computed_from() -> None:
    process = thread()
    first = after(process, wrote(process, "", text="a"), noted(process, "A"), wrote(process, "count", told=1))
    rewritten = evolve(process, first, wrote(process, "", text="b"))
    second = evolve(process, rewritten, noted(process, "B"))

    assert sorted(rewritten.cells) == ["notes", "text", "told"]
    assert (rewritten.cells["notes"].value, rewritten.cells["notes"].text) == (["A"], '["A"]')
    assert sorted(second.cells) == ["draft", "notes", "text"]  # what was computed from the notes is cleared: there is one more
    assert (second.cells["notes"].value, second.cells["notes"].text) == (["A", "B"], '["A","B"]')


def test_what_a_step_adds_to_a_log_is_not_dropped_when_its_inputs_were_rewritten_meanwhile() -> None:
    process = thread()
    snapshot = after(process, wrote(process, "", text="a"))

    came = next_after(program_of(process), snapshot, noted(process, "A"), [wrote(process, "", text="b", kind=Kind.MESSAGE_RECEIVED)])

    assert came.dropped == ("draft",)
    assert came.snapshot.cells["notes"].text == '["A"]'
    assert came.decision.rule == "no draft"


def test_the_same_item_twice_is_two_items_and_not_a_step_that_left_everything_as_it_was() -> None:
    process = thread()
    snapshot = after(process, wrote(process, "", text="a"), noted(process, "A"))

    again = next_after(program_of(process), snapshot, noted(process, "A"))

    assert again.snapshot.cells["notes"].value == ["A", "A"]
    assert again.decision.rule == "not told"
