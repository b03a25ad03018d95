"""A reply of 30 kB that is made to keep a check busy gets its verdict like any other."""

import pytest

from desk.guards.replies import scene

CHARACTERS = 30_000
PIECES = (
    "1 ", "1.",  "1-",  "1/1",   "1 EUR ", "€",  "16 November ", "2026-11-", "a.",  "a-", "-",  "_",  ".", "@",
    " @ ", "at a dot ", "+1 ",   "://", "a://", "we will ", "we will not refund ", "we will not ",   "whether we will refund ",
      "wir erstatten nicht ", "erstatten wir ", "nous ne ",   "order was ",  "will, ", "arrive tomorrow ",
     "Mr Aa ", "Herr ", "12 Aa ", "GB82 ", "GB82WEST", "4111", "4111 ",  "<a", "&",  "&#",  "[a", "](", "`",  "*", "**a",  "# a\n",
     "|\n", ">",  "\n\n",  "---\n",   "{{", "{{order.total", "{{a}} ", "{{order.total}}",  "\u200b",  "\u0301", "\u0435", "a b ",
    "\"",   "system:\n", "!", "? ", "AAAA ", "\U0001F600", "\uff11",  "\U000E0041", "\ufdfa",   "support@haus-und-hof.example",
    "Jonas Weber ", "A-1012 ", "Kinderbett ", "24.90 EUR ", ", ",   "zwei ", "30 days ", "rue ",  "calle a a ", "1 rue",  "lantern-7-juniper",
)  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_a_hostile_reply_gets_a_verdict(piece: str) -> None:
    body = piece * (CHARACTERS // len(piece)) + "x"

    assert "length" in scene(body).checks()
