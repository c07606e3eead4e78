"""What a class asks of Key Vault, as frozen types that `parameters` makes and the rest only reads."""

from __future__ import annotations

from dataclasses import dataclass

from fetcher.options import PLAIN, Options, Selection
from fetcher.providers.azure.clouds import Cloud

SECRET, KEY, CERTIFICATE = "secret", "key", "cert"
_IN_EVENTS = {SECRET: "secret", KEY: "key", CERTIFICATE: "certificate"}


@dataclass(frozen=True, slots=True)
class Reference:
    """One object in the vault, in one version; an empty version is the newest, an empty name all objects."""

    kind: str
    name: str
    version: str = ""

    def __str__(self) -> str:
        name = f", objectName:{self.name}" if self.name else ""
        version = f", objectVersion:{self.version}" if self.version else ""
        return f"objectType:{self.kind}{name}{version}"

    @property
    def id(self) -> str:
        """The object's id in the class, which is upstream's."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Object:
    """One entry of ``objects``.

    Attributes:
        place: Where it stands in the class, such as ``objects[0]``.
        reference: What to read; with a history, where to begin; with a selection, without a name.
        history: How many versions to read; 1 for the one alone.
        file: Path below the volume; with a history, of the folder; with a selection too, where empty is the volume.
        pfx: Whether a PKCS#12 secret stays as it is.
        encoding: What a secret is decoded from; empty for nothing.
        mode: Permission bits; None for the volume's default.
        options: What is true of every backend's objects.
        selection: Which objects it stands for, in place of the one that is named.
    """

    place: str
    reference: Reference
    history: int
    file: str
    pfx: bool
    encoding: str
    mode: int | None
    options: Options = PLAIN
    selection: Selection | None = None

    @property
    def id(self) -> str:
        """What is told of it where it is left out."""
        return f"{self.reference.kind}/{self.selection.prefix}*" if self.selection else self.reference.id


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

    def source(self, reference: Reference) -> str:
        """The object as change events name it, whatever letters Event Grid and the class write it in."""
        return f"{self.vault}/{_IN_EVENTS[reference.kind]}/{reference.name}".lower()
