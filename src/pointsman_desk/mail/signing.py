"""Signed tags in our mails, which lead an answer to its case and which only the desk's secret can create.

A tag contains the number of a case and a MAC over it and the case's conversation. A reader looks up the case and checks the tag against
its conversation, so a case number alone, guessed or from another database, is not enough.
"""

import base64
import hashlib
import hmac
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from pointsman_desk.errors import FileUnusable

_SECRET_BYTES = 32
_DELETE_IT = "delete it: the desk then creates a new one, and answers to older replies start new cases"
_ID_MAC = 24  # hexadecimal digits, 96 bits
_ADDRESS_MAC = 16  # letters of base32, 80 bits; with `+c`, a number and a dot the local part stays under 64
_SUBJECT_MAC = 8  # letters of base32, 40 bits: short enough for a subject, and too long to guess with one mail for each try
_DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # base32 without letters that look like digits

_ID = re.compile(rf"case-(\d{{1,18}})\.([0-9a-f]{{16}})([0-9a-f]{{{_ID_MAC}}})@", re.ASCII)
_ADDRESS = re.compile(rf"(.+)\+c(\d{{1,18}})\.([a-z2-7]{{{_ADDRESS_MAC}}})@(.+)", re.ASCII | re.DOTALL)
_SUBJECT = re.compile(rf"\[#C-([{_DIGITS}]{{1,12}})-([A-Z2-7]{{{_SUBJECT_MAC}}})\]", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Claim:
    """The content of a tag: the number of a case, and a MAC that only the desk can compute."""

    case: int
    what: str
    mac: str


class Signer:
    """Creates and checks the tags of a case. `conversation` is its correlation key."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def message_id(self, case: int, conversation: str, named: str, domain: str) -> str:
        """Return the Message-ID, without brackets, of the mail with the name `named`."""
        nonce = hashlib.sha256(named.encode()).hexdigest()[:16]
        return f"case-{case}.{nonce}{self._mac(f'id {nonce}', case, conversation)[:_ID_MAC]}@{domain}"

    def address(self, address: str, case: int, conversation: str) -> str:
        """Return `address` with a tag after a plus (RFC 5233)."""
        local, _, domain = address.rpartition("@")
        return f"{local}+c{case}.{self._letters('address', case, conversation)[:_ADDRESS_MAC].lower()}@{domain}"

    def subject_mark(self, case: int, conversation: str) -> str:
        """Return the tag for a subject, such as [#C-7Q4-K2MXAB3D]."""
        return f"[#C-{_number(case)}-{self._letters('subject', case, conversation)[:_SUBJECT_MAC]}]"

    def made(self, claim: Claim, conversation: str) -> bool:
        """Return whether the tag is valid for its case and this conversation."""
        if claim.what.startswith("id "):
            mac = self._mac(claim.what, claim.case, conversation)
        else:
            mac = self._letters(claim.what, claim.case, conversation).lower()
        return hmac.compare_digest(mac[: len(claim.mac)], claim.mac)

    def _mac(self, what: str, case: int, conversation: str) -> str:
        return hmac.digest(self._secret, f"{what}/{case}/{conversation}".encode(), "sha256").hex()

    def _letters(self, what: str, case: int, conversation: str) -> str:
        return base64.b32encode(bytes.fromhex(self._mac(what, case, conversation))).decode()


def id_claim(message_id: str) -> Claim | None:
    """Return the claim of a Message-ID (without brackets) that has our form, or None."""
    found = _ID.match(message_id)
    return Claim(int(found[1]), f"id {found[2]}", found[3]) if found else None


def address_claims(addresses: Iterable[str]) -> Iterator[Claim]:
    """Yield the claims of tags after a plus in these addresses."""
    for address in addresses:
        if found := _ADDRESS.fullmatch(address.lower()):
            yield Claim(int(found[2]), "address", found[3])


def subject_claims(subject: str) -> Iterator[Claim]:
    """Yield the claims of tags in a subject."""
    for number, mac in _SUBJECT.findall(subject):
        case = 0
        for digit in number.upper():
            case = case * 32 + _DIGITS.index(digit)
        yield Claim(case, "subject", mac.lower())


def without_marks(subject: str) -> str:
    """Return a subject without any tags."""
    return " ".join(_SUBJECT.sub(" ", subject).split())


def _number(case: int) -> str:
    digits = ""
    while case:
        case, last = divmod(case, 32)
        digits = _DIGITS[last] + digits
    return digits or "0"


def secret_of(file: Path, chance: Random) -> bytes:
    """Return the secret in `file`; a missing file is created from `chance`, in one piece. Raises FileUnusable."""
    if not file.exists():
        try:
            _make(file, chance)
        except OSError as error:
            raise FileUnusable(
                f"the desk's secret {file} cannot be written ({error.strerror}); make its folder writable, or free disk space."
            ) from None
    return secret_in(file)


def secret_in(file: Path) -> bytes:
    """Return the secret in `file`. Raises FileUnusable."""
    try:
        secret = bytes.fromhex(file.read_text(encoding="ascii"))
    except OSError as error:
        raise FileUnusable(f"the desk's secret {file} cannot be read ({error.strerror}); make it readable.") from None
    except ValueError:
        raise FileUnusable(f"the desk's secret {file} is damaged; restore it from a backup, or {_DELETE_IT}.") from None
    if len(secret) < _SECRET_BYTES:
        raise FileUnusable(f"the desk's secret {file} is too short; restore it from a backup, or {_DELETE_IT}.")
    return secret


def _make(file: Path, chance: Random) -> None:
    handle, written = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")  # readable only for its owner
    with os.fdopen(handle, "w") as text:
        text.write(chance.randbytes(_SECRET_BYTES).hex())
        text.flush()
        os.fsync(text.fileno())
    Path(written).replace(file)
