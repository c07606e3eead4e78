"""Whom Google sees: a pod's service account, a service account of Google's that it stands for, or another's key."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from fetcher.provider import ProviderRequest
from fetcher.providers.gcp.pool import Pool
from keyferry.errors import AccessDenied

ACCOUNT_ANNOTATION = "iam.gke.io/gcp-service-account"
DELEGATES_ANNOTATION = "iam.gke.io/gcp-service-account-delegates"
KEY = "key.json"

_NO_AUTH = "unable to obtain auth for mount"
# It becomes part of a URL.
_ACCOUNT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}@[A-Za-z0-9.-]{1,128}|[0-9]{10,30}", re.ASCII)
_MAX_DELEGATES = 16


@dataclass(frozen=True, slots=True)
class PodIdentity:
    """A Kubernetes service account; equal ones get the same powers from Google, so they may share a token.

    Attributes:
        pool: What it belongs to.
        namespace: Of the pod.
        service_account: Of the pod.
        impersonated: E-mail of the Google service account that it acts as; empty for itself.
        delegates: Those between the two.
    """

    pool: Pool
    namespace: str
    service_account: str
    impersonated: str
    delegates: tuple[str, ...]

    def __str__(self) -> str:
        account = f"service account {self.namespace}/{self.service_account}"
        return f"{self.impersonated} ({account})" if self.impersonated else account


@dataclass(frozen=True, slots=True)
class KeyIdentity:
    """A Google service account whose key the pod brings along; `digest` tells keys apart where the key is not kept."""

    email: str
    key_id: str
    digest: bytes = field(repr=False)

    def __str__(self) -> str:
        return f"{self.email} (nodePublishSecretRef)"


@dataclass(frozen=True, slots=True)
class OwnIdentity:
    """The fetcher's own credentials."""

    def __str__(self) -> str:
        return "the fetcher's own credentials"


Identity = PodIdentity | KeyIdentity | OwnIdentity


def pod_identity(request: ProviderRequest, pool: Pool) -> PodIdentity:
    """Who the pod is to Google.

    Raises:
        AccessDenied: an annotation of its service account cannot be understood.
    """
    annotations, pod = request.service_account_annotations, request.pod
    impersonated = annotations.get(ACCOUNT_ANNOTATION, "").strip()
    delegates = _delegates(annotations.get(DELEGATES_ANNOTATION, "")) if impersonated else ()
    place = f"of service account {pod.namespace}/{pod.service_account}"
    if impersonated and not _ACCOUNT.fullmatch(impersonated):
        raise AccessDenied(f"{_NO_AUTH}: annotation {ACCOUNT_ANNOTATION} {place} is no e-mail of a service account")
    if delegates is None:
        raise AccessDenied(
            f"{_NO_AUTH}: unable to parse delegates annotation on SA: {DELEGATES_ANNOTATION} {place} must be a JSON "
            f"list of at most {_MAX_DELEGATES} e-mails of service accounts"
        )
    return PodIdentity(pool, pod.namespace, pod.service_account, impersonated, delegates)


def key_identity(text: str) -> tuple[KeyIdentity, str]:
    """The service account of a key.json, and its private key in PEM.

    Other kinds of credentials files are refused: an ``external_account`` names files of the fetcher's to be read, and
    hosts that they would be sent to.

    Raises:
        AccessDenied: it is no key of a service account.
    """
    found = _json(text)
    if isinstance(found, dict) and found.get("type") == "service_account":
        email, key_id, private_key = (found.get(name) for name in ("client_email", "private_key_id", "private_key"))
        if isinstance(email, str) and _ACCOUNT.fullmatch(email) and isinstance(private_key, str):
            digest = hashlib.sha256(text.encode(errors="replace")).digest()
            return KeyIdentity(email, key_id if isinstance(key_id, str) else "", digest), private_key
    raise AccessDenied(
        f"{_NO_AUTH}: unable to generate credentials from {KEY}: it is no key of a service account "
        '(a JSON object with type "service_account", client_email and private_key)'
    )


def _delegates(text: str) -> tuple[str, ...] | None:
    found = _json(text) if text else []
    if not isinstance(found, list) or len(found) > _MAX_DELEGATES:
        return None
    sound = all(isinstance(each, str) and _ACCOUNT.fullmatch(each) for each in found)
    return tuple(found) if sound else None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
