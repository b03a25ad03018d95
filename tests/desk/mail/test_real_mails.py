"""Mails that nobody here wrote: each is read, none slowly. The tier prints its counts with -s."""

import io
import json
import time

import tiers
from pointsman_desk.mail.sources.places import mails_at
from pointsman_desk.mail.survey import survey

MAILS_MIN = 1_000  # fewer, and the folder is not the one that the figures are about


def test_every_real_mail_is_read_without_a_fault_and_none_takes_a_second() -> None:
    folder = tiers.real_mails()

    found = survey(mails_at([str(folder)], io.BytesIO()), time.process_time, lambda name: None)

    print(json.dumps(found.as_json() | {"slowest": found.slowest, "automatic": found.automatic}))
    assert found.mails >= MAILS_MIN
    assert (found.exceptions, found.problems) == (0, [])
    assert found.slowest_seconds < 1.0, found.slowest
