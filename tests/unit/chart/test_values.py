"""Wrong values fail before anything is installed, and the message names the field."""

import json
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "keyferry"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"rotationPolInterval": "2m"}, "rotationPolInterval"),
        ({"rotationPollInterval": "2 minutes"}, "/rotationPollInterval"),
        ({"rotationPollInterval": 120}, "/rotationPollInterval"),
        ({"enableSecretRotation": "yes"}, "/enableSecretRotation"),
        ({"syncSecret": {"enable": True}}, "'enable' not allowed"),
        ({"syncSecret": {"namespaces": ["Shop"]}}, "/syncSecret/namespaces/0"),
        ({"tokenRequests": ["vault"]}, "/tokenRequests/0"),
        ({"tokenRequests": [{"audience": "a", "expirationSeconds": 60}]}, "/tokenRequests/0/expirationSeconds"),
        ({"logLevel": "trace"}, "/logLevel"),
        ({"linux": {"kubeletRootDir": "var/lib/kubelet"}}, "/linux/kubeletRootDir"),
        ({"linux": {"metricsAddr": "8095"}}, "/linux/metricsAddr"),
        ({"linux": {"image": {"digest": "latest"}}}, "/linux/image/digest"),
        ({"linux": {"image": {"pullPolicy": "Sometimes"}}}, "/linux/image/pullPolicy"),
        ({"linux": {"settings": {"KEYFERRY_NODE_NAME": "a"}}}, "/linux/settings"),
        ({"windows": {"enabled": True}}, "/windows/enabled"),
        ({"fetcher": {"replicas": -1}}, "/fetcher/replicas"),
        ({"fetcher": {"settings": {"VAULT_ADR": "https://vault"}}}, "'VAULT_ADR' not allowed"),
        ({"fetcher": {"settings": {"KEYFERRY_REDIS_URL": "redis://:p@h"}}}, "/fetcher/settings"),
        ({"fetcher": {"keda": {"enabled": True}, "autoscaling": {"enabled": True}}}, "fetcher.keda.enabled"),
        ({"fetcher": {"keda": {"enabled": True}}, "nats": {"enabled": False, "url": "nats://a"}}, "monitoringEndpoint"),
        ({"rotator": {"webhook": {"auth": ["password"]}}}, "/rotator/webhook/auth/0"),
        ({"rotator": {"webhook": {"enabled": True, "auth": ["hmac"]}}}, "rotator.webhook.authSecret"),
        ({"rotator": {"vaultAudit": {"enabled": True}}}, "rotator.vaultAudit.allowed"),
        ({"rotator": {"vaultAudit": {"allowed": ["vault.svc"]}}}, "/rotator/vaultAudit/allowed/0"),
        ({"nats": {"replicas": 2}}, "/nats/replicas"),
        ({"nats": {"enabled": False}}, "nats.url"),
        ({"nats": {"enabled": False, "url": "http://nats"}}, "/nats/url"),
        ({"nats": {"enabled": False, "url": "nats://user:password@nats"}}, "/nats/url"),
        ({"valkey": {"enabled": False}}, "redis.existingSecret"),
        ({"networkPolicy": {"extraEgress": {"driver": []}}}, "'driver' not allowed"),
        ({"kubeVersion": "latest"}, "/kubeVersion"),
        ({"prometheusRules": {"runbookUrl": "https://docs/runbooks"}}, "/prometheusRules/runbookUrl"),
    ],
    ids=json.dumps,
)
def test_a_wrong_value_is_named(wrong: dict[str, Any], field: str) -> None:
    """By its path, or by the name that is not known there."""
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmError) as error:
        chart.render(wrong, name="release", namespace="default")
    assert field in str(error.value)


def test_values_that_todays_chart_shares(render: Any) -> None:
    """What an operator has set there means the same here."""
    rendered = render(
        nameOverride="csi-driver",
        fullnameOverride="ferry",
        linux={
            "updateStrategy": {"type": "OnDelete", "rollingUpdate": None},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "driver": {"resources": {"limits": {"memory": "1Gi"}}},
        },
    )
    daemon_set = rendered.one("DaemonSet", "ferry-node-driver")
    assert daemon_set["spec"]["template"]["metadata"]["labels"]["app"] == "csi-driver"
    assert daemon_set["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert daemon_set["spec"]["template"]["spec"]["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert rendered.container("node-driver")["resources"]["limits"]["memory"] == "1Gi"


def test_the_install_page_explains_every_value() -> None:
    """docs/install.md has a row for each value of values.yaml, at the depth where it stops being one switch."""
    page = (CHART.parents[2] / "docs" / "install.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    first = {key for key, value in values.items() if not isinstance(value, dict)}
    second = {f"{key}.{inner}" for key, value in values.items() if isinstance(value, dict) for inner in value}
    assert sorted(name for name in first | second if f"`{name}`" not in page) == []
