"""Each note on a mail has a meaning that a person is shown."""

import re
from pathlib import Path

from pointsman_desk.mail import body
from pointsman_desk.mail.notes import MEANING

MODULES = Path(body.__file__).parent.glob("*.py")
ADDED = re.compile(r"notes\.(?:add|update)\(([^\n]+)\)$", re.MULTILINE)
NAME = re.compile(r'"([a-z0-9]+(?:-[a-z0-9]+)*)"(?!:)')


def test_every_note_that_a_mail_can_get_has_a_meaning_and_no_other() -> None:
    given = {name for module in MODULES for added in ADDED.findall(module.read_text(encoding="utf-8")) for name in NAME.findall(added)}

    assert given | set(body._TELLING.values()) | {"took-too-long", "unreadable", "message-id-reused", "new-topic"} == set(MEANING)
