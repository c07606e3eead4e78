"""What an operator sets for the sources of change events; each source is off until its first setting is there."""

from __future__ import annotations

from dataclasses import dataclass

from keyferry.settings import address, count, setting, words

_EVENT_GRID = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
_POD_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
_SHORTEST_VISIBILITY = 20  # seconds; an emit may take ten


def _visibility(text: str) -> int:
    seconds = count(text)
    if seconds < _SHORTEST_VISIBILITY:
        raise ValueError(f'is "{text}": write {_SHORTEST_VISIBILITY} or more')
    return seconds


def _rate(text: str) -> int:
    rate = count(text)
    if not rate:
        raise ValueError('is "0": write 1 or more')
    return rate


@dataclass(frozen=True, slots=True)
class AwsEvents:
    """An SQS queue. Credentials are found as every AWS SDK finds them."""

    queue_url: str = setting(
        "KEYFERRY_AWS_EVENTS_QUEUE", "URL of the SQS queue that EventBridge rules write to; empty is off.", default=""
    )
    region: str = setting("KEYFERRY_AWS_EVENTS_REGION", "Its region, where the URL does not say.", default="")
    endpoint: str = setting("AWS_ENDPOINT_URL_SQS", "Endpoint of SQS, for private networks and emulators.", default="")
    visibility: int = setting(
        "KEYFERRY_AWS_EVENTS_VISIBILITY",
        "Seconds until another rotator may have a message that one has taken and not finished.",
        default=60,
        parse=_visibility,
    )


@dataclass(frozen=True, slots=True)
class GcpEvents:
    """A Pub/Sub subscription. Credentials are Google's application default credentials."""

    subscription: str = setting(
        "KEYFERRY_GCP_EVENTS_SUBSCRIPTION",
        "projects/PROJECT/subscriptions/NAME of the pull subscription; empty is off.",
        default="",
    )
    endpoint: str = setting(
        "KEYFERRY_GCP_EVENTS_ENDPOINT",
        "URL of Pub/Sub, for private networks and emulators; http:// goes without TLS and without credentials.",
        default="https://pubsub.googleapis.com",
    )
    ca_file: str = setting(
        "KEYFERRY_GCP_EVENTS_CA_FILE", "PEM file with the CAs of that endpoint, instead of the public ones.", default=""
    )
    credentials_file: str = setting(
        "GOOGLE_APPLICATION_CREDENTIALS", "Google's credentials file; without it, the metadata server.", default=""
    )


@dataclass(frozen=True, slots=True)
class VaultEvents:
    """The event stream of Vault Enterprise."""

    url: str = setting(
        "KEYFERRY_VAULT_EVENTS_ADDR", "URL of Vault, to hear its event stream; empty is off.", default=""
    )
    types: str = setting(
        "KEYFERRY_VAULT_EVENTS_TYPES", "Which event types to subscribe to, with * as wildcard.", default="kv*"
    )
    namespace: str = setting("KEYFERRY_VAULT_EVENTS_NAMESPACE", "Namespace of the token and the events.", default="")
    namespaces: tuple[str, ...] = setting(
        "KEYFERRY_VAULT_EVENTS_NAMESPACES",
        "Namespaces below it, with * as wildcard, whose events to hear as well.",
        default=(),
        parse=words,
    )
    token_file: str = setting(
        "KEYFERRY_VAULT_EVENTS_TOKEN_FILE", "File with a Vault token, such as an agent's sink.", default=""
    )
    role: str = setting(
        "KEYFERRY_VAULT_EVENTS_ROLE", "Role to log in as with the pod's token, instead of a token file.", default=""
    )
    auth_mount: str = setting(
        "KEYFERRY_VAULT_EVENTS_AUTH_MOUNT", "Path below auth/ to log in at.", default="kubernetes"
    )
    jwt_file: str = setting("KEYFERRY_VAULT_EVENTS_JWT_FILE", "File with the pod's token.", default=_POD_TOKEN)
    ca_file: str = setting(
        "KEYFERRY_VAULT_EVENTS_CA_FILE", "PEM file with the CAs that sign Vault's certificate.", default=""
    )


@dataclass(frozen=True, slots=True)
class VaultAudit:
    """The audit log of OpenBao or Vault, as its ``socket`` device writes it."""

    listen: str = setting(
        "KEYFERRY_VAULT_AUDIT_ADDRESS",
        "Where to take the audit log: host:port for TCP, or the path of a unix socket; empty is off.",
        default="",
    )
    allowed: tuple[str, ...] = setting(
        "KEYFERRY_VAULT_AUDIT_ALLOWED",
        "Networks (CIDR) that may connect over TCP; required there, as the device cannot prove who it is.",
        default=(),
        parse=words,
    )


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The HTTP server that the azure and webhook sources share."""

    listen: str = setting(
        "KEYFERRY_WEBHOOK_ADDRESS", "Where to take events by HTTP; empty is off.", default="", parse=address
    )
    certificate: str = setting(
        "KEYFERRY_WEBHOOK_TLS_CERT",
        "PEM certificate chain; read again when it changes. Without it, plain HTTP.",
        default="",
    )
    private_key: str = setting("KEYFERRY_WEBHOOK_TLS_KEY", "Its PEM key.", default="")
    rate: int = setting(
        "KEYFERRY_WEBHOOK_RATE",
        "Requests a second, for each path, from those who prove themselves; bursts may be four times that.",
        default=50,
        parse=_rate,
    )
    hmac_file: str = setting(
        "KEYFERRY_WEBHOOK_HMAC_FILE",
        "File of secrets that sign events sent to /events (Standard Webhooks), one a line; any of them holds.",
        default="",
    )
    token_file: str = setting(
        "KEYFERRY_WEBHOOK_TOKEN_FILE",
        "File of bearer tokens for /events, one a line, instead of signatures.",
        default="",
    )
    azure_key_file: str = setting(
        "KEYFERRY_AZURE_EVENTS_KEY_FILE",
        "File of keys that Event Grid sends to /events/azure in ?key= or X-Keyferry-Key, one a line.",
        default="",
    )
    azure_key: str = setting(
        "KEYFERRY_AZURE_EVENTS_KEY", "Such a key itself, instead of the file.", default="", secret=True
    )
    azure_issuer: str = setting(
        "KEYFERRY_AZURE_EVENTS_ISSUER",
        "Issuer of the tokens that Event Grid sends when its subscription is protected by Entra ID.",
        default="",
    )
    azure_audience: str = setting("KEYFERRY_AZURE_EVENTS_AUDIENCE", "Audience of those tokens.", default="")
    azure_jwks: str = setting("KEYFERRY_AZURE_EVENTS_JWKS_URL", "Where the issuer's keys are.", default="")
    azure_app: str = setting(
        "KEYFERRY_AZURE_EVENTS_APP_ID",
        "Application those tokens are issued to; Event Grid's own in the public cloud.",
        default=_EVENT_GRID,
    )
