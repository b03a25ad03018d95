"""The checks of a reply. Each is a function of fields without a model; drafts and people's edits pass the same checks."""

from collections.abc import Callable, Iterator
from functools import lru_cache, wraps

from pointsman_desk.guards.contacts import no_links_or_addresses
from pointsman_desk.guards.figures import facts_only
from pointsman_desk.guards.form import no_machine_talk, plain_text, slots_filled, subject_kept
from pointsman_desk.guards.manner import apology_included, approved_tone, language_of_customer, length
from pointsman_desk.guards.privacy import no_personal_data, order_disclosed_to_customer
from pointsman_desk.guards.promises import promises_within_policy, refund_within_policy

REPLIES_MAX = 256  # more than are under way at once: a draft is checked when it is written, and again before it may leave


def _once(check: Callable[..., Iterator[str]]) -> Callable[..., tuple[str, ...]]:
    """Return the check as one that remembers what it found in the same fields."""

    @lru_cache(maxsize=REPLIES_MAX)
    @wraps(check)
    def checked(**fields: object) -> tuple[str, ...]:
        return tuple(check(**fields))

    return checked


_CHECKS: tuple[Callable[..., Iterator[str]], ...] = (
    apology_included,
    refund_within_policy,
    promises_within_policy,
    facts_only,
    approved_tone,
    language_of_customer,
    no_links_or_addresses,
    no_personal_data,
    order_disclosed_to_customer,
    no_machine_talk,
    slots_filled,
    subject_kept,
    plain_text,
    length,
)
CHECKS = tuple(map(_once, _CHECKS))
"""All checks, in the order in which their violations are shown."""
