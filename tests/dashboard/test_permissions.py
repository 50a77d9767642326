"""Who may change things: on this machine alone everybody, elsewhere those who are listed and signed in."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dashboard import permissions
from dashboard.permissions import CHANGES_VARIABLE, is_loopback, may_change


@pytest.mark.parametrize(
    ("address", "is_so"),
    [
        *[(address, True) for address in ("127.0.0.1", "127.8.9.1", "::1", "localhost")],
        *[(address, False) for address in (None, "", "0.0.0.0", "::", "192.168.1.7", "example.org", "localhost.example", 7)],
    ],
)
def test_loopback(address: object, is_so: bool) -> None:
    assert is_loopback(address) is is_so


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A server whose address, sign-in and visitor a test sets."""
    user: dict[str, object] = {}
    state = SimpleNamespace(address="127.0.0.1", sign_in=False, user=user)

    class User:
        @property
        def is_logged_in(self) -> bool:
            return bool(user)

        def get(self, name: str) -> object:
            return user.get(name)

    stand_in = SimpleNamespace(get_option=lambda name: state.address, user=User())
    monkeypatch.setattr(permissions, "st", stand_in)
    monkeypatch.setattr(permissions, "has_sign_in", lambda: state.sign_in)
    monkeypatch.delenv(CHANGES_VARIABLE, raising=False)
    return state


def test_on_this_machine_alone_changes_are_allowed(server: SimpleNamespace) -> None:
    assert may_change() == (True, "")


@pytest.mark.parametrize("address", [None, "0.0.0.0", "10.0.0.3"])
def test_a_server_that_others_reach_changes_nothing(server: SimpleNamespace, address: str | None) -> None:
    server.address = address
    allowed, reason = may_change()
    assert not allowed
    assert f"(it listens on {address or 'all addresses'})" in reason


def test_the_setting_alone_is_not_enough(server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("0.0.0.0", "127.0.0.1"):  # on loopback too: a proxy may stand before it
        server.address = address
        monkeypatch.setenv(CHANGES_VARIABLE, "ann@example.org")
        assert may_change()[1].startswith(f"{CHANGES_VARIABLE} is set, but no sign-in is configured")
    server.sign_in = True
    assert may_change() == (False, "Sign in to train, import, rename or delete.")


@pytest.mark.parametrize(
    ("user", "allowed"),
    [
        ({"email": "ann@example.org", "email_verified": True}, True),
        ({"email": "Ann@Example.org"}, True),
        ({"email": "ann@example.org", "email_verified": False}, False),
        ({"email": "eve@example.org", "email_verified": True}, False),
        ({"email": ""}, False),
        ({"email": None}, False),
        ({"name": "ann@example.org"}, False),
    ],
)
@pytest.mark.parametrize("listed", ["ann@example.org", " bob@example.org , ANN@example.org"])
def test_those_who_are_listed_and_signed_in(
    server: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, user: dict[str, object], allowed: bool, listed: str
) -> None:
    server.address, server.sign_in = "0.0.0.0", True
    server.user.update(user)
    monkeypatch.setenv(CHANGES_VARIABLE, listed)
    assert may_change()[0] is allowed
    monkeypatch.setenv(CHANGES_VARIABLE, "")
    assert not may_change()[0]
