"""What the demo shows: a volume's tree, the calls, progress and failures."""

from __future__ import annotations

import asyncio
import io
import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from keyferry.testing.demo import calls, rotating, volume
from keyferry.testing.demo.environment import in_user_namespace, text
from keyferry.testing.demo.failure import Failure
from keyferry.testing.demo.guide import EXAMPLES, manifest, replica
from keyferry.testing.demo.mounted import mounted_below
from keyferry.testing.demo.progress import Progress
from keyferry.testing.demo.rotating import Arrival
from keyferry.testing.demo.together import together
from keyferry.testing.demo.values import Secrets


def test_tree(tmp_path: Path) -> None:
    """Every entry stands in the tree with its mode, size and target."""
    (tmp_path / "..v1").mkdir()
    (tmp_path / "..v1" / "password").write_text("tiger")
    (tmp_path / "..v1" / "password").chmod(0o640)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "password").symlink_to("..data/password")
    lines = volume.tree(tmp_path).plain.splitlines()

    assert [line[33:] for line in lines[1:]] == [
        "├ ..data → ..v1",
        "├ ..v1/",
        "│ └ password",
        "└ password → ..data/password",
    ]
    assert lines[3].startswith("-rw-r-----")
    assert lines[3][:33].endswith(" 5 B  ")
    assert volume.contents(tmp_path) == {"password": "tiger"}


def test_calls_of_an_audit_log() -> None:
    """Each request of an audit log counts once, its answer does not."""
    request = {"operation": "read", "path": "secret/data/app"}
    lines = [json.dumps({"type": kind, "request": request}) for kind in ("request", "response", "request")]
    assert calls.audited(lines) == Counter({("OpenBao", "read secret/data/app"): 2})


def test_table_of_calls() -> None:
    """A call that only one pod needed stands there with a zero for the other, and the sums are right."""
    out = io.StringIO()
    first = Counter({("OpenBao", "read secret"): 2, ("AWS", "GetSecretValue"): 1})
    Console(file=out, width=100).print(calls.table([("first", first), ("second", Counter())]))
    rows = [line.split() for line in out.getvalue().splitlines()]
    assert rows[1:] == [
        ["OpenBao", "read", "secret", "2", "0"],
        ["AWS", "GetSecretValue", "1", "0"],
        ["all", "3", "0"],
    ]


def test_progress_in_a_pipe() -> None:
    """Without a terminal there are plain lines of at most 100 columns, and no control codes."""
    out = io.StringIO()
    progress = Progress(Console(file=out), clock=iter((1.0, 3.5)).__next__)
    progress.step("Start")
    with progress.item("NATS") as item:
        item.detail = "nats://" + "x" * 200
    lines = out.getvalue().splitlines()

    assert lines[1].rstrip() == "1  Start"
    assert lines[2].startswith("   ✓ NATS ")
    assert lines[2].endswith("2.5 s")
    assert max(len(line) for line in lines) <= 100
    assert "\x1b" not in out.getvalue()


def test_failure_names_its_part() -> None:
    """What goes wrong in a step is shown with the step's name."""
    out = io.StringIO()
    progress = Progress(Console(file=out))
    with pytest.raises(Failure) as failed, progress.item("OpenBao"):
        raise OSError("no such file")
    progress.explain(failed.value)
    assert "✗ OpenBao" in out.getvalue()
    assert "OpenBao: OSError: no such file" in out.getvalue()


async def test_first_failure_ends_the_others() -> None:
    """Of things done together, one failure is raised as it is and the rest is cancelled."""
    ended = asyncio.Event()

    async def fail() -> None:
        raise Failure("AWS", "does not start")

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(Failure, match="AWS"):
        await together(wait(), fail())
    assert ended.is_set()


def test_mount_points() -> None:
    """Mounts below a folder are found innermost first, blanks and all; its own and its neighbours' are not."""
    info = "\n".join(
        f"36 35 98:0 / {point} rw - tmpfs tmpfs rw" for point in ("/d", "/d/a", r"/d/a/b\040c", "/de", "/proc")
    )
    assert mounted_below(Path("/d"), info) == [Path("/d/a/b c"), Path("/d/a")]


def test_environment_file() -> None:
    """A shell gets values as they are, and is told how to enter the namespace if there is one."""
    variables = {"NATS_URL": "nats://127.0.0.1:1", "ODD": "it's $HOME"}
    inside = text(variables, 42, in_namespace=True)
    assert "nsenter -U -m --preserve-credentials -t 42" in inside
    assert "export NATS_URL=nats://127.0.0.1:1\n" in inside
    assert "export ODD='it'\"'\"'s $HOME'\n" in inside
    assert "nsenter" not in text(variables, 42, in_namespace=False)


@pytest.mark.parametrize(
    ("uid_map", "inside"), [("0 0 4294967295\n", False), ("0 1000 1\n", True), ("1000 1000 1\n", True)]
)
def test_user_namespace(uid_map: str, inside: bool) -> None:
    """Only the machine's own root is root."""
    assert in_user_namespace(uid_map) is inside


def test_manifests_are_the_guides() -> None:
    """The manifests name what the guide does; only Vault's address is another."""
    vault = manifest("vault-secret-provider.yaml", "http://127.0.0.1:1")
    aws = manifest("aws-secret-provider.yaml", "http://127.0.0.1:1")
    assert vault["spec"]["parameters"]["vaultAddress"] == "http://127.0.0.1:1"
    assert vault["spec"]["parameters"]["roleName"] == "app-role"
    assert aws["spec"]["parameters"]["region"] == "us-west-2"


def test_pod_of_the_deployment() -> None:
    """A pod is the Deployment's template on a node, with a volume for each class."""
    deployment = yaml.safe_load((EXAMPLES / "deployment-with-secrets.yaml").read_text())
    pod = replica(deployment, 2, node="node-a", classes={"one": "class-1", "two": "class-2"})
    assert pod["metadata"] == {"labels": {"app": "web-app"}, "name": "app-with-secrets-2", "namespace": "production"}
    assert pod["spec"]["nodeName"] == "node-a"
    assert pod["spec"]["serviceAccountName"] == "app-service-account"
    mounted = {each["name"]: each["csi"]["volumeAttributes"]["secretProviderClass"] for each in pod["spec"]["volumes"]}
    assert mounted == {"one": "class-1", "two": "class-2"}


def test_table_of_arrivals() -> None:
    """Each volume stands there once, with the time of each way in which the new secret came."""
    out = io.StringIO()
    slow, fast = [[Arrival("web-1", "vault-secrets", seconds)] for seconds in (4.0, 0.25)]
    Console(file=out, width=100).print(rotating.table({"by the schedule": slow, "by an event": fast}))

    assert out.getvalue().splitlines()[1].split() == ["web-1", "vault-secrets", "4.00", "s", "0.25", "s"]


async def test_a_secret_that_does_not_come_is_a_failure(tmp_path: Path) -> None:
    """The demo ends, and says which volume is behind."""
    (tmp_path / "db-password").write_text("old")

    with pytest.raises(Failure, match="still holds the old secret"):
        await rotating.arrivals([("web-1", "azure-keyvault", tmp_path)], Secrets(), {"azure-keyvault": -1e9})
