"""What an entry names: a secret or parameter by name or ARN, or many of them by prefix and tags."""

from __future__ import annotations

import re

from fetcher.options import Selection
from fetcher.providers.aws.fields import Noted, is_clean
from fetcher.providers.aws.wanted import SECRETS_MANAGER, SSM
from fetcher.shown import shown

_SERVICE_OF_TYPE = {"secretsmanager": SECRETS_MANAGER, "ssmparameter": SSM}
_PREFIX = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")
_MAX_TAGS = 10
_MAX_TAG_KEY = 128  # characters
_MAX_TAG_VALUE = 256
_MAX_NAME = 2048  # characters; Secrets Manager and SSM both end here
_ARN_PARTS = 6


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


def service_of_type(kind: str, noted: Noted) -> str:
    """Which service an ``objectType`` names; empty after a problem."""
    if kind not in _SERVICE_OF_TYPE:
        problem = f'is "{shown(kind)}": invalid objectType' if kind else "is missing"
        noted("objectType", f"{problem}, write secretsmanager or ssmparameter")
    return _SERVICE_OF_TYPE.get(kind, "")


def check_selection(selection: Selection, service: str, noted: Noted) -> None:
    """Note what no backend could match, and what AWS would refuse."""
    if selection.prefix and not _PREFIX.fullmatch(selection.prefix):
        noted("selectPrefix", "is not the beginning of a name: letters, digits and /_+=.@- are allowed, 512 at most")
    if len(selection.tags) > _MAX_TAGS:
        noted("selectTags", f"has more than {_MAX_TAGS} tags")
    for key, value in selection.tags:
        if not 0 < len(key) <= _MAX_TAG_KEY or len(value) > _MAX_TAG_VALUE or not (is_clean(key) and is_clean(value)):
            noted("selectTags", "has a tag that AWS does not know: 128 characters and a value of 256 are the most")
        elif service == SSM and not value:
            noted(f"selectTags.{shown(key)}", "is empty: Systems Manager cannot look for empty values")
