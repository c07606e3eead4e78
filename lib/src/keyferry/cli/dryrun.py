"""Asks the fetchers as a pod would, through all that a mount goes through; what comes back is counted, not shown.

It needs the rights of an administrator: to create tokens for the pod's service account, and for the driver on the pod's
node: NATS lets nobody else speak as a node. Fetchers write it into their audit log as the pod's own mount.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from keyferry.bus import Bus
from keyferry.cli.cluster import PodSeen, PodVolume, seen
from keyferry.cli.findings import Finding, ok, unknown, wrong
from keyferry.cli.output import size
from keyferry.cli.reach import Reach
from keyferry.errors import AccessDenied, KeyferryError, RequestExpired
from keyferry.explain.fixes import fix, step
from keyferry.keys import PublicKeys
from keyferry.kube import Kube, object_path
from keyferry.messages import REPLY, Ask, FetchRequest, SignedReply
from keyferry.resources import Content, Pod
from keyferry.sealing import OpeningKey
from keyferry.subjects import inbox_prefix, mount_subject

CHECK = "fetch"
_RIGHTS = (
    "--fetch needs `create` on serviceaccounts/token (and `get` on the Secret of a nodePublishSecretRef) in the pod's "
    "namespace, and the same on the node-driver's account in {namespace} (docs/rbac.md), whose token may publish "
    "{subject} and subscribe to {inbox}.>"
)
_DRIVERS = {"labelSelector": "app.kubernetes.io/name=keyferry,app.kubernetes.io/component=node-driver"}
_BUS_AUDIENCE = "keyferry-nats"  # as in the driver's projected token; fetchers take no other
_TOKEN_SECONDS = 600  # the shortest that the API server gives


@dataclass(frozen=True)
class DryRun:
    """A mount that mounts nothing.

    Attributes:
        kube: Makes the pod's tokens.
        reach: Where NATS is.
        keys: The fetchers'.
        audiences: The CSIDriver's.
        seconds: How long to wait for the answer.
    """

    kube: Kube
    reach: Reach
    keys: PublicKeys
    audiences: Sequence[str]
    seconds: float

    async def findings(self, pod: PodSeen, volume: PodVolume) -> Finding:
        """How it went."""
        rights = _RIGHTS.format(
            namespace=self.reach.system_namespace, subject=mount_subject(pod.node), inbox=inbox_prefix(pod.node)
        )
        try:
            tokens = {audience: await self._token(pod.pod, audience) for audience in self.audiences}
            driver = await self._driver(pod.node) if self.reach.has_key else None
            bearer = await self._token(driver, _BUS_AUDIENCE) if driver else ""
            secret = await self._secret(pod, volume)
        except AccessDenied as error:
            return unknown(CHECK, error.message, rights)
        except KeyferryError as error:
            return wrong(CHECK, f"the pod's tokens cannot be made: {error.message}", fix(error.reason))
        if self.reach.has_key and not bearer:
            text = f"no node-driver runs on node {pod.node} that the request could be sent as"
            return wrong(CHECK, text, f"check the DaemonSet in {self.reach.system_namespace}, or --system-namespace")
        began = time.monotonic()
        try:
            content = await self._ask(pod, volume, tokens, secret, bearer)
        except RequestExpired as error:
            return wrong(CHECK, error.message, f"{fix(error.reason)}; {rights}")
        except KeyferryError as error:
            text = f"{step(error.reason)} fails: {error.reason} ({error.code}): {error.message}"
            return wrong(CHECK, text, fix(error.reason))
        return ok(CHECK, f"{summary(content)}; it took {time.monotonic() - began:.2f} s")

    async def _driver(self, node: str) -> Pod | None:
        """The node-driver's pod on a node."""
        query = _DRIVERS | {"fieldSelector": f"spec.nodeName={node}"}
        told = await self.kube.get(f"/api/v1/namespaces/{self.reach.system_namespace}/pods", query) or {}
        drivers = [seen(each) for each in told.get("items", [])]
        return next((each.pod for each in drivers if each.node == node and not each.is_leaving), None)

    async def _token(self, pod: Pod, audience: str) -> str:
        spec = {
            "audiences": [audience] if audience else [],
            "expirationSeconds": _TOKEN_SECONDS,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid},
        }
        path = object_path("/api/v1/serviceaccounts", pod.namespace, pod.service_account)
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        told = await self.kube.post(f"{path}/token", body)
        return str(told["status"]["token"]) if told else ""

    async def _secret(self, pod: PodSeen, volume: PodVolume) -> dict[str, str]:
        path = object_path("/api/v1/secrets", pod.pod.namespace, volume.secret_ref) if volume.secret_ref else None
        return decoded((await self.kube.get(path) or {}).get("data") or {}) if path else {}

    async def _ask(
        self, pod: PodSeen, volume: PodVolume, tokens: dict[str, str], secret: dict[str, str], bearer: str
    ) -> Content:
        own_key = OpeningKey.generate(f"doctor-{uuid.uuid4().hex[:8]}")
        ask = Ask(
            pod=pod.pod,
            secret_provider_class=volume.secret_provider_class,
            reply_to=own_key.recipient,
            attributes=volume.attributes,
            node_publish_secret=secret,
            tokens=tokens,
        )
        request = FetchRequest.seal(
            ask,
            to=self.keys.fetcher.current(time.time()),
            request_id=uuid.uuid4().hex,
            node=pod.node,
            volume_id=volume.volume_id,
        )

        def accept(payload: bytes) -> Content:
            signed = SignedReply.from_bytes(payload)
            self.keys.verify(signed.key_id, REPLY, signed.body, signed.signature)
            return signed.content(request, own_key)

        async with self.reach.bus(inbox=inbox_prefix(pod.node), bearer=bearer) as bus:
            return await self._sent(bus, request, accept)

    async def _sent(self, bus: Bus, request: FetchRequest, accept: Callable[[bytes], Content]) -> Content:
        return await bus.request(
            mount_subject(request.node),
            request.to_bytes(),
            destination="keyferry.fetch.mount",
            request_id=request.request_id,
            deadline=time.time() + self.seconds,
            accept=accept,
        )


def decoded(data: dict[str, str]) -> dict[str, str]:
    """A Secret's data as kubelet hands it to a driver."""
    return {name: base64.b64decode(value).decode(errors="replace") for name, value in data.items()}


def summary(content: Content) -> str:
    """What may be said of a content: how many files, their sizes and modes, the objects' versions; never a value."""
    files = content.files or ()
    sizes = ", ".join(size(len(each.contents)) for each in files)
    modes = ", ".join(sorted({f"{each.mode:04o}" for each in files}))
    versions = ", ".join(f"{each.id}@{each.version}" for each in content.versions)
    left = f"; left out: {', '.join(content.left_out)}" if content.left_out else ""
    return f"{content.provider} gave {len(files)} files ({sizes}; modes {modes}); versions {versions}{left}"
