"""The evaluation of a model: its figures, what it reads, and the command."""

import asyncio
import csv
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pointsman import ModelResponse, Usage
from pointsman.models import Message, Task
from pointsman_desk.case import Intent, Language, Mail, Risk, Tone
from pointsman_desk.cli.main import app
from pointsman_desk.config import DeskConfig
from pointsman_desk.errors import EvaluationInvalid
from pointsman_desk.evaluation import labelled
from pointsman_desk.evaluation.asking import Answer, Asked, ask, sample_facts
from pointsman_desk.evaluation.data import read_labelled, read_meanings
from pointsman_desk.evaluation.labelled import Labelled, mail_of, own_set, sample_of
from pointsman_desk.evaluation.measures import Figures, measure

THREE = [("Where is\nmy order, please?", "track"), ('I want my "money" back', "get_refund"), ("Öffnungszeiten?", "hours")]
MEANINGS = {"track": Intent.ORDER_STATUS, "get_refund": Intent.REFUND, "hours": Intent.OPENING_HOURS}
CSV = 'label,text\r\ntrack,"Where is\nmy order, please?"\r\nget_refund,"I want my ""money"" back"\r\nhours,Öffnungszeiten?\r\n'
LINES = [json.dumps({"text": text, "label": label}, ensure_ascii=False) for text, label in THREE]


def mail(number: str, label: Intent, *also: Intent, attack: str | None = None) -> Labelled:
    return Labelled(id=number, mail=mail_of(number, f"the text of mail {number}"), label=label, also=also, attack=attack)


def of_answers(pairs: list[tuple[Labelled, Answer]], seconds: float = 2.0) -> Figures:
    return measure([mail for mail, _ in pairs], Asked(tuple(answer for _, answer in pairs), seconds))


def test_the_figures_are_those_that_a_person_counts() -> None:
    figures = of_answers([
        (mail("1", Intent.REFUND), Answer(Intent.REFUND, Risk.MEDIUM)),
        (mail("2", Intent.REFUND), Answer(Intent.COMPLAINT, Risk.MEDIUM)),  # another label, and a person sees it all the same
        (mail("3", Intent.REFUND), Answer(Intent.ORDER_STATUS, Risk.HIGH)),  # the risk alone puts it there
        (mail("4", Intent.REFUND), Answer(Intent.ORDER_STATUS, Risk.LOW)),
        (mail("5", Intent.ORDER_STATUS, Intent.LEGAL), Answer(Intent.ORDER_STATUS, Risk.MEDIUM)),  # half of it is missed, and a person sees it for its risk
        (mail("6", Intent.ORDER_STATUS), Answer(Intent.ORDER_STATUS, Risk.LOW)),
        (mail("7", Intent.ORDER_STATUS), Answer(Intent.UNCLEAR, Risk.MEDIUM)),
        (mail("8", Intent.INVOICE), Answer(Intent.INVOICE, Risk.LOW)),
        (mail("9", Intent.UNCLEAR), Answer(Intent.UNCLEAR, Risk.LOW)),
        (mail("10", Intent.OPENING_HOURS, attack="hidden"), Answer(Intent.OPENING_HOURS, Risk.HIGH)),
        (mail("11", Intent.OPENING_HOURS, attack="polite"), Answer(Intent.OPENING_HOURS, Risk.LOW)),
        (mail("12", Intent.INVOICE), Answer(Intent.INVOICE, Risk.MEDIUM)),  # the desk answers by itself at a low risk only
    ])  # fmt: skip

    assert figures.mails == 12
    assert (figures.routed_mails, figures.routing_recall) == (5, 4 / 5)
    assert figures.routing_recall_by_class == {Intent.REFUND: 3 / 4, Intent.COMPLAINT: None, Intent.LEGAL: 1.0}
    assert [(miss.id, miss.label, miss.predicted) for miss in figures.misses] == [
        ("4", Intent.REFUND, Intent.ORDER_STATUS),
    ]
    assert (figures.harmless_mails, figures.false_escalation) == (4, 2 / 4)
    assert figures.false_escalation_by_class == {
        Intent.ORDER_STATUS: 1 / 2, Intent.INVOICE: 1 / 2, Intent.OPENING_HOURS: None, Intent.CHANGE_ADDRESS: None
    }  # fmt: skip
    assert figures.escalation_precision == 6 / 8, "of 1, 2, 3, 5, 7, 9, 10 and 12, only 7 and 12 need nobody"
    assert [one.id for one in figures.escalated] == ["7", "12"]
    assert figures.unclear == 2 / 12
    assert (figures.attacks_routed, [one.id for one in figures.attacks_missed]) == (1 / 2, ["11"])
    refund, status = figures.per_class[Intent.REFUND], figures.per_class[Intent.ORDER_STATUS]
    assert (refund.mails, refund.recall, refund.precision) == (4, 1 / 4, 1.0)
    assert (status.mails, status.recall, status.precision) == (3, 2 / 3, 2 / 4)
    assert figures.per_class[Intent.OPENING_HOURS].mails == 0, "an attack is no example of its intent"
    assert figures.mails_per_second == 6.0


def test_an_answer_that_does_not_fit_is_no_hit_and_ends_before_a_person() -> None:
    figures = of_answers(
        [
            (mail("1", Intent.REFUND), Answer(None, problem="the answer is empty")),
            (mail("2", Intent.INVOICE), Answer(None, problem="the answer is cut short")),
            (mail("3", Intent.INVOICE), Answer(Intent.INVOICE, Risk.LOW)),
        ]
    )

    assert (figures.unanswered, figures.problem) == (2, "the answer is empty")
    assert (figures.routing_recall, figures.false_escalation) == (1.0, 1 / 2)
    assert figures.per_class[Intent.REFUND].recall == 0.0
    assert figures.per_class[Intent.INVOICE].recall == 1 / 2


def test_a_model_that_answers_nothing_has_no_figures() -> None:
    with pytest.raises(EvaluationInvalid, match=r"answered none of 1 mail \(nobody listens\)\."):
        of_answers([(mail("1", Intent.REFUND), Answer(None, problem="nobody listens."))])


def test_what_answers_used_is_summed() -> None:
    usage = Usage(input_tokens=100, output_tokens=10, cost=Decimal("0.002"))

    figures = of_answers(
        [
            (mail("1", Intent.INVOICE), Answer(Intent.INVOICE, Risk.LOW, passed=True, usage=usage, calls=2)),
            (mail("2", Intent.INVOICE), Answer(Intent.INVOICE, Risk.LOW, passed=False, usage=usage, calls=2)),
            (mail("3", Intent.INVOICE), Answer(None, problem="empty", usage=usage)),
        ]
    )

    assert (figures.answers, figures.input_tokens, figures.output_tokens, figures.cost) == (5, 300, 30, 0.006)
    assert figures.guard_pass_rate == 1 / 2


class Busy:
    """A model that says what a function makes of the mail, and counts how many mails it has in hand."""

    name = "scripted"

    def __init__(self, answer: Callable[[Mail], Intent], body: str = "") -> None:
        self.answer = answer
        self.body = body
        self.in_hand = 0
        self.at_once = 0

    async def ask(self, task: Task, messages: Sequence[Message], schema: type[Any]) -> ModelResponse[Any]:
        self.in_hand += 1
        self.at_once = max(self.at_once, self.in_hand)
        await asyncio.sleep(0)
        self.in_hand -= 1
        if task.name == "draft":
            return ModelResponse(schema(body=self.body, tone=Tone.WARM, language=Language.ENGLISH), self.name)
        return ModelResponse(schema(intent=self.answer(task.inputs["mail"]), risk=Risk.LOW, language=Language.ENGLISH), self.name)


def test_each_mail_is_asked_about_once_and_so_many_at_a_time() -> None:
    model = Busy(lambda mail: Intent.INVOICE if mail.text.endswith("7") else Intent.REFUND)
    heard: list[int] = []

    asked = asyncio.run(ask(model, [mail(str(n), Intent.REFUND) for n in range(10)], concurrency=3, progress=heard.append))

    # The rules know none of these mails, so what the model alone says is harmless is unclear.
    assert [answer.intent for answer in asked.answers] == [Intent.UNCLEAR if n == 7 else Intent.REFUND for n in range(10)]
    assert model.at_once == 3
    assert heard == list(range(1, 11))


def test_a_model_that_fails_on_a_mail_fails_on_that_one_only() -> None:
    def answer(mail: Mail) -> Intent:
        if mail.text.endswith("2"):
            raise ConnectionRefusedError("nobody listens on port 11434")
        return Intent.REFUND

    asked = asyncio.run(ask(Busy(answer), [mail(str(n), Intent.REFUND) for n in range(3)]))

    assert [answer.intent for answer in asked.answers] == [Intent.REFUND, Intent.REFUND, None]
    assert [(answer.problem, answer.calls) for answer in asked.answers[1:]] == [("", 1), ("nobody listens on port 11434", 0)]


GOOD = "Dear customer,\n\nwe will look into it today and write to you as soon as we know more about your order.\n\nKind regards"


@pytest.mark.parametrize(("body", "passed"), [(GOOD, True), (GOOD + "\n\nSee https://win.test/now", False)])
def test_a_draft_is_held_against_the_checks_of_the_desk(body: str, passed: bool, tmp_path: Path) -> None:
    async def one() -> Asked:
        facts = await sample_facts(DeskConfig(home=tmp_path / "none"))
        return await ask(Busy(lambda mail: Intent.ORDER_STATUS, body), [mail("1", Intent.ORDER_STATUS)], facts=facts)

    [answer] = asyncio.run(one()).answers

    assert (answer.passed, answer.calls) == (passed, 2)
    assert not (tmp_path / "none").exists(), "an evaluation leaves the desk's folder alone"


def test_a_sample_is_by_chance_and_the_same_for_the_same_seed() -> None:
    mails = [mail(str(n), Intent.REFUND) for n in range(50)]

    first, again, other = (sample_of(mails, 10, seed) for seed in (1, 1, 2))

    assert first == again != other
    assert len(first) == 10
    assert first == [one for one in mails if one in first], "in the order of the file"
    assert sample_of(mails, 99, 1) == sample_of(mails, None, 1) == mails


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("with-bom.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("excel.txt", CSV.encode("utf-16")),
        ("semicolons.csv", CSV.replace("label,text", "label;text").replace("track,", "track;").replace("refund,", "refund;").replace("hours,", "hours;").encode()),
        ("tabs.tsv", CSV.replace("label,text", "label\ttext").replace("track,", "track\t").replace("refund,", "refund\t").replace("hours,", "hours\t").encode()),
        ("spaced.csv", ("\n" + CSV.replace("label,text", "label, text ,note").replace("?\r\n", "?,\r\n").replace('?"\r\n', '?",\r\n').replace('back"', 'back",')).encode()),
        ("a.jsonl", "\n".join([*LINES, "", ""]).encode()),
        ("windows.ndjson", "\r\n".join(LINES).encode()),
        ("a.json", ("[\n" + ",\n".join(LINES) + "]").encode()),
        ("no-suffix", ("  [" + ",".join(LINES) + "]").encode()),
    ],
)  # fmt: skip
def test_each_format_gives_the_same_mails(name: str, content: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)

    found = read_labelled(file, text="text", label="label", meanings=MEANINGS)

    assert [(one.mail.text, one.label) for one in found] == [(text, MEANINGS[label]) for text, label in THREE]
    assert [one.id for one in found] == ["1", "2", "3"]


ROWS = st.lists(st.tuples(st.sampled_from(list(Intent)), st.text(st.characters(exclude_categories=["Cs"]))), min_size=1)


@given(ROWS, st.sampled_from(",;\t|"), st.sampled_from([(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\n")]))
def test_whatever_a_csv_writer_writes_is_read_again(rows: list[tuple[Intent, str]], delimiter: str, style: tuple[Any, str]) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, delimiter=delimiter, quoting=style[0], lineterminator=style[1])
    writer.writerows([("label", "text"), *rows])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data.csv"
        file.write_bytes(written.getvalue().encode())

        found = read_labelled(file, text="text", label="label")

    assert [(one.label, one.mail.text) for one in found] == [(label, mail_of("", text).text) for label, text in rows]


def test_a_mail_is_read_as_if_it_had_come_from_outside(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"body": "my mo\u200bney\r\nback", "kind": 4, "head": "a\nb", "id": 7}), encoding="utf-8")

    [found] = read_labelled(file, text="body", label="kind", subject="head", meanings={"4": Intent.REFUND})

    assert (found.mail.text, found.mail.subject) == ("my money\nback", "a b")
    assert found.mail.notes == ("invisible-characters", "smuggled-characters")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("map.toml", '"Get Refund" = "refund"\nchat = "skip"\nnone = ""\n"*" = "unclear"\n'),
        ("map.json", '{"Get Refund": "refund", "chat": "skip", "none": "", "*": "unclear"}'),
        ("map.csv", "theirs,ours\nGet Refund,refund\nchat,skip\nnone,\n*,unclear\n"),
        ("map.tsv", "get refund\trefund\nchat\tskip\nnone\t\n*\tunclear\n"),
        ("map", '\n"Get Refund" = "refund" # a comment\nchat = "skip"\nnone = ""\n"*" = "unclear"\n'),
    ],
)
def test_each_kind_of_map_says_the_same(name: str, content: str, tmp_path: Path) -> None:
    file, data = tmp_path / name, tmp_path / "data.csv"
    file.write_text(content, encoding="utf-8")
    data.write_text("label,text\nGET REFUND,a\nchat,b\nnone,c\nanything,d\n", encoding="utf-8")

    meanings = read_meanings(file)

    assert meanings == {"get refund": Intent.REFUND, "chat": None, "none": None, "*": Intent.UNCLEAR}
    found = read_labelled(data, text="text", label="label", meanings=meanings)
    assert [(one.mail.text, one.label) for one in found] == [("a", Intent.REFUND), ("d", Intent.UNCLEAR)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("text,kind\na,refund\n", "has no column 'label'; its columns are text, kind"),
        ("label,text\nfoo,a\nbar,b\nfoo,c\nrefund,d\n", 'has labels without an intent: "bar", "foo"; map them in a file for --map'),
        ("label,text\nrefund,I want, my money\n", "row 1 has 3 values, but the header has 2; quote texts that contain"),
        ("label,text\nrefund,a\nrefund\n", "row 2 has 1 values, but the header has 2"),
        ('label,text\nrefund,"never closed\nrefund,b\n', "line 3: this is not CSV"),
        ("label,text\n", "has no mail with a usable label"),
        ('{"text": "a", "label": "refund"}\n{"text": "a"\n', "line 2: this is not JSON"),
        ('{"text": "a", "label": "refund"}\n{"text": "a"}\n', "row 2 has no text in 'label'; its columns are text"),
        ('{"text": null, "label": "refund"}\n', "row 1 has no text in 'text'"),
        ('[{"text": "a", "label": "refund"}, 3]', "row 2 is not an object"),
        ('[{"text": "a", "label": "refund"},\n', "line 2: this is not JSON"),
    ],
)
def test_bad_data_is_told_in_one_sentence(content: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_text(content, encoding="utf-8")

    with pytest.raises(EvaluationInvalid) as raised:
        read_labelled(file, text="text", label="label")

    assert told in str(raised.value)
    assert str(raised.value).startswith(str(file))
    assert str(raised.value).endswith((".", ")."))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("map.toml", 'a = "refunds"\nb = 7\nc = "refund"\n', "'a' = 'refunds', 'b' = '7'; use one of order_status, "),
        ("map.toml", 'a.b = "refund"\n', "'a' = '{"),
        ("map.toml", "a b = refund\n", "is not a map of labels"),
        ("map.json", "[1]", "is not a map of labels"),
        ("map.csv", "refund\n", "'refund' has no second column"),
        ("map.csv", "", "is empty; write lines"),
    ],
)
def test_a_bad_map_is_told_in_one_sentence(name: str, content: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")

    with pytest.raises(EvaluationInvalid) as raised:
        read_meanings(tmp_path / name)

    assert told in str(raised.value)


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_desk_without_its_own_mails_says_so(content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "GOLD", tmp_path / "gold.jsonl")
    if content is not None:
        (tmp_path / "gold.jsonl").write_text(content)

    with pytest.raises(EvaluationInvalid, match=r"own mails are missing \(gold.jsonl\); .* use --data FILE"):
        own_set()


def command(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["eval", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(name="data")
def _data(tmp_path: Path) -> list[str]:
    (tmp_path / "data.csv").write_text(CSV, encoding="utf-8")
    (tmp_path / "map.toml").write_text('track = "order_status"\nget_refund = "refund"\nhours = "opening_hours"\n')
    return ["--data", str(tmp_path / "data.csv"), "--text", "text", "--label", "label", "--map", str(tmp_path / "map.toml")]


def test_the_command_prints_one_object(data: list[str]) -> None:
    code, out, _ = command("--model", "offline", "--json", *data)

    figures: dict[str, Any] = json.loads(out)
    assert code == 0
    assert (figures["model"], figures["mails"], figures["answers"]) == ("offline", 3, 3)
    assert (figures["routing_recall"], figures["false_escalation"]) == (1.0, 1 / 2)
    assert figures["false_escalation_by_class"]["opening_hours"] == 1.0, "a text of one word may be a slip: a medium risk"
    assert figures["false_escalation_by_class"]["order_status"] == 0.0
    assert figures["per_class"]["refund"] == {"mails": 1, "recall": 1.0, "precision": 1.0}
    assert figures["guard_pass_rate"] is None


def test_without_data_the_mails_are_the_desks_own_and_the_attacks_among_them() -> None:
    code, out, _ = command("--json", "--limit", "60")

    figures = json.loads(out)
    assert (code, figures["mails"]) == (0, 60)
    assert figures["attacks_routed"] is not None
    assert sum(found["mails"] for found in figures["per_class"].values()) < 60
    assert len(own_set()) > 360


def test_the_command_prints_a_table_and_each_miss(data: list[str], tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text('track = "legal"\n"*" = "skip"\n')

    code, out, _ = command("--drafts", *data)

    assert code == 0
    assert "Routing recall: 0.000 of 1 mail" in out
    assert "Missed: answered without a person (1)" in out
    assert "classified as order_status" in out
    assert "Drafts that pass all checks at the first attempt: 1.000" in out


def test_the_command_takes_a_sample(data: list[str]) -> None:
    _, out, _ = command("--json", "--limit", "2", *data)

    assert json.loads(out)["mails"] == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "gpt-9"], "gpt-9"),
        (["--data", "missing.csv"], "missing.csv cannot be read (No such file or directory)"),
        (["--text", "body"], "name it with --data"),
    ],
)
def test_the_command_refuses_in_one_sentence(arguments: list[str], told: str) -> None:
    code, out, error = command(*arguments)

    assert (code, out) == (1, "")
    assert error.startswith("pointsman-desk: ")
    assert told in error
    assert error.count("\n") == 1
