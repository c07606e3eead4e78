"""What an operator may set for the azure provider; a class can choose none of it."""

from __future__ import annotations

from dataclasses import dataclass

from fetcher.endpoints import refusal
from keyferry.settings import count, duration, flag, setting, words

CLOUD_NAMES = ("AzurePublicCloud", "AzureChinaCloud", "AzureUSGovernmentCloud", "AzureStackCloud")


def _https(text: str) -> str:
    if reason := refusal(text):
        raise ValueError(reason)
    if not text.startswith("https://"):
        raise ValueError("is not an https:// URL: tokens go there")
    return text.rstrip("/")


def _vault_url(text: str) -> str:
    if "{name}" not in text:
        raise ValueError("has no {name}: it stands for keyvaultName")
    _https(text.replace("{name}", "name", 1))
    return text.rstrip("/")


def _cloud(text: str) -> str:
    for name in CLOUD_NAMES:
        if name.lower() == text.lower():
            return name
    raise ValueError(f'is "{text}": write one of {", ".join(CLOUD_NAMES)}')


@dataclass(frozen=True, slots=True)
class AzureSettings:
    """Read once, when the provider is opened."""

    cloud: str = setting(
        "KEYFERRY_AZURE_CLOUD", "Cloud of classes without cloudName.", default=CLOUD_NAMES[0], parse=_cloud
    )
    authority: str = setting(
        "KEYFERRY_AZURE_AUTHORITY",
        "URL of Microsoft Entra ID for classes of every cloud; required for AzureStackCloud.",
        default="",
        parse=_https,
    )
    vault_url: str = setting(
        "KEYFERRY_AZURE_VAULT_URL",
        "URL of vaults for classes of every cloud, {name} standing for keyvaultName; required for AzureStackCloud. "
        "Such a vault need not be of the domain that it asks tokens for.",
        default="",
        parse=_vault_url,
    )
    vault_resource: str = setting(
        "KEYFERRY_AZURE_VAULT_RESOURCE",
        "What tokens for those vaults are asked for; the cloud's own without it.",
        default="",
        parse=_https,
    )
    ca_file: str = setting(
        "KEYFERRY_AZURE_CA_FILE",
        "PEM file with the CAs of vaults and authority, instead of the public ones.",
        default="",
    )
    allowed_hosts: tuple[str, ...] = setting(
        "KEYFERRY_ALLOWED_BACKENDS",
        "Comma-separated host globs that classes may name as backend, such as *.vault.azure.net; empty allows all.",
        default=(),
        parse=words,
    )
    allow_managed_identity: bool = setting(
        "KEYFERRY_AZURE_ALLOW_MANAGED_IDENTITY",
        "Let classes use the managed identities of the fetcher's node (useVMManagedIdentity). Whoever may write a "
        "class then reads whatever these may read.",
        default=False,
        parse=flag,
    )
    construct_pem_chain: bool = setting(
        "KEYFERRY_AZURE_CONSTRUCT_PEM_CHAIN",
        "Order the certificates of a PKCS#12 secret: server, intermediate, root.",
        default=True,
        parse=flag,
    )
    separate_files: bool = setting(
        "KEYFERRY_AZURE_WRITE_CERT_AND_KEY_IN_SEPARATE_FILES",
        "Write a certificate's secret also as <file>.crt and <file>.key.",
        default=False,
        parse=flag,
    )
    calls: int = setting(
        "KEYFERRY_AZURE_CALLS",
        "Connections, and so calls at the same time, to each vault: it takes 4000 reads in 10 s of one region.",
        default=64,
        parse=count,
    )
    attempts: int = setting(
        "KEYFERRY_AZURE_ATTEMPTS",
        "Tries per call, with random pauses between them; never beyond the mount's deadline.",
        default=3,
        parse=count,
    )
    timeout: float = setting(
        "KEYFERRY_AZURE_TIMEOUT",
        "Longest single try. Azure answers in 10 to 200 ms, and kubelet gives a mount two minutes.",
        default=10.0,
        parse=duration,
    )
    tokens: int = setting(
        "KEYFERRY_AZURE_TOKENS",
        "Access tokens kept until shortly before they expire; 0 exchanges every time.",
        default=1000,
        parse=count,
    )
