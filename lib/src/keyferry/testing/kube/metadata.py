"""Rules for every object's metadata: names, labels, annotations and owner references.

Source: k8s.io/apimachinery `api/validation` and `util/validation`.
"""

import re
from dataclasses import replace
from typing import Any

from keyferry.testing.kube.catalog import Resource
from keyferry.testing.kube.status import FieldError, StatusError, forbidden_value, invalid, invalid_value, required

Json = dict[str, Any]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_QUALIFIED_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_LONGEST_NAME, _LONGEST_LABEL, _LARGEST_ANNOTATIONS = 253, 63, 256 * 1024


def problems(item: Json, kind: str, *, custom: bool) -> list[FieldError]:
    """What is wrong with an object's metadata."""
    metadata = item["metadata"]
    found = _name(metadata.get("name", ""), kind)
    for key, value in sorted((metadata.get("labels") or {}).items()):
        found += _qualified("metadata.labels", key) + _label_value(value)
    annotations = metadata.get("annotations") or {}
    for key in sorted(annotations):
        found += _qualified("metadata.annotations", key.lower())
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > _LARGEST_ANNOTATIONS:
        message = f"Too long: must have at most {_LARGEST_ANNOTATIONS} bytes"
        found.append(FieldError("metadata.annotations", "FieldValueTooLong", message))
    for owner in metadata.get("ownerReferences") or []:
        found += [
            invalid_value(f"metadata.ownerReferences.{field}", "", f"{what} must not be empty")
            for field, what in (("apiVersion", "version"), ("kind", "kind"), ("name", "name"), ("uid", "uid"))
            if not owner.get(field)
        ]
    for index, finalizer in enumerate(metadata.get("finalizers") or []):
        if not custom and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(invalid_value(f"metadata.finalizers[{index}]", finalizer, detail))
    return found


def changes(new: Json, old: Json) -> list[FieldError]:
    """What may not change in an object's metadata."""
    found = []
    if new.get("uid") not in {None, "", old["uid"]}:
        found.append(invalid_value("metadata.uid", new["uid"], "field is immutable"))
    late = sorted(set(new.get("finalizers") or []) - set(old.get("finalizers") or []))
    if old.get("deletionTimestamp") and late:
        names = ", ".join(f'"{name}"' for name in late)
        detail = (
            f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{names}}}"
        )
        found.append(forbidden_value("metadata.finalizers", detail))
    return found


def unversioned(resource: Resource, name: str) -> StatusError:
    """422: a custom object is replaced only by somebody who says which version he has seen."""
    message = "Invalid value: 0x0: must be specified for an update"
    problem = FieldError("metadata.resourceVersion", "FieldValueInvalid", message)
    # The real server names the plural here where every other message of this sort has the kind.
    return invalid(replace(resource, kind=resource.plural), name, [problem])


def _name(name: str, kind: str) -> list[FieldError]:
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    rule, pattern, longest = _SUBDOMAIN_RULE, _SUBDOMAIN, _LONGEST_NAME
    if kind == "Namespace":
        rule, pattern, longest = _LABEL_RULE, _LABEL, _LONGEST_LABEL
    found = []
    if len(name) > longest:
        found.append(invalid_value("metadata.name", name, f"must be no more than {longest} characters"))
    if not pattern.fullmatch(name):
        found.append(invalid_value("metadata.name", name, rule))
    return found


def _qualified(path: str, key: str) -> list[FieldError]:
    prefix, slash, name = key.rpartition("/")
    found = []
    if slash and (not _SUBDOMAIN.fullmatch(prefix) or len(prefix) > _LONGEST_NAME):
        found.append(invalid_value(path, key, f"prefix part {_SUBDOMAIN_RULE}"))
    if len(name) > _LONGEST_LABEL:
        found.append(invalid_value(path, key, f"name part must be no more than {_LONGEST_LABEL} characters"))
    if not _QUALIFIED.fullmatch(name):
        found.append(invalid_value(path, key, _QUALIFIED_RULE))
    return found


def _label_value(value: str) -> list[FieldError]:
    found = []
    if len(value) > _LONGEST_LABEL:
        found.append(invalid_value("metadata.labels", value, f"must be no more than {_LONGEST_LABEL} characters"))
    if not _LABEL_VALUE.fullmatch(value):
        found.append(invalid_value("metadata.labels", value, _LABEL_VALUE_RULE))
    return found
