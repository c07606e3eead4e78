from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyferry import settings
from keyferry.settings import SettingsError, load, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One of each kind."""

    name: str = setting("APP_NAME", "what it is called")
    interval: float = setting("APP_INTERVAL", "how often", default=120.0, parse=settings.duration)
    limit: int = setting("APP_LIMIT", "how much", default=1024, parse=settings.size)
    fast: bool = setting("APP_FAST", "whether to hurry", default=False, parse=settings.flag)
    workers: int = setting("APP_WORKERS", "how many", default=2, parse=settings.count)
    hosts: tuple[str, ...] = setting("APP_HOSTS", "which", default=(), parse=settings.words)
    pin: int = setting("APP_PIN", "the secret number", default=0, parse=settings.count, secret=True)


def test_variables_become_fields() -> None:
    """Every kind of value is read in the form people know from Kubernetes and Go."""
    environ = {
        "APP_NAME": "x",
        "APP_INTERVAL": "1h30m",
        "APP_LIMIT": "4Mi",
        "APP_FAST": "True",
        "APP_WORKERS": "8",
        "APP_HOSTS": "a, b,,c ",
        "APP_PIN": "1234",
    }

    assert load(Settings, environ) == Settings(
        name="x", interval=5400.0, limit=4 * 1024**2, fast=True, workers=8, hosts=("a", "b", "c"), pin=1234
    )


@pytest.mark.parametrize("environ", [{"APP_NAME": "x"}, {"APP_NAME": "x", "APP_INTERVAL": "", "APP_PIN": ""}])
def test_unset_and_empty_mean_the_default(environ: dict[str, str]) -> None:
    """A chart writes every variable; those without a value are empty."""
    assert load(Settings, environ) == Settings(name="x")


def test_all_problems_are_told_at_once() -> None:
    """Whoever fixes a deployment does it in one go: each variable, what is wrong, what it should look like."""
    with pytest.raises(SettingsError) as raised:
        load(Settings, {"APP_INTERVAL": "2 minutes", "APP_LIMIT": "4MB", "APP_FAST": "maybe", "APP_WORKERS": "-1"})

    assert str(raised.value).splitlines() == [
        "APP_NAME is not set: what it is called",
        'APP_INTERVAL is "2 minutes": write a duration such as 90s, 2m or 1h30m',
        'APP_LIMIT is "4MB": write a size such as 4Mi, 64Ki or a number of bytes',
        'APP_FAST is "maybe": write true or false',
        'APP_WORKERS is "-1": write a whole number',
    ]


def test_a_secret_value_is_never_shown() -> None:
    """A malformed secret is named by its variable only, and a good one is not in the repr."""
    with pytest.raises(SettingsError) as raised:
        load(Settings, {"APP_NAME": "x", "APP_PIN": "hunter2"})

    assert str(raised.value) == "APP_PIN is malformed"
    assert "1234" not in repr(load(Settings, {"APP_NAME": "x", "APP_PIN": "1234"}))


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("90s", 90.0), ("2m", 120.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("0s", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    """Seconds, as Go writes them."""
    assert settings.duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["90", "s", "-1s", "1d", "1h 30m", "1h30", " 1s"])
def test_what_is_no_duration(text: str) -> None:
    """A number without a unit is refused: seconds or minutes would be a guess."""
    with pytest.raises(ValueError, match="write a duration"):
        settings.duration(text)


@pytest.mark.parametrize(("text", "size"), [("0", 0), ("17", 17), ("64Ki", 65536), ("4Mi", 4194304), ("1Gi", 1 << 30)])
def test_sizes(text: str, size: int) -> None:
    """Bytes, as Kubernetes writes them."""
    assert settings.size(text) == size


@pytest.mark.parametrize("text", ["4M", "Mi", "-1", "1.5Mi", "4 Mi"])
def test_what_is_no_size(text: str) -> None:
    """Decimal units and fractions are refused."""
    with pytest.raises(ValueError, match="write a size"):
        settings.size(text)


@pytest.mark.parametrize("text", ["true", "1", "YES", "false", "0", "No"])
def test_flags(text: str) -> None:
    """Both spellings that charts produce, in any case."""
    assert settings.flag(text) == (text.lower() in {"true", "1", "yes"})


@pytest.mark.parametrize("parse", [settings.duration, settings.size, settings.count, settings.flag, settings.level])
@given(text=st.text(max_size=10))
def test_any_text_is_a_value_or_a_value_error(parse: settings.Parser, text: str) -> None:
    """No text gets past `load` as another exception."""
    assert outcome(parse, text) in (None, ValueError)


def outcome(parse: settings.Parser, text: str) -> type[Exception] | None:
    try:
        parse(text)
    except ValueError as error:
        return type(error)
    return None


def test_levels_are_those_of_logging() -> None:
    """In any case; others are refused with what may be written."""
    assert settings.level("Debug") == "debug"
    with pytest.raises(ValueError, match='is "verbose": write debug, info, warning or error'):
        settings.level("verbose")


def test_every_setting_is_documented() -> None:
    """`known` lists all of them, in order, for the documentation's check."""
    assert [about.variable for _, about in settings.known(Settings)][:2] == ["APP_NAME", "APP_INTERVAL"]
    assert len(settings.known(Settings)) == 7
