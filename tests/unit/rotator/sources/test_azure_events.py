"""Event Grid's events in our words."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rotator.sources.azure_events import change, events, validation_code
from rotator.sources.document import Malformed

DATA = {
    "Id": "https://Shop.vault.azure.net/secrets/Db-Password/0123",
    "VaultName": "Shop",
    "ObjectType": "Secret",
    "ObjectName": "Db-Password",
}
GRID = {"id": "e-1", "eventType": "Microsoft.KeyVault.SecretNewVersionCreated", "eventTime": "x", "data": DATA}
CLOUD = {"id": "e-1", "type": "Microsoft.KeyVault.KeyNewVersionCreated", "specversion": "1.0"}

UNDERSTOOD: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a secret": (GRID, ("shop/secret/db-password",)),
    "without its id": ({**GRID, "data": {**DATA, "Id": None}}, ("shop/secret/db-password",)),
    "with fields in small letters": (
        {**GRID, "data": {"vaultName": "shop", "objectName ": "db", "objectType": "Secret"}},
        ("shop/secret/db",),
    ),
    "a key, as a CloudEvent": (
        {**CLOUD, "data": {"id": "https://shop.vault.azure.net/keys/sign/1"}},
        ("shop/key/sign",),
    ),
    "a certificate, its secret and its key": (
        {
            **GRID,
            "eventType": "Microsoft.KeyVault.CertificateNewVersionCreated",
            "data": {"VaultName": "shop", "ObjectName": "web"},
        },
        ("shop/certificate/web", "shop/secret/web", "shop/key/web"),
    ),
}


@pytest.mark.parametrize("case", UNDERSTOOD)
def test_a_new_version_is_told_by_its_canonical_name(case: str) -> None:
    """Both schemas give the names that contents are known by, in lower case."""
    event, sources = UNDERSTOOD[case]
    told = change(event)
    assert told
    assert (told.sources, told.event_id) == (sources, "e-1")


def test_what_is_about_to_expire_has_not_changed() -> None:
    """Event Grid's warnings change no value."""
    assert change({**GRID, "eventType": "Microsoft.KeyVault.SecretNearExpiry"}) is None


@pytest.mark.parametrize(
    "event",
    [{}, {**GRID, "data": None}, {**GRID, "data": {"VaultName": "a/b", "ObjectName": "c"}}, {**GRID, "id": ""}],
    ids=["nothing", "no data", "a vault that is none", "no id"],
)
def test_what_names_nothing_is_malformed(event: dict[str, Any]) -> None:
    """An event without type, object or id is refused as malformed."""
    with pytest.raises(Malformed):
        change(event)


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b'["a"]', json.dumps([{}] * 1001).encode()])
def test_what_is_no_list_of_events_is_malformed(body: bytes) -> None:
    """A body of another form is refused as malformed."""
    with pytest.raises(Malformed):
        events(body)


@pytest.mark.parametrize("code", ["<script>", "a b", "", "x" * 129, 'a"', None])
def test_only_a_plain_code_is_given_back(code: str | None) -> None:
    """Nothing is answered that a browser or a parser could be led astray by."""
    event = {"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": {"validationCode": code}}
    with pytest.raises(Malformed):
        validation_code(event)


@given(
    st.dictionaries(
        st.sampled_from(["id", "eventType", "type", "eventTime", "time"]),
        st.sampled_from([GRID["eventType"], CLOUD["type"], "2026-11-24T12:00:00Z"]) | st.text(max_size=30),
    ),
    st.dictionaries(st.sampled_from(["Id", "id", "VaultName", "ObjectName"]), st.text(max_size=60) | st.none()),
)
def test_anything_is_told_passed_over_or_malformed(event: dict[str, Any], data: dict[str, Any]) -> None:
    """No event does anything else, and what is told can be sent on."""
    try:
        told = change({**event, "data": data})
    except Malformed:
        return
    assert told is None or told.changed("azure", 1.0).to_bytes()
