import contextlib
import re
import string

import yaml
from hypothesis import given
from hypothesis import strategies as st

from fetcher.options import Selection
from fetcher.providers.gcp.entries import SECRET_FIELDS
from fetcher.providers.gcp.fetch import Gcp
from fetcher.providers.gcp.parameters import PARAMETERS, parse
from fetcher.providers.gcp.selecting import filter_of
from fetcher.providers.gcp.settings import GcpSettings
from keyferry.errors import InvalidSecretProviderClass

TERM = r"(?:name:[\w-]+|labels\.[\w-]+=[\w-]+)"
FILTER = re.compile(rf"(?:{TERM}(?: AND {TERM})*)?", re.ASCII)
TEXTS = st.text(max_size=40) | st.text(alphabet="projects/demo.x:locations/-_{}[]#&*!|>'\"\\0127 ~", max_size=60)
NAMES = st.builds("projects/{}{}/{}/{}/versions/{}".format, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS) | st.sampled_from(
    ["projects/p/secrets/s/versions/1", "projects/p/locations/eu/parameters/x/versions/v", "projects/p"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | NAMES
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS | st.sampled_from(SECRET_FIELDS), inner),
    max_leaves=12,
)
FIELDS = dict.fromkeys(SECRET_FIELDS[2:], SCALARS) | {
    "optional": st.booleans(),
    "expand": st.sampled_from(["", "json", "yaml"]),
    "selectPrefix": st.sampled_from(["", "a", "-"]) | TEXTS,
    "selectTags": st.dictionaries(st.sampled_from(["env", "é"]) | TEXTS, st.sampled_from(["", "x"]) | TEXTS),
}
SECRETS = st.lists(
    st.fixed_dictionaries({}, optional={"resourceName": NAMES, "path": TEXTS, **FIELDS}),
    max_size=4,
)


def check(parameters: dict[str, str]) -> None:
    with contextlib.suppress(InvalidSecretProviderClass):
        for wanted in parse(parameters, has_key=False).secrets:
            assert not wanted.path.startswith("/")
            assert ".." not in wanted.path.split("/")
            assert wanted.mode is None or 0 <= wanted.mode <= 0o777
            assert set(wanted.resource.location) <= set(string.ascii_lowercase + string.digits + "-")
            assert wanted.resource.name.isascii()
            assert wanted.resource.name.isprintable()
            assert re.fullmatch(r"[\w/+:.-]*", Gcp(GcpSettings(), float).scope(parameters).backend)
            assert FILTER.fullmatch(filter_of(wanted.selection or Selection()))


@given(st.dictionaries(st.sampled_from(PARAMETERS), TEXTS))
def test_any_parameters_are_understood_or_refused(parameters: dict[str, str]) -> None:
    """Whatever a class holds, nothing but InvalidSecretProviderClass may escape."""
    check(parameters)


@given(SECRETS | ANYTHING)
def test_any_yaml_is_understood_or_refused(secrets: object) -> None:
    """No file name leaves the volume, no location can become another host, and no selection another filter."""
    check({"secrets": yaml.safe_dump(secrets, allow_unicode=True)})


@given(st.text(alphabet=string.printable, max_size=200))
def test_any_text_is_understood_or_refused(secrets: str) -> None:
    """Also what is not even YAML."""
    check({"secrets": secrets})
