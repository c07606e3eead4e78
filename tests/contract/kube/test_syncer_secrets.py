"""What the syncer writes of Secrets, on the API server under test."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from keyferry.kube import Kube, connect
from syncer.cluster import Owner
from syncer.desired import Desired, SyncRefused
from syncer.secrets import Outcome, Secrets

from .conftest import Api, Cluster

SECRETS = "/api/v1/namespaces/{ns}/secrets"
ONE = f"{SECRETS}/app-secrets"
DESIRED = Desired(
    "app-secrets",
    "Opaque",
    {"environment": "test", "secrets-store.csi.k8s.io/managed": "true"},
    {"team": "shop"},
    {"password": b"horse", "key": b"\x00\xff"},
)


@pytest.fixture
async def kube(cluster: Cluster) -> AsyncIterator[Kube]:
    async with connect(cluster.kubeconfig, user_agent="keyferry-syncer") as running:
        yield running


@dataclass
class Desk:
    """A syncer's hand, and what it writes to."""

    api: Api
    kube: Kube
    hand: Secrets
    owner: Owner
    now: list[float] = field(default_factory=lambda: [1000.0])

    async def write(self, desired: Desired = DESIRED, *owners: Owner) -> Outcome:
        """Write into the test's namespace."""
        return await self.hand.write(self.api.namespace, desired, owners or [self.owner])

    async def found(self) -> dict[str, Any]:
        """The Secret, its values decoded."""
        secret = await self.api.read(ONE)
        secret["data"] = {key: base64.b64decode(value) for key, value in secret.get("data", {}).items()}
        return secret


async def config_map(api: Api, name: str) -> Owner:
    made = await api.make("/api/v1/namespaces/{ns}/configmaps", {"metadata": {"name": name}})
    return Owner("v1", "ConfigMap", name, made["metadata"]["uid"])


@pytest.fixture
async def desk(api: Api, kube: Kube) -> Desk:
    now = [1000.0]
    return Desk(api, kube, Secrets(kube, lambda: now[0]), await config_map(api, "one"), now)


async def test_a_secret_is_made(desk: Desk) -> None:
    """With type, labels, annotations, values and owner, byte for byte."""
    assert await desk.write() is Outcome.CREATED

    found = await desk.found()
    metadata = found["metadata"]
    assert (found["type"], found["data"]) == ("Opaque", DESIRED.data)
    assert (metadata["labels"], metadata["annotations"]) == (DESIRED.labels, DESIRED.annotations)
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == [desk.owner.uid]


async def test_what_has_not_changed_is_not_written(desk: Desk) -> None:
    """Neither by this run, which remembers, nor by the next, whose apply changes nothing."""
    await desk.write()
    version = (await desk.found())["metadata"]["resourceVersion"]

    assert await desk.write() is Outcome.SAME
    assert await Desk(desk.api, desk.kube, Secrets(desk.kube), desk.owner).write() is Outcome.SAME

    assert (await desk.found())["metadata"]["resourceVersion"] == version


async def test_a_change_is_written_and_an_entry_that_was_dropped_goes(desk: Desk) -> None:
    """Values, labels and annotations that the class has no more are there no more."""
    await desk.write()

    changed = replace(DESIRED, labels={"a": "b"}, annotations={}, data={"password": b"tiger"})
    assert await desk.write(changed) is Outcome.CHANGED

    found = await desk.found()
    assert found["data"] == {"password": b"tiger"}
    assert found["metadata"]["labels"] == {"a": "b"}
    assert "annotations" not in found["metadata"]


async def test_owners_come_and_go(desk: Desk) -> None:
    """Two owners, then the other one alone; that is no change of the Secret's own."""
    other = await config_map(desk.api, "two")
    await desk.write(DESIRED, desk.owner, other)
    both = {owner["uid"] for owner in (await desk.found())["metadata"]["ownerReferences"]}

    assert await desk.write(DESIRED, other) is Outcome.SAME

    assert both == {desk.owner.uid, other.uid}
    assert [owner["uid"] for owner in (await desk.found())["metadata"]["ownerReferences"]] == [other.uid]


async def test_a_secret_goes_with_its_last_owner(desk: Desk, controllers: None) -> None:  # noqa: ARG001 - they collect
    """Nobody deletes it but the cluster's own collector."""
    await desk.write()

    await desk.api.call("DELETE", f"/api/v1/namespaces/{{ns}}/configmaps/{desk.owner.name}")

    await desk.api.gone(ONE)


async def test_what_somebody_else_made_is_left_alone(desk: Desk) -> None:
    """Not merged into, not even labelled; the text names who made it."""
    await desk.api.make(
        SECRETS, {"metadata": {"name": "app-secrets"}, "data": {"own": "b3du"}}, fieldManager="somebody"
    )

    with pytest.raises(SyncRefused, match=r"secret app-secrets is there already and was made by somebody"):
        await desk.write()

    found = await desk.found()
    assert found["data"] == {"own": b"own"}
    assert "labels" not in found["metadata"]


async def test_what_todays_driver_made_is_taken_over(desk: Desk) -> None:
    """A migration in place keeps the Secrets that pods refer to."""
    labels = {"secrets-store.csi.k8s.io/managed": "true"}
    await desk.api.make(
        SECRETS,
        {"metadata": {"name": "app-secrets", "labels": labels}, "data": {"password": "b2xk"}},
        fieldManager="secrets-store-csi-driver",
    )

    await desk.write()

    assert (await desk.found())["data"]["password"] == b"horse"


async def test_another_type_is_told(desk: Desk) -> None:
    """The API server lets nobody change it; the text says what to do."""
    await desk.write()

    with pytest.raises(SyncRefused, match="has another type, which cannot be changed"):
        await desk.write(replace(DESIRED, type="example.com/other"))

    assert (await desk.found())["data"] == DESIRED.data


async def test_an_immutable_secret_is_told(desk: Desk) -> None:
    """Whoever froze it must let it go."""
    await desk.write()
    await desk.api.merge(ONE, {"immutable": True})

    with pytest.raises(SyncRefused, match="secret app-secrets is immutable: delete it"):
        await desk.write(replace(DESIRED, data={"password": b"tiger"}))

    assert (await desk.found())["data"] == DESIRED.data


async def test_a_refusal_quotes_no_value(desk: Desk) -> None:
    """What the API server has against a Secret is told without what is in it."""
    with pytest.raises(SyncRefused) as refused:
        await desk.write(replace(DESIRED, type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": b"horse"}))

    assert "dockerconfigjson" in str(refused.value)
    assert "horse" not in str(refused.value)
    assert base64.b64encode(b"horse").decode() not in str(refused.value)


async def test_a_namespace_that_is_gone(desk: Desk) -> None:
    """Nothing is written where nothing can be."""
    with pytest.raises(SyncRefused):
        await desk.hand.write("no-such-namespace", DESIRED, [desk.owner])


async def test_one_of_ours_is_removed(desk: Desk) -> None:
    """A class that asks for it no longer leaves nothing behind; twice is once."""
    await desk.write()

    assert await desk.hand.remove(desk.api.namespace, "app-secrets")
    assert not await desk.hand.remove(desk.api.namespace, "app-secrets")

    assert (await desk.api.call("GET", ONE)).status == 404


async def test_one_of_others_is_not_removed(desk: Desk) -> None:
    """Whatever a class has named, only what we made goes."""
    await desk.api.make(
        SECRETS, {"metadata": {"name": "app-secrets"}, "data": {"own": "b3du"}}, fieldManager="somebody"
    )

    assert not await desk.hand.remove(desk.api.namespace, "app-secrets")

    assert (await desk.found())["data"] == {"own": b"own"}


async def test_one_that_was_deleted_comes_back(desk: Desk) -> None:
    """When it is looked at again, some minutes later; until then the API server is left in peace."""
    await desk.write()
    await desk.api.call("DELETE", ONE)

    assert await desk.write() is Outcome.SAME
    desk.now[0] += 301

    assert await desk.write() is Outcome.CREATED
    assert (await desk.found())["data"] == DESIRED.data


async def test_one_that_was_edited_is_mended(desk: Desk) -> None:
    """Whoever changes a value of ours with kubectl has made nothing of their own; what they added stays."""
    await desk.write()
    edit = {"data": {"password": "b3du", "extra": "b3du"}}
    await desk.api.call("PATCH", ONE, edit, content_type="application/merge-patch+json", fieldManager="kubectl-edit")
    desk.now[0] += 301

    await desk.write()

    assert (await desk.found())["data"] == {**DESIRED.data, "extra": b"own"}


async def test_one_that_was_replaced_by_another_is_left_alone(desk: Desk) -> None:
    """Somebody deleted ours and made their own under its name: the next change tells, instead of merging."""
    await desk.write()
    await desk.api.call("DELETE", ONE)
    await desk.api.make(
        SECRETS, {"metadata": {"name": "app-secrets"}, "data": {"own": "b3du"}}, fieldManager="somebody"
    )

    with pytest.raises(SyncRefused, match="was made by somebody"):
        await desk.write(replace(DESIRED, data={"password": b"tiger"}))

    assert (await desk.found())["data"] == {"own": b"own"}


async def test_one_of_another_type_is_looked_at(desk: Desk) -> None:
    """The look that names no type finds a tls Secret as well, and writes nothing that has not changed."""
    tls = replace(DESIRED, type="kubernetes.io/tls", data={"tls.crt": b"a", "tls.key": b"b"})
    await desk.write(tls)

    assert await Desk(desk.api, desk.kube, Secrets(desk.kube), desk.owner).write(tls) is Outcome.SAME
    assert await desk.hand.remove(desk.api.namespace, "app-secrets")


async def test_an_empty_secret_of_others_is_left_alone(desk: Desk) -> None:
    """Who made it without values did so for a reason of their own."""
    await desk.api.make(SECRETS, {"metadata": {"name": "app-secrets"}}, fieldManager="somebody")

    with pytest.raises(SyncRefused, match="is there already"):
        await desk.write()

    assert (await desk.found())["data"] == {}


async def test_labels_that_are_none_are_told(desk: Desk) -> None:
    """The text says which field; the Secret is not half made."""
    with pytest.raises(SyncRefused, match=r"metadata\.labels"):
        await desk.write(replace(DESIRED, labels={"a": "not a label!"}))

    assert (await desk.api.call("GET", ONE)).status == 404


async def test_one_that_somebody_labelled_otherwise_is_left_alone(desk: Desk) -> None:
    """A label of our kind with another value hands nothing over."""
    labels = {"secrets-store.csi.k8s.io/managed": "false"}
    body = {"metadata": {"name": "app-secrets", "labels": labels}, "data": {"own": "b3du"}}
    await desk.api.make(SECRETS, body, fieldManager="somebody")

    with pytest.raises(SyncRefused, match="was made by somebody"):
        await desk.write()

    assert (await desk.found())["metadata"]["labels"] == labels
