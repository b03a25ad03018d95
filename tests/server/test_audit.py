"""The audit log in words: every request that changes something has a name, and every entry is a sentence."""

from typing import Any

import pytest

from pointsman.server.app import create_app
from pointsman.server.audit import SAID, Entry, action_of, sentence


@pytest.mark.parametrize(
    ("who", "did", "about", "told"),
    [
        ("ada", "cancel", {"case": 3, "status": 200, "why": "twice"}, "ada cancelled case 3: twice"),
        ("ops", "cancel", {"case": 3, "status": 303, "by": "ada"}, "ops cancelled case 3 in the name of ada"),
        ("vera", "cancel", {"case": 3, "status": 403}, "vera tried to cancel (case 3) and was refused (403)"),
        ("ada", "start", {"status": 500}, "ada tried to start and the program failed (500)"),
        ("", "sign in", {"status": 403, "user": "ada"}, "ada tried to sign in and was refused (403)"),
        ("", "{who.__class__} {case}", {"status": 404}, "somebody tried to {who.__class__} {case} and was refused (404)"),
        ("ada", "{case}", {"status": 200, "case": 3}, "ada did: {case} (case 3)"),
        ("ada", "approve", {"case": 1, "said": "approved the reply of {case}"}, "ada approved the reply of case 1"),
        ("ada", "redrive", {"cases": [1, 2], "status": 303}, "ada redrove cases 1, 2"),
        ("root", "put user", {"user": "{role}", "role": "admin"}, "root made {role} a user with the role admin"),
        ("root", "add token", {"token": "shop", "scopes": ["read", "start"]}, "root added the token shop for read, start"),
    ],
)
def test_an_entry_is_a_sentence(who: str, did: str, about: dict[str, Any], told: str) -> None:
    assert sentence(Entry(1, 0.0, who, did, about, "")) == told


def test_every_request_of_the_api_that_changes_something_has_words() -> None:
    paths = create_app(None, None).openapi()["paths"]  # type: ignore[arg-type]

    changes = [path.replace("{case}", "7") for path, methods in paths.items() if "post" in methods]

    assert {action_of(path)[0] for path in changes} - SAID.keys() == set()
    assert {path for path in changes if "/7/" in path and action_of(path)[1] != {"case": 7}} == set()
