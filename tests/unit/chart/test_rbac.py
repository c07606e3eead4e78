"""Each service account may do what docs/rbac.md says, and nothing else."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "rbac.md").read_text()
RELEASE, NAMESPACE = "csi-secrets-store", "kube-system"

Grant = tuple[str, str, str, frozenset[str], frozenset[str]]


def listed() -> set[Grant]:
    """Account, place, resource, names and verbs of each row of the page's first table."""
    return parsed(PAGE.partition("\n## ")[0])


def parsed(text: str) -> set[Grant]:
    """The rows of a table."""
    table = text.replace("RELEASE", RELEASE).replace("NAMESPACE", NAMESPACE)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
    return {
        (
            account.strip("`"),
            where.strip("`"),
            resource.strip("`"),
            frozenset(re.findall(r"`([^`]+)`", names)),
            frozenset(verbs.split(", ")),
        )
        for account, where, resource, names, verbs, _ in rows
    }


def _resources(rule: dict[str, Any]) -> list[str]:
    groups, plurals = rule.get("apiGroups", []), rule.get("resources", [])
    named = [f"{plural}.{group}" if group else plural for group in groups for plural in plurals]
    return named + list(rule.get("nonResourceURLs", []))


def granted(rendered: Any) -> set[Grant]:
    """The same of the rendered roles and bindings."""
    roles = {(each["kind"], each["metadata"]["name"]): each["rules"] for each in rendered.of("Role", "ClusterRole")}
    return {
        (
            subject["name"],
            binding["metadata"].get("namespace", "cluster"),
            resource,
            frozenset(rule.get("resourceNames", ())),
            frozenset(rule["verbs"]),
        )
        for binding in rendered.of("RoleBinding", "ClusterRoleBinding")
        for subject in binding["subjects"]
        for rule in roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        for resource in _resources(rule)
    }


def at(grants: set[Grant], **places: list[str]) -> set[Grant]:
    """The page's grants, where what it calls a place is these."""
    features: dict[str, list[str]] = {
        "synced": [],
        "without pods": [],
        "without pods, synced": [],
        "rolled": [],
        "with the page": [],
    } | {
        name.replace("podless_synced", "without pods, synced")
        .replace("podless", "without pods")
        .replace("page", "with the page"): where
        for name, where in places.items()
    }
    return {(grant[0], place, *grant[2:]) for grant in grants for place in features.get(grant[1], [grant[1]])}


SOME = ["shop", "billing"]


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("", {}),
        ("guide", {"synced": ["cluster"]}),
        (
            "everything",
            {"synced": SOME, "podless": ["cluster"], "podless_synced": SOME, "rolled": SOME, "page": ["cluster"]},
        ),
    ],
    ids=["defaults", "guide", "everything"],
)
def test_rights_are_those_of_the_page(render: Any, name: str, places: dict[str, list[str]]) -> None:
    """All of them, and no other; without syncSecret.enabled none on Secrets of others."""
    assert granted(render(name)) == at(listed(), **places)


def test_roles_of_people_are_those_of_the_page(render: Any) -> None:
    """What the page says of them, all of it and no more, and nobody is bound to one."""
    rendered = render()
    section = PAGE.partition("\n## People\n")[2].partition("\n## ")[0]
    bound = {each["roleRef"]["name"] for each in rendered.of("RoleBinding", "ClusterRoleBinding")}
    listed_for = parsed(section)
    names = {each[0] for each in listed_for}
    made = {
        (
            role["metadata"]["name"],
            role["metadata"].get("namespace", "cluster"),
            resource,
            frozenset(rule.get("resourceNames", ())),
            frozenset(rule["verbs"]),
        )
        for role in rendered.of("Role", "ClusterRole")
        for rule in role["rules"]
        for resource in _resources(rule)
        if role["metadata"]["name"] in names
    }
    assert names == {f"keyferry-{name}-role" for name in ("cli", "forward", "mender", "fetch")}
    assert made == listed_for
    assert not names & bound


def test_each_feature_brings_its_own(render: Any) -> None:
    """SecretSync objects need the right to write Secrets too, and rollouts need none of that."""
    everywhere = ["cluster"]
    podless, rolled = render(secretSync={"enabled": True}), render(rollouts={"enabled": True})
    paged = render(rotator={"page": {"enabled": True, "tlsSecret": "page-tls"}})
    assert granted(paged) == at(listed(), page=everywhere)
    assert granted(podless) == at(listed(), synced=everywhere, podless=everywhere, podless_synced=everywhere)
    assert granted(rolled) == at(listed(), rolled=everywhere)
    assert [len(each.of("ValidatingAdmissionPolicy")) for each in (podless, rolled)] == [3, 2]


def test_subjects_are_our_own(render: Any) -> None:
    """Whoever is bound is a service account that the chart makes, in its namespace."""
    rendered = render("guide")
    accounts = {each["metadata"]["name"] for each in rendered.of("ServiceAccount")}
    subjects = [each for binding in rendered.of("RoleBinding", "ClusterRoleBinding") for each in binding["subjects"]]
    assert {each["name"] for each in subjects} < accounts
    assert {(each["kind"], each["namespace"]) for each in subjects} == {("ServiceAccount", NAMESPACE)}


def test_names_of_todays_driver(render: Any) -> None:
    """Its end-to-end tests look for these."""
    names = {each["metadata"]["name"] for each in render("guide").of("ClusterRole", "ClusterRoleBinding")}
    assert names >= {
        "secretproviderclasses-role",
        "secretproviderclasses-rolebinding",
        "secretprovidersyncing-role",
        "secretprovidersyncing-rolebinding",
        "secretproviderclasses-admin-role",
        "secretproviderclasses-viewer-role",
        "secretproviderclasspodstatuses-viewer-role",
    }
    assert "secretprovidersyncing-role" not in {each["metadata"]["name"] for each in render().of("ClusterRole")}


def test_no_role_has_a_wildcard(render: Any) -> None:
    """Neither verbs, groups nor resources."""
    rules = [rule for each in render("guide").of("Role", "ClusterRole") for rule in each["rules"]]
    assert [rule for rule in rules if "*" in str(rule)] == []


def test_nothing_is_granted_without_rbac(render: Any) -> None:
    """`rbac.install: false` leaves it all to the operator."""
    assert granted(render("external")) == set()
    assert render("external").of("ClusterRole") == []


def test_tokens_go_to_those_who_need_them(render: Any) -> None:
    """Only fetcher, syncer and the Jobs that make keys and certificates have a token for the API server."""
    rendered = render("guide")
    accounts = {each["metadata"]["name"]: each for each in rendered.of("ServiceAccount")}
    pods = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in rendered.workloads}
    mounting = {
        name
        for name, pod in pods.items()
        if pod.get("automountServiceAccountToken", True)
        and accounts[pod["serviceAccountName"]].get("automountServiceAccountToken", True)
    }
    assert mounting == {f"{RELEASE}-fetcher", f"{RELEASE}-syncer", f"{RELEASE}-keys", f"{RELEASE}-certificates"}


def test_the_keys_jobs_rights_end_with_it(render: Any) -> None:
    """Account, role and binding are hooks that Helm deletes when the Job has succeeded."""
    hooks = [each for each in render("guide").objects if each["metadata"]["name"] == f"{RELEASE}-keys"]
    annotations = [each["metadata"]["annotations"] for each in hooks]
    assert {each["kind"] for each in hooks} == {"ServiceAccount", "Role", "RoleBinding", "Job"}
    assert {each["helm.sh/hook"] for each in annotations} == {"pre-install,pre-upgrade"}
    assert {each["helm.sh/hook-delete-policy"] for each in annotations} == {"before-hook-creation,hook-succeeded"}
