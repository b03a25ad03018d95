"""The conformance suite of stores: pytest tests every promise of store/base.py against your store.

Subclass `StoreConformance` and define the fixture `open_store`. For a store that several engines share, also subclass `LeaseConformance`
and define the fixture `open_handles`. Each part of the contract has its own class, so that you can build a store part by part;
every part needs `CaseStore`, because its tests use cases.
"""

from pointsman.testing.conformance_cases import CaseConformance
from pointsman.testing.conformance_checkpoints import CheckpointConformance
from pointsman.testing.conformance_claims import ClaimConformance
from pointsman.testing.conformance_finding import FindingConformance
from pointsman.testing.conformance_leases import Handles, LeaseConformance, OpenHandles
from pointsman.testing.conformance_limits import LimitConformance
from pointsman.testing.conformance_looking import LookingConformance
from pointsman.testing.conformance_messages import MessagesConformance
from pointsman.testing.conformance_retention import RetentionConformance
from pointsman.testing.conformance_schedules import IntakeConformance, ScheduleConformance
from pointsman.testing.conformance_subscribers import SubscriberConformance
from pointsman.testing.scenarios import OpenStore, new_case, next_of

__all__ = [
    "CaseConformance",
    "CheckpointConformance",
    "ClaimConformance",
    "FindingConformance",
    "Handles",
    "IntakeConformance",
    "LeaseConformance",
    "LimitConformance",
    "LookingConformance",
    "MessagesConformance",
    "OpenHandles",
    "OpenStore",
    "RetentionConformance",
    "ScheduleConformance",
    "StoreConformance",
    "SubscriberConformance",
    "new_case",
    "next_of",
]


class StoreConformance(
    CaseConformance, ClaimConformance, MessagesConformance, LimitConformance, ScheduleConformance, IntakeConformance, RetentionConformance,
    LookingConformance, FindingConformance, CheckpointConformance, SubscriberConformance,
):  # fmt: skip
    """Tests of the promises of every store."""
