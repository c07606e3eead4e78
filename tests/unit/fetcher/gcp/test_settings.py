import pytest

from fetcher.providers.gcp.settings import GcpSettings
from keyferry.settings import SettingsError, load

PROVIDER = "//iam.googleapis.com/projects/42/locations/global/workloadIdentityPools/clusters/providers/one"


def test_google_itself_is_the_default() -> None:
    """And nothing that needs an operator's leave is on."""
    settings = load(GcpSettings, {})

    assert settings.secrets_endpoint == "https://secretmanager.googleapis.com"
    assert not settings.allow_provider_adc
    assert not settings.allow_node_publish_secret


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KEYFERRY_GCP_SECRETMANAGER_ENDPOINT", "secretmanager.googleapis.com:443"),
        ("KEYFERRY_GCP_PARAMETERMANAGER_ENDPOINT", "https://user@host"),
        ("KEYFERRY_GCP_SECRETMANAGER_REGIONAL_ENDPOINT", "https://{region}.example"),
        ("KEYFERRY_GCP_PARAMETERMANAGER_REGIONAL_ENDPOINT", "https://{location}.{location}.example"),
        ("KEYFERRY_GCP_SECRETMANAGER_ENDPOINT", "https://host/path"),
        ("KEYFERRY_GCP_SECRETMANAGER_REGIONAL_ENDPOINT", "https://host/{location}"),
        ("KEYFERRY_GCP_IAM_ENDPOINT", "ftp://x"),
        ("KEYFERRY_GCP_OAUTH_ENDPOINT", "x"),
        ("GAIA_TOKEN_EXCHANGE_ENDPOINT", "https://x/?y"),
        ("KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER", PROVIDER.removeprefix("//iam.googleapis.com/")),
        ("KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER", PROVIDER.replace("42", "demo")),
        ("KEYFERRY_GCP_CALLS", "many"),
        ("KEYFERRY_GCP_TIMEOUT", "10"),
        ("ALLOW_NODE_PUBLISH_SECRET", "perhaps"),
    ],
)
def test_what_is_malformed_is_named(variable: str, value: str) -> None:
    """At the start, with what should be written."""
    with pytest.raises(SettingsError, match=variable):
        load(GcpSettings, {variable: value})


def test_a_provider_is_named_in_full() -> None:
    """As `gcloud iam workload-identity-pools providers describe` does, after //iam.googleapis.com/."""
    assert (
        load(GcpSettings, {"KEYFERRY_GCP_WORKLOAD_IDENTITY_PROVIDER": PROVIDER}).workload_identity_provider == PROVIDER
    )
