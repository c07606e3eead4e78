"""Where it is allowed to speak without TLS: on this machine, and elsewhere only if the operator says so."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from keyferry.settings import SettingsError

ALLOW = "KEYFERRY_ALLOW_PLAINTEXT"


def check_encrypted(variable: str, urls: str, encrypted: str) -> None:
    """Return if nothing would be spoken to in the clear over a network.

    Args:
        variable: The setting that names the servers.
        urls: Its value, comma-separated.
        encrypted: The scheme that means TLS.

    Raises:
        SettingsError: something would; names the hosts, never a user or a password.
    """
    parts = [urlsplit(url.strip() if "://" in url else f"//{url.strip()}") for url in urls.split(",") if url.strip()]
    hosts = [part.hostname or "" for part in parts if part.scheme != encrypted and not _is_local(part.hostname or "")]
    if hosts:
        raise SettingsError(
            f"{variable} has {', '.join(hosts)} without TLS: write {encrypted}://, or {ALLOW}=true where something "
            "else encrypts what goes there"
        )


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
