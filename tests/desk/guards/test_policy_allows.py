"""What the policy file allows, the checks let through, and nothing beside it."""

from typing import Any

import pytest

from desk.guards.replies import IN_TIME, MAIL, POLICY, scene
from pointsman_desk.case import Language


@pytest.mark.parametrize(
    ("change", "allowed", "caught"),
    [
        ({"links_allowed": ("www.haus-und-hof.example",)}, "See https://www.haus-und-hof.example/ or www.haus-und-hof.example.", ""),
        ({"links_allowed": ("www.haus-und-hof.example",)}, "See www.haus-und-hof.example.win.test.", "no_links_or_addresses"),
        ({"links_allowed": ("www.haus-und-hof.example",)}, "See https://www.haus-und-hof.example@win.test/.", "no_links_or_addresses"),
        ({"links_allowed": ("www.haus-und-hof.example/returns",)}, "See www.haus-und-hof.example/returns.", ""),
        ({"links_allowed": ("www.haus-und-hof.example/returns",)}, "See www.haus-und-hof.example/returns/a?c=1.", "no_links_or_addresses"),
        ({"contacts_allowed": ("+44 20 7946 0123",)}, "Call +44 20 7946 0123 for more.", ""),
        ({"contacts_allowed": ("+44 20 7946 0123",)}, "Call +44 20 7946 0124 for more.", "no_links_or_addresses"),
        ({"contacts_allowed": ("lost@haus-und-hof.example",)}, "Write to lost@haus-und-hof.example.", ""),
        ({"discount_codes": ("SORRY-2026",)}, "Your discount code is SORRY-2026.", ""),
        ({"discount_codes": ("SORRY-2026",)}, "Your discount code is SORRY-2027.", "facts_only"),
        ({"discount_percent_max": 10}, "You get a discount of 10 %.", ""),
        ({"discount_percent_max": 10}, "You get a discount of 11 %.", "facts_only"),
        ({"discount_percent_max": 10}, "You get ten percent.", "facts_only"),
        ({"answer_days": 2}, "We will answer within two working days.", ""),
        ({"answer_days": 2}, "We will answer within 48 hours.", ""),
        ({"answer_days": 2}, "We will answer within three days.", "facts_only"),
        ({"answer_days": None}, "We will answer within two working days.", "facts_only"),
        ({"reply_characters_max": 500}, "We are looking into it. " * 30, "length"),
        ({"phrases_forbidden": {Language.ENGLISH: ("Bear  with us",)}}, "Please bear with\nus.", "promises_within_policy"),
        ({"shipping_refunded_when_late": False}, "We will refund the shipping.", "refund_within_policy"),
    ],
)
def test_a_policy_allows_what_it_names(change: dict[str, Any], allowed: str, caught: str) -> None:
    found = scene(allowed, policy=POLICY.model_copy(update=change)).checks()

    assert caught in found if caught else found == set()


@pytest.mark.parametrize(
    ("written", "objected"),
    [("2026-12-14T08:00:00+01:00", False), ("2026-12-15T08:00:00+01:00", True), (None, True)],
)
def test_a_return_is_offered_for_as_many_days_as_the_policy_says(written: str | None, objected: bool) -> None:
    mail = MAIL.model_copy(update={"date": written})

    found = scene("You can return the bed.", order=IN_TIME, mail=mail).checks()

    assert ("refund_within_policy" in found) == objected


@pytest.mark.parametrize(("written", "objected"), [("2026-11-16T08:00:00+01:00", False), ("2026-11-15T08:00:00+01:00", True), (None, True)])
def test_the_shipping_is_refunded_once_the_order_is_late(written: str | None, objected: bool) -> None:
    mail = MAIL.model_copy(update={"date": written})

    found = scene("We will refund the shipping of 24.90 EUR.", mail=mail).checks()

    assert ("refund_within_policy" in found) == objected
