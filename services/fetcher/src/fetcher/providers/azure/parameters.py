"""Turns a class's ``parameters`` into what is to be read as whom, or says everything that is wrong with them.

Names, defaults and refusals are those of Azure's provider 1.8 for the Secrets Store CSI driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fetcher.endpoints import refusal
from fetcher.provider import Problems
from fetcher.providers.azure.clouds import Cloud, cloud
from fetcher.providers.azure.objects import read_objects
from fetcher.providers.azure.settings import AzureSettings
from fetcher.providers.azure.wanted import Parameters
from fetcher.shown import shown

PARAMETERS = (
    "keyvaultName",
    "tenantID",
    "tenantId",
    "objects",
    "cloudName",
    "cloudEnvFileName",
    "clientID",
    "useVMManagedIdentity",
    "userAssignedIdentityID",
    "usePodIdentity",
    "useAzureTokenProxy",
)
"""All that are understood; docs/backends/azure.md is checked against them."""

_VAULT = re.compile(r"[-A-Za-z0-9]{3,24}", re.ASCII)
# Both become part of a URL: a tenant is a GUID or a domain, a client a GUID.
_TENANT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?", re.ASCII)
_CLIENT = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"", "0", "f", "F", "false", "FALSE", "False"})
_MODES = ("usePodIdentity", "useVMManagedIdentity", "useAzureTokenProxy")
_NOWHERE = Cloud("", "", "", verified=True)


def parse(parameters: Mapping[str, str], settings: AzureSettings, *, has_tenant: bool) -> Parameters:
    """What the class asks for.

    Args:
        parameters: ``spec.parameters``.
        settings: The operator's.
        has_tenant: Whether the pod's service account names a tenant.

    Raises:
        InvalidSecretProviderClass: naming every problem.
    """
    problems = Problems()
    given = {name: parameters.get(name, "").strip() for name in PARAMETERS}
    modes = [name for name in _MODES if _flag(name, given[name], problems)]
    _check_modes(modes, problems)
    tenant = given["tenantID"] or given["tenantId"]
    for name, value, pattern in (
        ("tenantID", tenant, _TENANT),
        ("clientID", given["clientID"], _CLIENT),
        ("userAssignedIdentityID", given["userAssignedIdentityID"], _CLIENT),
    ):
        if value and not pattern.fullmatch(value):
            problems.add(name, "has characters that it cannot have")
    if not tenant and not has_tenant:
        problems.add("tenantID", "is not set")
    where = _cloud(given["cloudName"], settings, problems)
    found = Parameters(
        cloud=where,
        vault=given["keyvaultName"],
        tenant=tenant,
        client_id=given["clientID"],
        managed="useVMManagedIdentity" in modes,
        managed_id=given["userAssignedIdentityID"],
        objects=read_objects(given["objects"], problems, separate_files=settings.separate_files),
    )
    _check_vault(found, settings, problems)
    problems.raise_any()
    return found


def backend(parameters: Mapping[str, str], settings: AzureSettings) -> str:
    """Host of the vault that a class names; empty if it names none. A class that is wrong is told so elsewhere."""
    where = cloud(parameters.get("cloudName", "").strip(), settings)
    vault = parameters.get("keyvaultName", "").strip()
    if isinstance(where, str) or not _VAULT.fullmatch(vault):
        return ""
    return where.vault_url.replace("{name}", vault).partition("://")[2].lower()


def _flag(name: str, text: str, problems: Problems) -> bool:
    if text not in _TRUE | _FALSE:
        problems.add(name, f'is "{shown(text)}": write true or false')
    return text in _TRUE


def _check_modes(modes: list[str], problems: Problems) -> None:
    if len(modes) > 1:
        problems.add_text(f"only one identity mode can be enabled at a time: choose one of {', '.join(modes)}")
    elif modes == ["usePodIdentity"]:
        problems.add(
            "usePodIdentity",
            "is not supported: Azure has ended aad-pod-identity; set it to false and clientID to a workload identity's",
        )
    elif modes == ["useAzureTokenProxy"]:
        problems.add(
            "useAzureTokenProxy",
            "is not supported (AKS identity bindings): set it to false and use workload identity with a federated "
            "credential for the service account",
        )


def _cloud(name: str, settings: AzureSettings, problems: Problems) -> Cloud:
    where = cloud(name, settings)
    if isinstance(where, str):
        problems.add("cloudName", where)
        return _NOWHERE
    return where


def _check_vault(found: Parameters, settings: AzureSettings, problems: Problems) -> None:
    if not found.vault:
        problems.add("keyvaultName", "is not set")
    elif not _VAULT.fullmatch(found.vault):
        problems.add(
            "keyvaultName", f'is an invalid vault name: "{shown(found.vault)}", must match [-a-zA-Z0-9]{{3,24}}'
        )
    elif found.cloud is not _NOWHERE and (reason := refusal(found.vault_url, settings.allowed_hosts)):
        problems.add("keyvaultName", reason)
