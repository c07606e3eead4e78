"""The guide that ours was written after, for today's driver: where its commands are not ours, they work as well."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from keyferry.testing.kube.node import REPOSITORY, TOOLS
from tests.e2e_kube.docs.cluster import FILES, GUIDE, Cluster
from tests.e2e_kube.docs.steps import Step, steps

SEED = Path(os.environ.get(TOOLS) or REPOSITORY.parent / "shared" / "tools").parent / "seed.md"

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not SEED.is_file(), reason=f"{SEED} is not part of the repository"),
]

LEFT_OUT: Mapping[str, str] = {
    "helm repo ": "the chart comes from the repository",
    "helm install csi-secrets-store-provider-azure": "no provider is installed: it is part of the fetcher",
    "helm install vault-csi-provider": "as above",
    "helm install csi-secrets-store ": "as our guide's, but for where the chart is",
    "kubectl apply -f https://": "a provider's installer, which is not needed: its DaemonSet would go unused",
}
"""What is not done with Keyferry, by how it begins, and why."""

NOBODY = "No resources found in kube-system namespace."
PROVIDERS = "csi-secrets-store-provider-"


def read() -> list[Step]:
    """The guide's steps that are not ours, too."""
    ours = {" ".join(each.text.split()) for each in GUIDE}
    found = steps(SEED) if SEED.is_file() else iter(())
    return [each for each in found if " ".join(each.text.split()) not in ours]


OTHERS = [each.text for each in read() if not each.file and not each.text.startswith(tuple(LEFT_OUT))]


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("command", OTHERS)
async def test_a_command_works(guided: Cluster, command: str) -> None:
    """It succeeds after our guide; one that looks for provider pods finds none, and says so."""
    done = await guided.shell.run(command)
    assert done.status == 0, done.output
    assert (NOBODY in done.output) == (PROVIDERS in command)


def test_every_file_is_ours_too() -> None:
    """Each manifest and program that the page names is on ours, as it stands there."""
    named = {each.file: each.text for each in steps(SEED) if each.file}
    assert len(named) > 6
    assert {name: text for name, text in named.items() if FILES.get(name, "").strip() != text.strip()} == {}
