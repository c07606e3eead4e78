import pytest

from fetcher.providers.gcp.channels import Channels
from fetcher.providers.gcp.resources import Resource, listing, resource, secret_id
from fetcher.providers.gcp.settings import GcpSettings


@pytest.mark.parametrize(
    ("name", "kind", "location", "host"),
    [
        ("projects/demo/secrets/db/versions/latest", "secret", "", "secretmanager.googleapis.com"),
        ("projects/123/secrets/d_b-1/versions/7", "secret", "", "secretmanager.googleapis.com"),
        ("projects/example.com:demo/secrets/db/versions/live", "secret", "", "secretmanager.googleapis.com"),
        (
            "projects/demo/locations/us-central1/secrets/db/versions/1",
            "secret",
            "us-central1",
            "secretmanager.us-central1.rep.googleapis.com",
        ),
        (
            "projects/demo/locations/global/parameters/app/versions/v1",
            "parameter",
            "",
            "parametermanager.googleapis.com",
        ),
        (
            "projects/demo/locations/us-central1/parameters/app/versions/v1",
            "parameter",
            "us-central1",
            "parametermanager.us-central1.rep.googleapis.com",
        ),
    ],
)
def test_a_name_says_who_is_asked(name: str, kind: str, location: str, host: str) -> None:
    """Service and location make the endpoint."""
    found = resource(name)

    assert found == Resource(name, kind, location)
    assert Channels(GcpSettings(), None).url(found) == f"https://{host}"


def test_an_endpoint_of_the_operators_may_depend_on_the_location() -> None:
    """As private endpoints do."""
    settings = GcpSettings(regional_secrets_endpoint="https://sm.{location}.example:8443")

    url = Channels(settings, None).url(Resource("", "secret", "us-central1"))

    assert url == "https://sm.us-central1.example:8443"


@pytest.mark.parametrize(
    "name",
    [
        "projects/demo/secrets/db",
        "projects/demo/secrets/db/versions/",
        "projects//secrets/db/versions/1",
        "projects/demo/secrets/db/versions/1/x",
        "/projects/demo/secrets/db/versions/1",
        "projects/demo/secrets/db/versions/1\n",
        "projects/demo/keys/db/versions/1",
        "projects/demo/secrets/../versions/1",
        "projects/demo/secrets/d%2Fb/versions/1",
        "projects/demo/secrets/dé/versions/1",
        "//secretmanager.googleapis.com/projects/demo/secrets/db/versions/1",
    ],
)
def test_other_names_are_an_unknown_resource_type(name: str) -> None:
    """Upstream's words, and the forms that there are."""
    assert "unknown resource type: write projects/*/secrets/*/versions/*" in str(resource(name))


@pytest.mark.parametrize("location", ["", "a" * 31, "evil.example", "eu#", "EU", "eu_west", "-eu", "eu:80", "eu@x"])
def test_a_location_that_could_be_another_host_is_invalid(location: str) -> None:
    """It becomes part of a host name, to which the pod's token is sent."""
    assert "invalid location" in str(resource(f"projects/demo/locations/{location}/secrets/db/versions/1"))


def test_a_parameter_needs_a_location() -> None:
    """There are none without, be it global."""
    assert "locations/global" in str(resource("projects/demo/parameters/app/versions/1"))


@pytest.mark.parametrize(
    ("name", "source", "place"),
    [
        ("projects/demo/secrets/db/versions/latest", "secrets/db", "demo"),
        ("projects/123/secrets/d_b-1/versions/7", "secrets/d_b-1", "123"),
        ("projects/demo/locations/europe-west1/secrets/db/versions/1", "secrets/db", "demo/europe-west1"),
        ("projects/demo/locations/global/parameters/app/versions/v1", "parameters/app", "demo"),
    ],
)
def test_a_resource_has_a_name_for_events_and_a_place_for_quotas(name: str, source: str, place: str) -> None:
    """Events carry the project's number, so the project is no part of the name."""
    found = resource(name)

    assert isinstance(found, Resource)
    assert (found.source, found.place) == (source, place)


def test_what_is_selected_is_named_as_the_class_would() -> None:
    """So that its id is the same whether it is selected or named, and its endpoint the listing's."""
    found = listing("projects/demo/locations/europe-west1")

    assert isinstance(found, Resource)
    assert found.newest("db") == resource("projects/demo/locations/europe-west1/secrets/db/versions/latest")
    assert Channels(GcpSettings(), None).url(found) == "https://secretmanager.europe-west1.rep.googleapis.com"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("projects/1/secrets/d_b-1", "d_b-1"),
        ("projects/1/locations/eu/secrets/db", "db"),
        ("projects/1/secrets/../x", ""),
        ("projects/1/secrets/a/versions/1", ""),
        ("projects/1/secrets/a\n", ""),
        ("projects/1/secrets/", ""),
        ("db", "db"),
        ("", ""),
    ],
)
def test_a_listed_name_gives_an_id_or_nothing(name: str, found: str) -> None:
    """It becomes part of a path, and of another call."""
    assert secret_id(name) == found
