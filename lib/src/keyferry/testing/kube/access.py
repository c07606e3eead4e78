"""SubjectAccessReview: what the RBAC objects in a store allow somebody; the API itself lets everybody do everything.

Source: kubernetes `plugin/pkg/auth/authorizer/rbac` and `pkg/apis/authorization/validation`.
"""

from collections.abc import Iterator
from typing import Any

from keyferry.testing.kube.catalog import Resource
from keyferry.testing.kube.status import FieldError, invalid, invalid_value
from keyferry.testing.kube.store import Key, Store

Json = dict[str, Any]

GROUP = "rbac.authorization.k8s.io"
_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
_MASTERS = "system:masters"


def review(store: Store, body: Json) -> Json:
    """Answers a POST to subjectaccessreviews.

    Raises:
        StatusError: 422, it says nothing of who, or not exactly one of what.
    """
    spec = body.get("spec") or {}
    problems = _problems(spec)
    if problems:
        raise invalid(_REVIEWS, "", problems)
    is_master = _MASTERS in (spec.get("groups") or ())
    why = "" if is_master or not spec.get("resourceAttributes") else _why(store, spec, spec["resourceAttributes"])
    status = {"allowed": is_master or bool(why)} | ({"reason": why} if why else {})
    metadata = {"creationTimestamp": None} | (body.get("metadata") or {})
    kind = {"kind": "SubjectAccessReview", "apiVersion": _REVIEWS.api_version}
    return kind | {"metadata": metadata, "spec": spec, "status": status}


def _problems(spec: Json) -> list[FieldError]:
    problems = []
    if bool(spec.get("resourceAttributes")) == bool(spec.get("nonResourceAttributes")):
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        has_both = bool(spec.get("resourceAttributes"))
        detail = "cannot be specified in combination with resourceAttributes" if has_both else detail
        path = "spec.nonResourceAttributes" if has_both else "spec.resourceAttributes"
        problems.append(invalid_value(path, spec.get("nonResourceAttributes"), detail))
    if not spec.get("user") and not spec.get("groups"):
        problems.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    return problems


def prepare_binding(new: Json, _: Json | None) -> None:
    """Fills in the groups of subjects."""
    for subject in new.get("subjects") or ():
        if subject.get("kind") != "ServiceAccount":
            subject.setdefault("apiGroup", GROUP)


def _why(store: Store, spec: Json, wanted: Json) -> str:
    """Why it is allowed; empty if it is not."""
    for binding, role in _bindings(store, wanted.get("namespace") or ""):
        subject = next((each for each in binding.get("subjects") or () if _is(each, spec)), None)
        if subject and any(_covers(rule, wanted) for rule in role.get("rules") or ()):
            return "RBAC: allowed by " + _named(binding, subject)
    return ""


def _bindings(store: Store, namespace: str) -> Iterator[tuple[Json, Json]]:
    found = [(each, "") for each in store.select(f"{GROUP}/clusterrolebindings")]
    if namespace:
        found += [(each, namespace) for each in store.select(f"{GROUP}/rolebindings", namespace)]
    for binding, where in found:
        reference = binding["roleRef"]
        is_local = reference["kind"] == "Role"
        key = Key(
            f"{GROUP}/roles" if is_local else f"{GROUP}/clusterroles", where if is_local else "", reference["name"]
        )
        role = store.get(key)
        if role:
            yield binding, role


def _is(subject: Json, spec: Json) -> bool:
    if subject["kind"] == "ServiceAccount":
        return f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}" == spec.get("user")
    if subject["kind"] == "Group":
        return subject["name"] in (spec.get("groups") or ())
    return bool(subject["name"] == spec.get("user"))


def _covers(rule: Json, wanted: Json) -> bool:
    resource = "/".join(filter(None, (wanted.get("resource", ""), wanted.get("subresource", ""))))
    names = rule.get("resourceNames")
    return (
        any(each in ("*", wanted.get("verb", "")) for each in rule.get("verbs") or ())
        and any(each in ("*", wanted.get("group", "")) for each in rule.get("apiGroups") or ())
        and any(each in ("*", resource) for each in rule.get("resources") or ())
        and (not names or wanted.get("name", "") in names)
    )


def _named(binding: Json, subject: Json) -> str:
    of, about = binding["roleRef"], binding["metadata"]
    account = f"{subject['name']}/{subject['namespace']}" if subject["kind"] == "ServiceAccount" else subject["name"]
    kind = "RoleBinding" if about.get("namespace") else "ClusterRoleBinding"
    name = f"{about['name']}/{about['namespace']}" if about.get("namespace") else about["name"]
    return f'{kind} "{name}" of {of["kind"]} "{of["name"]}" to {subject["kind"]} "{account}"'
