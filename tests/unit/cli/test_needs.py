from __future__ import annotations

from typing import Any

import pytest

from fetcher.classes import project_class
from fetcher.providers import TABLE
from keyferry.cli import needs, setup
from keyferry.cli.cluster import ClassSeen
from keyferry.cli.findings import OK, WARNING, WRONG
from keyferry.cli.setup import Subject
from tests.unit.cli.samples import pod, spc

CLIENT = {"azure.workload.identity/client-id": "c"}
ROLE = {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/web"}


def test_the_providers_are_the_fetchers() -> None:
    """Whatever a fetcher offers is known here."""
    assert set(needs.PROVIDERS) == set(TABLE)


@pytest.mark.parametrize(
    ("provider", "parameters", "requested", "found"),
    [
        ("aws", {"objects": "x"}, {"keyferry", "sts.amazonaws.com"}, "sts.amazonaws.com"),
        ("aws", {"usePodIdentity": "true"}, {"sts.amazonaws.com"}, ""),
        ("aws", {"usePodIdentity": "true"}, {"pods.eks.amazonaws.com"}, "pods.eks.amazonaws.com"),
        ("vault", {"roleName": "x"}, {"openbao"}, "openbao"),
        ("openbao", {"audience": "mine"}, {"vault"}, ""),
        ("vault", {"audience": "mine"}, {"mine"}, "mine"),
        ("azure", {"clientID": "x"}, {"api://AzureADTokenExchange"}, "api://AzureADTokenExchange"),
        ("gcp", {"secrets": "x"}, {"keyferry"}, ""),
        ("gcp", {"secrets": "x"}, {"keyferry", "p.svc.id.goog"}, "p.svc.id.goog"),
    ],
)
def test_audiences(provider: str, parameters: dict[str, str], requested: set[str], found: str) -> None:
    """The token that a class's backend takes must be among those that the CSIDriver requests."""
    wanted = needs.audiences(spc(provider, parameters), has_secret=False)
    assert wanted is not None
    assert wanted.found(requested) == found


@pytest.mark.parametrize(
    ("provider", "parameters", "has_secret"),
    [
        ("azure", {"useVMManagedIdentity": "true"}, False),
        ("azure", {"keyvaultName": "x"}, True),
        ("gcp", {"auth": "provider-adc"}, False),
        ("gcp", {"auth": "nodePublishSecretRef"}, True),
        ("theirs", {"x": "y"}, False),
    ],
)
def test_no_token_is_needed(provider: str, parameters: dict[str, str], has_secret: bool) -> None:
    """Where something else proves who asks, or a plugin does, nothing is asked of the CSIDriver."""
    assert needs.audiences(spc(provider, parameters), has_secret=has_secret) is None


@pytest.mark.parametrize(
    ("provider", "parameters", "annotations", "missing"),
    [
        ("aws", {"objects": "x"}, {}, "eks.amazonaws.com/role-arn"),
        ("aws", {"objects": "x"}, ROLE, ""),
        ("aws", {"usePodIdentity": "true"}, {}, ""),
        ("azure", {"keyvaultName": "x"}, {}, "azure.workload.identity/client-id"),
        ("azure", {"keyvaultName": "x"}, CLIENT, ""),
        ("azure", {"clientID": "x"}, {}, ""),
        ("vault", {"roleName": "x"}, {}, ""),
        ("gcp", {"secrets": "x"}, {}, ""),
    ],
)
def test_annotations(provider: str, parameters: dict[str, str], annotations: dict[str, str], missing: str) -> None:
    """The service account says who the pod is, where the class does not."""
    assert needs.missing_annotation(spc(provider, parameters), annotations, has_secret=False) == missing


@pytest.mark.parametrize(
    "spec",
    [
        {"provider": "aws", "parameters": {"objects": "x"}},
        {"provider": "", "parameters": {"objects": "x"}},
        {"provider": 3, "parameters": {"objects": "x"}},
        {"provider": "aws"},
        {"provider": "aws", "parameters": {}},
        {"provider": "aws", "parameters": {"b": 1, "a": True}},
        {},
    ],
)
def test_shapes_are_judged_as_the_fetchers_do(spec: dict[str, Any]) -> None:
    """A class is in shape here exactly if it is there, and for the same reason."""
    theirs = project_class({"metadata": {"namespace": "shop", "name": "db"}, "spec": spec})
    ours = needs.misshapen(ClassSeen("shop", "db", spec.get("provider"), spec.get("parameters")))
    assert ours == (theirs if isinstance(theirs, str) else "")


def test_a_provider_that_nobody_knows() -> None:
    """A misspelt name is wrong; another one may be a plugin's."""
    subject = Subject("shop", "db")
    (misspelt,) = setup.of_class(subject, spc("valt"))
    (foreign,) = setup.of_class(subject, spc("akeyless"))
    assert (misspelt.state, "write vault" in misspelt.fix) == (WRONG, True)
    assert foreign.state == WARNING


def test_what_the_driver_must_say() -> None:
    """One finding for each field that is wrong, one for all being right."""
    good = {"podInfoOnMount": True, "requiresRepublish": True}
    assert [each.state for each in setup.of_driver(good, ("keyferry",))] == [OK]
    assert [each.state for each in setup.of_driver({}, ())] == [WRONG] * 3
    assert [each.state for each in setup.of_driver(None, ())] == [WRONG]


def test_a_service_account_that_is_not_there() -> None:
    """It is wrong whatever the provider."""
    assert setup.of_account(spc(), "shop/web", None, has_secret=False).state == WRONG


def test_a_pod_without_a_node() -> None:
    """Nothing can be mounted before it has one."""
    assert (setup.of_pod(pod()).state, setup.of_pod(pod(node="")).state) == (OK, WRONG)
