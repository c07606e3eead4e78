"""What it means when Microsoft Entra ID gives no token, in words for whoever set up the identities."""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import Any

from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.identity import CredentialUnavailableError

from fetcher.providers.azure.faults import seconds
from fetcher.providers.azure.identity import AUDIENCE, Identity, ManagedIdentity, WorkloadIdentity
from keyferry.errors import AccessDenied, KeyferryError, ProviderUnavailable, RateLimited

NO_TOKEN = "failed to get key vault token"  # noqa: S105 - words of upstream's

# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_AADSTS = re.compile(r"\bAADSTS([0-9]{5,8})\b", re.ASCII)
_FEDERATION = frozenset({"70021", "700211", "700212", "700213", "700222", "700223", "700238"})
_TRANSIENT = frozenset({"50196", "90012", "90023", "90033", "90055"})
_HINTS = {
    "700016": "the tenant has no such client: see clientID and tenantID",
    "90002": "there is no such tenant: see tenantID",
    "900023": "there is no such tenant: see tenantID",
    "7000215": "the client secret is wrong",
    "7000222": "the client secret has expired",
    "7000112": "the client is disabled",
    "50013": "the pod's token does not verify: compare its issuer with the federated credential's",
    "700024": "the pod's token is not valid at this time: compare clocks",
    "500011": "the tenant does not know Key Vault: see cloudName",
}


def explain(error: AzureError, identity: Identity) -> KeyferryError:
    """The error that the pod's owner reads, with Entra's code and without its words.

    Args:
        error: What the SDK raised.
        identity: Whose token was asked for.
    """
    doing = f"{NO_TOKEN} of {identity}"
    response: Any = getattr(error, "response", None)
    if isinstance(identity, ManagedIdentity):
        return _of_node(error, doing)
    if response is not None:
        return _of_answer(response, doing, identity)
    if isinstance(error, ClientAuthenticationError):
        return ProviderUnavailable(f"{doing}: the answer makes no sense, or is not Microsoft Entra ID's")
    return ProviderUnavailable(f"{doing}: Microsoft Entra ID {_unanswered(error)}")


def _of_answer(response: Any, doing: str, identity: Identity) -> KeyferryError:
    status = int(response.status_code)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        wait = seconds(response.headers.get("Retry-After") or "")
        return RateLimited(f"{doing}: Microsoft Entra ID asks for fewer calls", retry_after=wait)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ProviderUnavailable(f"{doing}: Microsoft Entra ID failed ({status})")
    told = _error(response)
    if status < HTTPStatus.BAD_REQUEST or not told:
        # A proxy that knows no such host, for one, must not pass for an Entra ID that refuses.
        return ProviderUnavailable(f"{doing}: the answer makes no sense, or is not Microsoft Entra ID's ({status})")
    return _refusal(told, status, doing, identity)


def _refusal(told: dict[str, Any], status: int, doing: str, identity: Identity) -> KeyferryError:
    found = _AADSTS.search(str(told.get("error_description", "")))
    number = found[1] if found else ""
    code = f"AADSTS{number}" if number else f"status {status}"
    if number in _TRANSIENT or told.get("error") == "temporarily_unavailable":
        return ProviderUnavailable(f"{doing}: Microsoft Entra ID failed ({code})")
    if number in _FEDERATION and isinstance(identity, WorkloadIdentity):
        subject = f"system:serviceaccount:{identity.namespace}:{identity.service_account}"
        hint = (
            f"no federated credential of the client matches: it takes the cluster's issuer, subject {subject} and "
            f"audience {AUDIENCE}"
        )
    else:
        hint = _HINTS.get(number, "Microsoft Entra ID refuses it")
    return AccessDenied(f"{doing}: {hint} ({code})")


def _of_node(error: AzureError, doing: str) -> KeyferryError:
    cause = error.__cause__
    status = int(getattr(cause, "status_code", None) or getattr(error, "status_code", None) or 0)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimited(f"{doing}: the node's metadata service asks for fewer calls")
    if HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return AccessDenied(f"{doing}: the node has no such identity: see userAssignedIdentityID ({status})")
    if isinstance(error, CredentialUnavailableError) or status == 0:
        return ProviderUnavailable(f"{doing}: the node's metadata service does not answer, or not as it should")
    return ProviderUnavailable(f"{doing}: the node's metadata service failed ({status})")


def _error(response: Any) -> dict[str, Any]:
    try:
        found = json.loads(response.text())
    except (AzureError, ValueError, LookupError, RecursionError):
        found = None
    return found if isinstance(found, dict) and found.get("error") else {}


def _unanswered(error: AzureError) -> str:
    names = {type(error).__name__, type(error.inner_exception).__name__}
    if any("Certificate" in name or "SSL" in name for name in names):
        return "has a certificate that is not trusted, or speaks no TLS: see KEYFERRY_AZURE_CA_FILE"
    if any("Timeout" in name for name in names):
        return "does not answer in time"
    return f"cannot be reached or broke off ({type(error).__name__})"
