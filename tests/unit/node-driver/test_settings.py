import pytest

from keyferry.settings import SettingsError, load
from node_driver.settings import Settings


def interval(text: str) -> float:
    return load(Settings, {"KEYFERRY_NODE_NAME": "node-a", "KEYFERRY_ROTATION_INTERVAL": text}).rotation_interval


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 120.0), ("30s", 30.0), ("1h30m", 5400.0), ("off", 0.0), ("Off", 0.0), ("0", 0.0), ("0s", 0.0)],
)
def test_rotation_interval(text: str, seconds: float) -> None:
    """The interval is a duration, two minutes if unset, and off as the rotator has it."""
    assert interval(text) == seconds


def test_rotation_interval_that_is_none() -> None:
    """A number without a unit is refused by the variable's name."""
    with pytest.raises(SettingsError, match="KEYFERRY_ROTATION_INTERVAL"):
        interval("120")
