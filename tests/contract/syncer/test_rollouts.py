"""Workloads are rolled when the pods of their class cannot see a new secret, and only then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keyferry.events import VolumeRefreshed
from keyferry.kube import Json
from keyferry.testing.kubelet import pod_manifest

from .conftest import CLASSES, NODE, Term, entry

RESTARTED_AT = "keyferry.io/restarted-at"
LABELS = {"app": "web"}
FROM_SECRET = {"envFrom": [{"secretRef": {"name": "app"}}]}
BY_FILE = {"volumeMounts": [{"name": "secrets", "mountPath": "/etc/pw", "subPath": "pw"}]}
WHOLE = {"volumeMounts": [{"name": "secrets", "mountPath": "/mnt"}]}


async def workload(term: Term, container: dict[str, Any], *, policy: str = "when-needed") -> Json:
    """A StatefulSet with a pod that mounts the class, which has this restart policy."""
    apps = f"/apis/apps/v1/namespaces/{term.namespace}/statefulsets"
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "main", "image": "x"}]}}
    spec = {"selector": {"matchLabels": LABELS}, "serviceName": "web", "template": template}
    made = await term.kube.post(apps, {"metadata": {"name": "web"}, "spec": spec})
    assert made is not None
    await term.make_class("db", entry())
    annotated = {"metadata": {"annotations": {"keyferry.io/restart-policy": policy}}}
    await term.kube.call(
        "PATCH",
        f"{CLASSES.format(term.namespace)}/db",
        body=annotated,
        content_type="application/merge-patch+json",
    )
    body = pod_manifest(term.namespace, "web-0", node=NODE, secret_provider_class="db")
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": made["metadata"]["uid"]}
    ]
    (volume,) = body["spec"]["volumes"]
    volume["name"] = "secrets"
    body["spec"]["containers"] = [{"name": "main", "image": "x", **container}]
    pod = await term.kube.post(f"{term.path}/pods", body)
    assert pod is not None
    return pod


async def rolled(term: Term) -> bool:
    """Whether the StatefulSet was."""
    found = await term.kube.get(f"/apis/apps/v1/namespaces/{term.namespace}/statefulsets/web")
    assert found is not None
    return RESTARTED_AT in found["spec"]["template"]["metadata"].get("annotations", {})


@pytest.fixture
async def at_work(term: Term) -> Term:
    """A syncer that may roll, and soon does."""
    term.tools = replace(term.tools, rollouts=True, rollout_pause=0.1)
    term.start()
    return term


async def rotate_secret(term: Term, pod: Json) -> None:
    """The content of the class changes, and with it the Secret."""
    await term.hand_over(pw=b"tiger")
    await term.mount(pod)
    await term.until_secret({"password": b"tiger"})
    assert not await rolled(term)
    await term.hand_over(pw=b"lion")
    await term.until_secret({"password": b"lion"})


async def test_a_pod_with_variables_of_the_secret_is_renewed(at_work: Term) -> None:
    """When the Secret changes, and not when it is made."""
    await rotate_secret(at_work, await workload(at_work, FROM_SECRET))

    await at_work.until(lambda: rolled(at_work))


async def test_a_pod_with_a_single_file_is_renewed(at_work: Term) -> None:
    """When the files of its volume change, and not when they are confirmed."""
    volume = await at_work.mount(await workload(at_work, BY_FILE))
    await at_work.tell(VolumeRefreshed(replace(volume, fetched_at_ms=volume.fetched_at_ms + 1), changed=False))
    await at_work.idle()
    assert not await rolled(at_work)

    await at_work.tell(VolumeRefreshed(replace(volume, fetched_at_ms=volume.fetched_at_ms + 2), changed=True))

    await at_work.until(lambda: rolled(at_work))


@pytest.mark.parametrize(
    ("container", "policy"),
    [(WHOLE, "when-needed"), (FROM_SECRET, "never"), (FROM_SECRET, "")],
    ids=["sees its files change", "another policy", "no policy"],
)
async def test_others_are_left_alone(at_work: Term, container: dict[str, Any], policy: str) -> None:
    """Who sees the new secret, and whose class does not ask for it."""
    await rotate_secret(at_work, await workload(at_work, container, policy=policy))

    await at_work.idle()
    assert not await rolled(at_work)


async def test_nothing_is_rolled_where_the_operator_does_not_allow_it(term: Term) -> None:
    """A class's author may ask; who installs says whether."""
    term.start()
    await rotate_secret(term, await workload(term, FROM_SECRET))

    await term.idle()
    assert not await rolled(term)
