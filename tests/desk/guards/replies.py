"""The replies of good_replies.toml and evil_replies.toml, and what the checks say of one."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pointsman_desk.case import Grounds, Intent, Item, Language, Mail, NoOrder, Order, Policy, Reply, Tone, Trust
from pointsman_desk.nodes.validate import violations_of
from pointsman_desk.shop.policy import PolicyFile

POLICY = PolicyFile(Path(__file__).parents[3] / "src" / "pointsman_desk" / "sample" / "policy.toml").current()
LATE = Order(
    number="A-1012",
    email="jonas.weber@mail.example",
    customer="Jonas Weber",
    status="shipped",
    items=(Item(name="Kinderbett", quantity=2, price=Decimal("39.00")),),
    shipping=Decimal("24.90"),
    total=Decimal("102.90"),
    currency="EUR",
    placed_on=date(2026, 11, 8),
    due_on=date(2026, 11, 15),
    shipped_on=date(2026, 11, 11),
    carrier="Nordpost",
    tracking="4471012998877",
)
IN_TIME = LATE.model_copy(update={"status": "delivered", "delivered_on": date(2026, 11, 14)})
NO_ORDER = NoOrder(reason="no order from this address")
ORDERS: dict[str, Order | NoOrder] = {"late": LATE, "delivered": IN_TIME, "none": NO_ORDER}
MAIL = Mail(
    message_id="m1@mail.example",
    sender="jonas.weber@mail.example",
    sender_name="Jonas Weber",
    subject="Question",
    date="2026-11-18T08:41:52+01:00",
)
FRAMES = {
    Language.ENGLISH: ("Hello Jonas Weber,\n\nThank you for your message. We are sorry for the trouble that you have had.", "Kind regards"),
    Language.GERMAN: ("Guten Tag Jonas Weber,\n\nvielen Dank für Ihre Nachricht. Das tut uns sehr leid.", "Mit freundlichen Grüßen"),
    Language.FRENCH: ("Bonjour Jonas Weber,\n\nMerci pour votre message. Nous sommes désolés pour ce désagrément.", "Bien cordialement"),
    Language.SPANISH: ("Hola, Jonas Weber:\n\nGracias por su mensaje. Sentimos mucho las molestias que ha tenido.", "Un saludo cordial"),
}
NAMELESS = {
    Language.ENGLISH: "Hello,\n\nThank you for your message. We are sorry for the trouble that you have had.",
    Language.GERMAN: "Guten Tag,\n\nvielen Dank für Ihre Nachricht. Das tut uns sehr leid.",
    Language.FRENCH: "Bonjour,\n\nMerci pour votre message. Nous sommes désolés pour ce désagrément.",
    Language.SPANISH: "Hola:\n\nGracias por su mensaje. Sentimos mucho las molestias que ha tenido.",
}


@dataclass(frozen=True)
class Scene:
    """A reply, and what it is held against; `caught` names the check that must object, None for a good one."""

    reply: Reply
    caught: str | None = None
    intent: Intent = Intent.REFUND
    order: Order | NoOrder = LATE
    policy: Policy = POLICY
    language: Language = Language.ENGLISH
    trust: Trust = Trust.BOUND
    mail: Mail = MAIL

    def checks(self) -> set[str]:
        """The names of the checks that object."""
        return {violation.check for violation in self.violations()}

    def violations(self) -> tuple[Any, ...]:
        """What the checks say."""
        fields = {name: getattr(self, name) for name in ("reply", "order", "policy", "trust", "mail")}
        return violations_of(fields | {"intents": (self.intent,), "grounds": Grounds(language=self.language)})


def scene(say: str, language: Language = Language.ENGLISH, **changes: Any) -> Scene:
    """A reply that says one sentence between a greeting with an apology and a closing."""
    opening, closing = FRAMES[language]
    if changes.get("trust", Trust.BOUND) in (Trust.NONE, Trust.ALIGNED):
        opening = NAMELESS[language]
    body = f"{opening}\n\n{say}\n\n{closing}\n{POLICY.signature[language].strip()}"
    made = Scene(Reply(subject="Question", body=body, language=language, tone=Tone.WARM, author="model"), language=language)
    return replace(made, **changes)


def read(name: str) -> Iterator[Scene]:
    """The scenes of a file."""
    entries = tomllib.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))
    for code, replies in entries.items():
        for entry in replies:
            made = scene(
                entry.get("say", "") * entry.get("repeat", 1),
                Language(code),
                caught=entry.get("caught"),
                order=ORDERS[entry.get("order", "late")],
                trust=Trust(entry.get("trust", "bound")),
            )
            given = {name: entry[name] for name in ("body", "subject", "tone") if name in entry}
            if "labelled" in entry:
                given["language"] = Language(entry["labelled"])
            yield replace(made, reply=Reply.model_validate(made.reply.model_dump() | given))


EVIL = tuple(read("evil_replies.toml"))
GOOD = tuple(read("good_replies.toml"))
