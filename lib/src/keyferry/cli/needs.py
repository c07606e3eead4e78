"""What a class needs of the cluster, by its provider: token audiences and service account annotations.

The names are the providers' own; the pages under docs/backends/ say the same at length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from keyferry.cli.cluster import ClassSeen
from keyferry.resources import TOKEN_AUDIENCE

PROVIDERS = ("aws", "azure", "gcp", "openbao", "vault")

_AWS_ROLE = "eks.amazonaws.com/role-arn"
_AZURE_CLIENT = "azure.workload.identity/client-id"
_GCP_ACCOUNT = "iam.gke.io/gcp-service-account"


@dataclass(frozen=True, slots=True)
class Audiences:
    """Audiences of which the CSIDriver must request one; none of them known means any beside Keyferry's own.

    Attributes:
        names: The usual one first.
        is_any: The cluster's own settings decide which; the class does not say.
    """

    names: tuple[str, ...]
    is_any: bool = False

    def found(self, requested: set[str]) -> str:
        """The one that is requested; empty if none is."""
        if self.is_any:
            return next(iter(sorted(requested - {TOKEN_AUDIENCE})), "")
        return next((name for name in self.names if name in requested), "")


def audiences(spc: ClassSeen, *, has_secret: bool) -> Audiences | None:
    """What tokens the class's backend takes; None where the pod's token is not used.

    Args:
        spc: The class.
        has_secret: The pod's volume has a nodePublishSecretRef.
    """
    if spc.provider == "aws":
        pod_identity = spc.text("usePodIdentity").lower() == "true"
        return Audiences(("pods.eks.amazonaws.com" if pod_identity else "sts.amazonaws.com",))
    if spc.provider == "azure":
        own = spc.text("useVMManagedIdentity").lower() == "true" or has_secret
        return None if own else Audiences(("api://AzureADTokenExchange",))
    if spc.provider == "gcp":
        own = spc.text("auth") in ("provider-adc", "nodePublishSecretRef") or has_secret
        return None if own else Audiences(("PROJECT.svc.id.goog",), is_any=True)
    if spc.provider in ("vault", "openbao"):
        given = spc.text("audience")
        return Audiences((given,) if given else ("vault", "openbao"))
    return None


def missing_annotation(spc: ClassSeen, annotations: Mapping[str, str], *, has_secret: bool) -> str:
    """The annotation that the service account lacks for this class; empty if it needs none."""
    if spc.provider == "aws":
        needs = spc.text("usePodIdentity").lower() != "true"
        return _AWS_ROLE if needs and not annotations.get(_AWS_ROLE) else ""
    if spc.provider == "azure":
        needs = audiences(spc, has_secret=has_secret) is not None and not spc.text("clientID")
        return _AZURE_CLIENT if needs and not annotations.get(_AZURE_CLIENT) else ""
    return ""


def identity(spc: ClassSeen, annotations: Mapping[str, str]) -> str:
    """Whom the backend will see, as far as the cluster says; empty where it says nothing."""
    for provider, name in (("aws", _AWS_ROLE), ("azure", _AZURE_CLIENT), ("gcp", _GCP_ACCOUNT)):
        if spc.provider == provider and annotations.get(name):
            return f"{name}: {annotations[name]}"
    role = spc.text("roleName")
    return f"role {role}" if spc.provider in ("vault", "openbao") and role else ""


def misshapen(spc: ClassSeen) -> str:
    """What is wrong with the shape of a class; empty if nothing is. The provider itself looks at its parameters."""
    if not spc.provider or not isinstance(spc.provider, str):
        return "spec.provider is empty: name the provider, such as aws, azure, gcp or vault"
    if not spc.parameters or not isinstance(spc.parameters, dict):
        return "spec.parameters is empty: it says what to fetch, see the provider's page"
    for name in sorted(spc.parameters, key=str):
        if not isinstance(spc.parameters[name], str):
            return f"spec.parameters.{name} is not a string: put its value in quotes, or behind a | for several lines"
    return ""


def likely(provider: str) -> str:
    """The provider that a misspelt name may stand for; empty if none is near."""
    return next(iter(get_close_matches(provider.lower(), PROVIDERS, n=1)), "")
