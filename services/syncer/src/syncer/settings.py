"""What an operator can tell the syncer."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.service import ServiceSettings
from keyferry.settings import duration, flag, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServiceSettings):
    """Read from the environment once, in `keyferry.service.run`."""

    kubeconfig: str = setting(
        "KEYFERRY_KUBECONFIG", "kubeconfig file; without one, the pod's own service account is used", default=""
    )
    namespace: str = setting("KEYFERRY_NAMESPACE", "namespace of the Lease that one syncer holds", default="default")
    identity: str = setting(
        "KEYFERRY_POD_NAME", "what tells this replica from others; the host's name without it", default=""
    )
    secrets: bool = setting(
        "KEYFERRY_SYNC_SECRETS",
        "write the Kubernetes Secrets that classes ask for (secretObjects); statuses and Events are written anyhow",
        default=True,
        parse=flag,
    )
    lease: float = setting(
        "KEYFERRY_LEASE_DURATION",
        "how long a syncer that was killed is waited for before another takes its place",
        default=15.0,
        parse=duration,
    )
    rollouts: bool = setting(
        "KEYFERRY_ROLLOUTS",
        "roll workloads whose pods cannot see a new secret, where a class says keyferry.io/restart-policy: when-needed",
        default=False,
        parse=flag,
    )
    rollout_pause: float = setting(
        "KEYFERRY_ROLLOUT_PAUSE",
        "how long changes are gathered before a workload is rolled for them",
        default=30.0,
        parse=duration,
    )
    secret_syncs: bool = setting(
        "KEYFERRY_SECRET_SYNCS",
        "keep the Secrets of SecretSync objects too, without a pod; needs the right to create service accounts' tokens",
        default=False,
        parse=flag,
    )
    secret_sync_interval: float = setting(
        "KEYFERRY_SECRET_SYNC_INTERVAL",
        "how often those are fetched, unless their class says otherwise",
        default=120.0,
        parse=duration,
    )
