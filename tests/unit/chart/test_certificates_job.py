"""The Job that keeps certificates good: whom to trust is known before it counts, and servers restart where it does."""

import argparse
import base64
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from keyferry import certificates_job as job
from keyferry.certificates import Authority, Certificate, authority
from keyferry.kube import Json, Kube, connect
from keyferry.testing.kube import KubeAPI

NOW, DAY = time.time(), 86400.0
CORE, APPS = "/api/v1/namespaces/kube-system", "/apis/apps/v1/namespaces/kube-system"
NATS, VALKEY = f"{APPS}/statefulsets/k-nats", f"{APPS}/deployments/k-valkey"
SERVERS = [
    job.Server("nats", ("nats.svc", "localhost"), "statefulsets/k-nats", trusts=True),
    job.Server("redis", ("valkey.svc", "127.0.0.1"), "deployments/k-valkey"),
]


@pytest.fixture
async def kube() -> AsyncIterator[Kube]:
    """A cluster in which everything was made just now."""
    async with KubeAPI(now=lambda: datetime.fromtimestamp(NOW, UTC)) as api, connect(api.kubeconfig) as connected:
        yield connected


async def ensure(kube: Kube, *, now: float = NOW, since: float = 0.0) -> None:
    await job.ensure(kube, "kube-system", SERVERS, now=now, since=since)


async def held(kube: Kube, name: str) -> dict[str, str]:
    """What a Secret holds."""
    told = await kube.get(f"{CORE}/secrets/{name}") or {}
    return {file: base64.b64decode(text).decode() for file, text in told["data"].items()}


async def trusted(kube: Kube) -> str:
    """What clients trust."""
    told = await kube.get(f"{CORE}/configmaps/keyferry-ca") or {}
    return str(told["data"]["ca.crt"])


async def install(kube: Kube) -> None:
    """The two workloads, begun just now."""
    pod: Json = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec: Json = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
    for path in (NATS, VALKEY):
        plural, _, name = path.rpartition("/")
        await kube.post(plural, {"metadata": {"name": name}, "spec": spec})


async def marks(kube: Kube) -> list[str]:
    """What the pods of NATS and Valkey were restarted with; empty if they never were."""
    told = [await kube.get(path) or {} for path in (NATS, VALKEY)]
    found = [each["spec"]["template"]["metadata"].get("annotations") or {} for each in told]
    return [each.get(job.ANNOTATION, "") for each in found]


def signed(files: dict[str, str], by: dict[str, str]) -> bool:
    """Whether the certificate of a server is of an authority."""
    return Authority.load(by["ca.crt"], by["ca.key"]).has_issued(files["tls.crt"])


async def test_a_new_cluster(kube: Kube) -> None:
    """Has an authority that is trusted, and both servers a certificate of it for all their names; nothing restarts."""
    await ensure(kube)
    await install(kube)
    await ensure(kube, now=NOW + 60)

    by = await held(kube, "keyferry-authority")
    for server in SERVERS:
        files = await held(kube, server.secret)
        assert signed(files, by)
        assert Certificate.parse(files["tls.crt"]).hosts == set(server.hosts)
    assert await trusted(kube) == by["ca.crt"]
    assert await marks(kube) == ["", ""]


@pytest.mark.parametrize(("days", "is_renewed"), [(240, False), (250, True), (400, True)])
async def test_a_third_of_a_year(kube: Kube, days: int, *, is_renewed: bool) -> None:
    """Before it is left nothing changes; then both certificates do, and their servers restart once; trust stays."""
    await ensure(kube)
    await install(kube)
    before, trust = await held(kube, "keyferry-nats-tls"), await trusted(kube)

    await ensure(kube, now=NOW + days * DAY)
    first = await marks(kube)
    await ensure(kube, now=NOW + days * DAY + 3600)
    assert (await held(kube, "keyferry-nats-tls") != before) is is_renewed
    assert signed(await held(kube, "keyferry-redis-tls"), await held(kube, "keyferry-authority"))
    assert await trusted(kube) == trust
    assert [bool(mark) for mark in first] == [is_renewed, is_renewed]
    assert await marks(kube) == first


async def test_on_demand(kube: Kube) -> None:
    """What was made before a time is made anew, once; a time to come is none."""
    await ensure(kube)
    before = await held(kube, "keyferry-nats-tls")
    await ensure(kube, now=NOW + 60, since=NOW + 3600)
    assert await held(kube, "keyferry-nats-tls") == before
    await ensure(kube, now=NOW + 7200, since=NOW + 3600)
    after = await held(kube, "keyferry-nats-tls")
    assert after != before
    await ensure(kube, now=NOW + 7300, since=NOW + 3600)
    assert await held(kube, "keyferry-nats-tls") == after


async def old_installation(kube: Kube) -> str:
    """Certificates of an authority whose key was forgotten, without this version's names; returns that authority."""
    old = authority("keyferry", NOW - 30 * DAY)
    for server in SERVERS:
        certificate, key = old.issue([server.hosts[0]], NOW - 30 * DAY)
        body = {"tls.crt": certificate, "tls.key": key, "ca.crt": old.pem}
        secret = {"metadata": {"name": server.secret}, "type": "kubernetes.io/tls", "stringData": body}
        await kube.post(f"{CORE}/secrets", secret)
    await kube.post(f"{CORE}/configmaps", {"metadata": {"name": "keyferry-ca"}, "data": {"ca.crt": old.pem}})
    return old.pem


async def test_an_old_installation(kube: Kube) -> None:
    """A new authority is trusted beside the old one for a day before it vouches for servers; NATS restarts for both."""
    old = await old_installation(kube)
    await install(kube)
    before = await held(kube, "keyferry-nats-tls")

    await ensure(kube, now=NOW + 60)
    by, trust, first = await held(kube, "keyferry-authority"), await trusted(kube), await marks(kube)
    assert trust == by["ca.crt"] + old
    assert await held(kube, "keyferry-nats-tls") == before
    assert [bool(mark) for mark in first] == [True, False]

    await ensure(kube, now=NOW + 3600)
    assert await held(kube, "keyferry-nats-tls") == before
    assert await marks(kube) == first

    await ensure(kube, now=NOW + DAY + 3600)
    after = await held(kube, "keyferry-nats-tls")
    assert signed(after, by)
    assert Certificate.parse(after["tls.crt"]).hosts == set(SERVERS[0].hosts)
    assert await trusted(kube) == trust
    assert all(now not in ("", then) for now, then in zip(await marks(kube), first, strict=True))


async def test_an_authority_whose_end_is_near(kube: Kube) -> None:
    """Is joined by another, which vouches from the next day on."""
    await ensure(kube)
    await ensure(kube, now=NOW + 2300 * DAY)
    by, later = await held(kube, "keyferry-authority"), NOW + 2500 * DAY  # of 3650
    await ensure(kube, now=later)
    another, files = await held(kube, "keyferry-authority"), await held(kube, "keyferry-nats-tls")
    assert another != by
    assert await trusted(kube) == another["ca.crt"] + by["ca.crt"]
    assert signed(files, by)
    await ensure(kube, now=later + 250 * DAY)
    assert signed(await held(kube, "keyferry-nats-tls"), another)


async def test_certificates_of_others(kube: Kube) -> None:
    """Whoever has brought his own keeps them, whenever they end."""
    other = authority("Example Corp", NOW - 360 * DAY)
    certificate, key = other.issue(["nats.svc"], NOW - 360 * DAY)
    body = {"tls.crt": certificate, "tls.key": key, "ca.crt": other.pem}
    secret = {"metadata": {"name": "keyferry-nats-tls"}, "type": "kubernetes.io/tls", "stringData": body}
    await kube.post(f"{CORE}/secrets", secret)
    for now in (NOW, NOW + 3 * DAY):
        await ensure(kube, now=now)
    assert (await held(kube, "keyferry-nats-tls"))["tls.crt"] == certificate
    assert other.pem in await trusted(kube)


async def test_a_secret_of_somebody_else(kube: Kube) -> None:
    """One of our names that holds no certificate stops the step, and stays."""
    await kube.post(f"{CORE}/secrets", {"metadata": {"name": "keyferry-authority"}, "stringData": {"a": "b"}})
    with pytest.raises(KeyError):
        await ensure(kube)
    assert await held(kube, "keyferry-authority") == {"a": "b"}


def asked(rendered: Any, kind: str, name: str) -> argparse.Namespace:
    """What a Job of the chart is told, as the step understands it."""
    found = rendered.one(kind, f"csi-secrets-store-{name}")["spec"]
    (container,) = (found.get("jobTemplate", {"spec": found})["spec"])["template"]["spec"]["containers"]
    parser = argparse.ArgumentParser()
    job.arguments(parser)
    return parser.parse_args(container["args"])


def test_what_the_chart_tells(render: Any) -> None:
    """Both Jobs the same: every name by which servers are reached, this machine's among them, and what restarts."""
    rendered = render(keys={"renewal": {"since": "2027-01-31T12:00:00Z"}})
    told = asked(rendered, "CronJob", "certificates")
    assert told == asked(rendered, "Job", "keys")
    nats, redis = job.servers(told)
    assert {"csi-secrets-store-nats.kube-system.svc", "localhost", "127.0.0.1"} < set(nats.hosts)
    assert set(redis.hosts) == {"csi-secrets-store-valkey.kube-system.svc", "localhost", "127.0.0.1"}
    assert redis.hosts[0] == "csi-secrets-store-valkey.kube-system.svc"
    assert told.since == datetime(2027, 1, 31, 12, tzinfo=UTC).timestamp()
    for server in (nats, redis):
        plural, _, name = server.workload.partition("/")
        assert rendered.one({"statefulsets": "StatefulSet", "deployments": "Deployment"}[plural], name)


def test_where_there_is_no_such_job(render: Any) -> None:
    """Where nobody wants it, where others make the keys, and where no server is ours."""
    assert render(keys={"renewal": {"schedule": ""}}).of("CronJob") == []
    assert render(keys={"create": False}).of("CronJob") == []
    assert render("external").of("CronJob") == []


def test_an_api_server_that_is_away(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Is an exit status; the Job tries again."""
    told = ["--namespace=a", "--nats-host=b", "--redis-host=c", f"--kubeconfig={tmp_path}/none"]
    assert job.main(told) == 1
    assert "keyferry.certificates_job: cannot reach Kubernetes" in capsys.readouterr().err
