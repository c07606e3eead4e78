"""What a Secret and a ConfigMap may hold and what of them may change.

Source: kubernetes `pkg/apis/core/validation` ValidateSecret, ValidateSecretUpdate, ValidateConfigMap.
"""

import base64
import binascii
import json
import re
from typing import Any

from keyferry.testing.kube.status import (
    FieldError,
    StatusError,
    bad_request,
    forbidden_value,
    invalid_value,
    required,
    too_long,
)

Json = dict[str, Any]

LARGEST = 1024 * 1024
_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_REDACTED = "<secret contents redacted>"
_SEALED = "field is immutable when `immutable` is set"

_NEEDED = {
    "kubernetes.io/tls": (("data[tls.crt]", "tls.crt"), ("data[tls.key]", "tls.key")),
    "kubernetes.io/ssh-auth": (("data[%s][ssh-privatekey]", "ssh-privatekey"),),
}
_NEEDED_JSON = {
    "kubernetes.io/dockercfg": ".dockercfg",
    "kubernetes.io/dockerconfigjson": ".dockerconfigjson",
}


def prepare_secret(new: Json, _old: Json | None) -> None:
    """Merges stringData into data, and gives a Secret its type.

    Raises:
        StatusError: 400, a value is not base64.
    """
    data = dict(new.get("data") or {})
    for key, value in data.items():
        data[key] = _canonical(value)
    for key, value in (new.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(value.encode()).decode()
    new.pop("data", None)
    if data:
        new["data"] = data
    new["type"] = new.get("type") or "Opaque"


def _canonical(value: Any) -> str:
    try:
        return base64.b64encode(base64.b64decode(value or "", validate=True)).decode()
    except (binascii.Error, TypeError, ValueError) as error:
        raise _not_base64() from error


def _not_base64() -> StatusError:
    return bad_request(
        'Secret in version "v1" cannot be handled as a Secret: v1.Secret.Data: decode base64: illegal base64 data'
    )


def validate_secret(new: Json, old: Json | None) -> list[FieldError]:
    """What is wrong with a Secret, or with the change from `old` to it."""
    data = new.get("data") or {}
    found = _keys("data", data)
    if sum(len(base64.b64decode(value)) for value in data.values()) > LARGEST:
        found.append(too_long("data", LARGEST))
    found += _of_type(new, data)
    if old is None:
        return found
    if new["type"] != old["type"]:
        found.append(invalid_value("type", new["type"], "field is immutable"))
    return found + _sealed(new, old, ("data",))


def _of_type(new: Json, data: Json) -> list[FieldError]:
    kind = new["type"]
    found = [required(path) for path, key in _NEEDED.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        found += [required("data[%s][username]"), required("data[%s][password]")]
    if kind == "kubernetes.io/service-account-token":
        annotation = "kubernetes.io/service-account.name"
        if not (new["metadata"].get("annotations") or {}).get(annotation):
            found.append(required(f"metadata.annotations[{annotation}]"))
    if kind in _NEEDED_JSON:
        found += _json_at(_NEEDED_JSON[kind], data)
    return found


def _json_at(key: str, data: Json) -> list[FieldError]:
    if key not in data:
        return [required(f"data[{key}]")]
    try:
        json.loads(base64.b64decode(data[key]))
    except ValueError as error:
        return [invalid_value(f"data[{key}]", _REDACTED, f"invalid character: {type(error).__name__}")]
    return []


def _keys(path: str, data: Json) -> list[FieldError]:
    return [invalid_value(f"{path}[{key}]", key, _KEY_RULE) for key in sorted(data) if not _KEY.fullmatch(key)]


def _sealed(new: Json, old: Json, fields: tuple[str, ...]) -> list[FieldError]:
    if not old.get("immutable"):
        return []
    found = [] if new.get("immutable") else [forbidden_value("immutable", _SEALED)]
    return found + [forbidden_value(f, _SEALED) for f in fields if (new.get(f) or {}) != (old.get(f) or {})]


def validate_config_map(new: Json, old: Json | None) -> list[FieldError]:
    """What is wrong with a ConfigMap, or with the change from `old` to it."""
    text, binary = new.get("data") or {}, new.get("binaryData") or {}
    found = _keys("data", text) + _keys("binaryData", binary)
    size = sum(len(v.encode()) for v in text.values()) + sum(len(base64.b64decode(v)) for v in binary.values())
    if size > LARGEST:
        found.append(too_long("[]", LARGEST))
    return found + (_sealed(new, old, ("data", "binaryData")) if old else [])
