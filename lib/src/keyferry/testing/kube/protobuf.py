"""The protobuf bodies that kubectl's `create` subcommands send: a reader for a few kinds, by their field numbers.

Everything else in protobuf is refused with 415; answers are always JSON, which every client reads.
Source: `generated.proto` of k8s.io/api and k8s.io/apimachinery; the envelope is `runtime.Unknown` after a magic number.
"""

import base64
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

MAGIC = b"k8s\x00"
_VARINT, _LENGTH = 0, 2

Message = dict[int, tuple[str, Any]]
"""Field number to JSON name and how to read it: "text", "flag", "number", or a message; in a list if repeated.

A one-item tuple around "text" or "bytes" is a map of strings to it.
"""

_ENVELOPE: Message = {1: ("type", {1: ("apiVersion", "text"), 2: ("kind", "text")}), 2: ("raw", "raw")}
_METADATA: Message = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    5: ("uid", "text"),
    6: ("resourceVersion", "text"),
    11: ("labels", ("text",)),
    12: ("annotations", ("text",)),
    14: ("finalizers", ["text"]),
}
_REFERENCE: Message = {1: ("kind", "text"), 2: ("apiVersion", "text"), 3: ("name", "text"), 4: ("uid", "text")}
_TOKEN_SPEC: Message = {
    1: ("audiences", ["text"]),
    3: ("boundObjectRef", _REFERENCE),
    4: ("expirationSeconds", "number"),
}
_KINDS: dict[str, Message] = {
    "v1/Secret": {
        1: ("metadata", _METADATA),
        2: ("data", ("bytes",)),
        3: ("type", "text"),
        4: ("stringData", ("text",)),
        5: ("immutable", "flag"),
    },
    "v1/ConfigMap": {
        1: ("metadata", _METADATA),
        2: ("data", ("text",)),
        3: ("binaryData", ("bytes",)),
        4: ("immutable", "flag"),
    },
    "v1/Namespace": {1: ("metadata", _METADATA)},
    "v1/ServiceAccount": {1: ("metadata", _METADATA)},
    "authentication.k8s.io/v1/TokenRequest": {1: ("metadata", _METADATA), 2: ("spec", _TOKEN_SPEC)},
}


def decoded(body: bytes) -> Json | None:
    """The object in a protobuf body as JSON; None if its kind is not one of the few."""
    if not body.startswith(MAGIC):
        return None
    envelope = _read(body[len(MAGIC) :], _ENVELOPE)
    kind = envelope.get("type", {})
    message = _KINDS.get(f"{kind.get('apiVersion')}/{kind.get('kind')}")
    return None if message is None else kind | _read(envelope.get("raw", b""), message)


def _read(data: bytes, message: Message) -> Json:
    found: Json = {}
    for number, value in _fields(data):
        if number not in message:
            continue
        name, rule = message[number]
        if isinstance(rule, tuple):
            entry = _read(value, {1: ("key", "text"), 2: ("value", rule[0])})
            found.setdefault(name, {})[entry["key"]] = entry.get("value", "")
        elif isinstance(rule, list):
            found.setdefault(name, []).append(_value(value, rule[0]))
        else:
            found[name] = _value(value, rule)
    return {name: value for name, value in found.items() if value != ""}


def _value(value: Any, rule: Any) -> Any:
    if isinstance(rule, dict):
        return _read(value, rule)
    if rule == "text":
        return value.decode()
    if rule == "bytes":
        return base64.b64encode(value).decode()
    return bool(value) if rule == "flag" else value


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values: an int for a varint, bytes for what has a length; other types do not occur."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        value, position = _varint(data, position)
        if key & 7 == _LENGTH:
            yield key >> 3, data[position : position + value]
            position += value
        elif key & 7 == _VARINT:
            yield key >> 3, value
        else:
            raise ValueError(f"protobuf wire type {key & 7}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the top bit says that more follows
            return result, position
        shift += 7
