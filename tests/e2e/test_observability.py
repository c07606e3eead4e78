"""A run of all four services, watched by a real Prometheus: what dashboards, alerts and the audit show of it."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio
import pytest

from keyferry.kube import Json, connect
from keyferry.testing import queries
from keyferry.testing.ports import free_port
from keyferry.testing.prometheus import Prometheus, prometheus_server
from keyferry.testing.services import NodeDriver, Service
from keyferry.testing.stack import Stack
from keyferry.testing.valkey import valkey_server
from keyferry.testing.world import World

pytestmark = pytest.mark.root

SECRET, NEXT = "Kanarie-tijger", "Kanarie-leeuw"
TRACED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}  # spans are made, and nobody takes them
WINDOW = "1m"

QUIET = {
    "keyferry-backends: Contents ended",
    "keyferry-backends: Failed refreshes, by backend and reason",
    "keyferry-backends: Renewals of leases that failed",
    "keyferry-backends: Stale contents",
    "keyferry-bus: Calls of Redis that failed",
    "keyferry-bus: Not done",
    "keyferry-mounts: Unpublishes that fail",
    "keyferry-rotation: Changes",
    "keyferry-rotation: Event to being heard, p99",
    "keyferry-rotation: Events",
    "keyferry-rotation: Refreshes that fail",
}
"""Panels about trouble, and about what the run does not have. All others must show something."""


@dataclass(frozen=True)
class Recorded:
    """What is left of the run."""

    prometheus: Prometheus
    services: Mapping[str, Service]
    tokens: list[str]
    """What pods proved themselves with."""
    pod: Json

    def lines(self, service: str) -> list[dict[str, Any]]:
        """The log of a service."""
        return [json.loads(line) for line in self.services[service].process.log.read_text().splitlines()]


def started(stack: Stack, exits: ExitStack) -> dict[str, Service]:
    tokens = stack.directory / "webhook-tokens"
    tokens.write_text("let-me-in-let-me-in\n")
    rotating = {"KEYFERRY_ROTATION_INTERVAL": "1s", **TRACED}
    webhooks = {"KEYFERRY_WEBHOOK_ADDRESS": f"127.0.0.1:{free_port()}", "KEYFERRY_WEBHOOK_TOKEN_FILE": str(tokens)}
    return {
        "keyferry-fetcher": exits.enter_context(stack.fetcher(**TRACED)),
        "keyferry-node-driver": exits.enter_context(stack.node_driver(**rotating)),
        "keyferry-rotator": exits.enter_context(
            stack.rotator(**rotating, **webhooks, KEYFERRY_ROTATION_END_AFTER="1s")
        ),
        "keyferry-syncer": exits.enter_context(stack.syncer(**TRACED, KEYFERRY_NAMESPACE="default")),
    }


async def furnish(world: World) -> None:
    """A namespace with a class that is mounted and synced, and one that asks for what there is not."""
    await world.kube.post("/api/v1/namespaces", {"metadata": {"name": world.namespace}})
    await world.account("app")
    bao, name = world.servers.openbao, world.namespace
    await bao.allow_read(name, f"secret/data/{name}/*")
    await bao.kubernetes_role(name, accounts=["*"], namespaces=[name], policies=[name], audience="vault")
    await world.secret("db", password=SECRET)
    await world.vault_class("absent", "password=nothing:password")
    await world.vault_class("plain")
    listed = f"/apis/secrets-store.csi.x-k8s.io/v1/namespaces/{name}/secretproviderclasses"
    plain = await world.kube.get(f"{listed}/plain")
    assert plain is not None
    synced = [{"secretName": "db", "type": "Opaque", "data": [{"objectName": "password", "key": "password"}]}]
    await world.make_class("secrets", "vault", plain["spec"]["parameters"], secretObjects=synced)


async def happens(world: World, prometheus: Prometheus) -> tuple[list[str], Json]:
    """Mounts, a refusal, refreshes, a rotation, an unmount; with scrapes between them."""
    tokens, gone = [], await world.pod("secrets")
    for pod in (gone, await world.pod("secrets"), await world.pod("secrets")):
        request = await world.kubelet.request(pod, "secrets")
        tokens += [
            entry["token"]
            for entry in json.loads(request.volume_context["csi.storage.k8s.io/serviceAccount.tokens"]).values()
        ]
        target = await world.mounted(pod)
        await asyncio.sleep(2.5)
    with pytest.raises(grpc.aio.AioRpcError, match="nothing"):
        await world.kubelet.publish(await world.pod("absent"), "absent")
    await world.secret("db", password=NEXT)
    await until(lambda: (target / "password").read_text() == NEXT)
    await world.kubelet.unpublish(gone)
    await until(lambda: settled(prometheus))
    return tokens, pod


async def until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            if await asyncio.to_thread(claim):
                return
            await asyncio.sleep(0.5)


def settled(prometheus: Prometheus) -> bool:
    """Whether the end of it has been scraped: refreshes after the rotation, the unmount, the Secret."""
    wanted = (
        'rotation_reconcile_total{rotated="true"} > 0',
        "node_unpublish_total > 0",
        "sum(sync_k8s_secret_total) > 0",
        "keyferry:mounts:increase1h > 0",
        "keyferry:rotations_late:ratio1h",
    )
    return all(prometheus.query(each) for each in wanted)


@pytest.fixture(scope="module")
def recorded(breakable: Stack) -> Iterator[Recorded]:
    """The run; its services and its Prometheus are still there."""
    with ExitStack() as exits:
        stack = replace(breakable, valkey=exits.enter_context(valkey_server(breakable.directory / "valkey")))
        services = started(stack, exits)
        targets = {job: [service.http.removeprefix("http://")] for job, service in services.items()}
        rules = sorted(queries.ALERTS.glob("*.rules.yaml"))
        prometheus = exits.enter_context(prometheus_server(stack.directory / "prometheus", targets, rules=rules))
        node = services["keyferry-node-driver"]
        assert isinstance(node, NodeDriver)

        async def run() -> tuple[list[str], Json]:
            async with connect(stack.kube.kubeconfig, user_agent="e2e") as kube:
                world = World(stack, kube, node, f"ns-{uuid.uuid4().hex[:8]}")
                await furnish(world)
                # Prometheus looks for targets only seconds after its start; an increase that it does not see is none.
                await until(lambda: len(prometheus.query("up == 1")) == len(targets))
                return await happens(world, prometheus)

        yield Recorded(prometheus, services, *asyncio.run(run()))


def shown(prometheus: Prometheus, text: str) -> bool:
    """Whether a query has a number to show."""
    return any(not math.isnan(float(each["value"][1])) for each in prometheus.query(queries.filled(text, WINDOW)))


def test_every_panel_shows_something(recorded: Recorded) -> None:
    """Prometheus can evaluate each query of each dashboard, and of a run that was well each panel has data."""
    asked = [*queries.asked_of("prometheus"), *queries.variables()]
    having = {query.where for query in asked if shown(recorded.prometheus, query.text)}

    assert {query.where for query in asked} - having <= QUIET


def test_every_rule_is_evaluated(recorded: Recorded) -> None:
    """Prometheus evaluates all rules without an error, and all of them are there."""
    groups = recorded.prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]

    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}
    assert len(rules) == len(queries.rules())


def test_nothing_is_wrong_with_what_is_well(recorded: Recorded) -> None:
    """Of a run that was well no alert is even pending, but for the kubelet that this node does not have."""
    pending = {each["metric"]["alertname"] for each in recorded.prometheus.query("ALERTS")}

    assert pending == {"KeyferryNodeDriverNotReady"}


def test_services_are_told_apart(recorded: Recorded) -> None:
    """Every target is scraped; all have read the same keys but the rotator, which needs none."""
    up = {each["metric"]["job"]: each["value"][1] for each in recorded.prometheus.query("up")}
    newest = recorded.prometheus.query("keyferry_keys_newest_timestamp_seconds")

    assert up == dict.fromkeys(recorded.services, "1")
    assert {each["metric"]["job"] for each in newest} == recorded.services.keys() - {"keyferry-rotator"}
    assert len({each["value"][1] for each in newest}) == 1


@pytest.mark.parametrize(
    "histogram", ["keyferry_rpc_seconds", "keyferry_phase_seconds", "rotation_reconcile_duration_sec"]
)
def test_points_lead_to_traces(recorded: Recorded, histogram: str) -> None:
    """Prometheus has exemplars of the histogram, and the logs know the traces that they lead to."""
    now = time.time()
    span = {"start": str(now - 600), "end": str(now)}
    found = recorded.prometheus.get("query_exemplars", query=f"{histogram}_bucket", **span)
    led_to = {each["labels"]["trace_id"] for series in found for each in series["exemplars"]}
    known = {line.get("trace_id") for job in recorded.services for line in recorded.lines(job)}

    assert led_to
    assert led_to & known


def audited(recorded: Recorded) -> list[dict[str, Any]]:
    return [line for line in recorded.lines("keyferry-fetcher") if line["logger"] == "keyferry.audit"]


def test_who_got_what(recorded: Recorded) -> None:
    """Each mount, refresh and refusal left a record: who, which version, from where, by which trace."""
    records = audited(recorded)
    mine = [each for each in records if each["pod_uid"] == recorded.pod["metadata"]["uid"]]
    first, *later = mine

    assert (records[0]["purpose"], records[0]["origin"]) == ("mount", "backend")
    assert (first["purpose"], first["outcome"], first["origin"]) == ("mount", "delivered", "shared")
    assert first["service_account"] == "app"
    assert first["node"] == "node-a"
    assert [each["version"] for each in first["objects"]] == ["1"]
    assert ("refresh", "delivered", "2") in [
        (each["purpose"], each["outcome"], each["objects"][0]["version"]) for each in later
    ]
    assert "unchanged" in {each["outcome"] for each in later}
    assert [each["reason"] for each in records if each["outcome"] == "refused"] == ["SecretNotFound"]
    assert all(re.fullmatch("[0-9a-f]{32}", each["trace_id"]) for each in records)


def test_no_record_has_a_value(recorded: Recorded) -> None:
    """Neither secrets nor tokens nor their signatures are in any record, nor in any label of any metric."""
    written = json.dumps(audited(recorded), ensure_ascii=False)
    series = json.dumps(recorded.prometheus.get("series", **{"match[]": '{__name__!=""}'}))
    values = [SECRET, NEXT, *recorded.tokens, *(token.rpartition(".")[2] for token in recorded.tokens)]

    assert len(recorded.tokens) == 9
    assert [value for value in values if value in written or value in series] == []


def test_logs_have_what_the_story_asks_for(recorded: Recorded) -> None:
    """Every field that the dashboard of one volume filters by is in the lines that it is to find."""
    asked = {name for query in queries.asked_of("loki") for name in re.findall(r"(\w+)\s*(?:!=|=~|=)", query.text)}
    in_logs = asked - {"namespace"}  # a label of the stream

    assert in_logs == {"logger", "service", "volume_id", "pod"}
    assert all(in_logs <= line.keys() for line in audited(recorded))
    node = [line for line in recorded.lines("keyferry-node-driver") if line["message"] == "volume published"]
    assert node
    assert all(in_logs <= line.keys() for line in node)
