"""What cannot be mounted: kubelet's FailedMount events say what to fix, and the pod starts once it is fixed."""

from __future__ import annotations

from keyferry.testing.kube.pods import Namespace


async def test_class_missing(ns: Namespace) -> None:
    """Without the class in the pod's namespace the event has the text that people grep for; with it the pod starts."""
    pod = await ns.pod("app", "absent")
    await ns.warned(pod, f"failed to get secretproviderclass {ns.name}/absent", "not found")

    await ns.vault_class("absent")
    await ns.ready(pod)
    assert await ns.read(pod, "absent/password") == "tiger"


async def test_role_wrong(ns: Namespace) -> None:
    """The event of a login that fails names the pod, the role, who logs in and where; the pod goes without a trace."""
    await ns.vault_class("wrong", role="no-such-role")
    pod = await ns.pod("app", "wrong")
    said = await ns.warned(pod, f"failed to mount secrets store objects for pod {ns.name}/app, err: ")

    assert f'at auth/kubernetes/login as role "no-such-role" (service account {ns.name}/app)' in said
    await ns.delete(pod)
    await ns.gone(pod)


async def test_secret_missing(ns: Namespace) -> None:
    """The event of a secret that is not there names it; once it is written the pod starts."""
    await ns.vault_class("later", "file=later:key")
    pod = await ns.pod("app", "later")
    await ns.warned(pod, f"secret/data/{ns.name}/later")

    await ns.secret("later", key="lynx")
    await ns.ready(pod)
    assert await ns.read(pod, "later/file") == "lynx"
