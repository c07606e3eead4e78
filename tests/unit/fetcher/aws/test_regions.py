import pytest

from fetcher.provider import Scope, scope_of
from fetcher.providers.aws import open_provider
from fetcher.providers.aws.regions import scope


@pytest.mark.parametrize(
    ("parameters", "default", "expected"),
    [
        ({"region": "eu-west-1"}, "", Scope("eu-west-1")),
        ({"region": " eu-west-1 "}, "eu-west-2", Scope("eu-west-1")),
        ({}, "eu-west-2", Scope("eu-west-2")),
        ({"region": "  "}, "eu-west-2", Scope("eu-west-2")),
        ({}, "", Scope("", by_region=True)),
        ({"failoverRegion": "eu-west-3"}, "", Scope("eu-west-3", by_region=True)),
        ({"region": "eu-west-1", "failoverRegion": "eu-west-3"}, "", Scope("eu-west-1+eu-west-3")),
        ({"region": "no region\n", "objects": "{"}, "", Scope("")),
        ({"region": "eu-west-1", "failoverRegion": "x" * 1000}, "", Scope("")),
    ],
)
def test_the_scope_is_the_regions_of_the_class(parameters: dict[str, str], default: str, expected: Scope) -> None:
    """Calls to a region share a budget; the node's region counts exactly where nobody names one."""
    assert scope(parameters, default) == expected


async def test_the_provider_tells_its_scope() -> None:
    """The fetcher asks before every fetch, whatever stands in the class."""
    provider = await open_provider({})
    try:
        assert scope_of(provider, {"objects": "- {"}) == Scope("", by_region=True)
    finally:
        await provider.close()
