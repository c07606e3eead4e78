import pytest

from fetcher.providers.azure.clouds import Cloud, cloud
from fetcher.providers.azure.settings import AzureSettings

STACK = AzureSettings(
    authority="https://login.stack.example",
    vault_url="https://{name}.vault.stack.example",
    vault_resource="https://vault.stack.example",
)


@pytest.mark.parametrize(
    ("name", "authority", "suffix"),
    [
        ("", "login.microsoftonline.com", "vault.azure.net"),
        ("AzurePublicCloud", "login.microsoftonline.com", "vault.azure.net"),
        ("AZURECLOUD", "login.microsoftonline.com", "vault.azure.net"),
        ("AzureChinaCloud", "login.chinacloudapi.cn", "vault.azure.cn"),
        ("azureusgovernmentcloud", "login.microsoftonline.us", "vault.usgovcloudapi.net"),
        ("AzureUSGovernment", "login.microsoftonline.us", "vault.usgovcloudapi.net"),
    ],
)
def test_a_cloud_has_its_own_hosts(name: str, authority: str, suffix: str) -> None:
    """In any case of letters; its vaults must be of the domain that they ask tokens for."""
    expected = Cloud(f"https://{authority}", f"https://{{name}}.{suffix}", f"https://{suffix}", verified=True)

    assert cloud(name, AzureSettings()) == expected


def test_the_operator_chooses_the_cloud_of_classes_that_name_none() -> None:
    """Upstream's flag -cloud-name."""
    found = cloud("", AzureSettings(cloud="AzureChinaCloud"))

    assert isinstance(found, Cloud)
    assert found.resource == "https://vault.azure.cn"


def test_a_private_cloud_is_the_settings() -> None:
    """They hold for every class; its vaults' challenges are not held to a domain."""
    for name in ("AzureStackCloud", "AzurePublicCloud"):
        assert cloud(name, STACK) == Cloud(
            STACK.authority, STACK.vault_url, "https://vault.stack.example", verified=False
        )


def test_a_private_cloud_that_nobody_described_is_refused() -> None:
    """The file that upstream reads is on the node, which is not the fetcher's."""
    found = cloud("AzureStackCloud", AzureSettings(authority="https://login.stack.example"))

    assert isinstance(found, str)
    assert "have the operator set KEYFERRY_AZURE_VAULT_URL, KEYFERRY_AZURE_VAULT_RESOURCE" in found
    assert "cloudEnvFileName" in found


def test_a_cloud_keeps_its_verification_if_only_its_authority_is_replaced() -> None:
    """Tokens for a vault of Azure's go to vaults of Azure's."""
    found = cloud("", AzureSettings(authority="https://login.proxy.example"))

    assert isinstance(found, Cloud)
    assert found.verified
