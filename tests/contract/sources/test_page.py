"""docs/change-events.md says what is true, and its script works."""

import asyncio
import os
import re
from pathlib import Path

from prometheus_client import REGISTRY

from keyferry.settings import known
from keyferry.testing.ports import free_port
from rotator.settings import Settings
from rotator.sources import open_sources, settings
from rotator.sources.server import WebhookServer

from .conftest import Bus, running, until

PAGE = (Path(__file__).parents[3] / "docs" / "change-events.md").read_text()
SECRET = "test-only-signing-secret"
CLASSES = (
    Settings,
    settings.AwsEvents,
    settings.GcpEvents,
    settings.VaultEvents,
    settings.VaultAudit,
    settings.Webhooks,
)


def test_every_setting_on_the_page_exists() -> None:
    """No variable is named there that nothing reads."""
    variables = {about.variable for each in CLASSES for _, about in known(each)}
    assert set(re.findall(r"KEYFERRY_[A-Z0-9_]+", PAGE)) <= variables


def test_every_metric_on_the_page_exists() -> None:
    """No metric is named there that nothing exports."""
    names = {name for metric in REGISTRY.collect() for name in (metric.name, f"{metric.name}_total")}
    on_page = set(re.findall(r"keyferry_change_[a-z_]+", PAGE))
    assert on_page <= names


def test_every_outcome_is_on_the_page() -> None:
    """What an operator can meet in the label is explained."""
    folder = Path(settings.__file__).parent
    code = "\n".join(file.read_text() for file in folder.glob("*.py"))
    outcomes = set(re.findall(r'\.(?:refuse|count)\(\s*"([a-z_]+)"', code)) | {"emitted", "gap"}
    assert {outcome for outcome in outcomes if f"`{outcome}`" not in PAGE} == set()


async def test_the_script_that_signs_is_taken(bus: Bus, tmp_path: Path) -> None:
    """Openssl and curl, as the page has them, send an event that is told."""
    script = PAGE.partition("runs this -->\n```sh\n")[2].partition("```")[0]
    (tmp_path / "secret").write_text(SECRET)
    variables = {"KEYFERRY_WEBHOOK_HMAC_FILE": str(tmp_path / "secret")}
    (source,) = open_sources({**variables, "KEYFERRY_WEBHOOK_ADDRESS": f"127.0.0.1:{free_port()}"})
    assert isinstance(source, WebhookServer)
    async with running(source, bus):
        await until(lambda: source.port != 0)
        environ = {"PATH": os.environ["PATH"], "SECRET": SECRET, "KEYFERRY": f"http://127.0.0.1:{source.port}"}
        shell = await asyncio.create_subprocess_exec("bash", "-euc", script, env=environ)
        assert await shell.wait() == 0
    assert bus.sources() == {"secret/data/app/db"}
