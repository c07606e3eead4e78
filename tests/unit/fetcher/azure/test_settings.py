import pytest

from fetcher.providers.azure.settings import AzureSettings
from keyferry.settings import SettingsError, load


def test_nothing_need_be_set() -> None:
    """Azure's public cloud, the pods' own identities, upstream's defaults."""
    found = load(AzureSettings, {})

    assert (found.cloud, found.authority, found.vault_url) == ("AzurePublicCloud", "", "")
    assert (found.allow_managed_identity, found.construct_pem_chain, found.separate_files) == (False, True, False)


def test_urls_lose_their_last_slash() -> None:
    """What follows brings its own."""
    found = load(
        AzureSettings,
        {
            "KEYFERRY_AZURE_AUTHORITY": "https://login.example/",
            "KEYFERRY_AZURE_VAULT_URL": "https://{name}.vault.example/",
            "KEYFERRY_AZURE_VAULT_RESOURCE": "https://vault.example/",
        },
    )

    assert (found.authority, found.vault_url) == ("https://login.example", "https://{name}.vault.example")
    assert found.vault_resource == "https://vault.example"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("KEYFERRY_AZURE_AUTHORITY", "http://login.example", "is not an https:// URL"),
        ("KEYFERRY_AZURE_AUTHORITY", "https://user@login.example", "is not a usable URL"),
        ("KEYFERRY_AZURE_VAULT_URL", "https://vault.example", "has no {name}"),
        ("KEYFERRY_AZURE_VAULT_URL", "http://{name}.vault.example", "is not an https:// URL"),
        ("KEYFERRY_AZURE_VAULT_URL", "https://{name}.{name}", "is not a usable URL"),
        ("KEYFERRY_AZURE_VAULT_RESOURCE", "vault", "is not a usable URL"),
        ("KEYFERRY_AZURE_CLOUD", "moon", "write one of AzurePublicCloud"),
    ],
)
def test_what_cannot_work_is_said_at_the_start(variable: str, value: str, words: str) -> None:
    """Not at the first mount."""
    with pytest.raises(SettingsError, match=f"{variable} .*{words}"):
        load(AzureSettings, {variable: value})
