"""Who we are to NATS, and what NATS must be to us: TLS from the first byte, and no server with known holes."""

from __future__ import annotations

import base64
import re
import ssl
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats.errors

from keyferry.plaintext import ALLOW, check_encrypted
from keyferry.settings import flag, setting

# The last rounds of fixes, of June 2026: of each line of releases, the patch below which there are known holes.
SAFE_PATCHES = {(2, 12): 12, (2, 14): 3}
"""Releases before and between these lines are refused, later ones are taken."""

_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(-.+)?")
_ENCRYPTED = "tls"


class UnsafeServerError(nats.errors.Error):
    """A server that nothing may be said to, credentials least of all."""


class CredentialError(nats.errors.Error):
    """A key or token file that cannot be used; the text says why, and nothing of its content."""


@dataclass(frozen=True, slots=True)
class Access:
    """How to connect.

    Attributes:
        ca_file: PEM file of those who may vouch for servers; the system's if empty.
        nkey_file: The seed of our own key, if we have one.
        token_file: A token that says who we are, read again at each connection, if we have one.
        seed, bearer: The seed, and the token, where they lie in no file.
    """

    ca_file: str = ""
    nkey_file: str = ""
    token_file: str = ""
    seed: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)

    def options(self, url: str) -> dict[str, Any]:
        """What nats-py is told, but for the key.

        Args:
            url: Servers, comma-separated. With ``tls://`` nothing is read from a server before it has proved its name:
                nats-py by itself would go on in the clear with one that offers no TLS.

        Raises:
            CredentialError, OSError: a file cannot be used.
        """
        options: dict[str, Any] = {}
        encrypted = {each.strip().startswith(f"{_ENCRYPTED}://") for each in url.split(",")}
        if len(encrypted) > 1:
            raise CredentialError("KEYFERRY_NATS_URL has servers with TLS and servers without: write tls:// for all")
        if True in encrypted:
            options |= {"tls": self.trust(), "tls_handshake_first": True}
        if self.token_file or self.bearer:
            options["token"] = self.token
        return options

    def key(self) -> tuple[str, Callable[[str], bytes]] | None:
        """Our public key, and what signs a server's nonce; None without a key.

        Raises:
            CredentialError, OSError: the file cannot be used.
        """
        if not self.nkey_file and not self.seed:
            return None
        from keyferry.bus.nkeys import Nkey, NkeyError, Role  # noqa: PLC0415 - node-drivers have no such key

        try:
            key = Nkey.from_seed(self.seed or read_private(self.nkey_file), Role.USER)
        except NkeyError as error:
            raise CredentialError(f"{self.nkey_file or 'our seed'} {error}") from None
        return key.public, lambda nonce: base64.b64encode(key.sign(nonce.encode()))

    def token(self) -> str:
        """The token as it is now."""
        return self.bearer or Path(self.token_file).read_text().strip()

    def trust(self) -> ssl.SSLContext:
        """Whom we take for a server, by the file of CAs as it is now.

        Raises:
            OSError: it cannot be used.
        """
        context = ssl.create_default_context(cafile=self.ca_file or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """What everybody who connects is told."""

    nats_url: str = setting(
        "KEYFERRY_NATS_URL",
        "NATS servers, comma-separated; tls:// for all that are not on this machine",
        default="nats://127.0.0.1:4222",
    )
    nats_ca_file: str = setting(
        "KEYFERRY_NATS_CA_FILE", "PEM file of the CAs of the NATS servers; the system's without it", default=""
    )
    nats_nkey_file: str = setting(
        "KEYFERRY_NATS_NKEY_FILE",
        "file with the seed of this service's own NATS key, as `python -m keyferry.identities` makes it",
        default="",
    )
    nats_token_file: str = setting(
        "KEYFERRY_NATS_TOKEN_FILE",
        "file with the token that proves a node-driver to NATS: a projected service account token",
        default="",
    )
    allow_plaintext: bool = setting(
        ALLOW,
        "speak to NATS and Redis without TLS over a network; only where something else encrypts it, such as a mesh",
        default=False,
        parse=flag,
    )

    def __post_init__(self) -> None:
        """Refuse what would go over a network in the clear.

        Raises:
            SettingsError: it would.
        """
        if not self.allow_plaintext:
            check_encrypted("KEYFERRY_NATS_URL", self.nats_url, _ENCRYPTED)

    @property
    def access(self) -> Access:
        """How to connect."""
        return Access(self.nats_ca_file, self.nats_nkey_file, self.nats_token_file)


def check_server(version: str) -> None:
    """Return if a server of this version has no hole that we know of.

    Raises:
        UnsafeServerError: it has.
    """
    match = _VERSION.match(version)
    major, minor, patch = (int(match[i]) for i in (1, 2, 3)) if match else (0, 0, 0)
    line = (major, minor)
    if line > max(SAFE_PATCHES) or patch >= SAFE_PATCHES.get(line, patch + 1):
        return
    safe = " or ".join(f"{a}.{b}.{patch}" for (a, b), patch in sorted(SAFE_PATCHES.items()))
    raise UnsafeServerError(f"the server is nats-server {version[:32]}, which has known holes: run {safe}, or later")


def read_private(path: str) -> str:
    """The text of a file that only its owner, and his group as in a Secret volume, may read.

    Raises:
        CredentialError: everybody may.
        OSError: it cannot be read.
    """
    file = Path(path)
    if file.stat().st_mode & stat.S_IROTH:
        raise CredentialError(f"{path} is readable by everybody: chmod 0600 it (in a Secret volume: defaultMode)")
    return file.read_text()
