"""Which addresses a class may name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetcher.endpoints import allowed, refusal
from keyferry.errors import InvalidSecretProviderClass

GLOBS = ("*.vault.svc", "vault.example.com:8200", "10.0.0.5", "[fd00::1]")


@pytest.mark.parametrize(
    "url",
    [
        "http://vault",
        "http://vault.vault.svc:8200",
        "https://vault.example.com/prefix/of-a.proxy",
        "https://10.0.0.5:8200",
        "https://[fd00::1]:8200",
    ],
)
def test_a_plain_url_passes(url: str) -> None:
    """Without a list every host is allowed."""
    allowed(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "vault:8200",
        "ftp://vault",
        "unix:///run/vault.sock",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@vault",
        "http://user:pass@vault",
        "http://vault:pass@elsewhere",
        "http://vault\\@elsewhere",
        "http://vault#@elsewhere",
        "http://vault?x=1",
        "http://vault/..",
        "http://vault/%2e%2e/",
        "http://vault/a b",
        "http://vault:99999",
        "http://vault:8200:8200",
        "http://vault\n",
        "http://vault\r\nX-Header: 1",
        "http://\uff56ault",
        "http://vault\u3002svc",
        " http://vault",
        "HTTP//vault",
    ],
)
def test_anything_else_does_not(url: str) -> None:
    """No other scheme, no userinfo, nothing that two parsers could read in two ways."""
    with pytest.raises(InvalidSecretProviderClass, match="is not a usable URL"):
        allowed(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.vault.svc",
        "https://A.VAULT.SVC:1",
        "https://vault.example.com:8200/x",
        "http://10.0.0.5",
        "http://[fd00::1]",
    ],
)
def test_a_listed_host_passes(url: str) -> None:
    """Globs match the host, in any case; a pattern with a port matches that port alone."""
    assert refusal(url, GLOBS) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.svc",
        "http://vault.svc.evil.org",
        "http://evil.org/a.vault.svc",
        "https://vault.example.com",
        "https://vault.example.com:443",
        "http://169.254.169.254",
        "http://10.0.0.50",
        "http://[fd00::2]",
    ],
)
def test_another_host_is_refused(url: str) -> None:
    """The message names the host and the setting."""
    with pytest.raises(InvalidSecretProviderClass, match=r"does not allow.*KEYFERRY_ALLOWED_BACKENDS"):
        allowed(url, GLOBS)


def test_a_default_port_is_a_port() -> None:
    """A pattern for port 443 allows https without one."""
    assert refusal("https://vault.example.com", ["vault.example.com:443"]) is None


def test_an_url_is_not_quoted() -> None:
    """It may hold a password."""
    assert "canary" not in str(refusal("http://user:canary@vault"))


@given(st.text(), st.lists(st.text(max_size=20), max_size=3))
def test_no_text_breaks_it(url: str, patterns: list[str]) -> None:
    """It answers for any text, with a reason or with None."""
    assert isinstance(refusal(url, patterns), str | None)
