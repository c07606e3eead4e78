"""Who may speak to whom."""

from typing import Any

import pytest

DNS = {53}


def policy(rendered: Any, component: str) -> dict[str, Any]:
    spec: dict[str, Any] = rendered.one("NetworkPolicy", f"csi-secrets-store-{component}")["spec"]
    return spec


def reach(rules: list[dict[str, Any]], side: str) -> dict[int, str]:
    """Port to whom: components, networks, or `all`."""
    return {port["port"]: " ".join(map(_peer, rule.get(side, ()))) or "all" for rule in rules for port in rule["ports"]}


def _peer(peer: dict[str, Any]) -> str:
    expressions = peer.get("podSelector", {}).get("matchExpressions", [])
    return ",".join(expressions[0]["values"]) if expressions else str(peer.get("ipBlock", {}).get("cidr", "selected"))


@pytest.mark.parametrize(
    ("component", "ports"),
    [
        ("node-driver", {53: "all", 4222: "nats"}),
        (
            "fetcher",
            {
                53: "all",
                80: "169.254.170.23/32 169.254.169.254/32 fd00:ec2::23/128",
                443: "all",
                4222: "nats",
                6379: "valkey",
                6443: "all",
                8200: "all",
            },
        ),
        ("rotator", {53: "all", 443: "all", 4222: "nats", 6379: "valkey", 8200: "all"}),
        ("syncer", {53: "all", 443: "all", 4222: "nats", 6443: "all"}),
        ("streams", {53: "all", 4222: "nats"}),
        ("nats", {53: "all", 6222: "nats"}),
        ("valkey", {}),
    ],
)
def test_where_each_may_connect(render: Any, component: str, ports: dict[int, str]) -> None:
    """A node reaches NATS and nothing else; Redis is for fetchers and rotators."""
    assert reach(policy(render(), component).get("egress", []), "to") == ports


@pytest.mark.parametrize(
    ("component", "ports"),
    [
        ("node-driver", {9095: "selected"}),
        ("fetcher", {8095: "selected"}),
        ("rotator", {8095: "selected", 8096: "all", 8443: "all", 9200: "10.0.0.0/8 fd00::/8"}),
        ("syncer", {8095: "selected"}),
        ("streams", {}),
        ("nats", {4222: "node-driver,fetcher,rotator,syncer,streams", 6222: "nats", 8222: "all"}),
        ("valkey", {6379: "fetcher,rotator"}),
    ],
)
def test_who_may_connect_to_each(render: Any, component: str, ports: dict[int, str]) -> None:
    """Metrics for whom the values name, events where they are switched on, and the servers for our own pods."""
    assert reach(policy(render("everything"), component).get("ingress", []), "from") == ports


@pytest.mark.parametrize(("component", "port"), [("node-driver", 1), ("fetcher", 2), ("rotator", 3), ("syncer", 4)])
def test_more_ways_out(render: Any, component: str, port: int) -> None:
    """Those that the values add, and the collector of traces."""
    ports = reach(policy(render("everything"), component)["egress"], "to")
    assert {port, 4318} <= set(ports)


@pytest.mark.parametrize(
    ("url", "port"), [("https://collector", 443), ("http://collector/x", 80), ("http://[fd00::1]:4317", 4317)]
)
def test_the_collectors_port_is_in_its_url(render: Any, url: str, port: int) -> None:
    """Or is that of its scheme."""
    rendered = render(
        telemetry={"settings": {"OTEL_EXPORTER_OTLP_ENDPOINT": url}},
        networkPolicy={"backendPorts": [1000], "apiServerPorts": [1001]},
    )
    assert port in reach(policy(rendered, "syncer")["egress"], "to")


def test_external_servers_are_reached_at_their_ports(render: Any) -> None:
    """Where they are is not known, so anywhere."""
    ports = reach(policy(render("external", networkPolicy={"enabled": True}), "fetcher")["egress"], "to")
    assert ports[4222] == ports[6380] == "all"
