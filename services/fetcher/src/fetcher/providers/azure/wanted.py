"""What a class asks of Key Vault, as frozen types that `parameters` makes and the rest only reads."""

from __future__ import annotations

from dataclasses import dataclass

from fetcher.providers.azure.clouds import Cloud

SECRET, KEY, CERTIFICATE = "secret", "key", "cert"
_SHOWN = 120  # characters of a name in a message


@dataclass(frozen=True, slots=True)
class Reference:
    """One object in the vault, in one version; an empty version is the newest."""

    kind: str
    name: str
    version: str = ""

    def __str__(self) -> str:
        version = f", objectVersion:{self.version}" if self.version else ""
        return f"objectType:{self.kind}, objectName:{self.name}{version}"


@dataclass(frozen=True, slots=True)
class Object:
    """One entry of ``objects``.

    Attributes:
        place: Where it stands in the class, such as ``objects[0]``.
        reference: What to read; with a history, where to begin.
        history: How many versions to read; 1 for the one alone.
        file: Path below the volume; with a history, of the folder.
        pfx: Whether a PKCS#12 secret stays as it is.
        encoding: What a secret is decoded from; empty for nothing.
        mode: Permission bits; None for the volume's default.
    """

    place: str
    reference: Reference
    history: int
    file: str
    pfx: bool
    encoding: str
    mode: int | None


@dataclass(frozen=True, slots=True)
class Parameters:
    """A class that can work.

    Attributes:
        cloud: Where vault and identities are.
        vault: Its name.
        tenant: Of the identity; empty if the service account names it.
        client_id: Of the identity, for workload identity; may be empty.
        managed: Whether the node's managed identity reads, instead of the pod's.
        managed_id: Its client id; empty for the node's own.
        objects: In the class's order.
    """

    cloud: Cloud
    vault: str
    tenant: str
    client_id: str
    managed: bool
    managed_id: str
    objects: tuple[Object, ...]

    @property
    def vault_url(self) -> str:
        """Where the vault is."""
        return self.cloud.vault_url.replace("{name}", self.vault)


def shown(text: str) -> str:
    """A name as messages write it: on one line, and cut where it would fill the screen."""
    line = "".join(letter if letter.isprintable() else "?" for letter in text[:_SHOWN])
    return line if len(text) <= _SHOWN else f"{line}..."
