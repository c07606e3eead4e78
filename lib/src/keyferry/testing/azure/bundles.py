"""Objects of a vault in JSON, as Key Vault tells them."""

import base64
from typing import Any

from keyferry.testing.azure.vaults import Version


def bundle(origin: str, kind: str, name: str, found: Version, *, secret: bool = True) -> dict[str, Any]:
    """An object in one version.

    Args:
        origin: Scheme, host and port of ids.
        kind: ``secrets``, ``keys`` or ``certificates``.
        name: Of the object.
        found: The version.
        secret: Whether a secret's value is told too.
    """
    fields = found.fields
    told: dict[str, Any] = {"attributes": found.attributes(), "tags": found.tags}
    if kind == "keys":
        key = {**fields["key"], "kid": identifier(origin, kind, name, found.id)}
        return {**told, "key": key, **({"managed": True} if fields.get("managed") else {})}
    told["id"] = identifier(origin, kind, name, found.id)
    kid = identifier(origin, "keys", name, found.id)
    if kind == "certificates":
        cer = base64.b64encode(fields["cer"]).decode()
        sid = identifier(origin, "secrets", name, found.id)
        policy = {"id": f"{origin}/certificates/{name}/policy", "secret_props": {"contentType": fields["contentType"]}}
        return {**told, "kid": kid, "sid": sid, "x5t": fields["x5t"], "cer": cer, "policy": policy}
    told |= {field: value for field, value in fields.items() if field != "kid" and (secret or field != "value")}
    return {**told, "kid": kid} if fields.get("kid") else told


def item(origin: str, kind: str, name: str, version: Version, *, with_id: bool) -> dict[str, Any]:
    """An object in a list, without its value; with its version's id if versions are listed."""
    fields, key = version.fields, "kid" if kind == "keys" else "id"
    told = {
        key: identifier(origin, kind, name, version.id if with_id else ""),
        "attributes": version.attributes(),
        "tags": version.tags,
    }
    if kind == "certificates":
        return {**told, "x5t": fields["x5t"]}
    return told | {field: fields[field] for field in ("contentType", "managed") if field in fields}


def error(code: str, inner: str, text: str = "The vault fails because a test wants it so.") -> dict[str, Any]:
    """An error's body."""
    told: dict[str, Any] = {"code": code or "InternalServerError", "message": text}
    return {"error": {**told, "innererror": {"code": inner}} if inner else told}


def identifier(origin: str, kind: str, name: str, version: str = "") -> str:
    """An id, without the vault's path: the SDKs take ids of three parts only, and of these name and version."""
    return f"{origin}/{kind}/{name}" + (f"/{version}" if version else "")
