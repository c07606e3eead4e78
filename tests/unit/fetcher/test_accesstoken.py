"""When an access token is due for another, and that it hides itself."""

import pytest

from fetcher.accesstoken import Token


@pytest.mark.parametrize(
    ("life", "used_for"), [(86400.0, 86100.0), (3600.0, 3300.0), (1200.0, 900.0), (400.0, 300.0), (0.0, 0.0)]
)
def test_a_token_is_used_until_shortly_before_its_end(life: float, used_for: float) -> None:
    """Five minutes, or a quarter of a shorter life."""
    assert Token("t", since=1000.0, expires=1000.0 + life).until == 1000.0 + used_for


def test_a_token_that_has_ended_is_not_used_at_all() -> None:
    """Clocks may differ: another one was due before it came."""
    assert Token("t", since=1000.0, expires=900.0).until < 1000.0


def test_a_token_hides_its_value() -> None:
    """Logs and tracebacks show reprs."""
    assert "canary" not in repr(Token("canary", since=0.0, expires=1.0))
