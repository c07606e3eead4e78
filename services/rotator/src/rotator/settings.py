"""What an operator can tell the rotator; each source of change events has settings of its own beside it."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.plaintext import ALLOW, check_encrypted
from keyferry.service import ServiceSettings
from keyferry.settings import SettingsError, address, count, duration, flag, interval, setting
from keyferry.store import check_store, store_url
from keyferry.store_versions import ANY_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServiceSettings):
    """Read from the environment once, in `keyferry.service.run`. The folder of keys is not: rotators need none."""

    redis_url: str = setting(
        "KEYFERRY_REDIS_URL",
        "Redis or Valkey that holds the schedule, such as redis://:password@host:6379/0; shared by all rotators",
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
    interval: float = setting(
        "KEYFERRY_ROTATION_INTERVAL",
        "how often a content is asked for again, unless its class says otherwise; off for only when something changes",
        default=120.0,
        parse=interval,
    )
    change_pause: float = setting(
        "KEYFERRY_ROTATION_CHANGE_PAUSE",
        "how long at least between two refreshes of a content for change events; the last event always counts",
        default=2.0,
        parse=duration,
    )
    change_spread: float = setting(
        "KEYFERRY_ROTATION_CHANGE_SPREAD",
        "over how long the refreshes are spread when everything of a backend may have changed, as after a gap",
        default=10.0,
        parse=duration,
    )
    end_after: float = setting(
        "KEYFERRY_ROTATION_END_AFTER",
        "how long no volume must hold a content before its lease is revoked; a rolling deployment shall keep its own",
        default=60.0,
        parse=duration,
    )
    sweep_interval: float = setting(
        "KEYFERRY_ROTATION_SWEEP_INTERVAL",
        "how often to look for volumes whose node has been lost",
        default=6 * 3600.0,
        parse=duration,
    )
    concurrency: int = setting(
        "KEYFERRY_ROTATION_CONCURRENCY", "volume events in work at once", default=64, parse=count
    )
    ui_address: str = setting(
        "KEYFERRY_UI_ADDRESS",
        "where the live page is served, such as :8096; empty is off, and then the rotator does not ask Kubernetes",
        default="",
        parse=address,
    )
    ui_certificate: str = setting(
        "KEYFERRY_UI_TLS_CERT", "PEM certificate chain of the live page; read again when it changes", default=""
    )
    ui_key: str = setting("KEYFERRY_UI_TLS_KEY", "its PEM key", default="")
    ui_viewers: int = setting("KEYFERRY_UI_VIEWERS", "how many live pages may be open at once", default=32, parse=count)
    kubeconfig: str = setting(
        "KEYFERRY_KUBECONFIG",
        "kubeconfig file, for the live page alone; without one, the pod's own service account is used",
        default="",
    )

    def __post_init__(self) -> None:
        """Refuse what would go over a network in the clear.

        Raises:
            SettingsError: it would.
        """
        ServiceSettings.__post_init__(self)
        check_store(self.redis_url, allow_plaintext=self.allow_plaintext)
        if bool(self.ui_certificate) != bool(self.ui_key):
            raise SettingsError("KEYFERRY_UI_TLS_CERT and KEYFERRY_UI_TLS_KEY go together: set both, or neither")
        if self.ui_address and not self.ui_certificate and not self.allow_plaintext:
            self._check_local()

    def _check_local(self) -> None:
        try:
            check_encrypted("KEYFERRY_UI_ADDRESS", self.ui_address, "https")
        except SettingsError:
            raise SettingsError(
                "KEYFERRY_UI_ADDRESS would take tokens in the clear: set KEYFERRY_UI_TLS_CERT and KEYFERRY_UI_TLS_KEY, "
                f"listen on 127.0.0.1, or set {ALLOW}=true where something else encrypts what comes there"
            ) from None
