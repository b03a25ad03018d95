"""The policy file is read as it is written, and every problem in it is told at once."""

from decimal import Decimal
from pathlib import Path

import pytest

from pointsman_desk.case import Intent, Language, Tone
from pointsman_desk.errors import PolicyInvalid
from pointsman_desk.shop.policy import PolicyFile

SAMPLE = Path(__file__).parents[3] / "src" / "pointsman_desk" / "sample" / "policy.toml"


def changed(tmp_path: Path, old: str, new: str) -> Path:
    text = SAMPLE.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = tmp_path / "policy.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PolicyInvalid) as refused:
        PolicyFile(path).current()
    return str(refused.value)


def test_the_sample_policy_says_what_the_sample_shop_promises() -> None:
    policy = PolicyFile(SAMPLE).current()

    assert (policy.refund_days, policy.refund_max, policy.currency) == (30, Decimal("150.00"), "EUR")
    assert policy.shipping_refunded_when_late
    assert policy.automatic == (Intent.ORDER_STATUS, Intent.OPENING_HOURS)
    assert policy.approved_tones == (Tone.WARM, Tone.NEUTRAL)
    assert policy.apology_required == (Intent.REFUND, Intent.COMPLAINT)
    assert set(policy.opening_hours) == set(policy.signature) == set(Language)


def test_a_policy_from_before_a_key_was_known_allows_none_of_it(tmp_path: Path) -> None:
    older = SAMPLE.read_text(encoding="utf-8")
    for line in (
        "links_allowed = []",
        "contacts_allowed = []",
        "discount_codes = []",
        "discount_percent_max = 0",
        "reply_characters_max = 4000",
    ):
        assert line in older
        older = older.replace(line, "")
    path = tmp_path / "policy.toml"
    path.write_text(older, encoding="utf-8")

    assert PolicyFile(path).current() == PolicyFile(SAMPLE).current()


def test_an_amount_is_kept_to_the_cent(tmp_path: Path) -> None:
    path = changed(tmp_path, "150.00", "150.10")

    assert PolicyFile(path).current().refund_max == Decimal("150.10")


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    policies = PolicyFile(changed(tmp_path, "refund_days = 30", "refund_days = 30"))
    before = policies.current()

    changed(tmp_path, "refund_days = 30", "refund_days = 14")

    assert (before.refund_days, policies.current().refund_days) == (30, 14)


def test_every_problem_is_told_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('version = ""\nrefund_days = true\nautomatic = ["order_status", "surprise"]\nrefunds = 1\n')

    text = refusal(path)

    keys = (
        "version:",
        "refund_days:",
        "automatic.1:",
        "refunds: unknown key",
        "currency: missing",
        "refund_max: missing",
    )
    assert [key for key in keys if key not in text] == []
    assert "\n" not in text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('currency = "EUR"', 'currency = "Euro"', "currency: "),
        ("refund_days = 30", "refund_days = -1", "refund_days: "),
        ("refund_days = 30", 'refund_days = "30"', "refund_days: "),
        ("refund_max = 150.00", "refund_max = -1", "refund_max: "),
        ("refund_max = 150.00", "refund_max = inf", "refund_max: "),
        ("refund_max = 150.00", "refund_max = 1.005", "refund_max: "),
        ("_late = true", '_late = "yes"', "shipping_refunded_when_late: "),
        ('["warm", "neutral"]', "[]", "approved_tones: "),
        ('["warm", "neutral"]', '["cheeky"]', "approved_tones.0: "),
        ('["order_status", "opening_hours"]', '["legal"]', "automatic: legal cannot be automatic"),
        ('["order_status", "opening_hours"]', '["refund", "unclear"]', "automatic: refund, unclear cannot be automatic"),
        ('fr = "du lundi au vendredi, de 9 h à 17 h"\n', "", "opening_hours: a text is missing for fr"),
        ("links_allowed = []", 'links_allowed = ["https://www.shop.example"]', "links_allowed: https://www.shop.example is not a host"),
        ("links_allowed = []", 'links_allowed = ["shop"]', "links_allowed: shop is not a host"),
        ("contacts_allowed = []", 'contacts_allowed = ["a"]', "contacts_allowed.0: "),
        ("discount_percent_max = 0", "discount_percent_max = 101", "discount_percent_max: "),
        ("discount_percent_max = 0", "discount_percent_max = true", "discount_percent_max: "),
        ("# answer_days = 2", "answer_days = 0", "answer_days: "),
        ("reply_characters_max = 4000", "reply_characters_max = 10", "reply_characters_max: "),
        ("reply_characters_max = 4000", "reply_characters_max = 99000", "reply_characters_max: "),
        ('en = ["no refunds"]', 'en = [""]', "phrases_forbidden.en.0: "),
        ('de = ["selbst schuld"]', 'it = ["niente"]', "phrases_forbidden.it: "),
        ("refund_days = 30", "refund_day = 30", "refund_days: missing; refund_day: unknown key; did you mean refund_days?"),
        ("links_allowed = []", "link_allowed = []", "link_allowed: unknown key; did you mean links_allowed?"),
        ('fr = "du lundi', 'it = "da lunedì"\nfr = "du lundi', "opening_hours.it: "),
    ],
)
def test_what_is_impossible_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = changed(tmp_path, old, new)

    text = refusal(path)

    assert f"is invalid: {told}" in text


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "policy.toml is missing" in refusal(tmp_path / "policy.toml")


def test_a_folder_is_no_policy_file(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize(("content", "told"), [(b"version = ", "not valid TOML"), (b"\xff\xfe\x00", "cannot be read")])
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_bytes(content)

    assert told in refusal(path)
