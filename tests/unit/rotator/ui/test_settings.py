from __future__ import annotations

import pytest

from keyferry.settings import SettingsError, load
from rotator.settings import Settings

LOCAL = {"KEYFERRY_NATS_URL": "nats://127.0.0.1:4222", "KEYFERRY_REDIS_URL": "redis://127.0.0.1:6379/0"}


@pytest.mark.parametrize("address", [":8096", "0.0.0.0:8096", "10.1.2.3:8096", "[::]:8096"])
def test_tokens_are_not_taken_in_the_clear(address: str) -> None:
    """Without a certificate the page is served to this machine alone, unless the operator says what encrypts."""
    with pytest.raises(SettingsError, match="would take tokens in the clear: set KEYFERRY_UI_TLS_CERT"):
        load(Settings, {**LOCAL, "KEYFERRY_UI_ADDRESS": address})

    allowed = load(Settings, {**LOCAL, "KEYFERRY_UI_ADDRESS": address, "KEYFERRY_ALLOW_PLAINTEXT": "true"})
    assert allowed.ui_address == address


@pytest.mark.parametrize("address", ["127.0.0.1:8096", "[::1]:0", "localhost:8096"])
def test_this_machine_needs_no_certificate(address: str) -> None:
    """As for kubectl port-forward, which encrypts by itself."""
    assert load(Settings, {**LOCAL, "KEYFERRY_UI_ADDRESS": address}).ui_address == address


def test_a_certificate_goes_with_its_key() -> None:
    """One without the other is refused."""
    with pytest.raises(SettingsError, match="go together"):
        load(Settings, {**LOCAL, "KEYFERRY_UI_TLS_CERT": "/tls.crt"})


def test_the_page_is_off_unless_asked_for() -> None:
    """No address, no page."""
    assert load(Settings, LOCAL).ui_address == ""
