"""Who somebody is, and what they may see, as an API server says it; with KUBEBUILDER_ASSETS a real one."""

from __future__ import annotations

import pytest

from keyferry.errors import KubernetesUnavailable, RateLimited
from keyferry.kube import Kube, connect
from keyferry.testing.kube import KubeAPI
from rotator.ui.rights import Rights, Scope
from rotator.ui.viewers import Viewer, Viewers

from .conftest import People


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


async def whose(kube: Kube, token: str) -> Viewer:
    """Who a token speaks for."""
    viewer = await Viewers(kube).whose(token)
    assert viewer is not None
    return viewer


async def test_a_token_says_who_looks(kube: Kube, people: People) -> None:
    """A service account's token is its own; the name is the cluster's."""
    viewer = await whose(kube, await people.token("bob"))

    assert viewer.name == f"system:serviceaccount:default:bob-{people.mark}"
    assert "system:serviceaccounts" in viewer.about["groups"]


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 20_000, "\u00fc\n\x00"])
async def test_what_is_no_token_is_nobody(kube: Kube, token: str) -> None:
    """Whatever is sent in its place."""
    assert await Viewers(kube).whose(token) is None


async def test_a_token_for_another_audience_is_nobody(kube: Kube, people: People) -> None:
    """One that a pod has for a vault opens nothing here."""
    await people.token("bob")
    path = f"/api/v1/namespaces/default/serviceaccounts/bob-{people.mark}/token"
    made = await kube.post(path, {"spec": {"audiences": ["vault"]}})

    assert made is not None
    assert await Viewers(kube).whose(made["status"]["token"]) is None


async def test_a_role_in_a_namespace_shows_that_namespace(kube: Kube, people: People) -> None:
    """Of all namespaces with volumes, those in which somebody may list mounts."""
    token = await people.token("bob", sees=("shop", "bank"))
    known = [people.namespace(name) for name in ("shop", "bank", "lab")]

    scope = await Rights(kube).scope(await whose(kube, token), known)

    assert scope == Scope(namespaces=frozenset({people.namespace("shop"), people.namespace("bank")}))


async def test_a_cluster_role_shows_everything(kube: Kube, people: People) -> None:
    """Also what no namespace can be called."""
    scope = await Rights(kube).scope(await whose(kube, await people.token("root", sees_all=True)), ["", "shop"])

    assert scope == Scope(everywhere=True)


async def test_without_a_role_nothing_is_shown(kube: Kube, people: People) -> None:
    """Being in the cluster is not enough; names that are none are not asked about, for an empty one means all."""
    scope = await Rights(kube).scope(await whose(kube, await people.token("eve")), ["", "shop", "../x", "A", "*"])

    assert scope == Scope()


async def test_answers_are_remembered_for_a_while(people: People) -> None:
    """A token for ten seconds, a right for thirty; then a right that was taken back is gone."""
    async with KubeAPI() as api, connect(api.kubeconfig) as kube:
        clock = Clock()
        own = People(kube, people.mark)
        token = await own.token("bob", sees=("shop",))
        viewers, rights = Viewers(kube, clock), Rights(kube, clock)
        shop = own.namespace("shop")
        viewer = await whose(kube, token)
        for _ in range(5):
            assert await viewers.whose(token) == viewer
            assert (await rights.scope(viewer, [shop])).sees(shop)
        assert asked(api, "tokenreviews") == 2  # one of them was ours
        assert asked(api, "subjectaccessreviews") == 2

        role = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{shop}/rolebindings/bob-{own.mark}-sees"
        await kube.call("DELETE", role)
        await kube.call("DELETE", f"/api/v1/namespaces/default/serviceaccounts/bob-{own.mark}")
        clock.now += 10
        assert await viewers.whose(token) is None
        assert (await rights.scope(viewer, [shop])).sees(shop)
        clock.now += 20
        assert await rights.scope(viewer, [shop]) == Scope()


def asked(api: KubeAPI, plural: str) -> int:
    """How many reviews of a kind were asked for."""
    return sum(count for call, count in api.faults.requests.items() if call.endswith(plural))


async def test_without_an_answer_nothing_is_known(people: People) -> None:
    """An API server that is away, or refuses, says neither who somebody is nor what they may see."""
    async with KubeAPI() as api, connect(api.kubeconfig) as kube:
        token = await People(kube, people.mark).token("bob", sees_all=True)
        viewer = await whose(kube, token)
        for status in (403, 500, 429, 404):
            api.faults.answer("/apis/auth", status)
            with pytest.raises(KubernetesUnavailable):
                await Viewers(kube).whose(token)
            with pytest.raises(KubernetesUnavailable):
                await Rights(kube).scope(viewer, ["shop"])
            api.faults.clear()


async def test_tokens_cannot_be_tried_without_end(people: People) -> None:
    """Some tens at once; then the API server is left alone, and who is known already still gets in."""
    async with KubeAPI() as api, connect(api.kubeconfig) as kube:
        viewers = Viewers(kube, Clock())
        token = await People(kube, people.mark).token("bob")
        assert await viewers.whose(token) is not None
        for number in range(39):
            assert await viewers.whose(f"guess-{number}") is None

        with pytest.raises(RateLimited):
            await viewers.whose("one more")
        assert await viewers.whose(token) is not None
        assert asked(api, "tokenreviews") == 40


async def test_namespaces_beyond_some_hundreds_are_not_asked_about(people: People) -> None:
    """Their number is told; the API server is not asked more for it."""
    async with KubeAPI() as api, connect(api.kubeconfig) as kube:
        viewer = await whose(kube, await People(kube, people.mark).token("bob"))

        scope = await Rights(kube).scope(viewer, (f"ns-{n}" for n in range(700)))

        assert scope == Scope(unasked=200)
        assert asked(api, "subjectaccessreviews") == 501


async def test_nothing_of_a_token_is_shown(kube: Kube, people: People) -> None:
    """Neither a viewer nor what is remembered has the token in it."""
    token = await people.token("bob")
    viewers = Viewers(kube)
    viewer = await viewers.whose(token)

    assert token not in repr(viewer)
    assert token not in repr(vars(viewers))
