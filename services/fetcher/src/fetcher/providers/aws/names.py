"""Names of secrets and of the files they become: ARNs, path translation and what a file may be called."""

from __future__ import annotations

import re

from fetcher.provider import Problems
from fetcher.providers.aws.fields import Noted, shown
from fetcher.providers.aws.wanted import SECRETS_MANAGER, SSM

_SERVICE_OF_TYPE = {"secretsmanager": SECRETS_MANAGER, "ssmparameter": SSM}
_REGION = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PARENT = re.compile(r"(?:^|/)\.\./|/\.\.$")
_MAX_NAME = 2048  # characters; Secrets Manager and SSM both end here
_MAX_PATH = 4096  # bytes, of a whole path
_MAX_ELEMENT = 255  # bytes, of one file name
_ARN_PARTS = 6


def regions(region: str, failover: str, default: str, problems: Problems) -> tuple[str, ...]:
    """The primary region and, if there is one, the failover region.

    Args:
        region: The class's own word.
        failover: The class's ``failoverRegion``.
        default: Used when the class is silent.
        problems: Where everything wrong is noted.
    """
    primary = region or default
    if not primary:
        problems.add("region", "is not set: set it in the class's parameters, or AWS_REGION for all classes")
    for field, name in (("region", primary), ("failoverRegion", failover)):
        if name and not _REGION.fullmatch(name):
            problems.add(field, "is not a region: write one such as eu-central-1")
    if failover and failover == primary:
        problems.add("failoverRegion", f"{primary}: failover region cannot be the same as the primary region")
    return tuple(name for name in (primary, failover) if name)


def service(name: str, kind: str, region: str, noted: Noted) -> str:
    """Which service holds an object, checking its name and type as upstream does.

    Args:
        name: ``objectName``.
        kind: ``objectType``, may be empty beside an ARN.
        region: Where it must be; empty if not known.
        noted: Told of what is wrong.

    Returns:
        ``secretsmanager`` or ``ssm``; empty after a problem.
    """
    parts = name.split(":", _ARN_PARTS - 1) if name.startswith("arn:") else []
    if len(name) > _MAX_NAME:
        noted("objectName", f"is longer than {_MAX_NAME} characters")
    elif parts and len(parts) < _ARN_PARTS:
        noted("objectName", f"has an invalid ARN format: {shown(name)}")
    elif parts and region and parts[3] != region:
        noted("objectName", f"has the wrong region: ARN region must match region {region}: {shown(name)}")
    elif not parts and not kind:
        noted("objectType", f"is missing: must use objectType when a full ARN is not specified: {shown(name)}")
    elif not kind and parts[2] not in (SECRETS_MANAGER, SSM):
        noted("objectName", f"has an invalid service in ARN: {shown(parts[2])}")
    elif kind and kind not in _SERVICE_OF_TYPE:
        noted("objectType", f'is "{shown(kind)}": invalid objectType, write secretsmanager or ssmparameter')
    elif kind and parts and parts[2] != _SERVICE_OF_TYPE[kind]:
        noted("objectType", f"does not match ARN: {shown(name)}")
    else:
        return _SERVICE_OF_TYPE[kind] if kind else parts[2]
    return ""


def translation(text: str, problems: Problems) -> str:
    """What replaces ``/`` in file names; empty for nothing (``pathTranslation``)."""
    if text.lower() == "false":
        return ""
    if len(text.encode()) > 1:
        problems.add("pathTranslation", "must be either 'False' or a single character string")
    return text or "_"


def file_name(name: str, field: str, replacement: str, noted: Noted) -> str:
    """The path of a file below the volume, refused where the driver could not write it (kubelet's AtomicWriter rules).

    Args:
        name: Alias or object name.
        field: Where it was written, for a problem.
        replacement: Instead of ``/``; empty keeps nested paths and drops leading slashes.
        noted: Told of what is wrong.
    """
    path = name.replace("/", replacement) if replacement else name.lstrip("/")
    elements = path.split("/")
    if _PARENT.search(path):
        noted(field, f"path can not contain ../: {shown(name)}")
    elif path.startswith("..") or not all(e not in ("", ".", "..") for e in elements):
        noted(field, f"does not make a file name: {shown(name)}")
    elif len(path.encode()) > _MAX_PATH or any(len(element.encode()) > _MAX_ELEMENT for element in elements):
        noted(field, f"makes too long a file name (255 bytes are allowed between slashes): {shown(name)}")
    return path
