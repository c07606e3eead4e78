"""The Job that makes keys and identities: once, all that belongs together, and never over what is there."""

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyferry import keys_job
from keyferry.certificates_job import Server
from keyferry.keys import KeyFile
from keyferry.kube import Kube, connect
from keyferry.sealing import Binding
from keyferry.testing.kube import KubeAPI

SERVERS = [Server("nats", ("nats.kube-system.svc", "localhost")), Server("redis", ("valkey.kube-system.svc",))]
SECRETS, CONFIG_MAPS = (f"/api/v1/namespaces/kube-system/{kind}" for kind in ("secrets", "configmaps"))
FOLLOWING = ("keyferry-public-keys", "keyferry-nats-auth", "keyferry-redis-users", "keyferry-ca")


@pytest.fixture
async def api() -> AsyncIterator[KubeAPI]:
    async with KubeAPI() as running:
        yield running


@pytest.fixture
async def kube(api: KubeAPI) -> AsyncIterator[Kube]:
    async with connect(api.kubeconfig) as connected:
        yield connected


async def ensure(kube: Kube) -> dict[str, dict[str, str]]:
    """Run it, and see what is there then."""
    await keys_job.ensure(kube, "kube-system", SERVERS, now=time.time())
    return await held(kube)


async def held(kube: Kube) -> dict[str, dict[str, str]]:
    """What every Secret and ConfigMap of ours holds."""
    secrets, config_maps = [(await kube.get(path) or {})["items"] for path in (SECRETS, CONFIG_MAPS)]
    found = {
        each["metadata"]["name"]: {key: base64.b64decode(text).decode() for key, text in each["data"].items()}
        for each in secrets
    }
    found |= {each["metadata"]["name"]: each["data"] for each in config_maps}
    return {name: files for name, files in found.items() if name.startswith("keyferry-")}


def written(folder: Path, files: dict[str, str]) -> Path:
    """As kubelet mounts them."""
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o440)
    return folder


async def test_what_it_makes_fits_together(kube: Kube, tmp_path: Path) -> None:
    """What is sealed to the public keys opens with the private ones."""
    made = await ensure(kube)
    names = ("keyferry-public-keys", "keyferry-fetcher-keys", "keyferry-syncer-keys")
    folder = written(tmp_path, {file: text for name in names for file, text in made[name].items()})
    binding = Binding("ask", "r-1", "node-1", "csi-1")
    public, private = KeyFile.public(folder).keys, KeyFile.fetcher(folder).keys
    sealed = public.fetcher.current(0.0).seal(b"hello", binding)

    assert private.opener(sealed).open(sealed, binding) == b"hello"
    assert KeyFile.syncer(folder).keys.opening.entries[0][0] == public.syncer.entries[0][0]


async def test_it_changes_nothing_that_is_there(kube: Kube) -> None:
    """A second run, as each upgrade is one, leaves everything as it was."""
    before = await ensure(kube)
    assert await ensure(kube) == before


@pytest.mark.parametrize("lost", FOLLOWING)
async def test_what_follows_is_made_again(kube: Kube, lost: str) -> None:
    """Public keys, rights, users and trust follow from the secrets: the same as before."""
    before = await ensure(kube)
    for path in (SECRETS, CONFIG_MAPS):
        await kube.call("DELETE", f"{path}/{lost}")
    assert await ensure(kube) == before


@pytest.mark.parametrize("lost", FOLLOWING)
async def test_what_follows_is_brought_up_to_date(kube: Kube, lost: str) -> None:
    """An upgrade brings other rights: they are written over the old ones."""
    before = await ensure(kube)
    (kind,) = {"keyferry-redis-users": ["stringData"]}.get(lost, ["data"])
    path = {"stringData": SECRETS}.get(kind, CONFIG_MAPS)
    (file,) = before[lost]
    await kube.call("PATCH", f"{path}/{lost}", body={kind: {file: "old"}}, content_type="application/merge-patch+json")
    assert (await held(kube))[lost] == {file: "old"}
    assert await ensure(kube) == before


@pytest.mark.parametrize("made_first", [1, 2, 4, 7])
async def test_a_run_that_was_cut_off_is_finished(kube: Kube, made_first: int) -> None:
    """Whatever the first run made is used by the second, and fits what that makes."""
    complete = await ensure(kube)
    kept = [name for name in complete if name not in FOLLOWING][:made_first]
    for name in set(complete) - set(kept):
        for path in (SECRETS, CONFIG_MAPS):
            await kube.call("DELETE", f"{path}/{name}")
    finished = await ensure(kube)
    assert {name: finished[name] for name in kept} == {name: complete[name] for name in kept}
    assert await ensure(kube) == finished
    certificates = {finished[f"keyferry-{name}-tls"]["ca.crt"] for name in ("nats", "redis")}
    assert all(each in finished["keyferry-ca"]["ca.crt"] for each in certificates)


def test_an_api_server_that_is_away_is_an_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Job then tries again; the text names the file, and no traceback."""
    arguments = ["--namespace=a", "--nats-host=b", "--redis-host=c", f"--kubeconfig={tmp_path}/none"]
    assert keys_job.main(arguments) == 1
    assert "keyferry.keys_job: cannot reach Kubernetes" in capsys.readouterr().err


async def test_a_secret_of_somebody_else_is_left_alone(kube: Kube) -> None:
    """One of our names that holds no key of ours stops the installation, and stays."""
    foreign = {"metadata": {"name": "keyferry-fetcher-keys"}, "stringData": {"a": "b"}}
    await kube.post(SECRETS, foreign)
    with pytest.raises(KeyError):
        await ensure(kube)
    assert (await held(kube))["keyferry-fetcher-keys"] == {"a": "b"}
