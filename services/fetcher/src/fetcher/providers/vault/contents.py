"""What a file holds: a key of Vault's answer, decoded as the object says, or the answer itself."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from fetcher.providers.vault.answers import WrittenFloat
from fetcher.providers.vault.objects import Object
from keyferry.errors import InvalidSecretProviderClass, SecretNotFound

# The rest of an answer (request_id, warnings, wrap_info) is new with every read or says nothing of the secret.
_KEPT = ("data", "auth", "lease_id", "lease_duration", "renewable")


def contents(wanted: Object, answer: dict[str, Any]) -> bytes:
    """The file's bytes; the same for the same secret, however often it is read.

    Raises:
        SecretNotFound: the key is not there, or Vault answered without data.
        InvalidSecretProviderClass: the value is not encoded as the object says.
    """
    data = answer.get("data")
    if not wanted.key:
        if not data and not answer.get("auth"):
            raise SecretNotFound(f"{wanted.call.path}: Vault answers without data")
        return _json({name: answer[name] for name in _KEPT if name in answer and (name != "auth" or answer[name])})
    if isinstance(data, dict) and isinstance(data.get("data"), dict):
        data = data["data"]  # KV version 2
    if not isinstance(data, dict) or wanted.key not in data:
        # The words and brackets are upstream's: people grep for them.
        raise SecretNotFound(f'{{{wanted.call.path}}}: {{key "{wanted.key}" does not exist at the secret path}}')
    return _decode(wanted, _text(data[wanted.key]))


def version(answer: dict[str, Any]) -> str | None:
    """KV version 2's version; other engines have none."""
    data = answer.get("data")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    found = metadata.get("version") if isinstance(metadata, dict) else None
    return str(found) if type(found) is int else None


def _text(value: Any) -> bytes:
    return value.encode(errors="replace") if isinstance(value, str) else _json(value)


def _json(value: Any) -> bytes:
    return _written(value).encode(errors="replace")


def _written(value: Any) -> str:
    """As `json.dumps` with sorted keys, but for numbers, which keep their digits."""
    if isinstance(value, dict):
        return (
            f"{{{','.join(f'{json.dumps(key, ensure_ascii=False)}:{_written(value[key])}' for key in sorted(value))}}}"
        )
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return value.text if isinstance(value, WrittenFloat) else json.dumps(value, ensure_ascii=False)


def _decode(wanted: Object, value: bytes) -> bytes:
    try:
        if wanted.encoding == "base64":
            return base64.b64decode(value.translate(None, b"\r\n"), validate=True)
        if wanted.encoding == "hex":
            return binascii.unhexlify(value)
    except binascii.Error:
        pass
    else:
        return value
    raise InvalidSecretProviderClass(
        f'{wanted.call.path}: key "{wanted.key}" is not {wanted.encoding}, as the encoding of objectName '
        f"{wanted.name} says ({len(value)} bytes)"
    )
