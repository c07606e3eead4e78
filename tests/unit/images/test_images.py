"""How images are read from a Dockerfile and laid out; tests/e2e_kube/test_chart.py sees that they run."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from keyferry.testing.chart.fitting import PATCHES, Place, fit
from keyferry.testing.images.archive import Image, layer, write
from keyferry.testing.images.build import DOCKERFILE, send
from keyferry.testing.images.dockerfile import Config, stages


def test_our_dockerfile_is_read() -> None:
    """Its stages with their bases, and how the last one is run."""
    uv, build, last = stages(DOCKERFILE)
    assert [stage.name for stage in (uv, build, last)] == ["uv", "build", ""]
    assert build.base == last.base == "docker.io/library/python:3.11-slim-trixie"
    assert [word for word, _ in last.steps] == ["COPY", "ENV"]
    assert last.config.user == "65532:65532"
    assert last.config.entrypoint == ("/opt/keyferry/bin/service",)
    assert last.config.env["PYTHONUNBUFFERED"] == "1"


def test_an_unknown_instruction_is_refused(tmp_path: Path) -> None:
    """What would not be done is not passed over in silence."""
    file = tmp_path / "Dockerfile"
    file.write_text("FROM scratch\nHEALTHCHECK NONE\n")
    with pytest.raises(ValueError, match="HEALTHCHECK"):
        stages(file)


def test_the_builder_sees_no_test_support(tmp_path: Path) -> None:
    """What is sent is what Dockerfile.dockerignore lets through."""
    send(tmp_path / "seen")
    assert sorted(path.name for path in (tmp_path / "seen").iterdir()) == [
        "lib",
        "pyproject.toml",
        "services",
        "uv.lock",
    ]
    assert not (tmp_path / "seen/lib/src/keyferry/testing").exists()
    assert (tmp_path / "seen/lib/src/keyferry/settings.py").exists()
    assert list((tmp_path / "seen").rglob("__pycache__")) == []


def test_an_archive_is_laid_out_as_the_oci_says(tmp_path: Path) -> None:
    """Every blob has its digest for a name, a shared layer is there once, and the same files give the same bytes."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "program").write_text("#!/bin/sh\n")
    first = layer(folder, tmp_path / "first.tar")
    (folder / "program").touch()
    second = layer(folder, tmp_path / "second.tar")
    target = io.BytesIO()
    write(target, {f"example.com/{name}:1": Image((first,), Config(user=name)) for name in ("a", "b")})
    target.seek(0)
    with tarfile.open(fileobj=target) as tar:
        found = {entry.name: tar.extractfile(entry) for entry in tar.getmembers()}
        blobs = {name: file.read() for name, file in found.items() if file is not None}

    assert first.digest == second.digest
    named = {name.rpartition("/")[2]: body for name, body in blobs.items() if name.startswith("blobs/sha256/")}
    assert [hashlib.sha256(body).hexdigest() for body in named.values()] == list(named)
    assert len(named) == 5  # one layer, and two images' configurations and manifests
    index = json.loads(blobs["index.json"])["manifests"]
    assert [each["annotations"]["io.containerd.image.name"] for each in index] == ["example.com/a:1", "example.com/b:1"]


def test_nothing_that_a_pod_may_do_is_fitted() -> None:
    """The chart's security contexts, accounts, volumes and roles reach the cluster as they are."""
    container = {"name": "c", "securityContext": {"privileged": False}, "volumeMounts": [{"name": "v"}]}
    pod = {"serviceAccountName": "s", "securityContext": {"runAsUser": 1}, "containers": [container], "volumes": []}
    made = {"kind": "Deployment", "spec": {"template": {"spec": pod}}}
    role = {"kind": "ClusterRole", "rules": [{"verbs": ["get"]}]}
    objects = json.loads(json.dumps([made, role]))
    fit(objects, Place("10.0.0.1", 6443, "/k"))
    fitted = objects[0]["spec"]["template"]["spec"]

    assert all(patch.__doc__ for patch in PATCHES)
    assert objects[1] == role
    assert {key: fitted[key] for key in fitted if key not in ("hostAliases", "containers")} == {
        key: pod[key] for key in pod if key != "containers"
    }
    assert [{key: each[key] for key in each if key != "env"} for each in fitted["containers"]] == [container]
