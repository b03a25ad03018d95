"""Marks that lead an answer back to its case: each is good for one case of one conversation, and for nothing else."""

import stat
from pathlib import Path
from random import Random

import pytest

from pointsman_desk.errors import FileUnusable
from pointsman_desk.mail.signing import Claim, Signer, address_claims, id_claim, secret_of, subject_claims, without_marks
from pointsman_desk.mail.transports.smtp import provider_id

SIGNER = Signer(b"\x01" * 32)
OTHER = Signer(b"\x02" * 32)


def claims(signer: Signer, case: int, conversation: str) -> list[Claim]:
    """What each of the three kinds of marks claims, after the changes that mail servers and people make to them."""
    mine = id_claim(signer.message_id(case, conversation, "a reply", "shop.example"))
    assert mine is not None
    [addressed] = address_claims([signer.address("support@shop.example", case, conversation).upper()])
    [spoken] = subject_claims(f"AW: Re: hello {signer.subject_mark(case, conversation).lower()} (was: hi)")
    return [mine, addressed, spoken]


@pytest.mark.parametrize("case", [1, 31, 32, 1_000_000])
def test_a_mark_is_good_for_its_case_in_its_conversation(case: int) -> None:
    for claim in claims(SIGNER, case, "one"):
        assert claim.case == case
        assert SIGNER.made(claim, "one")
        assert not SIGNER.made(claim, "two")
        assert not OTHER.made(claim, "one")
        assert not SIGNER.made(Claim(case + 1, claim.what, claim.mac), "one")


def test_a_mark_of_one_kind_is_none_of_another() -> None:
    mine, addressed, spoken = claims(SIGNER, 7, "one")

    assert not SIGNER.made(Claim(7, "subject", addressed.mac[: len(spoken.mac)]), "one")
    assert not SIGNER.made(Claim(7, "id 0123456789abcdef", mine.mac), "one")


def test_two_replies_of_a_case_have_different_ids() -> None:
    assert SIGNER.message_id(7, "one", "first", "shop.example") != SIGNER.message_id(7, "one", "second", "shop.example")


@pytest.mark.parametrize(
    "message_id",
    [
        "",
        "case-7",
        "case-7.abc@shop.example",
        f"case-x.{'a' * 40}@shop.example",
        f"xcase-7.{'a' * 40}@shop.example",
        f"case-{'9' * 19}.{'a' * 40}@x",
    ],
)
def test_what_is_no_id_of_ours_claims_nothing(message_id: str) -> None:
    assert id_claim(message_id) is None


def test_an_address_with_another_mark_after_a_plus_claims_nothing() -> None:
    assert list(address_claims(["support+news@shop.example", "support+c7@shop.example", "a+c7.x@b"])) == []


def test_a_marked_address_is_one_that_mail_servers_take() -> None:
    local, _, domain = SIGNER.address("support@shop.example", 10**18 - 1, "one").partition("@")

    assert len(local) <= 64
    assert domain == "shop.example"


def test_marks_are_taken_out_of_a_subject() -> None:
    assert without_marks(f"Re: {SIGNER.subject_mark(7, 'one')} hello [#3]") == "Re: hello [#3]"


def test_the_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    chance = Random(7)
    first, again, other = (secret_of(tmp_path / name, chance) for name in ("secret", "secret", "other"))

    assert first == again != other
    assert len(first) == 32
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other", "secret"]


@pytest.mark.parametrize("text", ["", "abcd", "no secret at all", "\xff"])
def test_a_spoilt_secret_is_told_of(tmp_path: Path, text: str) -> None:
    (tmp_path / "secret").write_bytes(text.encode("latin-1"))

    with pytest.raises(FileUnusable, match="delete it"):
        secret_of(tmp_path / "secret", Random(7))


@pytest.mark.parametrize(
    ("host", "answer", "named"),
    [
        ("email-smtp.eu-west-1.amazonaws.com", "250 Ok 0102018f-aaaa-bbbb-000000", "0102018f-aaaa-bbbb-000000@eu-west-1.amazonses.com"),
        ("email-smtp.us-east-1.amazonaws.com", "Ok 0100018f-aaaa-bbbb-000000", "0100018f-aaaa-bbbb-000000@email.amazonses.com"),
        ("email-smtp.eu-west-1.amazonaws.com", "250 Ok", None),
        ("mx.shop.example", "250 2.0.0 Ok: queued as 4XyZ1234567890abcdef", None),
    ],
)
def test_a_provider_that_renames_our_mails_is_known_by_its_answer(host: str, answer: str, named: str | None) -> None:
    assert provider_id(host, answer) == named


@pytest.mark.parametrize("mark", ["[#C-\u212a-AAAAAAAA]", "[#C-1-AAAAAAA\u017f]", "[#C-1-AAAAAAA\u0130]", "[#C-\u0661-AAAAAAAA]"])
def test_letters_that_only_fold_to_those_of_a_mark_make_none(mark: str) -> None:
    assert not list(subject_claims(mark))
    assert id_claim(f"case-\u0661.{'0' * 16}{'0' * 24}@shop.example") is None
