"""What a file holds: a key of Vault's answer, decoded as the object says, or the answer itself."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from fetcher.options import Options, files
from fetcher.provider import Secret
from fetcher.providers.vault.answers import WrittenFloat
from fetcher.providers.vault.objects import Object
from keyferry.errors import InvalidSecretProviderClass, SecretNotFound

# The rest of an answer (request_id, warnings, wrap_info) is new with every read or says nothing of the secret.
_KEPT = ("data", "auth", "lease_id", "lease_duration", "renewable")


def secrets(wanted: Object, answer: Mapping[str, Any]) -> Iterator[Secret]:
    """The files that an object becomes.

    Raises:
        SecretNotFound: a key is not there, or Vault answered without data.
        ContentTooLarge, InvalidSecretProviderClass: it is not as the object says.
    """
    options = wanted.options
    if wanted.key or not (options.expand or options.json_key or options.yaml_key):
        found = contents(wanted, answer)
    else:
        found, options = _data_as_texts(wanted, answer), _of_json(options)
    whole = Secret(
        path=wanted.path,
        contents=found,
        object_id=wanted.name,
        version=version(answer),
        mode=wanted.mode,
        source=unquote(wanted.call.path),
    )
    return files(options, whole, wanted.call.path)


def contents(wanted: Object, answer: Mapping[str, Any]) -> bytes:
    """The file's bytes; the same for the same secret, however often it is read.

    Raises:
        SecretNotFound: the key is not there, or Vault answered without data.
        InvalidSecretProviderClass: the value is not encoded as the object says.
    """
    if not wanted.key:
        if not answer.get("data") and not answer.get("auth"):
            raise SecretNotFound(f"{wanted.call.path}: Vault answers without data")
        return _json({name: answer[name] for name in _KEPT if name in answer and (name != "auth" or answer[name])})
    data = _data(answer)
    if data is None or wanted.key not in data:
        # The words and brackets are upstream's: people grep for them.
        raise SecretNotFound(f'{{{wanted.call.path}}}: {{key "{wanted.key}" does not exist at the secret path}}')
    return _decode(wanted, _text(data[wanted.key]))


def version(answer: Mapping[str, Any]) -> str | None:
    """KV version 2's version; other engines have none."""
    data = answer.get("data")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    found = metadata.get("version") if isinstance(metadata, dict) else None
    return str(found) if type(found) is int else None


def _data(answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The secret's keys; those of KV version 2 are one level deeper than others'."""
    data = answer.get("data")
    if isinstance(data, dict) and isinstance(data.get("data"), dict):
        data = data["data"]
    return data if isinstance(data, dict) else None


def _data_as_texts(wanted: Object, answer: Mapping[str, Any]) -> bytes:
    """The secret's keys as a JSON document of texts, so that numbers keep their digits; null stays nothing."""
    data = _data(answer)
    if data is None:
        raise SecretNotFound(f"{wanted.call.path}: Vault answers without data")
    return json.dumps(
        {key: value if value is None or isinstance(value, str) else _written(value) for key, value in data.items()}
    ).encode()


def _of_json(options: Options) -> Options:
    """The options for a secret's own keys: there is no YAML to read."""
    expand = "json" if options.expand else ""
    return replace(options, json_key=options.json_key or options.yaml_key, yaml_key="", expand=expand)


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
