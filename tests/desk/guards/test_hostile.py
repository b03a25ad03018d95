"""A reply of 30 kB that is made to keep a check busy gets its verdict like any other."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from replies import NO_ORDER, scene

CHARACTERS = 30_000
PIECES = (
    "1 ", "1.", "1,", "1-", "1'", "1/1", "12:", "EUR", "1 EUR ", "€", "% ", "16 November ", "2026-11-", "a.", "aa.", "a-", "-", "--", "_", "a_", ".", "@", "a@",
    " @ ", "at a dot ", "+1 ", "(1", "/", "://", "a://", "we will ", "we will not refund ", "we will not ", "not ", "refund ", "whether we will refund ",
    "you asked us ", "wir ", "wir erstatten nicht ", "erstatten wir ", "nous ne ", "no ", "je ", "order was ", "will ", "will, ", "arrive tomorrow ", "A",
    "Aa ", "Mr Aa ", "Herr ", "12 Aa ", "GB82 ", "GB82WEST", "4111", "4111 ", "<", "<a", "&", "&a", "&#", "[", "[a", "](", "`", "```", "*", "**a", "#", "# a\n",
    "|", "|\n", ">", "\n", "\n\n", " \n", "---\n", "> \n", "{", "{{", "{{order.total", "{{a}} ", "{{order.total}}", "}", "\u200b", "\u202e", "\u0301", "\u0435", "a b ", "a ",
    "\"", "\":", "system", "system:\n", "!", "? ", "AAAA ", "\U0001F600", "\uff11", "\u0661", "\U000E0041", "\ufdfa", "du du ", "for ", "support@haus-und-hof.example",
    "Jonas Weber ", "A-1012 ", "Kinderbett ", "24.90 EUR ", ", ", "and ", "one day ", "zwei ", "30 days ", "rue ", "calle ", "calle a a ", "1 rue", "Dear ", "lantern-7-juniper",
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_hostile_reply_gets_a_verdict(piece: str) -> None:
    body = piece * (CHARACTERS // len(piece))

    assert "length" in scene(body).checks() or not body.strip()
    assert "length" in scene(f"{body}x", order=NO_ORDER).checks() or not body.strip()
