"""Which sources there are, by the environment."""

from pathlib import Path

import pytest

from keyferry.settings import SettingsError
from rotator.sources import open_sources, run_sources

from .conftest import Bus

KEY = "test-only-canary-key-value"
ALL = {
    "KEYFERRY_AWS_EVENTS_QUEUE": "https://sqs.eu-central-1.amazonaws.com/1/keyferry",
    "KEYFERRY_GCP_EVENTS_SUBSCRIPTION": "projects/p/subscriptions/s",
    "KEYFERRY_VAULT_EVENTS_ADDR": "https://vault:8200",
    "KEYFERRY_VAULT_EVENTS_ROLE": "rotator",
    "KEYFERRY_VAULT_AUDIT_ADDRESS": ":9200",
    "KEYFERRY_VAULT_AUDIT_ALLOWED": "10.0.0.0/8,fd00::/8",
    "KEYFERRY_WEBHOOK_ADDRESS": ":8443",
    "KEYFERRY_AZURE_EVENTS_KEY": KEY,
}


async def test_nothing_runs_unless_it_is_configured(bus: Bus) -> None:
    """Without settings there is no source, and running them ends at once."""
    assert open_sources({}) == []
    await run_sources({}, bus.emit)


def test_each_is_opened_by_its_settings() -> None:
    """With all settings there are all sources."""
    names = [source.name for source in open_sources(ALL)]
    assert names == ["aws", "gcp", "vault", "vault-audit", "webhooks"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"KEYFERRY_VAULT_EVENTS_ROLE": ""}, "KEYFERRY_VAULT_EVENTS_TOKEN_FILE or KEYFERRY_VAULT_EVENTS_ROLE"),
        ({"KEYFERRY_VAULT_EVENTS_TOKEN_FILE": "/t"}, "needs either"),
        ({"KEYFERRY_VAULT_AUDIT_ALLOWED": ""}, "name the networks"),
        ({"KEYFERRY_VAULT_AUDIT_ALLOWED": "10.0.0.1/8"}, "write networks such as"),
        ({"KEYFERRY_VAULT_AUDIT_ADDRESS": "9200"}, "write host:port"),
        ({"KEYFERRY_WEBHOOK_ADDRESS": ""}, "KEYFERRY_WEBHOOK_ADDRESS goes together with"),
        ({"KEYFERRY_AZURE_EVENTS_KEY": ""}, "KEYFERRY_WEBHOOK_ADDRESS goes together with"),
        ({"KEYFERRY_AZURE_EVENTS_KEY": "canary"}, "keys of 16 characters or more"),
        ({"KEYFERRY_AZURE_EVENTS_ISSUER": "https://i"}, "needs KEYFERRY_AZURE_EVENTS_AUDIENCE"),
        ({"KEYFERRY_WEBHOOK_HMAC_FILE": "/none"}, "/none cannot be read"),
        ({"KEYFERRY_AWS_EVENTS_VISIBILITY": "1"}, "write 20 or more"),
    ],
)
def test_what_cannot_work_is_said(changed: dict[str, str], problem: str) -> None:
    """Every configuration that cannot work is refused at start by the name of its setting, never by a key's value."""
    with pytest.raises(SettingsError, match=problem) as caught:
        open_sources({**ALL, **changed})
    assert "canary" not in str(caught.value)


def test_a_key_file_will_do(tmp_path: Path) -> None:
    """Keys may come from files alone."""
    file = tmp_path / "keys"
    file.write_text(KEY)
    variables = {"KEYFERRY_WEBHOOK_ADDRESS": ":0", "KEYFERRY_WEBHOOK_HMAC_FILE": str(file)}
    assert [source.name for source in open_sources(variables)] == ["webhooks"]
