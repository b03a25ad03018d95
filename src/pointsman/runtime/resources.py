"""Check what an engine is opened with: its settings, and that every node and effect gets the resources that it names."""

from collections.abc import Mapping, Sequence
from typing import Any

from pointsman.definition.process import AnyProcess
from pointsman.definition.transactions import Transaction
from pointsman.errors import DefinitionError

LEASE_SECONDS_MIN = 1.0  # renewed every third of it: a shorter one ends in a pause of the garbage collector or of the network
LEASE_SECONDS_MAX = 3_600.0  # so long the cases of a crashed engine would wait


def check_resources(processes: Sequence[AnyProcess], resources: Mapping[str, Any]) -> None:
    """Raise DefinitionError if a step needs a resource that is missing or has another type."""
    for process in processes:
        process.ordered_rules  # noqa: B018 - it raises if there are no rules
        for node in process.nodes():
            for name, annotation in node.signature.uses.items():
                if name == "ctx" or (name == "db" and isinstance(node, Transaction)):
                    continue
                what = f"process {process.name!r}, {node.name!r}"
                if name not in resources:
                    raise DefinitionError(
                        f"{what}: it uses {name!r}, which the engine was not given; pass resources={{{name!r}: ...}} to Engine.open, "
                        "or --resources module:attribute to a command."
                    )
                if not _is(resources[name], annotation):
                    raise DefinitionError(
                        f"{what}: resource {name!r} is a {type(resources[name]).__name__}, but it asks for {annotation.__name__}."
                    )


def check_settings(concurrency: object, threads: object, grace_seconds: object, lease_seconds: object) -> None:
    """Raise DefinitionError for a number with which an engine could not work. With a `concurrency` of 0 it takes cases in and runs none."""
    for name, number, least in (("concurrency", concurrency, 0), ("threads", threads, 1)):
        if not isinstance(number, int) or isinstance(number, bool) or number < least:
            raise DefinitionError(f"{name}={number!r}: give Engine.open a whole number of {least} or more.")
    if not isinstance(grace_seconds, int | float) or not 0 <= grace_seconds < float("inf"):
        raise DefinitionError(f"grace_seconds={grace_seconds!r}: give Engine.open a number of seconds, 0 or more.")
    if not isinstance(lease_seconds, int | float) or not LEASE_SECONDS_MIN <= lease_seconds <= LEASE_SECONDS_MAX:
        bounds = f"{LEASE_SECONDS_MIN:g} to {LEASE_SECONDS_MAX:,.0f}"
        raise DefinitionError(f"lease_seconds={lease_seconds!r}: give Engine.open a number of seconds, {bounds}.")


def _is(resource: object, annotation: Any) -> bool:
    if (
        annotation is Any
        or not isinstance(annotation, type)
        or (getattr(annotation, "_is_protocol", False) and not getattr(annotation, "_is_runtime_protocol", False))
    ):
        return True  # only a type checker can check this
    return isinstance(resource, annotation)
