"""The commands of docs/runbooks: what they tell to look at is there."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.e2e_kube.docs.cluster import Cluster
from tests.e2e_kube.docs.steps import inline, steps
from tests.unit.docs.pages import DOCS

pytestmark = [pytest.mark.root, pytest.mark.asyncio(loop_scope="session")]

PAGES = sorted((DOCS / "runbooks").glob("*.md"))
LEFT_OUT: Mapping[str, str] = {
    "nats ": "the NATS CLI is not among the test tools; `keyferry dead-letters` and `top` have their own tests",
    "keyferry keys rotate --dir keys": "docs/operations.md has it step by step, and test_operations.py follows it",
    "keyferry keys manifests": "as above",
}
"""What does not run, by how it begins, and why."""

SHOWN: Mapping[str, str] = {
    "kubectl get lease keyferry-syncer": r"holderIdentity: csi-secrets-store-syncer-",
}


def commands() -> list[str]:
    """All commands of all pages, in blocks and in prose."""
    found = [each.text for page in PAGES for each in steps(page)]
    found += [text for page in PAGES for program in ("kubectl", "nats", "keyferry") for text in inline(page, program)]
    return sorted({each for each in found if each != "kubectl logs"})


@pytest.mark.parametrize("command", [each for each in commands() if not each.startswith(tuple(LEFT_OUT))])
async def test_a_command_works(guided: Cluster, command: str) -> None:
    """It succeeds, and shows what the page says it does."""
    (shown,) = (text for start, text in SHOWN.items() if command.startswith(start))
    await guided.seen(command, shown)


async def test_everything_is_accounted_for() -> None:
    """What does not run is named with a reason, and is still on a page."""
    assert [name for name in LEFT_OUT if not any(each.startswith(name) for each in commands())] == []
