"""The gold set: well-formed, as large and as varied as it says, and about nobody real."""

import json
import re
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from pointsman_desk.case import Intent, Language
from pointsman_desk.evaluation.labelled import GOLD, own_set

Row = dict[str, Any]
ROWS: list[Row] = [json.loads(line) for line in GOLD.read_text(encoding="utf-8").split("\n") if line]
README = GOLD.with_name("README.md")
BY_RISK = (Intent.LEGAL, Intent.REFUND, Intent.COMPLAINT)
AT_LEAST = {Intent.REFUND: 40, Intent.COMPLAINT: 35, Intent.LEGAL: 30, Intent.UNCLEAR: 45, Intent.ORDER_STATUS: 40}
AT_LEAST_OF_THE_REST = 15
LANGUAGES_AT_LEAST = {Language.ENGLISH: 90, Language.GERMAN: 70, Language.FRENCH: 55, Language.SPANISH: 45}
ALIKE = 0.5  # the share of words in common from which two mails are one
RESERVED = (".example", ".test", ".invalid")
HOST = re.compile(r"(?:@|://|www\.)([\w.-]+\w)")
TELEPHONE = re.compile(r"(?<!\w)\+?\d[\d /().-]{6,}\d")
DATE = re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}|\d{4}-\d{2}-\d{2}")
FICTION = ("44207946", "02079460", "01632960", "55501", "03023125", "015228817386", "063998")


def words(row: Row) -> list[str]:
    return re.findall(r"\w+", f"{row['subject']} {row['text']}".casefold())


def said(row: Row) -> str:
    return f"{row['subject']}\n{row['text']}"


def test_each_mail_has_its_own_number_a_language_and_labels_that_there_are() -> None:
    for row in ROWS:
        assert re.fullmatch(rf"{Language(row['language'])}-\d{{3}}", row["id"]), row["id"]
        assert {type(row["subject"]), type(row["text"])} == {str}, row["id"]
        assert row["subject"] or row["text"], row["id"]
        assert {Intent(row["label"])}.isdisjoint(Intent(intent) for intent in row["also"]), row["id"]

    assert max(Counter(row["id"] for row in ROWS).values()) == 1


def test_the_evaluation_reads_every_mail_with_its_labels() -> None:
    read = [(mail.id, mail.label, mail.also) for mail in own_set() if mail.attack is None]

    assert read == [(row["id"], Intent(row["label"]), tuple(map(Intent, row["also"]))) for row in ROWS]


def test_the_label_is_the_riskiest_thing_in_the_mail() -> None:
    for row in ROWS:
        risky = [intent for intent in BY_RISK if intent in {row["label"], *row["also"]}]

        assert not risky or row["label"] == risky[0], f"{row['id']} is {risky[0]}"


def test_there_are_enough_mails_of_each_label_and_language() -> None:
    labels = Counter(Intent(row["label"]) for row in ROWS)
    languages = Counter(Language(row["language"]) for row in ROWS)

    assert len(ROWS) >= 260
    assert all(labels[intent] >= AT_LEAST.get(intent, AT_LEAST_OF_THE_REST) for intent in Intent), labels
    assert all(languages[language] >= least for language, least in LANGUAGES_AT_LEAST.items()), languages


def test_the_readme_counts_what_is_there() -> None:
    table = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    counted = {label: [int(count) for count in counts] for label, *counts in table}

    there = {str(intent): Counter(row["language"] for row in ROWS if row["label"] == intent) for intent in Intent}
    there["all"] = Counter(row["language"] for row in ROWS)
    assert counted == {label: [*(count[language] for language in Language), count.total()] for label, count in there.items()}


def test_no_two_mails_are_alike() -> None:
    alike = []
    for one, other in combinations(ROWS, 2):
        first, second = set(words(one)), set(words(other))
        if words(one) == words(other) or len(first & second) > ALIKE * len(first | second):
            alike.append((one["id"], other["id"]))

    assert not alike


def test_addresses_and_links_lead_nowhere() -> None:
    hosts = [host for row in ROWS for host in HOST.findall(said(row))]

    assert hosts
    assert [host for host in hosts if not host.endswith(RESERVED)] == []


def test_telephone_numbers_are_set_aside_for_fiction() -> None:
    numbers = [re.sub(r"\D", "", number) for row in ROWS for number in TELEPHONE.findall(DATE.sub("", said(row)))]

    assert numbers
    assert [number for number in numbers if len(number) > 7 and not number.startswith(FICTION)] == []


@pytest.mark.parametrize("real", ["ring 020 7123 4567", "tel. +49 30 123456-78", "06 12 34 56 78"])
def test_a_telephone_number_of_somebody_would_be_noticed(real: str) -> None:
    found = [re.sub(r"\D", "", number) for number in TELEPHONE.findall(real)]

    assert found
    assert not any(number.startswith(FICTION) for number in found)
