"""The pods fit together: images, ports, probes, labels, volumes, and what they may do on their node."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fetcher.callout import BUS_AUDIENCE
from keyferry import keys_job
from keyferry.bus.permissions import ACCOUNT
from keyferry.resources import DRIVER_NAME, TOKEN_AUDIENCE
from keyferry.streams import MOUNTS, REFRESHES
from syncer import asking
from syncer.desired import MANAGED_LABEL, REFUSED_TYPES

DEPLOY = Path(__file__).parents[3] / "deploy"
SETS = ("", "guide", "everything", "external")
OURS = ("node-driver", "fetcher", "rotator", "syncer")
CERTIFIED = {"keyferry-nats-tls", "keyferry-redis-tls", "keyferry-ca"}
THE_OPERATORS = {"page-tls", "webhook-tls", "webhook-auth", "our-ca"}


IDENTITIES = {
    **{f"keyferry-{service}-identity": [service] for service in ("fetcher", "rotator", "syncer", "streams")},
    "keyferry-nats-tls": ["nats"],
    "keyferry-redis-tls": ["valkey"],
    "keyferry-redis-users": ["valkey"],
}
SERVERS: dict[str, dict[str, list[str]]] = {"external": {}}  # the operator's own


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = workload["spec"]["template"]["spec"]
    return pod


@pytest.mark.parametrize("name", SETS)
def test_selectors_find_their_pods_and_no_others(render: Any, name: str) -> None:
    """Each workload's selector matches its own pods alone."""
    workloads = [each for each in render(name).workloads if each["kind"] != "Job"]
    labels = {each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"] for each in workloads}
    found = {
        each["metadata"]["name"]: [
            pods
            for pods, carried in labels.items()
            if each["spec"]["selector"]["matchLabels"].items() <= carried.items()
        ]
        for each in workloads
    }
    assert found == {each: [each] for each in labels}


@pytest.mark.parametrize("name", SETS)
def test_services_budgets_and_policies_find_pods(render: Any, name: str) -> None:
    """Whatever selects pods selects those of exactly one workload."""
    rendered = render(name)
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in rendered.workloads]
    selectors = [each["spec"]["selector"] for each in rendered.of("Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in rendered.of("PodDisruptionBudget")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in rendered.of("NetworkPolicy")]
    assert [sum(selector.items() <= carried.items() for carried in labels) for selector in selectors] == [
        1 for _ in selectors
    ]


@pytest.mark.parametrize("name", SETS)
def test_every_object_has_our_labels(render: Any, name: str) -> None:
    """And those that the operator adds."""
    labels = [each["metadata"]["labels"] for each in render(name).objects]
    assert {each["app.kubernetes.io/part-of"] for each in labels} == {"keyferry"}
    assert {each.get("team") for each in labels} == {{"everything": "platform"}.get(name)}


@pytest.mark.parametrize("name", SETS)
def test_probes_and_services_name_ports_that_exist(render: Any, name: str) -> None:
    """Every port that is named is one of the container's."""
    rendered = render(name)
    for workload in rendered.workloads:
        container = pod_of(workload)["containers"][0]
        named = {port["name"] for port in container.get("ports", ())}
        probes = [container[key] for key in container if key.endswith("Probe")]
        assert {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe} <= named
    ports = {port["name"] for each in rendered.workloads for port in pod_of(each)["containers"][0].get("ports", ())}
    assert {port["targetPort"] for each in rendered.of("Service") for port in each["spec"]["ports"]} <= ports


@pytest.mark.parametrize("service", OURS)
@pytest.mark.parametrize("name", SETS)
def test_our_services_are_probed_where_they_serve(render: Any, name: str, service: str) -> None:
    """/healthz and /readyz, at the port of KEYFERRY_HTTP_ADDRESS; images start by themselves."""
    container = render(name).container(service)
    (address,) = (each["value"] for each in container["env"] if each["name"] == "KEYFERRY_HTTP_ADDRESS")
    (port,) = (each["containerPort"] for each in container["ports"] if each["name"] == "http")
    assert f":{port}" == address
    assert container["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert "command" not in container
    assert re.fullmatch(rf"ghcr\.io/keyferry/{service}(:\d\S*|@sha256:\w{{64}})", container["image"])


@pytest.mark.parametrize("name", SETS)
def test_volumes_and_mounts_belong_together(render: Any, name: str) -> None:
    """Each mount has its volume and each volume its mount; what a volume is of is made by the chart or the keys Job."""
    rendered = render(name)
    by_the_job = set(keys_job._fresh("kube-system", {"nats": ["nats"], "redis": ["valkey"]})) | CERTIFIED
    made = {each["metadata"]["name"] for each in rendered.of("ConfigMap")} | by_the_job | THE_OPERATORS
    for workload in rendered.workloads:
        pod = pod_of(workload)
        claims = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())}
        volumes = {each["name"] for each in pod.get("volumes", ())} | claims
        assert {each["name"] for one in pod["containers"] for each in one.get("volumeMounts", ())} == volumes
        text = str(pod.get("volumes"))
        sources = re.findall(r"'(?:secret|configMap)': {[^}]*?'(?:secretName|name)': '([^']+)'", text)
        assert set(sources) <= made


@pytest.mark.parametrize("name", SETS)
def test_all_but_the_node_driver_are_restricted(render: Any, name: str) -> None:
    """Pod Security Standard "restricted", and nothing to write to but memory and data."""
    for workload in render(name).workloads:
        pod, container = pod_of(workload), pod_of(workload)["containers"][0]
        context = pod.get("securityContext", {}) | container["securityContext"]
        wanted = {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "runAsGroup": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        root = {"privileged": True, "runAsUser": 0, "readOnlyRootFilesystem": True}
        assert context == (root if container["name"] == "node-driver" else wanted)
        assert "hostNetwork" not in pod
        hosts = [each for each in pod.get("volumes", ()) if "hostPath" in each]
        assert len(hosts) == {"node-driver": 3}.get(container["name"], 0)


@pytest.mark.parametrize("name", SETS)
def test_the_node_driver_is_where_kubelet_looks(render: Any, name: str) -> None:
    """Its folders have the host's paths, pods' mounts go back to the host, its socket is in its plugin folder."""
    workload = render(name).one("DaemonSet", "csi-secrets-store-node-driver")
    pod, container = pod_of(workload), pod_of(workload)["containers"][0]
    root = {"everything": "/var/lib/k0s/kubelet"}.get(name, "/var/lib/kubelet")
    told = {each["name"]: each.get("value", "") for each in container["env"]}
    mounts = {each["name"]: each for each in container["volumeMounts"]}
    hosts = {each["name"]: each["hostPath"]["path"] for each in pod["volumes"] if "hostPath" in each}

    assert {each: mounts[each]["mountPath"] for each in hosts} == hosts
    assert hosts == {
        "pods": f"{root}/pods",
        "plugin": f"{root}/plugins/csi-secrets-store",
        "registry": f"{root}/plugins_registry",
    }
    assert mounts["pods"]["mountPropagation"] == "Bidirectional"
    assert told["KEYFERRY_CSI_ENDPOINT"] == f"unix://{root}/plugins/csi-secrets-store/csi.sock"
    assert told["KEYFERRY_STATE_DIR"] == f"{root}/plugins/csi-secrets-store/volumes"
    assert told["KEYFERRY_PLUGINS_REGISTRY"] == hosts["registry"]
    assert workload["spec"]["template"]["metadata"]["labels"]["app"] == "secrets-store-csi-driver"


@pytest.mark.parametrize("name", SETS)
def test_private_keys_go_to_their_service_alone(render: Any, name: str) -> None:
    """As files that the service's group may read and nobody else, which `keyferry.keys` insists on."""
    mounted: dict[str, list[str]] = {}
    for workload in render(name).workloads:
        for volume in pod_of(workload).get("volumes", ()):
            for secret in re.findall(r"keyferry-\w+-(?:keys|identity|tls|users)", str(volume)):
                mounted.setdefault(secret, []).append(pod_of(workload)["containers"][0]["name"])
                assert volume.get("projected", {"defaultMode": 0o440})["defaultMode"] == 0o440
    assert {secret: sorted(whose) for secret, whose in mounted.items()} == {
        "keyferry-public-keys": ["fetcher", "node-driver", "syncer"],
        "keyferry-fetcher-keys": ["fetcher"],
        "keyferry-syncer-keys": ["syncer"],
    } | SERVERS.get(name, IDENTITIES)


@pytest.mark.parametrize(("version", "in_secrets"), [("1.34.9", None), ("1.35.0", True), ("1.37.0", True)])
def test_the_csi_driver_object(render: Any, version: str, in_secrets: bool | None) -> None:
    """As design.md has it; tokens come in the secrets field where Kubernetes can do that."""
    driver = render("everything", version).one("CSIDriver", DRIVER_NAME)
    assert driver["spec"].pop("serviceAccountTokenInSecrets", None) is in_secrets
    assert driver["spec"] == {
        "podInfoOnMount": True,
        "attachRequired": False,
        "volumeLifecycleModes": ["Ephemeral"],
        "requiresRepublish": True,
        "tokenRequests": [
            {"audience": TOKEN_AUDIENCE},
            {"audience": "vault"},
            {"audience": "demo.svc.id.goog", "expirationSeconds": 3600},
        ],
    }


def test_the_guides_classes_get_their_tokens(render: Any) -> None:
    """The guide sets no audiences; its classes of AWS, Azure and Vault work all the same."""
    requests = render("guide").one("CSIDriver", DRIVER_NAME)["spec"]["tokenRequests"]
    assert {each["audience"] for each in requests} >= {
        "keyferry",
        "vault",
        "sts.amazonaws.com",
        "api://AzureADTokenExchange",
    }


def test_keda_scales_by_the_consumers_of_fetch(render: Any) -> None:
    """Each consumer that fetchers share, by its own name; the Deployment then has no number of its own."""
    rendered = render("everything")
    (scaled,) = rendered.of("ScaledObject")
    triggers = [each["metadata"] for each in scaled["spec"]["triggers"]]
    assert {each["type"] for each in scaled["spec"]["triggers"]} == {"nats-jetstream"}
    assert [(each["stream"], each["consumer"]) for each in triggers] == [
        (consumer.stream, consumer.durable) for consumer in (MOUNTS, REFRESHES)
    ]
    assert {each["natsServerMonitoringEndpoint"] for each in triggers} == {
        "csi-secrets-store-nats-servers.kube-system.svc.cluster.local:8222"
    }
    assert {each["account"] for each in triggers} == {ACCOUNT}
    assert [value for each in triggers for value in each.values() if not isinstance(value, str)] == []
    deployment = rendered.one("Deployment", scaled["spec"]["scaleTargetRef"]["name"])
    assert "replicas" not in deployment["spec"]


def test_all_four_services_are_scraped(render: Any) -> None:
    """The monitor selects pods that have the port that it names."""
    rendered = render("everything")
    (monitor,) = (each["spec"] for each in rendered.of("PodMonitor"))
    (chosen,) = monitor["selector"]["matchExpressions"]
    assert tuple(chosen["values"]) == OURS
    assert {each["port"] for each in monitor["podMetricsEndpoints"]} == {"http"}
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in rendered.workloads]
    assert sum(monitor["selector"]["matchLabels"].items() <= each.items() for each in labels) == len(labels)


def test_dashboards_and_alerts_know_the_services_by_their_jobs(render: Any) -> None:
    """The monitor calls each as the rules do, and the rules and dashboards are those of this tree."""
    rendered = render("everything")
    (monitor,) = (each["spec"] for each in rendered.of("PodMonitor"))
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert [each["targetLabel"] for each in endpoint["relabelings"]] == ["job", "instance", "node"]
    assert endpoint["relabelings"][0]["replacement"] == "keyferry-$1"
    rules = {path.name: yaml.safe_load(path.read_text()) for path in (DEPLOY / "alerts").glob("*.rules.yaml")}
    told = {str(each["metadata"]["name"]): each["spec"] for each in rendered.of("PrometheusRule")}
    assert {name.rpartition("-")[2]: spec for name, spec in told.items()} == {
        name.removesuffix(".rules.yaml"): spec for name, spec in rules.items()
    }
    shown = [text for each in rendered.of("ConfigMap") for name, text in each["data"].items() if name.endswith(".json")]
    assert sorted(shown) == sorted(path.read_text().rstrip() for path in (DEPLOY / "dashboards").glob("*.json"))


def test_alerts_lead_where_their_pages_are_served(render: Any) -> None:
    """Each alert's annotation is the value with its name in it; nothing else of the rules depends on it."""
    served = {"enabled": True, "runbookUrl": "https://docs.example.com/runbooks/{alert}.html#mend: $1"}
    groups = [group for each in render(prometheusRules=served).of("PrometheusRule") for group in each["spec"]["groups"]]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(alerts) > 20
    assert {rule["annotations"]["runbook_url"].replace(rule["alert"], "{alert}") for rule in alerts} == {
        served["runbookUrl"]
    }


def test_the_autoscaler_names_the_fetchers(render: Any) -> None:
    """And their Deployment has no number of its own."""
    rendered = render(fetcher={"autoscaling": {"enabled": True}})
    (scaler,) = rendered.of("HorizontalPodAutoscaler")
    assert "replicas" not in rendered.one("Deployment", scaler["spec"]["scaleTargetRef"]["name"])["spec"]


def test_the_admission_policy_names_the_syncer_and_its_rules(render: Any) -> None:
    """The account is the syncer's own; label and refused types are those of its code."""
    rendered = render("guide")
    policy = rendered.one("ValidatingAdmissionPolicy", "keyferry-syncer-secrets")["spec"]
    (condition,) = policy["matchConditions"]
    pod = pod_of(rendered.one("Deployment", "csi-secrets-store-syncer"))
    assert f'"system:serviceaccount:kube-system:{pod["serviceAccountName"]}"' in condition["expression"]
    assert set(re.findall(r'"([\w.-]+/[\w-]*token)"', str(policy["validations"]))) == set(REFUSED_TYPES)
    assert f'"{MANAGED_LABEL}"' in str(policy["variables"])
    assert {each["reason"] for each in policy["validations"]} == {"Forbidden"}  # what the syncer explains as denied
    binding = rendered.one("ValidatingAdmissionPolicyBinding", "keyferry-syncer-secrets")
    assert binding["spec"] == {"policyName": "keyferry-syncer-secrets", "validationActions": ["Deny", "Audit"]}
    assert [each["metadata"]["name"] for each in render().of("ValidatingAdmissionPolicy")] == ["keyferry-classes"]


def test_the_syncers_tokens_open_no_api_server(render: Any) -> None:
    """The policy names the audiences of the CSIDriver object, and no other."""
    rendered = render("everything")
    policy = rendered.one("ValidatingAdmissionPolicy", "keyferry-syncer-tokens")["spec"]
    requests = rendered.one("CSIDriver", DRIVER_NAME)["spec"]["tokenRequests"]
    audiences = re.findall(r'"([^"]+)"', policy["validations"][0]["expression"])
    assert audiences == [each["audience"] for each in requests]
    assert asking._TOKEN_SECONDS <= 600


def test_node_drivers_prove_their_node(render: Any) -> None:
    """By a token for NATS alone, and fetchers take it from the node-drivers' account alone."""
    rendered = render("guide")
    pod = pod_of(rendered.one("DaemonSet", "csi-secrets-store-node-driver"))
    (identity,) = (each["projected"]["sources"] for each in pod["volumes"] if each["name"] == "identity")
    told = {each["name"]: each.get("value") for each in rendered.container("fetcher")["env"]}
    (token,) = (each["serviceAccountToken"] for each in identity if "serviceAccountToken" in each)
    assert token["audience"] == BUS_AUDIENCE
    assert told["KEYFERRY_NODE_ACCOUNT"] == f"kube-system/{pod['serviceAccountName']}"


def test_a_changed_streams_job_is_another_job(render: Any) -> None:
    """Kubernetes changes no Job's pods: an upgrade makes a new one where something differs, and only there."""
    upgrades: list[dict[str, Any]] = [{}, {"commonLabels": {}}, {"streams": {"replicas": 1}}]
    names = [
        each["metadata"]["name"]
        for values in upgrades
        for each in render(**values).of("Job")
        if "streams" in each["metadata"]["name"]
    ]
    assert names[0] == names[1] != names[2]


def test_the_dockerfile_makes_what_the_chart_runs() -> None:
    """The image's user is the pods', and its port theirs."""
    text = (Path(__file__).parents[3] / "deploy" / "docker" / "Dockerfile").read_text()
    assert "\nUSER 65532:65532\n" in text
    assert "\nEXPOSE 8095\n" in text
