"""What an operator can tell the fetcher; each backend has settings of its own beside it."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.audit import LOGS
from keyferry.service import ServiceSettings
from keyferry.settings import count, duration, flag, setting, size, words
from keyferry.store import check_store, store_url
from keyferry.store_versions import ANY_VERSION


def account(text: str) -> str:
    """A service account."""
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise ValueError(f'is "{text}": write namespace/name')
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServiceSettings):
    """Read from the environment once, in `keyferry.service.run`."""

    kubeconfig: str = setting(
        "KEYFERRY_KUBECONFIG", "kubeconfig file; without one, the pod's own service account is used", default=""
    )
    providers: tuple[str, ...] = setting(
        "KEYFERRY_PROVIDERS",
        "backends to offer, comma-separated",
        default=("aws", "azure", "gcp", "openbao", "vault"),
        parse=words,
    )
    mounts: int = setting(
        "KEYFERRY_MOUNT_CONCURRENCY",
        "mounts in work at once; more wait in the stream, where other fetchers can take them",
        default=256,
        parse=count,
    )
    refreshes: int = setting(
        "KEYFERRY_REFRESH_CONCURRENCY",
        "refreshes in work at once; far fewer than mounts, so that these find their turn",
        default=16,
        parse=count,
    )
    sharing_window: float = setting(
        "KEYFERRY_SHARING_WINDOW",
        "how old a content may be for a mount to share it; 0s shares only what is being fetched",
        default=5.0,
        parse=duration,
    )
    sharing_bytes: int = setting(
        "KEYFERRY_SHARING_BYTES", "how much content to keep in memory for sharing", default=64 * 1024**2, parse=size
    )
    redis_url: str = setting(
        "KEYFERRY_REDIS_URL",
        "Redis or Valkey, where fetchers share contents; without one each shares within itself",
        default="",
        parse=store_url,
        secret=True,
    )
    redis_ca_file: str = setting(
        "KEYFERRY_REDIS_CA_FILE", "PEM file of the CAs of a rediss:// server; the system's without it", default=""
    )
    redis_any_version: bool = setting(
        ANY_VERSION,
        "true to use a Redis or Valkey with known holes, such as a managed one that is mended under its old version",
        default=False,
        parse=flag,
    )
    backend_calls: int = setting(
        "KEYFERRY_BACKEND_CONCURRENCY",
        "calls of this fetcher to one backend at once; mounts go before refreshes, and namespaces take turns",
        default=128,
        parse=count,
    )
    backend_rate: int = setting(
        "KEYFERRY_BACKEND_CALLS_PER_SECOND",
        "calls of all fetchers to one backend, such as a Vault or a region of AWS; 0 for any number",
        default=0,
        parse=count,
    )
    fetch_timeout: float = setting(
        "KEYFERRY_FETCH_TIMEOUT",
        "how long one fetch from a backend may take; kubelet gives up on a mount after two minutes",
        default=30.0,
        parse=duration,
    )
    callout_dir: str = setting(
        "KEYFERRY_CALLOUT_DIR",
        "folder with callout.nk and issuer.nk, to tell NATS what nodes may do; without it other fetchers must",
        default="",
    )
    node_account: str = setting(
        "KEYFERRY_NODE_ACCOUNT",
        "service account of the node-drivers, namespace/name; nobody else is admitted to the bus as a node",
        default="kube-system/secrets-store-csi-driver",
        parse=account,
    )
    audit_log: str = setting(
        "KEYFERRY_AUDIT_LOG",
        "where records of who got what go: a file such as /dev/stdout, off, or nothing for among the logs",
        default=LOGS,
    )

    def __post_init__(self) -> None:
        """Refuse what would go over a network in the clear.

        Raises:
            SettingsError: it would.
        """
        ServiceSettings.__post_init__(self)
        check_store(self.redis_url, allow_plaintext=self.allow_plaintext)
