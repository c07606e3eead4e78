"""What an operator sets for the vault provider; the names are those of Vault's own client where it has one."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.settings import count, duration, flag, setting, words

_FEWEST_THREADS = 2


def _threads(text: str) -> int:
    number = count(text)
    if number < _FEWEST_THREADS:
        raise ValueError(f'is "{text}": write {_FEWEST_THREADS} or more')
    return number


@dataclass(frozen=True)
class VaultSettings:
    """Read once, when the provider is opened. What a class says itself comes first, except for the allowed hosts."""

    address: str = setting(
        "VAULT_ADDR", "Vault's URL for classes without vaultAddress; without it every class must name one.", default=""
    )
    namespace: str = setting("VAULT_NAMESPACE", "Namespace for classes without vaultNamespace.", default="")
    auth_mount: str = setting(
        "VAULT_AUTH_MOUNT",
        "Path below auth/ that pods log in at, for classes without vaultAuthMountPath.",
        default="kubernetes",
    )
    ca_file: str = setting("VAULT_CACERT", "PEM file with the CAs that sign Vault's certificate.", default="")
    ca_directory: str = setting("VAULT_CAPATH", "Folder of such PEM files.", default="")
    server_name: str = setting(
        "VAULT_TLS_SERVER_NAME", "Host name in Vault's certificate, where it is not the address's.", default=""
    )
    client_certificate: str = setting("VAULT_CLIENT_CERT", "PEM certificate shown to Vault (mutual TLS).", default="")
    client_key: str = setting("VAULT_CLIENT_KEY", "Its PEM key.", default="")
    skip_verify: bool = setting(
        "VAULT_SKIP_VERIFY", "Trust any certificate: for tests only.", default=False, parse=flag
    )
    proxy: str = setting(
        "VAULT_PROXY_ADDR",
        "HTTP proxy on the way to Vault. HTTPS_PROXY is not read, as it is usually meant for the cloud backends.",
        default="",
        secret=True,
    )
    allowed_hosts: tuple[str, ...] = setting(
        "KEYFERRY_ALLOWED_BACKENDS",
        "Comma-separated host globs that classes may name as backend; empty allows all.",
        default=(),
        parse=words,
    )
    timeout: float = setting(
        "KEYFERRY_VAULT_TIMEOUT",
        "Longest single call. Vault answers in milliseconds, and kubelet gives a mount two minutes.",
        default=10.0,
        parse=duration,
    )
    threads: int = setting(
        "KEYFERRY_VAULT_THREADS",
        "Calls at the same time, over all Vaults; one address gets half of them, so that a dead one leaves the rest.",
        default=32,
        parse=_threads,
    )
    tokens: int = setting(
        "KEYFERRY_VAULT_TOKENS",
        "Vault tokens kept for further fetches; 0 logs in every time.",
        default=1000,
        parse=count,
    )
