"""The conformance suite of stores: pytest runs every promise of store/base.py against your store.

Subclass `StoreConformance` and give it the fixture `open_store`. For a store that several engines share, subclass `LeaseConformance`, too,
and give it the fixture `open_handles`. Each part of the contract has its class, so that a store can be built one part after the other;
but every part needs `CaseStore`, because it is tested on cases.
"""

from pointsman.testing.conformance_cases import CaseConformance
from pointsman.testing.conformance_claims import ClaimConformance
from pointsman.testing.conformance_leases import Handles, LeaseConformance, OpenHandles
from pointsman.testing.conformance_limits import LimitConformance
from pointsman.testing.conformance_looking import LookingConformance
from pointsman.testing.conformance_messages import MessagesConformance
from pointsman.testing.conformance_retention import RetentionConformance
from pointsman.testing.conformance_schedules import ScheduleConformance
from pointsman.testing.scenarios import OpenStore, new_case, next_of

__all__ = [
    "CaseConformance",
    "ClaimConformance",
    "Handles",
    "LeaseConformance",
    "LimitConformance",
    "LookingConformance",
    "MessagesConformance",
    "OpenHandles",
    "OpenStore",
    "RetentionConformance",
    "ScheduleConformance",
    "StoreConformance",
    "new_case",
    "next_of",
]


class StoreConformance(
    CaseConformance, ClaimConformance, MessagesConformance, LimitConformance, ScheduleConformance, RetentionConformance, LookingConformance
):  # fmt: skip
    """What every store promises."""
