"""Every rule is tried on the state, and what could follow a pending answer is told with whether it is certain."""

from collections.abc import Callable

from pydantic import BaseModel

from pointsman import Process, State, finish, otherwise, when
from pointsman.kernel.codec import codec_of
from pointsman.kernel.explain import possible_next, tried_rules
from pointsman.kernel.snapshot import Cell


class Approval(BaseModel):
    approved: bool


class Letter(State):
    message: str
    reply: str | None = None
    approval: Approval | None = None


def letter(*conditions: tuple[str, Callable[[Letter], object]]) -> Process[Letter]:
    """A process that drafts and waits; the given conditions stand in front, each leading to an end of its name."""
    process = Process("letter", Letter)

    def draft(message: str) -> str:
        return message

    drafts = process.node(draft, writes="reply")
    approve = process.pause(writes="approval", answer=Approval, shows=("message", "reply"))
    process.rules(
        *(when(name, condition, finish(name)) for name, condition in conditions),
        when("no reply", lambda c: c.reply is None, drafts),
        when("open", lambda c: c.approval is None, approve),
        when("refused", lambda c: not c.approval.approved, finish("refused")),
        when("has a reply", lambda c: c.reply is not None, finish("sent")),
        otherwise(finish("nothing")),
    )
    return process


def waiting(process: Process[Letter]) -> dict[str, Cell]:
    codec = codec_of(process.state)
    return {name: codec.encode(name, value, "") for name, value in {"message": "m", "reply": "r"}.items()}


def test_every_rule_is_tried_with_its_reads_also_those_behind_the_one_that_decides() -> None:
    process = letter()

    tried = {one.rule.name: one for one in tried_rules(process, waiting(process))}

    assert list(tried) == ["no reply", "open", "refused", "has a reply", "otherwise"]
    assert [one.holds for one in tried.values()] == [False, True, False, True, True]
    assert tried["open"].reads == ("approval",)
    assert tried["has a reply"].reads == ("reply",)


def test_a_condition_that_raises_is_told_and_does_not_hold() -> None:
    process = letter()

    refused = {one.rule.name: one for one in tried_rules(process, waiting(process))}["refused"]

    assert not refused.holds
    assert refused.reads == ("approval",)
    assert refused.error is not None
    assert refused.error.startswith("raised AttributeError: ")


def test_rules_that_read_a_pending_answer_may_follow_and_the_first_that_does_not_read_it_ends_the_list() -> None:
    process = letter()

    following = [(one.rule.name, certain) for one, certain in possible_next(process, waiting(process), ("approval",))]

    assert following == [("open", False), ("refused", False), ("has a reply", True)]


def test_a_rule_that_does_not_hold_whatever_is_answered_does_not_follow() -> None:
    process = letter(("other mail", lambda c: c.message == "x"), ("this mail", lambda c: c.message == "m"))

    following = [(one.rule.name, certain) for one, certain in possible_next(process, waiting(process), ("approval",))]

    assert following == [("this mail", True)]


def test_without_a_pending_answer_only_the_rule_that_decides_follows() -> None:
    process = letter()

    following = possible_next(process, waiting(process), ())

    assert [(one.rule.name, certain) for one, certain in following] == [("open", True)]


def test_otherwise_follows_where_no_other_rule_holds() -> None:
    process = Process("short", Letter)
    approve = process.pause(writes="approval", answer=Approval, shows=("message", "reply"), edits=("reply",))
    process.rules(when("open", lambda c: c.approval is None, approve), otherwise(finish("done")))

    following = possible_next(process, waiting(process), ("approval",))

    assert [(one.rule.name, certain) for one, certain in following] == [("open", False), ("otherwise", True)]


def test_nothing_follows_behind_a_condition_that_raises_whatever_is_answered() -> None:
    """The decision stops at a condition that raises and parks the case, so no rule behind it can decide."""
    process = letter(("broken", lambda c: c.message.nonsense))

    following = [one.rule.name for one, _ in possible_next(process, waiting(process), ("approval",))]

    assert following == ["broken"]
