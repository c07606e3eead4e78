"""Requests that do not prove who asks: refused, logged as a security event, and no backend is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keyferry.kube import Json
from keyferry.proto.csi.v1 import csi_pb2 as csi
from keyferry.testing.kubelet import call
from keyferry.testing.proxy import counting_proxy
from keyferry.testing.services import Service
from keyferry.testing.world import World

if TYPE_CHECKING:
    from tests.e2e.conftest import Apart

pytestmark = pytest.mark.root

INFO = "csi.storage.k8s.io/"
TOKENS = INFO + "serviceAccount.tokens"


async def publish(world: World, pod: Json, tokens: Mapping[str, Any], **info: str) -> None:
    """Publish the volume of a pod with some tokens or some of the pod's data exchanged."""
    request = await world.kubelet.request(pod, "secrets")
    usual = json.loads(request.volume_context[TOKENS])
    request.volume_context[TOKENS] = json.dumps({k: v for k, v in {**usual, **tokens}.items() if v})
    request.volume_context.update({INFO + name.replace("_", "."): value for name, value in info.items()})
    await call(world.node.endpoint, "NodePublishVolume", request, csi.NodePublishVolumeResponse)


async def refused(world: World, pod: Json, tokens: Mapping[str, Any], **info: str) -> str:
    """What is said of such a volume, after making sure that it is final, left nothing and spoils no later try."""
    code, said = await world.refused(publish(world, pod, tokens, **info), pod)
    assert code == "PERMISSION_DENIED"
    await publish(world, pod, {})
    assert (world.kubelet.target(pod, "secrets") / "password").read_text() == "tiger"
    return said


async def test_no_token(world: World) -> None:
    """Without a token for Keyferry the text says where to ask for one."""
    said = await refused(world, await world.pod(), {"keyferry": None})

    assert 'no service account token for audience "keyferry"' in said
    assert "spec.tokenRequests of the CSIDriver object" in said


async def test_token_that_is_none(world: World) -> None:
    """A token that is no JWT is described by its shape, not quoted."""
    said = await refused(world, await world.pod(), {"keyferry": {"token": "swordfish"}})

    assert "not a JWT of 9 characters" in said
    assert "swordfish" not in said


async def test_token_of_another_audience(world: World) -> None:
    """A token that is meant for a backend is none for Keyferry."""
    pod = await world.pod()
    said = await refused(world, pod, {"keyferry": await world.kubelet.token(pod, "vault")})

    assert 'token claim aud is ["vault"], expected "keyferry"' in said


async def test_token_of_another_pod(world: World) -> None:
    """The token of another pod of the same service account is refused: each pod proves itself."""
    pod, other = await world.pod(), await world.pod()
    said = await refused(world, pod, {"keyferry": await world.kubelet.token(other, "keyferry")})

    assert f'token claim kubernetes.io/pod/name is "{other["metadata"]["name"]}"' in said


async def test_token_of_another_account(world: World) -> None:
    """The token of a pod of another service account is refused."""
    await world.account("other")
    pod, other = await world.pod(), await world.pod(account="other")
    said = await refused(world, pod, {"keyferry": await world.kubelet.token(other, "keyferry")})

    assert "token claim kubernetes.io/pod/name" in said


async def test_another_account_claimed(world: World) -> None:
    """A pod cannot claim a service account that is not its own, even with its own token."""
    await world.account("other")
    said = await refused(world, await world.pod(), {}, serviceAccount_name="other")

    assert 'token claim kubernetes.io/serviceaccount/name is "app", expected "other"' in said


async def test_another_namespace_claimed(world: World, settle: Any) -> None:
    """A pod cannot claim another namespace, whose class and secrets it would get."""
    victim = await settle(world.node)
    await victim.secret("db", password="lion")
    await victim.vault_class()
    said = await refused(world, await world.pod(), {}, pod_namespace=victim.namespace)

    assert f'token claim kubernetes.io/namespace is "{world.namespace}", expected "{victim.namespace}"' in said


async def test_pod_of_another_node(world: World, fetcher: Service) -> None:
    """A node cannot ask for a pod that runs elsewhere, even with that pod's token; the attempt is logged."""
    elsewhere = world.on(replace(world.node, node="node-b"))
    pod = await elsewhere.pod()
    code, said = await world.refused(publish(world, pod, {}), pod)

    assert code == "PERMISSION_DENIED"
    assert 'token claim kubernetes.io/node/name is "node-b", expected "node-a"' in said
    assert any(
        line["logger"] == "keyferry.security" and pod["metadata"]["name"] in line["pod"]
        for line in map(json.loads, fetcher.process.output().splitlines())
        if "pod" in line
    )


async def test_backend_token_of_another_account(world: World) -> None:
    """A backend's token must be the pod's own: what another account may read is not shared as its own."""
    await world.account("other")
    pod, other = await world.pod(), await world.pod(account="other")
    async with counting_proxy(world.servers.openbao.address) as proxy:
        await world.vault_class("counted", vaultAddress=proxy.url)
        theirs = await world.kubelet.token(other, "vault")
        request = await world.kubelet.request(pod, "counted")
        tokens = json.loads(request.volume_context[TOKENS]) | {"vault": theirs}
        request.volume_context[TOKENS] = json.dumps(tokens)
        attempt = call(world.node.endpoint, "NodePublishVolume", request, csi.NodePublishVolumeResponse)
        code, said = await world.refused(attempt, pod)

        assert code == "PERMISSION_DENIED"
        assert 'for audience "vault"' in said
        assert proxy.count() == 0


async def test_backend_token_that_is_none(world: World) -> None:
    """A backend's token that is no JWT is refused before it is sent anywhere."""
    said = await refused(world, await world.pod(), {"vault": {"token": "swordfish"}})

    assert 'for audience "vault"' in said
    assert "swordfish" not in said


async def test_pod_without_account(world: World) -> None:
    """A pod whose service account Vault does not know for the role is refused by Vault, in words."""
    await world.servers.openbao.kubernetes_role(
        world.namespace, accounts=["nobody"], namespaces=[world.namespace], policies=[], audience="vault"
    )
    pod = await world.pod()
    code, said = await world.refused(world.kubelet.publish(pod, "secrets"), pod)

    assert code == "PERMISSION_DENIED"
    assert "logging in to Vault" in said


async def test_expired_token(apart: Apart) -> None:
    """A token that has run out is refused and says so; with a fresh one the volume mounts."""
    apart.api.now = lambda: datetime.now(UTC) - timedelta(hours=2)
    pod = await apart.world.pod()
    stale = await apart.world.kubelet.token(pod, "keyferry")
    apart.api.now = lambda: datetime.now(UTC)
    said = await refused(apart.world, pod, {"keyferry": stale})

    assert "the service account token expired" in said
    assert "kubelet gives a new one with the next try" in said
    assert stale["token"] not in said


async def test_forged_token(apart: Apart) -> None:
    """A token signed by a cluster of the same name and another key is refused by that key's id."""
    pod = await apart.world.pod()
    forged = await apart.world.kubelet.token(pod, "keyferry")
    apart.api.tokens.rotate()
    genuine = await apart.world.kubelet.token(pod, "keyferry")
    head, body, _ = genuine["token"].split(".")
    signature = forged["token"].rpartition(".")[2]
    code, said = await apart.world.refused(
        publish(apart.world, pod, {"keyferry": {"token": f"{head}.{body}.{signature}"}}), pod
    )

    assert code == "PERMISSION_DENIED"
    assert "key" in said
    assert signature not in said
