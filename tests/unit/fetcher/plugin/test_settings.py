import pytest

from fetcher.providers import PLUGIN_DIRS, open_providers
from fetcher.providers.plugin import Plugin, PluginSettings
from keyferry.settings import SettingsError, known, load


def test_folders_are_taken_in_order() -> None:
    """Blanks around the commas do not count."""
    assert load(PluginSettings, {PLUGIN_DIRS: "/b, /a"}).folders == ("/b", "/a")


@pytest.mark.parametrize(
    "environ",
    [
        {PLUGIN_DIRS: "relative"},
        {PLUGIN_DIRS: "/a,relative"},
        {PLUGIN_DIRS: " , "},
        {"KEYFERRY_PLUGIN_MAX_MESSAGE": "0"},
        {"KEYFERRY_PLUGIN_MAX_MESSAGE": "2Gi"},
        {"KEYFERRY_PLUGIN_MAX_MESSAGE": "lots"},
    ],
)
def test_what_cannot_work_is_said_at_start(environ: dict[str, str]) -> None:
    """Naming the variable."""
    with pytest.raises(SettingsError, match=next(iter(environ))):
        load(PluginSettings, environ)


def test_the_switch_is_the_setting() -> None:
    """The table of providers reads it before it imports anything."""
    assert PLUGIN_DIRS in {about.variable for _, about in known(PluginSettings)}


async def test_without_folders_there_are_no_plugins() -> None:
    """An unknown name is for the fetch handler to refuse."""
    async with open_providers(["vault"], {}) as providers:
        assert providers.get("conjur") is None
        assert list(providers) == ["vault"]


async def test_with_folders_every_other_name_is_a_plugins() -> None:
    """And ours stay ours."""
    async with open_providers(["vault"], {PLUGIN_DIRS: "/run/plugins"}) as providers:
        assert not isinstance(providers.get("vault"), Plugin)
        conjur = providers.get("conjur")
        assert isinstance(conjur, Plugin)
        assert conjur.name == "conjur"
        assert isinstance(providers.get("aws"), Plugin)  # not among ours here: its plugin may serve it
        assert list(providers) == ["vault"]
        assert len(providers) == 1


async def test_malformed_settings_keep_the_fetcher_from_starting() -> None:
    """Rather than from finding any plugin."""
    with pytest.raises(SettingsError, match=PLUGIN_DIRS):
        async with open_providers([], {PLUGIN_DIRS: "here"}):
            pass
