"""What a file holds: all that Google keeps for a secret, or one text out of the JSON or YAML document that it is."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from fetcher.document import DocumentError, Scalar, read
from fetcher.providers.gcp.parameters import Wanted
from fetcher.providers.gcp.resources import shown
from keyferry.errors import InvalidSecretProviderClass, SecretNotFound
from keyferry.resources import MAX_CONTENT_BYTES


def contents(wanted: Wanted, payload: bytes) -> bytes:
    """The file's bytes.

    Raises:
        SecretNotFound: the key is not in the document.
        InvalidSecretProviderClass: there is no such document, the key's value is no text, or it is not base64.
    """
    if wanted.json_key:
        payload = _value(_json(wanted, payload), wanted, wanted.json_key, "JSON")
    elif wanted.yaml_key:
        payload = _value(_yaml(wanted, payload), wanted, wanted.yaml_key, "YAML")
    return _decoded(wanted, payload) if wanted.base64 else payload


def _json(wanted: Wanted, payload: bytes) -> dict[str, Any]:
    try:
        found = json.loads(payload.decode(errors="replace"))
    except (ValueError, RecursionError):
        found = ""
    if not isinstance(found, dict | None):
        raise _unreadable(wanted, "JSON")
    return found or {}


def _yaml(wanted: Wanted, payload: bytes) -> dict[str, Any]:
    try:
        found = read(payload.decode(errors="replace"), longest=MAX_CONTENT_BYTES)
    except DocumentError:
        found = []
    if isinstance(found, dict):
        return {
            key: value.text if isinstance(value, Scalar) and value.kind == "str" else None
            for key, value in found.items()
        }
    if isinstance(found, Scalar) and found.kind == "null":
        return {}
    raise _unreadable(wanted, "YAML")


def _unreadable(wanted: Wanted, language: str) -> InvalidSecretProviderClass:
    return InvalidSecretProviderClass(
        f"{wanted.resource}: failed to unmarshal {language}: Invalid {language} format for key extraction"
    )


def _value(document: dict[str, Any], wanted: Wanted, key: str, language: str) -> bytes:
    if key not in document:
        raise SecretNotFound(f"{wanted.resource}: key '{shown(key)}' not found in {language}")
    value = document[key]
    if not isinstance(value, str):
        raise InvalidSecretProviderClass(
            f"{wanted.resource}: unsupported value type for key '{shown(key)}': only texts are"
        )
    # Half a surrogate pair, which JSON can spell, becomes U+FFFD as in Go.
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def _decoded(wanted: Wanted, payload: bytes) -> bytes:
    try:
        return base64.b64decode(payload.translate(None, b"\r\n"), validate=True)
    except binascii.Error:
        pass
    raise InvalidSecretProviderClass(
        f"{wanted.resource}: failed to decode base64 content ({len(payload)} bytes): remove decodeBase64, or mend the "
        "secret"
    )
