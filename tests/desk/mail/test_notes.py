"""Each note on a mail has a meaning that a person is shown."""

import re
from pathlib import Path

from pointsman_desk.case import DOUBTS
from pointsman_desk.mail import body
from pointsman_desk.mail.notes import MEANING
from pointsman_desk.models import signs
from pointsman_desk.nodes.machines import LOOKS_AUTOMATIC

MODULES = Path(body.__file__).parent.glob("*.py")
ADDED = re.compile(r"notes\.(?:add|update)\(([^\n]+)\)$", re.MULTILINE)
NAME = re.compile(r'"([a-z0-9]+(?:-[a-z0-9]+)*)"(?!:)')


def test_every_note_that_a_mail_can_get_has_a_meaning_and_no_other() -> None:
    given = {name for module in MODULES for added in ADDED.findall(module.read_text(encoding="utf-8")) for name in NAME.findall(added)}

    elsewhere = {"took-too-long", "unreadable", "message-id-reused", "new-topic", "mails-unread", "form-without-customer", LOOKS_AUTOMATIC}
    assert given | set(body._TELLING.values()) | elsewhere == set(MEANING)


# Notes on a mail that was read whole, and says nothing else to another reader.
HARMLESS = {
    "8bit-header", "address-salvaged", "clear-text-added", "control-characters", "cr-only", "dup-header", "false-multipart", "html-only",
    "invisible-characters", "looks-automatic", "mbox-from", "message-id-reused", "new-topic", "no-date", "no-message-id", "no-sender", "odd-date",
    "only-quoted", "uuencode", "yenc",
}  # fmt: skip


def test_a_person_sees_what_was_hidden_cut_off_or_lost() -> None:
    assert DOUBTS | set(signs._NOTES) == set(MEANING) - HARMLESS
