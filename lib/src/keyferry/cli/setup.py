"""What a mount needs in Kubernetes, looked at piece by piece: CSIDriver, class, service account, pod, node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keyferry.cli import needs
from keyferry.cli.cluster import (
    ClassSeen,
    PodSeen,
    PodVolume,
    read_annotations,
    read_class,
    read_driver,
    read_registered,
)
from keyferry.cli.findings import OK, Finding, ok, unknown, warning, wrong
from keyferry.errors import KeyferryError
from keyferry.explain.fixes import FIXES
from keyferry.kube import Json, Kube
from keyferry.resources import DRIVER_NAME, TOKEN_AUDIENCE

_HELM = "let Helm write it again (`helm upgrade`), or see docs/running.md"


@dataclass(frozen=True, slots=True)
class Subject:
    """What the doctor looks at: a class, and the pod and volume that mount it, if one was named."""

    namespace: str
    class_name: str
    pod: PodSeen | None = None
    volume: PodVolume | None = None

    @property
    def has_secret(self) -> bool:
        """Whether the volume has a nodePublishSecretRef."""
        return bool(self.volume and self.volume.secret_ref)


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found, and what later checks go on with."""

    findings: list[Finding]
    spc: ClassSeen | None
    audiences: tuple[str, ...]


async def look(kube: Kube, subject: Subject) -> Seen:
    """Everything that the Kubernetes API tells.

    Raises:
        KeyferryError: it does not answer, or not to us.
    """
    driver, spc = await read_driver(kube), await read_class(kube, subject.namespace, subject.class_name)
    requested = tuple(str(each.get("audience", "")) for each in (driver or {}).get("tokenRequests") or [])
    found = [*of_driver(driver, requested), *of_class(subject, spc)]
    if spc is not None and found[-1].state == OK:
        found += of_tokens(spc, set(requested), has_secret=subject.has_secret)
        if subject.pod is not None:
            account = subject.pod.pod.service_account
            annotations = await read_annotations(kube, subject.namespace, account)
            found.append(of_account(spc, f"{subject.namespace}/{account}", annotations, has_secret=subject.has_secret))
    if subject.pod is not None:
        found.append(of_pod(subject.pod))
        if subject.pod.node:
            found.append(await _of_node(kube, subject.pod.node))
    return Seen(found, spc, requested)


def of_driver(driver: Json | None, requested: tuple[str, ...]) -> list[Finding]:
    """Whether the CSIDriver object makes kubelet tell what we need."""
    if driver is None:
        return [wrong("csi-driver", f"there is no CSIDriver {DRIVER_NAME}", f"install Keyferry; {_HELM}")]
    found = []
    if not driver.get("podInfoOnMount"):
        found.append(wrong("csi-driver", "podInfoOnMount is not true: kubelet does not say which pod mounts", _HELM))
    if TOKEN_AUDIENCE not in requested:
        text = f"tokenRequests has no audience {TOKEN_AUDIENCE}: no pod can prove itself to the fetchers"
        found.append(wrong("csi-driver", text, _HELM))
    if not driver.get("requiresRepublish"):
        text = "requiresRepublish is not true: nodes get no fresh tokens, and refreshes end after an hour"
        found.append(wrong("csi-driver", text, _HELM))
    return found or [ok("csi-driver", f"{DRIVER_NAME} requests tokens for {', '.join(requested)}")]


def of_class(subject: Subject, spc: ClassSeen | None) -> list[Finding]:
    """Whether the class is there and in shape; the last finding says so."""
    name = f"{subject.namespace}/{subject.class_name}"
    if not subject.class_name:
        fix = "set volumeAttributes.secretProviderClass in the pod's volume"
        return [wrong("class", "the pod's volume names no class", fix)]
    if spc is None:
        return [wrong("class", f"there is no SecretProviderClass {name}", FIXES["SecretProviderClassNotFound"])]
    problem = needs.misshapen(spc)
    if problem:
        return [wrong("class", f"{name}: {problem}", FIXES["InvalidSecretProviderClass"])]
    if spc.provider in needs.PROVIDERS:
        return [ok("class", f"{name} asks {spc.provider} with {len(spc.parameters)} parameters")]
    likely = needs.likely(spc.provider)
    text = f'{name}: spec.provider "{spc.provider}" is none of {", ".join(needs.PROVIDERS)}'
    if likely:
        return [wrong("class", text, f"write {likely}, unless a provider plugin of that name is installed")]
    return [warning("class", text, "it works only if a provider plugin of that name is installed on the fetchers")]


def of_tokens(spc: ClassSeen, requested: set[str], *, has_secret: bool) -> list[Finding]:
    """Whether kubelet requests the token that the class's backend takes."""
    wanted = needs.audiences(spc, has_secret=has_secret)
    if wanted is None:
        return []
    found = wanted.found(requested)
    if found and wanted.is_any:
        return [
            ok("tokens", f"a token for {found} is requested; the fetchers' settings say whether it is the right one")
        ]
    if found:
        return [ok("tokens", f"{spc.provider} gets a token for {found}")]
    fix = f"add audience {wanted.names[0]} to the CSIDriver's spec.tokenRequests (Helm value tokenRequests)"
    return [wrong("tokens", f"the CSIDriver requests no token that {spc.provider} takes", fix)]


def of_account(spc: ClassSeen, name: str, annotations: Mapping[str, str] | None, *, has_secret: bool) -> Finding:
    """Whether the pod's service account says who it is to the backend."""
    if annotations is None:
        return wrong("service-account", f"there is no service account {name}", "create it, or correct the pod's")
    missing = needs.missing_annotation(spc, annotations, has_secret=has_secret)
    if missing:
        namespace, _, account = name.partition("/")
        fix = f"`kubectl -n {namespace} annotate serviceaccount {account} {missing}=…`"
        return wrong("service-account", f"{name} lacks the annotation {missing}, which {spc.provider} goes by", fix)
    identity = needs.identity(spc, annotations)
    return ok("service-account", f"{name}{f' ({identity})' if identity else ''}")


def of_pod(pod: PodSeen) -> Finding:
    """Whether the pod has come so far that something can be mounted."""
    if pod.node:
        return ok("pod", f"{pod.pod} ({pod.phase}) is on node {pod.node}")
    fix = f"`kubectl -n {pod.pod.namespace} describe pod {pod.pod.name}` says why"
    return wrong("pod", f"{pod.pod} runs on no node yet: nothing can be mounted", fix)


async def _of_node(kube: Kube, node: str) -> Finding:
    try:
        registered = await read_registered(kube, node)
    except KeyferryError as error:
        return unknown("node", f"whether the driver is registered on {node} cannot be told: {error.message}")
    if registered is None:
        return unknown("node", f"there is no CSINode {node}: its kubelet has registered no driver that is known of")
    if registered:
        return ok("node", f"the driver is registered with the kubelet of {node}")
    fix = f"check the node-driver's pod on {node}: its log, and its /readyz"
    return wrong("node", f"the driver is not registered with the kubelet of {node}", fix)
