"""What a fetch needs from the cluster besides the request: the pod's SecretProviderClass and service account."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NoReturn

from prometheus_client import Counter

from fetcher.policy import read_policy
from keyferry.errors import InvalidSecretProviderClass, SecretProviderClassNotFound
from keyferry.kube import Json, Kube, Watched
from keyferry.kube.watched import USUAL, Pace
from keyferry.resources import SecretProviderClass

log = logging.getLogger(__name__)

IGNORED = Counter("keyferry_annotations_ignored_total", "Annotations of classes that are malformed, once a version.")

CLASSES = "/apis/secrets-store.csi.x-k8s.io/v1/secretproviderclasses"
SERVICE_ACCOUNTS = "/api/v1/serviceaccounts"
OUR_ANNOTATIONS = "keyferry.io/"
PROVIDER_ANNOTATIONS = ("eks.amazonaws.com/", "azure.workload.identity/", "iam.gke.io/")
"""Prefixes of the service account annotations that providers read: roles and client ids, set by whoever owns the
service account. No other annotation leaves the cache."""

_COMPLAINED = 1000  # versions of classes whose annotations are malformed
_NONE: Mapping[str, str] = MappingProxyType({})


class Classes:
    """The SecretProviderClasses of the cluster. `run` belongs into a task group."""

    def __init__(self, kube: Kube, *, pace: Pace = USUAL) -> None:
        self.watched: Watched[SecretProviderClass | str] = Watched(kube, CLASSES, self._project, pace=pace)
        self._complained: OrderedDict[str, None] = OrderedDict()

    async def run(self) -> NoReturn:
        """Keeps them up to date."""
        await self.watched.run()

    async def get(self, namespace: str, name: str) -> SecretProviderClass:
        """The class of this name in the pod's namespace.

        Raises:
            SecretProviderClassNotFound: there is none.
            InvalidSecretProviderClass: it cannot work as written; the text names the field.
            KubernetesUnavailable: it cannot be told now.
            AccessDenied: we may not read it.
        """
        found = await self.watched.fetch(namespace, name)
        if found is None:
            raise SecretProviderClassNotFound.named(namespace, name)
        if isinstance(found, str):
            raise InvalidSecretProviderClass(f"secretproviderclass {namespace}/{name}: {found}")
        return found

    def _project(self, told: Json) -> SecretProviderClass | str:
        spc = project_class(told)
        problems = [] if isinstance(spc, str) else read_policy(spc.annotations)[1]
        metadata = _mapping(told.get("metadata"))
        version = f"{metadata.get('uid')}/{metadata.get('resourceVersion')}"
        if problems and version not in self._complained:
            self._complained[version] = None
            while len(self._complained) > _COMPLAINED:
                self._complained.popitem(last=False)
            IGNORED.inc(len(problems))
            log.warning("secretproviderclass %s: %s; it is ignored", spc, "; ".join(problems))
        return spc


class ServiceAccounts:
    """What service accounts say to providers. `run` belongs into a task group."""

    def __init__(self, kube: Kube, *, pace: Pace = USUAL) -> None:
        self.watched: Watched[Mapping[str, str]] = Watched(kube, SERVICE_ACCOUNTS, project_account, pace=pace)

    async def run(self) -> NoReturn:
        """Keeps them up to date."""
        await self.watched.run()

    async def annotations(self, namespace: str, name: str) -> Mapping[str, str]:
        """Those that providers read; none where there is no such account (any more).

        Raises:
            KubernetesUnavailable: it cannot be told now.
            AccessDenied: we may not read it.
        """
        found = await self.watched.fetch(namespace, name)
        return _NONE if found is None else found


def project_class(told: Json) -> SecretProviderClass | str:
    """A class as far as fetching needs it, or what is wrong with it.

    Upstream accepts any shape in ``spec`` that its CRD does; a field that is not even that is reported when a pod asks
    for the class, and never keeps the other classes from being read.
    """
    metadata, spec = _mapping(told.get("metadata")), _mapping(told.get("spec"))
    provider, parameters = spec.get("provider"), spec.get("parameters")
    if not provider or not isinstance(provider, str):
        return "spec.provider is empty: name the provider, such as aws, azure, gcp or vault"
    if not parameters or not isinstance(parameters, dict):
        return "spec.parameters is empty: it says what to fetch, see the provider's page"
    wrong = sorted(str(key) for key, value in parameters.items() if not isinstance(value, str))
    if wrong:
        return f"spec.parameters.{wrong[0]} is not a string: put its value in quotes, or behind a | for several lines"
    return SecretProviderClass(
        namespace=str(metadata.get("namespace", "")),
        name=str(metadata.get("name", "")),
        provider=provider,
        parameters=parameters,
        annotations=_annotations(metadata, (OUR_ANNOTATIONS,)),
        syncs=bool(spec.get("secretObjects")),
    )


def project_account(told: Json) -> Mapping[str, str]:
    """The annotations of a service account that providers read; most have none, and those share one object."""
    return _annotations(_mapping(told.get("metadata")), PROVIDER_ANNOTATIONS) or _NONE


def _annotations(metadata: Mapping[str, Any], prefixes: tuple[str, ...]) -> dict[str, str]:
    annotations = _mapping(metadata.get("annotations"))
    return {k: v for k, v in annotations.items() if k.startswith(prefixes) and isinstance(v, str)}


def _mapping(told: Any) -> Mapping[str, Any]:
    return told if isinstance(told, dict) else {}
