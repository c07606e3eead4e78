import base64
import json
from dataclasses import replace
from typing import Any

import jwt
import pytest

from fetcher.provider import ProviderRequest
from fetcher.providers.plugin.question import mount_request
from keyferry.resources import Pod

POD = Pod("shop", "web-1", "d448c6a2-cda8-42e3-84fb-3cf75faa8399", "web")
REQUEST = ProviderRequest(parameters={"account": "acme", "secrets": "- a: b"}, pod=POD)
SIGNING = "a key of at least thirty-two bytes"
TOKENS = "csi.storage.k8s.io/serviceAccount.tokens"


def attributes(request: ProviderRequest) -> Any:
    return json.loads(mount_request(request).attributes)


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "web", **claims}, SIGNING)


def test_the_class_and_kubelets_words_are_sent() -> None:
    """Under kubelet's names, all of them strings."""
    assert attributes(REQUEST) == {
        "account": "acme",
        "secrets": "- a: b",
        "csi.storage.k8s.io/pod.name": "web-1",
        "csi.storage.k8s.io/pod.namespace": "shop",
        "csi.storage.k8s.io/pod.uid": "d448c6a2-cda8-42e3-84fb-3cf75faa8399",
        "csi.storage.k8s.io/serviceAccount.name": "web",
        "csi.storage.k8s.io/ephemeral": "true",
    }


def test_a_class_cannot_speak_for_kubelet() -> None:
    """Whose pod it is and what its tokens are comes from kubelet, or not at all."""
    names = ("pod.name", "pod.uid", "serviceAccount.tokens", "invented")
    forged = {f"csi.storage.k8s.io/{name}": "forged" for name in names}

    assert attributes(replace(REQUEST, parameters={**forged, **REQUEST.parameters})) == attributes(REQUEST)


def test_tokens_have_kubelets_shape() -> None:
    """With the expiry that the token itself tells."""
    first, second = token(exp=1643234647), token(exp=1769464800)

    sent = attributes(replace(REQUEST, tokens={"conjur": first, "sts.amazonaws.com": second}))

    assert json.loads(sent[TOKENS]) == {
        "conjur": {"token": first, "expirationTimestamp": "2022-01-26T22:04:07Z"},
        "sts.amazonaws.com": {"token": second, "expirationTimestamp": "2026-01-26T22:00:00Z"},
    }


@pytest.mark.parametrize(
    "opaque",
    [
        "no jwt at all",
        "e30." + base64.urlsafe_b64encode(b'["exp"]').decode() + ".",
        token(exp=None),
        token(exp=float("nan")),
        token(),
        token(exp=10**30),
    ],
)
def test_a_token_without_a_readable_expiry_is_sent_without(opaque: str) -> None:
    """It is for the backend to judge."""
    assert json.loads(attributes(replace(REQUEST, tokens={"conjur": opaque}))[TOKENS]) == {"conjur": {"token": opaque}}


def test_our_own_token_stays_with_us() -> None:
    """With it a plugin could ask a fetcher for all that the pod may read."""
    ours, theirs = token(aud="keyferry"), token(aud="conjur")

    sent = mount_request(replace(REQUEST, tokens={"keyferry": ours, "conjur": theirs}))

    assert theirs in sent.attributes
    assert ours not in str(sent)


def test_without_tokens_there_is_no_attribute() -> None:
    """As kubelet does it where the CSIDriver object requests none."""
    assert TOKENS not in attributes(replace(REQUEST, tokens={"keyferry": token()}))


def test_the_secret_of_the_pod_goes_into_secrets() -> None:
    """As JSON, and an object also where there is none."""
    sent = mount_request(replace(REQUEST, node_publish_secret={"clientid": 'quo"te'}))

    assert json.loads(sent.secrets) == {"clientid": 'quo"te'}
    assert mount_request(REQUEST).secrets == "{}"


def test_the_mode_is_written_as_upstream_writes_it() -> None:
    """JSON of Go's os.FileMode: a decimal number."""
    assert mount_request(REQUEST).permission == "420"
    assert mount_request(replace(REQUEST, default_mode=0o400)).permission == "256"


def test_the_target_path_has_kubelets_shape() -> None:
    """Providers that take the pod's uid out of it find it."""
    assert (
        mount_request(REQUEST).target_path
        == f"/var/lib/kubelet/pods/{POD.uid}/volumes/kubernetes.io~csi/secrets-store/mount"
    )


def test_no_version_is_claimed_to_be_mounted() -> None:
    """A plugin that answered "unchanged" would leave the volume empty."""
    assert not mount_request(REQUEST).current_object_version
