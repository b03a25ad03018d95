"""What is read beside the history of a case to explain it: messages, children, limits and engines."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pointsman.definition.process import AnyProcess
from pointsman.kernel.limits import LimitState
from pointsman.kernel.rows import CaseRow, MessageRow, MessageStatus
from pointsman.store.base import Engines, Reader


@dataclass(frozen=True, slots=True)
class Around:
    """What is around a case: its pending and held `messages`, its `children`, the states of the `limits` that its steps use, and the `engines`.

    `incarnation` is that of the store, a part of each idempotency key. `engines` is None if nobody looked.
    """

    messages: tuple[MessageRow, ...] = ()
    children: tuple[CaseRow, ...] = ()
    limits: Mapping[str, LimitState] = field(default_factory=dict)
    engines: Engines | None = None
    incarnation: str = ""


NOTHING_AROUND = Around()


async def around(reader: Reader, process: AnyProcess, row: CaseRow) -> Around:
    """Read what is around a case."""
    holds = any(accept.while_open == "hold" for accept in process.accepts_messages.values())
    dossier = await reader.dossier(row.id) if holds else None
    held = () if dossier is None else [one for one in dossier.messages if one.status is MessageStatus.HELD]
    named = {node.limit.name for node in process.nodes() if node.limit is not None} | ({row.needs} if row.needs else set())
    return Around(
        messages=(*await reader.messages(row.id), *held),
        children=tuple(await reader.children(row.id)),
        limits={name: state for name, state in (await reader.limits()).items() if name in named} if named else {},
        engines=await reader.engines(row.id),
        incarnation=reader.incarnation,
    )
