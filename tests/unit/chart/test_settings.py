"""The variables that the chart sets are settings of the services, and every setting can be set."""

import importlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fetcher.providers import TABLE
from fetcher.settings import Settings as FetcherSettings
from keyferry import streams
from keyferry.settings import Known, known, load
from node_driver.settings import Settings as NodeDriverSettings
from rotator.settings import Settings as RotatorSettings
from rotator.sources import settings as sources
from syncer.settings import Settings as SyncerSettings

ROOT = Path(__file__).parents[3]
SETS = ("", "guide", "everything", "external")
TRACES = set(re.findall(r"^\| `(OTEL_\w+)`", (ROOT / "docs" / "running.md").read_text(), re.MULTILINE))
MEMORY = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0", "PYTHONOPTIMIZE": "2"}


def settings_of(module: str) -> type:
    """The class of a provider's module that holds its settings."""
    members = inspect.getmembers(importlib.import_module(f"{module}.settings"), inspect.isclass)
    return next(each for _, each in members if each.__module__ == f"{module}.settings" and known(each))


SOURCES = (sources.AwsEvents, sources.GcpEvents, sources.VaultEvents, sources.VaultAudit, sources.Webhooks)
PROVIDERS = tuple(settings_of(module) for module in sorted({*TABLE.values(), "fetcher.providers.plugin"}))
CLASSES: dict[str, tuple[type, ...]] = {
    "node-driver": (NodeDriverSettings,),
    "fetcher": (FetcherSettings, *PROVIDERS),
    "rotator": (RotatorSettings, *SOURCES),
    "syncer": (SyncerSettings,),
    "streams": (streams.Settings,),
}
FIXED = {  # one driver name, a pod's own service account, no keys for a rotator; a service has a key, or a node a token
    "KEYFERRY_ALLOW_PLAINTEXT",
    "KEYFERRY_REDIS_ANY_VERSION",
    "KEYFERRY_NATS_NKEY_FILE",
    "KEYFERRY_NATS_TOKEN_FILE",
    "KEYFERRY_DRIVER_NAME",
    "KEYFERRY_KUBECONFIG",
    "KEYFERRY_KEYS_DIR",
}
SCHEMA = json.loads((ROOT / "deploy" / "helm" / "keyferry" / "values.schema.json").read_text())
PLACES = {"node-driver": "linux"} | {each: each for each in ("fetcher", "rotator", "syncer", "streams")}


def about(service: str) -> dict[str, Known]:
    """Every setting of a service, by variable."""
    return {each.variable: each for settings in CLASSES[service] for _, each in known(settings)}


def environment(container: dict[str, Any]) -> dict[str, Any]:
    """Variable to value; to the reference where it has no value of its own."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("service", CLASSES)
def test_variables_are_settings(render: Any, name: str, service: str) -> None:
    """No variable is set that nobody reads, none twice."""
    variables = [each["name"] for each in render(name).container(service)["env"]]
    assert set(variables) <= set(about(service)) | TRACES | set(MEMORY)
    assert len(variables) == len(set(variables))


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("service", CLASSES)
def test_services_start_with_them(render: Any, name: str, service: str) -> None:
    """Each service reads what it is given without a complaint; what a reference brings stands for itself here."""
    stand_ins = {"KEYFERRY_REDIS_URL": "rediss://valkey:6379/0"}
    told = environment(render(name).container(service))
    environ = {key: value if isinstance(value, str) else stand_ins.get(key, "it") for key, value in told.items()}
    assert [type(load(settings, environ)) for settings in CLASSES[service]] == list(CLASSES[service])


def test_the_node_driver_is_told_to_save_memory(render: Any) -> None:
    """As docs/running.md has it."""
    told = environment(render().container("node-driver"))
    assert {key: told[key] for key in MEMORY} == MEMORY


@pytest.mark.parametrize("service", PLACES)
def test_every_other_setting_is_a_value(render: Any, service: str) -> None:
    """What the chart does not set itself, `settings` takes, unless it is a secret; a new setting belongs into both."""
    offered = set(SCHEMA["properties"][PLACES[service]]["properties"]["settings"]["properties"])
    passed_on = yaml.safe_load((Path(__file__).parent / "values" / "everything.yaml").read_text())[PLACES[service]]
    own = set(environment(render("everything").container(service))) - set(passed_on["settings"])
    wanted = {variable for variable, each in about(service).items() if not each.secret}
    assert offered == wanted - own - FIXED


def test_telemetry_takes_opentelemetrys_settings() -> None:
    """All of docs/running.md, but for headers, which may hold a token, and the name, which is each service's own."""
    offered = set(SCHEMA["properties"]["telemetry"]["properties"]["settings"]["properties"])
    assert offered == TRACES - {"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_SERVICE_NAME"}


@pytest.mark.parametrize("name", SETS)
def test_no_secret_stands_in_an_environment(render: Any, name: str) -> None:
    """Settings that are secret come by reference, and no ConfigMap holds a password."""
    rendered = render(name)
    for service in CLASSES:
        told = environment(rendered.container(service))
        assert [key for key, each in about(service).items() if each.secret and isinstance(told.get(key), str)] == []
    texts = [text for each in rendered.of("ConfigMap") for text in each["data"].values()]
    assert [text for text in texts if re.search(r"requirepass|password|token|PRIVATE", text)] == []
    assert rendered.of("Secret") == []


def test_large_numbers_stay_numbers(render: Any) -> None:
    """Helm would write 1048576 as 1.048576e+06."""
    assert environment(render("everything").container("node-driver"))["KEYFERRY_VOLUME_INODES"] == "1048576"
    assert environment(render("everything").container("fetcher"))["AWS_USE_FIPS_ENDPOINT"] == "true"


@pytest.mark.parametrize(("name", "interval"), [("", "off"), ("guide", "120s"), ("everything", "1h30m")])
def test_rotation_is_what_the_values_say(render: Any, name: str, interval: str) -> None:
    """Nodes and rotators have one interval; the guide looks for it in the deployment of the release's name."""
    rendered = render(name)
    said = [environment(rendered.container(each))["KEYFERRY_ROTATION_INTERVAL"] for each in ("node-driver", "rotator")]
    deployment = rendered.one("Deployment", "csi-secrets-store")
    assert said == [interval, interval]
    assert deployment["metadata"]["annotations"]["keyferry.io/rotation-interval"] == interval


@pytest.mark.parametrize(("values", "replicas"), [({}, "3"), ({"replicas": 1}, "1"), ({"replicas": 5}, "3")])
def test_streams_have_as_many_copies_as_servers_allow(render: Any, values: dict[str, int], replicas: str) -> None:
    """Three where there are three servers or more, else one."""
    told = environment(render(nats=values).container("streams"))
    assert told["KEYFERRY_STREAM_REPLICAS"] == replicas


def test_external_servers(render: Any) -> None:
    """An external NATS and Redis are named by URL or Secret, and none is installed."""
    rendered = render("external")
    told = environment(rendered.container("fetcher"))
    assert told["KEYFERRY_NATS_URL"] == {"secretKeyRef": {"name": "our-nats", "key": "url"}}
    assert told["KEYFERRY_REDIS_URL"] == {"secretKeyRef": {"name": "our-redis", "key": "url"}}
    assert told["KEYFERRY_REDIS_ANY_VERSION"] == "true"
    assert {each["metadata"]["name"] for each in rendered.of("StatefulSet", "Service", "ConfigMap")} == set()
    by_url = render("external", nats={"existingSecret": "", "url": "tls://a:4222,tls://b:4222"})
    assert environment(by_url.container("rotator"))["KEYFERRY_NATS_URL"] == "tls://a:4222,tls://b:4222"
