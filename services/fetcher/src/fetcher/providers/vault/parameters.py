"""Turns a class's ``parameters`` into what to ask which Vault, or says everything that is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass

from fetcher.endpoints import refusal
from fetcher.provider import Problems
from fetcher.providers.vault.entries import parse_objects
from fetcher.providers.vault.objects import Object, misspelt
from fetcher.providers.vault.settings import VaultSettings

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
class Dialect:
    """How a class is written: for Vault's provider or for OpenBao's, which is the same but for these names.

    Attributes:
        prefix: In place of ``vault`` at the beginning of a parameter's name; ``vault`` itself is understood, too.
        audience: Of the pod's token where the class names none.
    """

    prefix: str
    audience: str

    def name(self, parameter: str) -> str:
        """A parameter's own name in this dialect."""
        rest = parameter.removeprefix("vault")
        return parameter if rest == parameter else self.prefix + rest


VAULT = Dialect("vault", "vault")
OPENBAO = Dialect("openbao", "openbao")


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


def parse(parameters: Mapping[str, str], settings: VaultSettings, tokens: Container[str] = ()) -> Parameters:
    """What the class asks for; a parameter that is missing or empty takes the operator's default.

    Args:
        parameters: The class's.
        settings: The operator's.
        tokens: Audiences of the pod's tokens, which say what the cluster was set up for where the class says nothing.

    Raises:
        InvalidSecretProviderClass: naming every problem.
    """
    problems = Problems()
    for name, right in misspelt(parameters, (*PARAMETERS, *map(OPENBAO.name, PARAMETERS))):
        problems.add(name, f"is not a parameter: write {right}")
    given = _Given(parameters)
    role = given.get("roleName")
    if not role:
        problems.add_text("missing 'roleName' in SecretProviderClass definition")
    server = _server(given, settings, problems)
    objects = parse_objects(given.get("objects"), problems)
    problems.raise_any()
    return Parameters(role, given.get("audience") or given.usual_audience(tokens), server, objects)


def backend(parameters: Mapping[str, str], settings: VaultSettings) -> str:
    """Which Vault a class asks, and which namespace of it, as one text; empty if that makes no sense."""
    given = _Given(parameters)
    address, namespace = _address(given, settings), _namespace(given, settings)
    if not address or refusal(address, settings.allowed_hosts) or not _HEADER_TEXT.fullmatch(namespace):
        return ""
    return f"{address}/{namespace}" if namespace else address


class _Given:
    """A class's parameters by Vault's names, in whichever dialect they are written."""

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self._parameters = parameters
        is_openbao = any(parameters.get(OPENBAO.name(name)) for name in PARAMETERS if OPENBAO.name(name) != name)
        self._dialect = OPENBAO if is_openbao else VAULT

    def get(self, parameter: str) -> str:
        """Its value; empty if it is not given."""
        return self._parameters.get(self.name(parameter), "")

    def name(self, parameter: str) -> str:
        """As the class writes it, or would."""
        own = self._dialect.name(parameter)
        return parameter if self._parameters.get(parameter) and not self._parameters.get(own) else own

    def usual_audience(self, tokens: Container[str]) -> str:
        """Of the pod's token, where the class names none: its dialect's, or the other's if there is no other token."""
        own, other = self._dialect.audience, (VAULT if self._dialect is OPENBAO else OPENBAO).audience
        return other if other in tokens and own not in tokens else own


def _address(given: _Given, settings: VaultSettings) -> str:
    return (given.get("vaultAddress") or settings.address).rstrip("/")


def _namespace(given: _Given, settings: VaultSettings) -> str:
    return (given.get("vaultNamespace") or settings.namespace).strip("/")


def _server(given: _Given, settings: VaultSettings, problems: Problems) -> Server:
    name, address = given.name("vaultAddress"), _address(given, settings)
    if not address:
        problems.add(name, "is missing, and the fetcher has no default (VAULT_ADDR)")
    elif reason := refusal(address, settings.allowed_hosts):
        problems.add(name if given.get("vaultAddress") else f"VAULT_ADDR ({name} is not set)", reason)
    namespace = _namespace(given, settings)
    if not _HEADER_TEXT.fullmatch(namespace):
        problems.add(given.name("vaultNamespace"), "holds blanks or other characters that a namespace cannot have")
    return Server(address, namespace, _mount(given, settings, problems), _tls(given, settings, problems))


def _mount(given: _Given, settings: VaultSettings, problems: Problems) -> str:
    one, other = given.name("vaultAuthMountPath"), given.name("vaultKubernetesMountPath")
    named, older = given.get("vaultAuthMountPath"), given.get("vaultKubernetesMountPath")
    if named and older:
        problems.add(one, f"and {other} cannot both be set: keep {one}")
    mount = (named or older or settings.auth_mount).strip("/")
    if not _MOUNT.fullmatch(mount) or {".", "..", ""} & set(mount.split("/")):
        where = one if named else other if older else "VAULT_AUTH_MOUNT"
        problems.add(where, "is no mount path: write it as after auth/, such as jwt")
    return mount


def _tls(given: _Given, settings: VaultSettings, problems: Problems) -> Tls:
    ca = (given.get("vaultCACertPath"), given.get("vaultCADirectory"))
    client = (given.get("vaultTLSClientCertPath"), given.get("vaultTLSClientKeyPath"))
    if client[1] and not client[0]:
        key_path, certificate_path = given.name("vaultTLSClientKeyPath"), given.name("vaultTLSClientCertPath")
        problems.add(key_path, f"is set without {certificate_path}")
    skip = given.get("vaultSkipTLSVerify")
    if skip and skip not in _FLAGS:
        problems.add(given.name("vaultSkipTLSVerify"), "must be true or false")
    # What belongs together is replaced together: a class's own CA folder must not lose against the operator's CA file.
    ca_file, ca_directory = ca if any(ca) else (settings.ca_file, settings.ca_directory)
    certificate, key = client if any(client) else (settings.client_certificate, settings.client_key)
    return Tls(
        ca_file=ca_file,
        ca_directory=ca_directory,
        server_name=given.get("vaultTLSServerName") or settings.server_name,
        client_certificate=certificate,
        client_key=key,
        skip_verify=_FLAGS.get(skip, settings.skip_verify),
    )
