"""Turns a class's ``parameters`` into what to ask which Vault, or says everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from fetcher.endpoints import refusal
from fetcher.provider import Problems
from fetcher.providers.vault.objects import Object, misspelt, parse_objects
from fetcher.providers.vault.settings import VaultSettings

DEFAULT_AUDIENCE = "vault"
PARAMETERS = (
    "roleName",
    "vaultAddress",
    "vaultNamespace",
    "vaultAuthMountPath",
    "vaultKubernetesMountPath",
    "audience",
    "vaultCACertPath",
    "vaultCADirectory",
    "vaultTLSServerName",
    "vaultTLSClientCertPath",
    "vaultTLSClientKeyPath",
    "vaultSkipTLSVerify",
    "objects",
)

_HEADER_TEXT = re.compile(r"[!-~]*", re.ASCII)
_MOUNT = re.compile(r"[^\x00-\x1f\x7f?#%\\]+")
# What Go's strconv.ParseBool takes, as upstream uses it.
_FLAGS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


@dataclass(frozen=True, slots=True)
class Tls:
    """How Vault's certificate is checked, and which one it is shown; paths of files in the fetcher's container."""

    ca_file: str = ""
    ca_directory: str = ""
    server_name: str = ""
    client_certificate: str = ""
    client_key: str = ""
    skip_verify: bool = False


@dataclass(frozen=True, slots=True)
class Server:
    """Which Vault, and which part of it.

    Attributes:
        address: Base URL without a slash at the end.
        namespace: Vault Enterprise or OpenBao namespace; empty for the root.
        mount: Where pods log in, below ``auth/``.
        tls: Of the connection.
    """

    address: str
    namespace: str
    mount: str
    tls: Tls


@dataclass(frozen=True, slots=True)
class Parameters:
    """A class, understood. ``audience`` is that of the pod's token that logs in as ``role``."""

    role: str
    audience: str
    server: Server
    objects: tuple[Object, ...]


def parse(parameters: Mapping[str, str], settings: VaultSettings) -> Parameters:
    """What the class asks for; a parameter that is missing or empty takes the operator's default.

    Raises:
        InvalidSecretProviderClass: naming every problem.
    """
    problems = Problems()
    for name, right in misspelt(parameters, PARAMETERS):
        problems.add(name, f"is not a parameter: write {right}")
    role = parameters.get("roleName", "")
    if not role:
        problems.add("missing 'roleName'", "in SecretProviderClass definition")
    server = _server(parameters, settings, problems)
    objects = parse_objects(parameters.get("objects", ""), problems)
    problems.raise_any()
    return Parameters(role, parameters.get("audience") or DEFAULT_AUDIENCE, server, objects)


def _server(parameters: Mapping[str, str], settings: VaultSettings, problems: Problems) -> Server:
    named = parameters.get("vaultAddress", "")
    address = (named or settings.address).rstrip("/")
    if not address:
        problems.add("vaultAddress", "is missing, and the fetcher has no default (VAULT_ADDR)")
    elif reason := refusal(address, settings.allowed_hosts):
        problems.add("vaultAddress" if named else "VAULT_ADDR (vaultAddress is not set)", reason)
    namespace = parameters.get("vaultNamespace") or settings.namespace
    if not _HEADER_TEXT.fullmatch(namespace):
        problems.add("vaultNamespace", "holds blanks or other characters that a namespace cannot have")
    return Server(
        address, namespace.strip("/"), _mount(parameters, settings, problems), _tls(parameters, settings, problems)
    )


def _mount(parameters: Mapping[str, str], settings: VaultSettings, problems: Problems) -> str:
    names = [name for name in ("vaultAuthMountPath", "vaultKubernetesMountPath") if parameters.get(name)]
    if len(names) > 1:
        problems.add("vaultAuthMountPath", "and vaultKubernetesMountPath cannot both be set: keep vaultAuthMountPath")
    mount = (parameters[names[0]] if names else settings.auth_mount).strip("/")
    if not _MOUNT.fullmatch(mount) or {".", "..", ""} & set(mount.split("/")):
        problems.add(
            names[0] if names else "VAULT_AUTH_MOUNT", "is no mount path: write it as after auth/, such as jwt"
        )
    return mount


def _tls(parameters: Mapping[str, str], settings: VaultSettings, problems: Problems) -> Tls:
    ca = (parameters.get("vaultCACertPath", ""), parameters.get("vaultCADirectory", ""))
    client = (parameters.get("vaultTLSClientCertPath", ""), parameters.get("vaultTLSClientKeyPath", ""))
    if client[1] and not client[0]:
        problems.add("vaultTLSClientKeyPath", "is set without vaultTLSClientCertPath")
    skip = parameters.get("vaultSkipTLSVerify", "")
    if skip and skip not in _FLAGS:
        problems.add("vaultSkipTLSVerify", "must be true or false")
    # What belongs together is replaced together: a class's own CA folder must not lose against the operator's CA file.
    ca_file, ca_directory = ca if any(ca) else (settings.ca_file, settings.ca_directory)
    certificate, key = client if any(client) else (settings.client_certificate, settings.client_key)
    return Tls(
        ca_file=ca_file,
        ca_directory=ca_directory,
        server_name=parameters.get("vaultTLSServerName") or settings.server_name,
        client_certificate=certificate,
        client_key=key,
        skip_verify=_FLAGS.get(skip, settings.skip_verify),
    )
