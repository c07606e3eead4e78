"""What an operator may set for the gcp provider; the names are those of upstream's provider where it has one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fetcher.endpoints import refusal
from keyferry.settings import count, duration, flag, setting

_PROVIDER = re.compile(
    r"//iam\.googleapis\.com/projects/[0-9]+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+"
)


def _endpoint(text: str) -> str:
    if reason := refusal(text):
        raise ValueError(reason)
    return text.rstrip("/")


def _grpc(text: str) -> str:
    text = _endpoint(text)
    if "/" in text.partition("://")[2]:
        raise ValueError("has a path: gRPC goes by host and port alone")
    return text


def _regional(text: str) -> str:
    _grpc(text.replace("{location}", "europe-west1", 1))
    return text.rstrip("/")


def _provider(text: str) -> str:
    if not _PROVIDER.fullmatch(text):
        raise ValueError(
            f'is "{text}": write //iam.googleapis.com/projects/NUMBER/locations/global/workloadIdentityPools/POOL/'
            f"providers/PROVIDER"
        )
    return text


@dataclass(frozen=True, slots=True)
class GcpSettings:
    """Read once, when the provider is opened; a class can choose none of it."""

    project: str = setting(
        "PROJECT", "Project of the GKE cluster; without it the metadata server is asked.", default=""
    )
    cluster_name: str = setting("CLUSTER_NAME", "Its name; else the metadata server's.", default="")
    cluster_location: str = setting("CLUSTER_LOCATION", "Its zone or region; else the metadata server's.", default="")
    workload_identity_provider: str = setting(
        "KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER",
        "Clusters outside GKE: the provider of Workload Identity Federation that knows the cluster's issuer.",
        default="",
        parse=_provider,
    )
    credentials_file: str = setting(
        "GOOGLE_APPLICATION_CREDENTIALS",
        "Google's credentials file. Of type external_account it names the identity pool of a fleet; with auth: "
        "provider-adc its credentials are used.",
        default="",
    )
    exchange_endpoint: str = setting(
        "GAIA_TOKEN_EXCHANGE_ENDPOINT",
        "URL where pods' tokens are exchanged; Google's own for GKE or for Workload Identity Federation without it.",
        default="",
        parse=_endpoint,
    )
    gke_endpoint: str = setting(
        "GKE_WORKLOAD_IDENTITY_ENDPOINT",
        "What the name of a GKE cluster as identity provider begins with.",
        default="https://container.googleapis.com/v1",
    )
    iam_endpoint: str = setting(
        "KEYFERRY_GCP_IAM_ENDPOINT",
        "URL of the IAM Service Account Credentials API.",
        default="https://iamcredentials.googleapis.com",
        parse=_endpoint,
    )
    oauth_endpoint: str = setting(
        "KEYFERRY_GCP_OAUTH_ENDPOINT",
        "URL where a key.json is exchanged; the one in the key itself is not used.",
        default="https://oauth2.googleapis.com/token",
        parse=_endpoint,
    )
    metadata_host: str = setting(
        "GCE_METADATA_HOST", "Host of the metadata server.", default="metadata.google.internal"
    )
    secrets_endpoint: str = setting(
        "KEYFERRY_GCP_SECRETMANAGER_ENDPOINT",
        "URL of Secret Manager, for private networks and emulators; http:// goes without TLS.",
        default="https://secretmanager.googleapis.com",
        parse=_grpc,
    )
    regional_secrets_endpoint: str = setting(
        "KEYFERRY_GCP_SECRETMANAGER_REGIONAL_ENDPOINT",
        "The same for regional secrets; {location} stands for the secret's.",
        default="https://secretmanager.{location}.rep.googleapis.com",
        parse=_regional,
    )
    parameters_endpoint: str = setting(
        "KEYFERRY_GCP_PARAMETERMANAGER_ENDPOINT",
        "URL of Parameter Manager.",
        default="https://parametermanager.googleapis.com",
        parse=_grpc,
    )
    regional_parameters_endpoint: str = setting(
        "KEYFERRY_GCP_PARAMETERMANAGER_REGIONAL_ENDPOINT",
        "The same for regional parameters.",
        default="https://parametermanager.{location}.rep.googleapis.com",
        parse=_regional,
    )
    ca_file: str = setting(
        "KEYFERRY_GCP_CA_FILE", "PEM file with the CAs of these endpoints, instead of the public ones.", default=""
    )
    allow_provider_adc: bool = setting(
        "KEYFERRY_GCP_ALLOW_PROVIDER_ADC",
        "Let classes use the fetcher's own credentials (auth: provider-adc). Whoever may write a class then reads "
        "whatever the fetcher may read.",
        default=False,
        parse=flag,
    )
    allow_node_publish_secret: bool = setting(
        "ALLOW_NODE_PUBLISH_SECRET",
        "Let pods bring a service account's key.json in their nodePublishSecretRef.",
        default=False,
        parse=flag,
    )
    calls: int = setting(
        "KEYFERRY_GCP_CALLS",
        "Calls at the same time per endpoint, all on one HTTP/2 connection: Google takes 100.",
        default=64,
        parse=count,
    )
    attempts: int = setting(
        "KEYFERRY_GCP_ATTEMPTS",
        "Tries per call, with random pauses between them; never beyond the mount's deadline.",
        default=3,
        parse=count,
    )
    timeout: float = setting(
        "KEYFERRY_GCP_TIMEOUT",
        "Longest single try. Google answers in 50 to 300 ms, and kubelet gives a mount two minutes.",
        default=10.0,
        parse=duration,
    )
    tokens: int = setting(
        "KEYFERRY_GCP_TOKENS",
        "Access tokens kept until shortly before they expire; 0 exchanges every time.",
        default=1000,
        parse=count,
    )
    versions: int = setting(
        "KEYFERRY_GCP_VERSIONS",
        "Times a minute that each fetcher asks a project for a version alone, to leave out reading a value it holds; "
        "Google lets all readers of a project's metadata together ask 600 times. 0 reads every value.",
        default=100,
        parse=count,
    )
