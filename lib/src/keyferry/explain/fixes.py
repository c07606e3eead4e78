"""What would help, by the reason of a failure (`keyferry.errors`), and at which step of the way it arose."""

from __future__ import annotations

import re

_MOUNT_CODE = re.compile(r"rpc error: code = (\w+)")

STEPS = {
    "BusUnavailable": "deliver",
    "BusFull": "deliver",
    "RequestExpired": "deliver",
    "UntrustedMessage": "deliver",
    "IdentityRefused": "deliver",
    "FailedToMount": "write",
    "FileWriteError": "write",
    "ContentTooLarge": "write",
    "VolumeBusy": "write",
    "VolumeConflict": "write",
}
"""Reason to the step it belongs to; all others arise at ``fetch``."""

FIXES = {
    "InvalidSecretProviderClass": "correct the SecretProviderClass: the message names the field",
    "SecretProviderClassNotFound": "create the class in the pod's namespace, or correct the name in the pod's volume",
    "SecretNotFound": "create the object in the backend, or correct its name, version or key in the class",
    "AccessDenied": "give the pod's identity the right to read the object: role, policy or binding in the backend",
    "IdentityRefused": "the pod's token did not prove it: check the CSIDriver's tokenRequests and the nodes' clocks",
    "ContentTooLarge": "mount fewer or smaller objects: a volume holds 4 MiB",
    "ProviderUnavailable": "check the backend and the network between fetchers and it; it is tried again by itself",
    "RateLimited": "the backend asks for fewer calls: it is left alone, then tried again by itself; raise its quota",
    "KubernetesUnavailable": "check the API server and the fetchers' way to it",
    "BusUnavailable": "check NATS and the network policies between nodes and it",
    "BusFull": "fetchers are too few, too slow or stopped: `keyferry top` shows the lag of FETCH",
    "StoreUnavailable": "check Redis and its URL; mounts go on without it",
    "RequestExpired": "check that fetchers run and keep up: `keyferry top` shows the lag of FETCH",
    "UntrustedMessage": "keys are out of step: compare public.json on nodes and fetchers, see `keyferry keys show`",
    "FailedToMount": "see the node-driver's log on that node, and the kernel's",
    "FileWriteError": "see the node-driver's log: the volume's tmpfs may be full (KEYFERRY_VOLUME_SIZE)",
    "InternalError": "a defect of Keyferry's: see the log that the message names, and report it",
}

_BY_CODE = {
    "InvalidArgument": "correct what the message names in the class or the pod's volume",
    "NotFound": "create what the message names, or correct its name",
    "PermissionDenied": FIXES["AccessDenied"],
    "Unauthenticated": FIXES["AccessDenied"],
    "FailedPrecondition": "mend what the message names",
    "Unavailable": FIXES["ProviderUnavailable"],
    "ResourceExhausted": FIXES["RateLimited"],
    "DeadlineExceeded": FIXES["RequestExpired"],
    "Aborted": "another operation on the volume is under way: kubelet asks again",
    "AlreadyExists": "the volume is mounted with other arguments: delete the pod",
}


def fix(reason: str) -> str:
    """What would help against a failure of this reason."""
    return FIXES.get(reason, "see the message; it is the backend's own")


def step(reason: str) -> str:
    """Where on the way it arose: deliver, fetch or write."""
    return STEPS.get(reason, "fetch")


def mount_fix(message: str) -> str:
    """What would help against what kubelet says in a FailedMount event."""
    found = _MOUNT_CODE.search(message)
    if "not registered" in message or "driver name" in message:
        return "the node-driver is not registered with this node's kubelet: check its pod on that node"
    if "failed to get secretproviderclass" in message:
        return FIXES["SecretProviderClassNotFound"]
    return _BY_CODE.get(found[1], "see the message") if found else "see the message; `keyferry doctor` looks further"
