"""The pages of Kubernetes objects: Events, annotations and labels, and the fields of our kinds."""  # noqa: INP001 - beside a script, no package

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from tables import code, table

from fetcher.policy import ROTATION, STALE
from fetcher.providers.aws.credentials import ROLE_ANNOTATION
from fetcher.providers.azure.identity import CLIENT_ANNOTATION, TENANT_ANNOTATION
from fetcher.providers.gcp.identity import ACCOUNT_ANNOTATION, DELEGATES_ANNOTATION
from keyferry.certificates_job import ANNOTATION as CERTIFICATE
from syncer.cluster import REFRESH_REQUESTED
from syncer.desired import MANAGED_LABEL
from syncer.needs import POLICY, WHEN_NEEDED
from syncer.podstatus import NODE_LABEL, SECRETS_ANNOTATION
from syncer.rollout import RESTARTED_AT

_ROOT = Path(__file__).parents[2]
_SYNCER = _ROOT / "services" / "syncer" / "src" / "syncer"
_TELLING = ("NORMAL", "WARNING")
_EVENTS = """# Kubernetes Events

Recorded by the syncer (`source.component` is `keyferry-syncer`). When each is told, of how many pods and how often, is
said in [Syncing](../syncing.md#events). That a mount failed is told by kubelet itself, in a `FailedMount` Event with
the driver's text. `{…}` stands for what is filled in.

"""
_ANNOTATIONS = """# Annotations and labels

"""
_FIELDS = """# Fields of our kinds

From `deploy/crds`. What a provider reads from `parameters` is on its own page:
[AWS](../backends/aws.md), [Azure](../backends/azure.md), [Google Cloud](../backends/gcp.md),
[Vault and OpenBao](../backends/vault.md), [plugins](../backends/plugin.md).
"""


def events() -> str:
    """Every call of the syncer that tells of something, by reason."""
    found = sorted({told for path in sorted(_SYNCER.glob("*.py")) for told in _told(ast.parse(path.read_text()))})
    return _EVENTS + table(("reason", "type", "text"), ((code(each[0]), each[1], each[2]) for each in found))


def _told(module: ast.Module) -> Iterator[tuple[str, str, str]]:
    for function in ast.walk(module):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        assigned = _assigned(function)
        for call in ast.walk(function):
            arguments = call.args if isinstance(call, ast.Call) else []
            for kind, reason, text in zip(arguments, arguments[1:], arguments[2:], strict=False):
                if isinstance(kind, ast.Name) and kind.id in _TELLING:
                    for each in _texts(reason, assigned):
                        yield each, kind.id.capitalize(), _shown(text, assigned)


def _assigned(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Mapping[str, list[ast.expr]]:
    """Name to all that it may stand for."""
    found: dict[str, list[ast.expr]] = {}
    for each in ast.walk(function):
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
            found.setdefault(each.targets[0].id, []).append(each.value)
    return found


def _texts(reason: ast.expr, assigned: Mapping[str, list[ast.expr]]) -> set[str]:
    """The reasons that an expression can give: words in CamelCase that stand in it, or in what its name stands for."""
    values = assigned.get(reason.id, []) if isinstance(reason, ast.Name) else [reason]
    words = {each.value for value in values for each in ast.walk(value) if isinstance(each, ast.Constant)}
    return {word for word in words if isinstance(word, str) and word[:1].isupper()}


def _shown(text: ast.expr, assigned: Mapping[str, list[ast.expr]]) -> str:
    if isinstance(text, ast.Name):
        before = [each for each in assigned.get(text.id, []) if each.lineno < text.lineno]
        text = max(before, key=lambda each: each.lineno, default=text)
    return code(_template(text)) if isinstance(text, ast.JoinedStr) else "what is wrong, and what mends it"


def _template(text: ast.JoinedStr) -> str:
    return "".join(str(each.value) if isinstance(each, ast.Constant) else "{…}" for each in text.values)


def marks() -> str:
    """What is read and written, by the names that the code has for them."""
    rows = (
        (ROTATION, "SecretProviderClass", "read", "how often it is refreshed, such as `30s`; `0` or `off` for never"),
        (STALE, "SecretProviderClass", "read", "how old the last known content may be while the backend is away"),
        (REFRESH_REQUESTED, "SecretProviderClass", "read", "any new text has all its volumes refreshed now"),
        (POLICY, "SecretProviderClass", "read", f"`{WHEN_NEEDED}`: roll workloads that cannot see a new secret"),
        (RESTARTED_AT, "a workload's pod template", "written", "when it was rolled"),
        (CERTIFICATE, "pod templates of NATS and Valkey", "written", "the certificate that they were restarted with"),
        (SECRETS_ANNOTATION, "SecretProviderClassPodStatus", "written", "the Secrets that its class makes"),
        (ROLE_ANNOTATION, "ServiceAccount", "read", "AWS: the IAM role of its pods"),
        (CLIENT_ANNOTATION, "ServiceAccount", "read", "Azure: the application or identity of its pods"),
        (TENANT_ANNOTATION, "ServiceAccount", "read", "Azure: the tenant, where the class does not say"),
        (ACCOUNT_ANNOTATION, "ServiceAccount", "read", "Google Cloud: the service account that its pods become"),
        (DELEGATES_ANNOTATION, "ServiceAccount", "read", "Google Cloud: through which others, a JSON list"),
    )
    labels = (
        (MANAGED_LABEL, "Secret", "written as `true`; read to tell our Secrets and today's driver's from others"),
        (NODE_LABEL, "SecretProviderClassPodStatus", "written: the pod's node"),
    )
    return (
        _ANNOTATIONS
        + table(("annotation", "on", "", "meaning"), ((code(row[0]), *row[1:]) for row in rows))
        + "\n\n"
        + table(("label", "on", "meaning"), ((code(row[0]), *row[1:]) for row in labels))
    )


def fields() -> str:
    """Every field of every kind in deploy/crds."""
    parts = [_FIELDS]
    for path in sorted((_ROOT / "deploy" / "crds").glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        (version,) = (each for each in spec["versions"] if each["storage"])
        rows = _fields_of(version["schema"]["openAPIV3Schema"], "")
        parts.append(f"\n## {spec['names']['kind']}\n\n`{spec['group']}/{version['name']}`\n\n")
        parts.append(table(("field", "type", "", "meaning"), rows) + "\n")
    return "".join(parts)


def _fields_of(schema: Mapping[str, Any], path: str) -> Iterator[tuple[str, str, str, str]]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        at = f"{path}.{name}" if path else name
        if at in ("apiVersion", "kind", "metadata"):
            continue
        item = field.get("items", field)
        at_item = f"{at}[]" if "items" in field else at
        notes = ["required"] if name in required else []
        notes += [f"default `{field['default']}`"] if "default" in field else []
        yield code(at_item), _type(field), ", ".join(notes), field.get("description", item.get("description", ""))
        yield from _fields_of(item, at_item)


def _type(field: Mapping[str, Any]) -> str:
    values = field.get("additionalProperties")
    if values:
        return f"map of {values['type']}s"
    return f"list of {field['items']['type']}s" if "items" in field else str(field["type"])
