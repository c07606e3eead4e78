"""Azure's clouds: where identities are proved, where vaults are, and for what tokens are asked."""

from __future__ import annotations

from dataclasses import dataclass

from azure.identity import AzureAuthorityHosts

from fetcher.providers.azure.settings import CLOUD_NAMES, AzureSettings

# Go's SDK, by which upstream reads cloudName, takes any case and knows two clouds by a second name.
_SECOND_NAMES = {"azurecloud": "AzurePublicCloud", "azureusgovernment": "AzureUSGovernmentCloud"}
_NAMES = {name.lower(): name for name in CLOUD_NAMES} | _SECOND_NAMES
_OWN = {
    "AzurePublicCloud": (AzureAuthorityHosts.AZURE_PUBLIC_CLOUD, "vault.azure.net"),
    "AzureChinaCloud": (AzureAuthorityHosts.AZURE_CHINA, "vault.azure.cn"),
    "AzureUSGovernmentCloud": (AzureAuthorityHosts.AZURE_GOVERNMENT, "vault.usgovcloudapi.net"),
}


@dataclass(frozen=True, slots=True)
class Cloud:
    """One cloud, as the operator sees it.

    Attributes:
        authority: URL of Microsoft Entra ID.
        vault_url: URL of a vault, ``{name}`` standing for its name.
        resource: What a vault's tokens are asked for.
        verified: Whether a vault must belong to the domain that it asks tokens for.
    """

    authority: str
    vault_url: str
    resource: str
    verified: bool

    @property
    def scope(self) -> str:
        """The resource as Microsoft Entra ID's second version names it."""
        return f"{self.resource}/.default"


def cloud(name: str, settings: AzureSettings) -> Cloud | str:
    """The cloud of this name, or what is wrong with it, in words that continue a field's name.

    Args:
        name: ``cloudName``; empty for the operator's choice.
        settings: The operator's; what they say of URLs holds for every cloud.
    """
    known = _NAMES.get((name or settings.cloud).lower())
    if known is None:
        return f"is not valid: write one of {', '.join(CLOUD_NAMES)}"
    host, suffix = _OWN.get(known, ("", ""))
    missing = [
        variable
        for variable, value in (
            ("KEYFERRY_AZURE_AUTHORITY", settings.authority or host),
            ("KEYFERRY_AZURE_VAULT_URL", settings.vault_url or suffix),
            ("KEYFERRY_AZURE_VAULT_RESOURCE", settings.vault_resource or suffix),
        )
        if not value
    ]
    if missing:
        return (
            f"is {known}, which the fetcher's settings must describe, as cloudEnvFileName is a file on a node and not "
            f"the fetcher's: have the operator set {', '.join(missing)}"
        )
    return Cloud(
        authority=settings.authority or f"https://{host}",
        vault_url=settings.vault_url or f"https://{{name}}.{suffix}",
        resource=settings.vault_resource or f"https://{suffix}",
        verified=not settings.vault_url,
    )
