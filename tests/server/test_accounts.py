"""Users, tokens, sessions, the audit log and the throttle."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
from argon2 import PasswordHasher

from pointsman.server import AccountsError, account_tables
from pointsman.server.access import SCOPES_OF, Role, Scope
from pointsman.server.accounts import SESSION_SECONDS, Accounts, accounts_file
from pointsman.server.sign_in import FAILURES_MAX, Throttle
from server.serving import HANG_SECONDS

QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD = "correct horse battery"


class Standing:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = 1_000.0

    def now(self) -> float:
        return self.at


def opened(folder: Path) -> Accounts:
    return Accounts(folder / "cases.db.accounts", Random(7), QUICK)


def test_a_password_proves_a_user_and_is_not_in_the_file(tmp_path: Path) -> None:
    accounts = opened(tmp_path)
    accounts.put_user("ada", Role.APPROVER, PASSWORD, 1.0)

    user = accounts.verify("ada", PASSWORD)

    assert user is not None
    assert user.role is Role.APPROVER
    assert accounts.verify("ada", PASSWORD + "!") is None
    assert accounts.verify("bob", PASSWORD) is None
    accounts.close()
    assert all(PASSWORD.encode() not in file.read_bytes() for file in tmp_path.iterdir())
    assert (tmp_path / "cases.db.accounts").stat().st_mode & 0o077 == 0


def test_a_person_who_signs_in_elsewhere_has_no_password_here(tmp_path: Path) -> None:
    accounts = opened(tmp_path)
    accounts.put_user("ada", Role.VIEWER, None, 1.0)

    assert accounts.verify("ada", "") is None
    assert accounts.user("ada") is not None


@pytest.mark.parametrize("password", ["short", "x" * 1_001])
def test_a_password_of_a_wrong_length_is_refused(tmp_path: Path, password: str) -> None:
    with pytest.raises(AccountsError, match="characters"):
        opened(tmp_path).put_user("ada", Role.VIEWER, password, 1.0)


def test_a_session_ends_with_its_time_its_sign_out_and_a_change_of_its_user(tmp_path: Path) -> None:
    accounts = opened(tmp_path)
    accounts.put_user("ada", Role.OPERATOR, PASSWORD, 1.0)
    secret = accounts.begin_session("ada", Role.OPERATOR, 10.0)

    principal = accounts.by_session(secret, 10.0 + SESSION_SECONDS - 1)

    assert principal is not None
    assert principal.scopes == SCOPES_OF[Role.OPERATOR]
    assert accounts.by_session(secret, 10.0 + SESSION_SECONDS) is None
    assert accounts.by_session(secret + "0", 10.0) is None
    accounts.end_session(secret)
    assert accounts.by_session(secret, 10.0) is None
    other = accounts.begin_session("ada", Role.OPERATOR, 10.0)
    accounts.put_user("ada", Role.VIEWER, PASSWORD, 11.0)
    assert accounts.by_session(other, 11.0) is None


def test_a_token_has_its_scopes_until_it_expires_or_is_removed(tmp_path: Path) -> None:
    accounts = opened(tmp_path)
    secret = accounts.add_token("shop", [Scope.START], 10.0, days=1)

    assert accounts.by_token(secret, 11.0) is not None
    assert accounts.by_token(secret, 10.0 + 86_400) is None
    assert accounts.by_token("forged", 11.0) is None
    with pytest.raises(AccountsError, match="already"):
        accounts.add_token("shop", [Scope.READ], 12.0)
    accounts.remove_token("shop")
    assert accounts.by_token(secret, 11.0) is None
    with pytest.raises(AccountsError, match="no token"):
        accounts.remove_token("shop")


@pytest.mark.parametrize(
    "damage",
    ["UPDATE audit SET who = 'eve' WHERE number = 2", "DELETE FROM audit WHERE number = 2", "UPDATE audit SET at = 0 WHERE number = 2"],
)
def test_a_change_of_the_audit_log_is_found(tmp_path: Path, damage: str) -> None:
    accounts = opened(tmp_path)
    for number in range(4):
        accounts.record("ada", "POST", {"path": f"/cases/{number}"}, float(number))
    assert accounts.first_broken() is None
    assert [entry.about["path"] for entry in accounts.entries(after=2)] == ["/cases/2", "/cases/3"]
    with sqlite3.connect(tmp_path / "cases.db.accounts") as connection:
        connection.execute(damage)

    assert accounts.first_broken() == 2


def test_a_file_that_is_no_database_of_accounts_is_reported(tmp_path: Path) -> None:
    (tmp_path / "cases.db.accounts").write_bytes(b"no database " * 100)

    with pytest.raises(AccountsError, match="cannot be opened"):
        opened(tmp_path)


def test_wrong_passwords_make_a_name_and_an_address_wait_ever_longer() -> None:
    clock = Standing()
    throttle = Throttle(clock)  # type: ignore[arg-type]
    for _ in range(FAILURES_MAX - 1):
        throttle.tried("ada", "192.0.2.1")
    assert throttle.wait_seconds("ada") == 0

    throttle.tried("ada", "192.0.2.1")
    first = throttle.wait_seconds("bob", "192.0.2.1")
    throttle.tried("ada", "192.0.2.1")

    assert 0 < first < throttle.wait_seconds("ada")
    assert throttle.wait_seconds("bob", "192.0.2.2") == 0
    clock.at += 10_000
    assert throttle.wait_seconds("ada") == 0
    throttle.succeeded("ada", "192.0.2.1")
    throttle.tried("ada")
    assert throttle.wait_seconds("ada") == 0


def test_the_accounts_are_beside_the_database_itself_and_private_whatever_they_were(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "real" / "cases.db")
    file = accounts_file(tmp_path / "link.db")
    assert file == accounts_file(tmp_path / "real" / "cases.db")
    file.touch(mode=0o666)
    file.chmod(0o666)

    Accounts(file, Random(7), QUICK).close()

    assert file.stat().st_mode & 0o077 == 0


def test_entries_of_two_programs_are_one_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_tables, "BUSY_SECONDS", HANG_SECONDS)  # the one that waits may be the last on a slow disk
    both = [opened(tmp_path), opened(tmp_path)]

    def write(accounts: Accounts) -> None:
        for number in range(50):
            accounts.record("ada", "POST", {"number": number}, 1.0)

    with ThreadPoolExecutor() as threads:
        list(threads.map(write, both))

    assert len(both[0].entries()) == 100
    assert both[1].first_broken() is None
    for accounts in both:
        accounts.close()
