"""Throw-away values, new in each run, and the names in the guide's manifests that go with them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

NAMESPACE, ACCOUNT = "production", "app-service-account"
REGION, PROJECT = "us-west-2", "123456789"
CLASSES = {
    "vault-store": "vault-secrets",
    "secrets-store": "aws-secrets",
    "azure-store": "azure-keyvault",
    "gcp-store": "gcp-secrets",
}
"""The guide's four classes by volume; that of the guide's Deployment is the one for AWS."""

_MADE = {
    "vault-secrets": ("db-password", "api-token"),
    "aws-secrets": ("db-password", "api-key"),
    "azure-keyvault": ("db-password",),
    "gcp-secrets": ("db-password", "api-key"),
}


class Secrets:
    """What the backends hold, by class and file."""

    def __init__(self) -> None:
        self._values = {(name, file): "" for name, files in _MADE.items() for file in files}
        for name, file in self._values:
            self.renew(name, file)

    def renew(self, class_name: str, file: str) -> str:
        """Make another value for a file."""
        made = self._values[class_name, file] = f"{class_name.partition('-')[0]}-{file}-{secrets.token_hex(4)}"
        return made

    def __getitem__(self, key: tuple[str, str]) -> str:
        return self._values[key]

    def __setitem__(self, key: tuple[str, str], value: str) -> None:
        self._values[key] = value

    @property
    def files(self) -> Mapping[str, Mapping[str, str]]:
        """What the volume of each class must hold, by file."""
        return {
            name: {file: value for (of, file), value in self._values.items() if of == name} for name in CLASSES.values()
        }
